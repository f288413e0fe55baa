"""Intake: how the bytes of one source become a record (design: intake).

The order never changes: plan, bytes, seal, vault, fact. The fact is last, so a crash at any step leaves either a
stage that can go on or something that `settling` finishes.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Event

from dockwarden.agent.drivers.source import Device, SourceError, SourceInfo
from dockwarden.agent.known import source_key
from dockwarden.agent.recognising import stage_agrees
from dockwarden.agent.sealing import seal
from dockwarden.agent.settling import finish, is_half_done, remove_parts_of
from dockwarden.agent.stores import Stores, new_id
from dockwarden.durable.copying import GEOMETRY, Copied, Read, copy_in_one_pass
from dockwarden.durable.files import DurableError, write_durably
from dockwarden.durable.staging import Stage, StagePlan, create_stage, find_stages, reopen_stage, set_aside
from dockwarden.evidence import seals
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.notes import SignatureError
from dockwarden.service.logs import log

KEEP_FREE = 32 * 1024 * 1024
"""Bytes of the disk that no source may take: the log must go on, also to say that the disk is full."""

SMALL = GEOMETRY.buffer
"""A source of at most so many bytes is written only once it has been read as a whole."""

LETTING_GO_S = 0.1


@dataclass(frozen=True)
class Docking:
    """One device's stay in one bay. `clock` is the measured error of its clock as it stands in seals."""

    session: str
    bay: str
    device: Device
    clock: Object | None
    captured: Callable[[SourceInfo], Object]


class NotTaken(Exception):
    """A source could not be sealed: its stage as it stands, and why."""

    def __init__(self, stage: Stage, cause: SourceError | DurableError) -> None:
        super().__init__(cause.code)
        self.stage = stage
        self.cause = cause


class StageGone(Exception):
    """Another bay has finished or set aside the stage that this one waited for: look again what is known."""


@dataclass
class Claims:
    """Stages that are being worked on: of two devices that look alike, only one may go on with a stage."""

    _holders: dict[str, Event] = field(default_factory=dict)
    _changed: Condition = field(default_factory=Condition)

    def claim(self, record: str, ended: Event) -> bool:
        """Take a stage for a stay that lasts until `ended`; False where another stay has it.

        A stay that has ended is only letting go: the device that was pulled out there may be the one that is here.
        """
        with self._changed:
            while (holder := self._holders.get(record)) is not None:
                if not holder.is_set() or ended.is_set():
                    return False
                self._changed.wait(LETTING_GO_S)
            self._holders[record] = ended
            return True

    def release(self, record: str) -> None:
        """Give a stage back."""
        with self._changed:
            self._holders.pop(record, None)
            self._changed.notify_all()


def finish_left(stores: Stores, claims: Claims, docking: Docking, source: SourceInfo, cancel: Event) -> None:
    """Finish what an earlier try at a source with this key has left behind its copy, so that it is known and is not
    taken twice. Raises DurableError."""
    for stage in _stages_of(stores, docking, source):
        if not is_half_done(stores, stage) or not claims.claim(stage.plan.record, cancel):
            continue
        try:
            if stage.plan_file.exists() and is_half_done(stores, stage):  # else another bay has done it meanwhile
                finish(stores, stage, cancel)
        except (MalformedError, SignatureError) as error:
            log("intake").error("a stage is not what its seal says", record=stage.plan.record, error=str(error))
            stores.doubts.say(f"record {stage.plan.record} is not what its seal says: its source is taken anew")
            if stage.seal.exists():
                set_aside(stores.files, stage, "seal-differs")
        finally:
            claims.release(stage.plan.record)


def take(
    stores: Stores,
    claims: Claims,
    docking: Docking,
    source: SourceInfo,
    progress: Callable[[int], None],
    cancel: Event,
) -> str:
    """Copy, prove and seal one source; returns its record.

    `progress` gets the number of bytes that have gone through. A stage that is not what its leaf list says is set
    aside and the source is read anew. Raises NotTaken, with the stage left as it is and still claimed: the caller
    decides whether it can go on later or belongs in quarantine, and releases it. SourceError and DurableError where
    there is no stage yet; StageGone.
    """
    while True:
        stage = _found_stage(stores, claims, docking, source, cancel)
        stage = stage or _new_stage(stores, claims, docking, source, cancel)
        handed_over = False
        try:
            copied = _copy(stores, docking, source, stage, progress, cancel)
            seal(stores, stage, made(stores, stage, docking, source, copied))
            return stage.plan.record
        except (SourceError, DurableError, MalformedError) as error:
            cause = _unsealable(error) if isinstance(error, MalformedError) else error
            if cause.code != "stage-differs":
                handed_over = True
                raise NotTaken(stage, cause) from error
            set_aside(stores.files, stage, "stage-differs")
        finally:
            if not handed_over:
                claims.release(stage.plan.record)


def _copy(
    stores: Stores,
    docking: Docking,
    source: SourceInfo,
    stage: Stage,
    progress: Callable[[int], None],
    cancel: Event,
) -> Copied:
    first = reopen_stage(stores.files, stage)
    if stage.map.exists():  # of its leaves the list no longer tells which were read
        raise SourceError("unreadable", f"device {docking.device.info.key}")
    reader = docking.device.open(source, uncached=False)
    kept = bytearray()
    try:
        return copy_in_one_pass(
            stores.files,
            _keeping(reader.read, kept) if source.size <= SMALL else reader.read,
            source.size,
            stage.original,
            stage.leaves,
            first_leaf=first,
            keep_free=KEEP_FREE,
            progress=progress,
            cancel=cancel,
        )
    except (SourceError, DurableError) as error:
        if kept and is_of_the_source(error):
            with suppress(DurableError):  # the first error is the one to tell
                write_durably(stores.files, stage.original, bytes(kept))
        raise
    finally:
        reader.close()


def is_of_the_source(error: SourceError | DurableError) -> bool:
    """Whether a source failed by itself: not by the station's disk, and not because its device was pulled out."""
    if isinstance(error, SourceError):
        return error.code != "unplugged"
    return error.code.startswith("source-")


def _keeping(read: Read, kept: bytearray) -> Read:
    """Keeps what a small source has given, for the case that it fails before anything of it is written."""

    def reading(offset: int, length: int) -> bytes:
        data = read(offset, length)
        if offset == len(kept):
            kept.extend(data)
        return data

    return reading


def made(
    stores: Stores,
    stage: Stage,
    docking: Docking,
    source: SourceInfo,
    copied: Copied,
    holes: tuple[seals.Hole, ...] = (),
) -> seals.Seal:
    """The seal of what was copied into a stage."""
    return seals.Seal(
        record=stage.plan.record,
        log=stores.ledger.log,
        bay=docking.bay,
        session=docking.session,
        device=docking.device.info.to_object(),
        source=source.to_object(),
        captured=docking.captured(source),
        clock=docking.clock,
        digests=copied.digests,
        read_back=copied.read_back,
        sealed_at=stores.clock().utc,
        holes=holes,
    )


def _unsealable(error: MalformedError) -> DurableError:
    what = f"a file cannot be described in a seal ({error.where})"
    return DurableError("source-unsealable", what, "source", "Hand the device to the office.")


def _stages_of(stores: Stores, docking: Docking, source: SourceInfo) -> list[Stage]:
    """The stages of a source with this key."""
    wanted = source_key(docking.device.info.key, source.to_object())
    return [stage for stage in find_stages(stores.folders.staging).stages if stage.plan.source_key == wanted]


def _found_stage(stores: Stores, claims: Claims, docking: Docking, source: SourceInfo, cancel: Event) -> Stage | None:
    """A stage of this very source that the device still confirms, claimed; where there is none, those that it denies
    are set aside."""
    denied: list[Stage] = []
    try:
        for stage in _stages_of(stores, docking, source):
            if is_half_done(stores, stage) or not claims.claim(stage.plan.record, cancel):
                continue
            denied.append(stage)
            if not stage.plan_file.exists() or is_half_done(stores, stage):
                raise StageGone
            remove_parts_of(stores, stage)
            if stage_agrees(docking.device, source, stage):
                return denied.pop()
        for stage in denied:
            set_aside(stores.files, stage, "device-differs")
    finally:
        for stage in denied:
            claims.release(stage.plan.record)
    return None


def _new_stage(stores: Stores, claims: Claims, docking: Docking, source: SourceInfo, cancel: Event) -> Stage:
    plan = StagePlan(new_id(), source_key(docking.device.info.key, source.to_object()), source.size)
    claims.claim(plan.record, cancel)
    try:
        return create_stage(stores.files, stores.folders.staging, plan)
    except BaseException:
        claims.release(plan.record)
        raise
