"""Recognising: is this source a record already, or a stage? A source key is a hint; bytes decide (design: intake).

A few leaves are probed: the first, the last, random ones, and those that a device has denied before. One that differs
is enough, and the source is taken anew. Where they agree, all others of a record are read too, unless policy is
content with the probes: they are a quick first look and prove nothing of what lies between.
"""

import secrets
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import Literal

from dockwarden.agent import vault
from dockwarden.agent.drivers.source import Device, Reader, SourceError, SourceInfo
from dockwarden.agent.known import records_of, source_key
from dockwarden.agent.sealed import damaged, intact
from dockwarden.agent.stores import Stores, said
from dockwarden.durable.files import DurableError
from dockwarden.durable.leaflist import read_leaf_list
from dockwarden.durable.pump import cancelled
from dockwarden.durable.readback import ReadBack, UncachedReader
from dockwarden.durable.rescue_map import BLOCK
from dockwarden.durable.rescuing import whole_leaves
from dockwarden.durable.staging import Stage, durable_leaves
from dockwarden.evidence import fields, merkle
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.digests import LEAF_SIZE, leaf_count, leaf_length
from dockwarden.evidence.seals import Hole, Seal

PROBES = 4
"""Leaves that are read again, at random, besides the first and the last, before anything is taken for known."""


PATIENCE = 16
"""Holes that are tried again, and further unreadable leaves that are put up with, when a torn source comes again."""

LOOK = 4096
"""Bytes of each place that the first look at a known source compares."""


@dataclass(frozen=True)
class Known:
    """A record that a source is already.

    `by`: `full` where every leaf of the device was compared with what was sealed, `sample` where policy is content
    with the probes, `later` where the record is not confirmed and its second reading is still to come, `partial`
    where the record has holes that the device still cannot fill. `read`: how the device was read.
    """

    record: str
    by: Literal["full", "sample", "later", "partial"]
    read: ReadBack


def known_record(
    stores: Stores, device: Device, source: SourceInfo, progress: Callable[[int], None], cancel: Event
) -> Known | None:
    """The record that this source is already, or None.

    A record with the same source key is believed only where the probed leaves, read past the cache, are the sealed
    ones both on the device and in the vault, and all others on the device (see `Known`); of several the newest. A
    record that the vault no longer holds as it was sealed is a doubt, and the source is taken anew. `progress` gets
    the bytes that a reading in full has come to. Raises SourceError, DurableError (`cancelled` once `cancel` is set).
    """
    key = source_key(device.info.key, source.to_object())
    for record in records_of(stores.ledger.engine, key):
        try:
            seal, leaves = intact(stores, record)
        except DurableError:
            continue
        if len(leaves) != leaf_count(source.size):
            continue
        if seal.holes:
            found = _partial_known(stores, seal, leaves, device, source, progress, cancel)
        else:
            found = _held_against(stores, record, leaves, device, source, progress, cancel)
        if found is not None:
            return found
    return None


def looks_known(stores: Stores, device: Device, source: SourceInfo) -> bool:
    """Whether a source seems to be a record already: the first look at a whole card, before any file is read in full.

    Its last and a random few bytes are held against the newest record of its key in the vault. Nothing
    rests on it but the order of what is read and what the bay shows meanwhile: `known_record` decides. Raises
    SourceError, DurableError.
    """
    records = records_of(stores.ledger.engine, source_key(device.info.key, source.to_object()))
    if not records:
        return False
    try:
        held = (vault.folder(stores.folders.vault, records[0]) / vault.ORIGINAL).open("rb")
    except OSError:
        return False  # `known_record` says what is wrong there
    with held, closing(device.open(source, uncached=True)) as reader:
        for place in sorted({max(0, source.size - LOOK), secrets.randbelow(max(1, source.size))}):
            length = min(LOOK, source.size - place)
            held.seek(place)
            if length and reader.read(place, length) != held.read(length):
                return False
    return True


def stage_agrees(device: Device, source: SourceInfo, stage: Stage) -> bool:
    """Whether the device still gives what was staged of it; an empty stage agrees with anything. Raises SourceError,
    DurableError."""
    staged = read_leaf_list(stage.leaves)[: durable_leaves(stage)] if stage.leaves.exists() else []
    numbers: Collection[int] = _chosen(len(staged))
    if stage.map.exists():
        try:
            numbers = set(whole_leaves(stage.map, source.size, len(staged))).intersection(numbers)
        except MalformedError:
            return False
    if not numbers:
        return True
    reader = device.open(source, uncached=True)
    try:
        return _agree(reader, source.size, staged, numbers)
    finally:
        reader.close()


def read_leaf(reader: Reader, size: int, index: int) -> bytes | None:
    """Hash of one leaf of a source of `size` bytes as `reader` gives it; None where the source ends before. Raises
    SourceError."""
    leaf, done, length = merkle.new_leaf_hash(), 0, leaf_length(size, index)
    while done < length:
        piece = reader.read(index * LEAF_SIZE + done, length - done)
        if not piece:
            return None
        leaf.update(piece)
        done += len(piece)
    return leaf.digest()


def _held_against(
    stores: Stores,
    record: str,
    leaves: list[bytes],
    device: Device,
    source: SourceInfo,
    progress: Callable[[int], None],
    cancel: Event,
) -> Known | None:
    """Compare a source with a record's leaves: the probed ones first, since most that differ differ there too."""
    confirmed = stores.ledger.latest(record).get(("confirmed", "station"))
    outcome = None if confirmed is None else confirmed.outcome
    by = stores.known if outcome == "done" or stores.readings < 2 else "later"
    probed = _chosen(len(leaves), _denied(stores, record) if outcome == "failed" else ())
    reader = device.open(source, uncached=True)
    try:
        if not _agree(reader, source.size, leaves, probed):
            return None
        if not _vault_has(stores, record, source.size, leaves, probed):
            return None
        if by == "full":
            done = sum(leaf_length(source.size, index) for index in probed)
            progress(done)
            for index in sorted(set(range(len(leaves))).difference(probed)):
                if cancel.is_set():
                    raise cancelled()
                if not _agree(reader, source.size, leaves, [index]):
                    return None
                done += leaf_length(source.size, index)
                progress(done)
        return Known(record, by, reader.how)
    finally:
        reader.close()


def _partial_known(
    stores: Stores,
    seal: Seal,
    leaves: list[bytes],
    device: Device,
    source: SourceInfo,
    progress: Callable[[int], None],
    cancel: Event,
) -> Known | None:
    """Whether a device can give no more of a source than a partial record has: nothing in its holes, and elsewhere
    the sealed leaves, or nothing either."""
    whole = [index for index in range(len(leaves)) if not any(_touches(hole, index) for hole in seal.holes)]
    reader = device.open(source, uncached=True)
    try:
        if any(_gives(reader, offset) for offset in _insides(seal.holes)):
            return None
        probed = [whole[number] for number in _chosen(len(whole))]
        if not _vault_has(stores, seal.record, source.size, leaves, probed):
            return None
        done = unreadable = 0
        for index in whole if stores.known == "full" else probed:
            if cancel.is_set():
                raise cancelled()
            try:
                if not _agree(reader, source.size, leaves, [index]):
                    return None
            except SourceError as error:
                unreadable += 1
                if error.code != "unreadable" or unreadable > PATIENCE:
                    raise
            done += leaf_length(source.size, index)
            progress(done)
        return Known(seal.record, "partial", reader.how)
    finally:
        reader.close()


def _touches(hole: Hole, index: int) -> bool:
    return hole.offset < (index + 1) * LEAF_SIZE and hole.offset + hole.length > index * LEAF_SIZE


def _insides(holes: tuple[Hole, ...]) -> list[int]:
    """Where to look whether a hole can be read now: its first block and one within, of a few holes."""
    some = holes if len(holes) <= PATIENCE else [secrets.choice(holes) for _ in range(PATIENCE)]
    within = [hole.offset + secrets.randbelow(hole.length) // BLOCK * BLOCK for hole in some]
    return sorted({*(hole.offset for hole in some), *within})


def _gives(reader: Reader, offset: int) -> bool:
    try:
        return bool(reader.read(offset, BLOCK))
    except SourceError as error:
        if error.code != "unreadable":
            raise
        return False


def _chosen(count: int, also: Collection[int] = ()) -> list[int]:
    """Which of `count` leaves to probe: all where they are few."""
    if count <= PROBES + 2:
        return list(range(count))
    drawn = (secrets.randbelow(count) for _ in range(PROBES))
    return sorted({0, count - 1, *drawn, *(index for index in also if index < count)})


def _denied(stores: Stores, record: str) -> list[int]:
    """The leaves that a device did not confirm at the last try."""
    entry = said(stores, record, "confirmed", "station")
    body = None if entry is None else entry.body
    denied = fields.array(body, "denied") if body is not None and "denied" in body else []
    return [index for index in denied if isinstance(index, int)]


def _agree(reader: Reader, size: int, leaves: list[bytes], numbers: Collection[int]) -> bool:
    """Whether these leaves of a source are on the device what they should be."""
    return all(read_leaf(reader, size, index) == leaves[index] for index in numbers)


def _vault_has(stores: Stores, record: str, size: int, leaves: list[bytes], probed: list[int]) -> bool:
    """Whether the vault's own bytes are still the sealed ones."""
    original = vault.folder(stores.folders.vault, record) / vault.ORIGINAL
    try:
        with UncachedReader(stores.files, original) as reader:
            for index in probed:
                data = reader.read(index * LEAF_SIZE, leaf_length(size, index))
                if merkle.leaf_hash(data) != leaves[index]:
                    raise DurableError("leaf", f"leaf {index} is not what was sealed", original.name, "")
    except DurableError as error:
        damaged(stores, record, error)
        return False
    return True
