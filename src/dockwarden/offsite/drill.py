"""A restore drill: restore into an empty folder as after a disaster, and hold all of it against what was sealed."""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dockwarden.durable.files import DurableError
from dockwarden.durable.leaflist import read_leaf_list
from dockwarden.durable.readback import measure_uncached
from dockwarden.evidence import merkle, seals
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import SignatureError, VerifierKey
from dockwarden.offsite.errors import OffsiteError
from dockwarden.offsite.logcopy import FOLDER, LogCopy, verify_log
from dockwarden.offsite.proof import LEAVES, ORIGINAL, SEAL, Expected
from dockwarden.offsite.restic import Repository

KEEP_FREE = 256 << 20
"""Bytes of the target's disk that a drill leaves to others."""

MOST_RECORDS = 256
"""Records that one call of restic restores."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a restored record: `code` for programs, `what` for people, `path` in the snapshot."""

    code: str
    what: str
    path: str


@dataclass(frozen=True)
class Drilled:
    """A record after the drill; without findings it is what was sealed, to the last byte."""

    expected: Expected
    findings: tuple[Finding, ...]


def drill(
    repository: Repository,
    snapshot: str,
    records: Sequence[Expected],
    target: Path,
    keys: Iterable[VerifierKey],
    *,
    most_bytes: int,
    remove: bool = True,
    restored: Callable[[Path], None] | None = None,
) -> list[Drilled]:
    """Restore records of a snapshot into the empty folder `target` and verify each; a missing folder is made.

    They come in portions of at most `most_bytes` (a larger record comes alone); with `remove` a portion is removed
    before the next. `restored` is called between restore and verification. Raises OffsiteError: `not-empty`,
    `disk-full` before anything is restored, and what keeps restic from restoring anything.
    """
    _refuse_full(target)
    known, results = tuple(keys), []
    for portion in portions(records, most_bytes):
        _restore(repository, snapshot, [item.path for item in portion], _size(portion), target)
        if restored is not None:
            restored(target)
        results += [Drilled(item, verify_record(target, item, known)) for item in portion]
        if remove:
            _empty(target)
    return results


def drill_log(
    repository: Repository, snapshot: str, target: Path, keys: Iterable[VerifierKey], *, remove: bool = True
) -> LogCopy:
    """Restore a snapshot's copy of the log into the empty folder `target` and verify it. Raises OffsiteError."""
    _refuse_full(target)
    _restore(repository, snapshot, [FOLDER], 0, target)
    copy = verify_log(target, keys)
    if remove:
        _empty(target)
    return copy


def verify_record(base: Path, expected: Expected, keys: Iterable[VerifierKey]) -> tuple[Finding, ...]:
    """Hold a restored record below `base` against its seal: who signed it, whether it is the expected one, and
    every byte of the original, past the page cache. Returns what is wrong."""
    folder = base / expected.path

    def wrong(code: str, what: str, part: str) -> tuple[Finding, ...]:
        return (Finding(code, what, f"{expected.path}/{part}"),)

    try:
        data = (folder / SEAL).read_bytes()
        seal, _ = seals.open_seal(data, keys)
    except OSError:
        return wrong("missing", "it was not restored", SEAL)
    except (MalformedError, SignatureError) as error:
        return wrong("seal", str(error), SEAL)
    found: tuple[Finding, ...] = ()
    if seal.record != expected.record or hashlib.sha256(data).hexdigest() != expected.seal_sha256:
        found += wrong("seal", "it is another seal than the station's log names", SEAL)
    try:
        digests, _ = measure_uncached(folder / ORIGINAL)
        if digests != seal.digests:
            found += wrong("differs", "the bytes are not those that were sealed", ORIGINAL)
    except DurableError as error:
        found += wrong("missing" if error.code == "missing" else "unreadable", error.what, ORIGINAL)
    try:
        if merkle.root(read_leaf_list(folder / LEAVES)).hex() != seal.digests.leaves_root:
            found += wrong("differs", "the leaf list is not that of the seal", LEAVES)
    except DurableError as error:
        found += wrong("missing" if error.code == "missing" else "unreadable", error.what, LEAVES)
    return found


def portions(records: Sequence[Expected], most_bytes: int) -> list[list[Expected]]:
    """Split records, in order, so that each portion has at most `most_bytes` and MOST_RECORDS, but at least one."""
    parts: list[list[Expected]] = []
    for item in records:
        if not parts or len(parts[-1]) >= MOST_RECORDS or _size([*parts[-1], item]) > most_bytes:
            parts.append([])
        parts[-1].append(item)
    return parts


def _restore(repository: Repository, snapshot: str, paths: Sequence[str], size: int, target: Path) -> None:
    free = shutil.disk_usage(target).free
    if free < size + KEEP_FREE:
        raise OffsiteError("disk-full", f"{size + KEEP_FREE} bytes are needed, {free} are free", str(target))
    try:
        repository.restore(snapshot, target, size, paths)
    except OffsiteError as error:
        if error.code != "damaged":
            raise
        # Restic restored what it could; which records that are is seen by verifying each.


def _refuse_full(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(target.iterdir()):
        raise OffsiteError("not-empty", "the folder for the drill is not empty", str(target))


def _empty(target: Path) -> None:
    for path in target.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _size(records: Iterable[Expected]) -> int:
    return sum(item.digests.size for item in records)
