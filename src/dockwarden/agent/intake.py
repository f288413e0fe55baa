"""Intake: how the bytes of one source become a record (design: intake).

The order never changes: plan, bytes, seal, vault, fact. The fact is last, so a crash at any step leaves either a
stage that can go on or a folder in the vault that lacks its fact; `settle` finishes both by the same functions.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock

from sqlalchemy import Connection

from dockwarden.agent import vault
from dockwarden.agent.drivers.source import Device, Reader, SourceError, SourceInfo
from dockwarden.agent.known import records_of, remember, source_key
from dockwarden.agent.quarantine import say, unsaid
from dockwarden.agent.stores import Stores, new_id, said
from dockwarden.durable.copying import Copied, copy_in_one_pass
from dockwarden.durable.files import DurableError, publish, write_durably
from dockwarden.durable.leaflist import read_leaf_list
from dockwarden.durable.staging import (
    Stage,
    StagePlan,
    create_stage,
    drop_stage,
    durable_leaves,
    find_stages,
    reopen_stage,
    set_aside,
)
from dockwarden.evidence import fields, merkle, seals
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.digests import LEAF_SIZE, leaf_count, leaf_length
from dockwarden.evidence.notes import SignatureError
from dockwarden.service.logs import log

PROBES = 4
"""Leaves that are read again, at random, besides the first and the last, before anything is taken for known."""


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


@dataclass
class Claims:
    """Stages that are being worked on: of two devices that look alike, only one may go on with a stage."""

    _records: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def claim(self, record: str) -> bool:
        """Take a stage; False where somebody has it."""
        with self._lock:
            if record in self._records:
                return False
            self._records.add(record)
            return True

    def release(self, record: str) -> None:
        """Give a stage back."""
        with self._lock:
            self._records.discard(record)


def known_record(stores: Stores, docking: Docking, source: SourceInfo) -> str | None:
    """The record that this source is already, or None.

    A record with the same source key is believed only after the first, the last and random leaves, read past the
    cache, equal the vault's; of several the newest. Raises SourceError.
    """
    key = source_key(docking.device.info.key, source.to_object())
    for record in records_of(stores.ledger.engine, key):
        leaves = vault.leaf_hashes(stores.folders.vault, record)
        if len(leaves) == leaf_count(source.size) and _probes_agree(docking.device, source, leaves, source.size):
            return record
    return None


def take(
    stores: Stores,
    claims: Claims,
    docking: Docking,
    source: SourceInfo,
    progress: Callable[[int], None],
    cancel: Event,
) -> str:
    """Copy, prove and seal one source; returns its record.

    `progress` gets the number of bytes that have gone through. Raises NotTaken, with the stage left as it is: the
    caller decides whether it can go on later or belongs in quarantine.
    """
    stage = _found_stage(stores, claims, docking, source) or _new_stage(stores, claims, docking, source)
    try:
        reader = docking.device.open(source, uncached=False)
        try:
            copied = copy_in_one_pass(
                stores.files,
                reader.read,
                source.size,
                stage.original,
                stage.leaves,
                first_leaf=reopen_stage(stores.files, stage),
                progress=progress,
                cancel=cancel,
            )
        finally:
            reader.close()
        seal(stores, stage, docking, source, copied)
        return stage.plan.record
    except (SourceError, DurableError) as error:
        raise NotTaken(stage, error) from error
    finally:
        claims.release(stage.plan.record)


def seal(stores: Stores, stage: Stage, docking: Docking, source: SourceInfo, copied: Copied) -> None:
    """Sign what was copied and commit it: seal, vault, fact."""
    made = seals.Seal(
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
    )
    write_durably(stores.files, stage.seal, seals.sign_seal(made, stores.key))
    commit(stores, stage)


def commit(stores: Stores, stage: Stage) -> None:
    """Move a sealed stage into the vault and say so; also finishes what a crash has left half done."""
    record = stage.plan.record
    home = vault.folder(stores.folders.vault, record)
    if not home.exists():
        publish(stores.files, stage.folder, home)
    seal_data = (home / vault.SEAL).read_bytes()
    if said(stores, record, "sealed", "station") is None:
        append_sealed(stores, seals.read_seal(seal_data), seal_data)
    drop_stage(stores.files, stage)


def append_sealed(stores: Stores, made: seals.Seal, data: bytes) -> None:
    """Append the fact of a record that is in the vault, and remember its source."""
    body: Object = {
        "leaves_root": made.digests.leaves_root,
        "seal": fields.base64_text(data),
        "seal_sha256": seals.seal_sha256(data),
        "session": made.session,
        "sha256": made.digests.sha256,
        "size": made.digests.size,
        "sm3": made.digests.sm3,
    }

    def also(connection: Connection) -> None:
        remember(connection, made)

    stores.ledger.append("sealed", record=made.record, place="station", by=stores.by("intake"), body=body, also=also)


def settle(stores: Stores) -> list[str]:
    """Finish at start-up what a crash has left: stages that were sealed, folders that lack their fact.

    A folder without its fact is read in full and held against its seal first. What does not agree is left where it
    is and returned, a sentence each, for a person; nothing is deleted.
    """
    found = find_stages(stores.folders.staging)
    doubts = [f"{path.name} in the staging folder belongs to no plan" for path in found.unknown]
    for stage in found.stages:
        home = vault.folder(stores.folders.vault, stage.plan.record)
        if home.exists() or stage.seal.exists():
            doubts += _settle(stores, stage.plan.record, partial(_finish, stores, stage))
    for record in vault.records(stores.folders.vault):
        if said(stores, record, "sealed", "station") is None:
            doubts += _settle(stores, record, partial(_state, stores, record))
    for item, body in unsaid(stores):
        say(stores, item, body)
    return doubts


def _settle(stores: Stores, record: str, finish: Callable[[], None]) -> list[str]:
    try:
        finish()
    except (MalformedError, SignatureError, DurableError, OSError) as error:
        log("intake").error("a record cannot be finished", record=record, error=str(error))
        return [f"record {record} is not what its seal says: {error}"]
    return []


def _finish(stores: Stores, stage: Stage) -> None:
    if vault.folder(stores.folders.vault, stage.plan.record).exists():
        vault.verify(stores.folders.vault, stage.plan.record, [stores.key.verifier])
    commit(stores, stage)


def _state(stores: Stores, record: str) -> None:
    made, data = vault.verify(stores.folders.vault, record, [stores.key.verifier])
    append_sealed(stores, made, data)


def leaf_differs(reader: Reader, size: int, index: int, expected: bytes) -> bool:
    """Read one leaf of a source and compare it; a short reading differs. Raises SourceError."""
    length = leaf_length(size, index)
    data = bytearray()
    while len(data) < length:
        piece = reader.read(index * LEAF_SIZE + len(data), length - len(data))
        if not piece:
            return True
        data += piece
    return merkle.leaf_hash(bytes(data)) != expected


def _found_stage(stores: Stores, claims: Claims, docking: Docking, source: SourceInfo) -> Stage | None:
    """A stage of this very source that the device still confirms; one that it denies is set aside."""
    wanted = source_key(docking.device.info.key, source.to_object())
    for stage in find_stages(stores.folders.staging).stages:
        record = stage.plan.record
        if stage.plan.source_key != wanted or vault.folder(stores.folders.vault, record).exists():
            continue
        if not claims.claim(record):
            continue
        try:
            staged = read_leaf_list(stage.leaves)[: durable_leaves(stage)] if stage.leaves.exists() else []
            if _probes_agree(docking.device, source, staged, source.size):
                return stage
            set_aside(stores.files, stage, "device-differs")
        except BaseException:
            claims.release(record)
            raise
        claims.release(record)
    return None


def _new_stage(stores: Stores, claims: Claims, docking: Docking, source: SourceInfo) -> Stage:
    plan = StagePlan(new_id(), source_key(docking.device.info.key, source.to_object()), source.size)
    claims.claim(plan.record)
    return create_stage(stores.files, stores.folders.staging, plan)


def _probes_agree(device: Device, source: SourceInfo, leaves: list[bytes], size: int) -> bool:
    """Whether the first, the last and some random ones of `leaves` are on the device."""
    if not leaves:
        return True
    last = len(leaves) - 1
    chosen = {0, last, *(secrets.randbelow(last + 1) for _ in range(PROBES))}
    reader = device.open(source, uncached=True)
    try:
        return not any(leaf_differs(reader, size, index, leaves[index]) for index in sorted(chosen))
    finally:
        reader.close()
