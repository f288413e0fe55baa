"""Read a snapshot back from the off-site place: one stream for all, and what broke off record by record."""

from collections.abc import Generator

from dockwarden.offsite.errors import OffsiteError
from dockwarden.offsite.proof import PIECE, Mismatch, ReadBack, Verdict
from dockwarden.offsite.restic import Repository

MOST_BREAKS = 8
"""After so many records in a row that cannot be read the rest is given up: restic tries each for most of a minute."""

_OF_THE_RECORD = frozenset({"damaged", "not-found", "failed"})


def read_back(repository: Repository, snapshot: str, reading: ReadBack) -> Generator[Verdict, None, None]:
    """Read all that `reading` expects out of a snapshot; gives each record's verdict as soon as it is known.

    One damaged blob ends a stream; the records behind it are then read one by one, so that it costs only those that
    hold it. Raises OffsiteError where the place itself cannot be read (unreachable, stopped …): what has no verdict
    by then is neither proven nor refuted.
    """
    error = yield from _stream(repository, snapshot, "/", reading)
    if error is None:
        yield from reading.missing()
        return
    breaks = 0
    for item in list(reading.pending.values()):
        if breaks == MOST_BREAKS:
            yield Mismatch(item.record, "not-read", "too much of the repository is damaged to go on", item.path)
            continue
        alone = ReadBack([item])
        error = yield from _stream(repository, snapshot, f"/{item.path}", alone)
        breaks = 0 if error is None else breaks + 1
        if error is None:
            yield from alone.missing()
        elif alone.pending:
            yield Mismatch(item.record, error.code, error.what, item.path)


def _stream(
    repository: Repository, snapshot: str, path: str, reading: ReadBack
) -> Generator[Verdict, None, OffsiteError | None]:
    """Read one stream; returns what of the snapshot's contents ended it, None where it was whole."""
    with repository.dump_tar(snapshot, path) as child:
        yield from reading.read(child)
        while child.read(PIECE):  # what follows the archive's end, or the place where it broke
            pass
        error = repository.ended(child)
    if error is not None and error.code not in _OF_THE_RECORD:
        raise error
    return error
