"""Partial records: what can be read of a file that its device does not give as a whole (design: intake, step 6).

A partial record is evidence like any other, with its holes in the seal. It is never confirmed and never lets a device
go. A better reading is a new record, which supersedes it.
"""

from collections.abc import Callable
from threading import Event

from dockwarden.agent.drivers.source import Reader, SourceError, SourceInfo
from dockwarden.agent.intake import KEEP_FREE, Docking, made
from dockwarden.agent.known import records_of, source_key
from dockwarden.agent.sealed import seal_of
from dockwarden.agent.sealing import seal
from dockwarden.agent.stores import Stores, said
from dockwarden.durable.files import DurableError
from dockwarden.durable.rescuing import Patience, rescue
from dockwarden.durable.staging import Stage, reopen_stage
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.seals import Seal

PATIENCE = Patience(failures=512, seconds=900)
"""How long one file of a dying medium may keep its bay: at the worst each try that fails takes half a minute."""


def is_torn(cause: SourceError | DurableError) -> bool:
    """Whether a source failed because a part of it cannot be read."""
    return isinstance(cause, SourceError) and cause.code == "unreadable"


def take_torn(
    stores: Stores,
    docking: Docking,
    source: SourceInfo,
    stage: Stage,
    progress: Callable[[int], None],
    cancel: Event,
) -> Seal:
    """Take what can be read of a torn source into its claimed stage and seal it; the seal says what is missing.

    `progress` gets the number of bytes that are there. Raises SourceError, DurableError (`nothing-read` where there
    is nothing to seal, `stage-differs` where the stage must be set aside), MalformedError where the source cannot be
    described in a seal.
    """
    first = reopen_stage(stores.files, stage)
    reader = docking.device.open(source, uncached=True)
    try:
        rescued = rescue(
            stores.files,
            lambda offset, length: _try(reader, offset, length),
            source.size,
            stage.folder,
            first_leaf=first,
            keep_free=KEEP_FREE,
            patience=PATIENCE,
            progress=progress,
            cancel=cancel,
        )
    finally:
        reader.close()
    sealed = made(stores, stage, docking, source, rescued.copied, rescued.holes)
    seal(stores, stage, sealed)
    return sealed


def supersede(stores: Stores, docking: Docking, source: SourceInfo, record: str) -> None:
    """Say of each partial record of this source that `record` has more of it. Raises DurableError, MalformedError."""
    older = [each for each in records_of(stores.ledger.engine, _key(docking, source)) if each != record]
    if not older:
        return
    better, _ = seal_of(stores, record)
    for each in older:
        worse, _ = seal_of(stores, each)
        if worse.missing <= better.missing or said(stores, each, "superseded", "station") is not None:
            continue
        stores.ledger.append(
            "superseded",
            record=each,
            place="station",
            by=stores.by("intake"),
            body={"by": record, "missing": better.missing, "session": docking.session},
        )


def _key(docking: Docking, source: SourceInfo) -> Object:
    return source_key(docking.device.info.key, source.to_object())


def _try(reader: Reader, offset: int, length: int) -> bytes | None:
    try:
        data = reader.read(offset, length)
    except SourceError as error:
        if error.code != "unreadable":
            raise
        return None
    return data if len(data) == length else None
