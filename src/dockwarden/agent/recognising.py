"""Recognising: is this source a record already, or a stage? A source key is a hint; bytes decide (design: intake).

Only a few leaves are read: the first, the last, random ones, and those that a device has denied before. One that
differs is enough, and the source is read in full.
"""

import secrets
from collections.abc import Collection

from dockwarden.agent import vault
from dockwarden.agent.drivers.source import Device, Reader, SourceInfo
from dockwarden.agent.known import records_of, source_key
from dockwarden.agent.sealed import damaged, intact
from dockwarden.agent.stores import Stores, said
from dockwarden.durable.files import DurableError
from dockwarden.durable.leaflist import read_leaf_list
from dockwarden.durable.readback import UncachedReader
from dockwarden.durable.staging import Stage, durable_leaves
from dockwarden.evidence import fields, merkle
from dockwarden.evidence.digests import LEAF_SIZE, leaf_count, leaf_length

PROBES = 4
"""Leaves that are read again, at random, besides the first and the last, before anything is taken for known."""


def known_record(stores: Stores, device: Device, source: SourceInfo) -> str | None:
    """The record that this source is already, or None.

    A record with the same source key is believed only where the probed leaves, read past the cache, are the sealed
    ones both on the device and in the vault; of several the newest. A record that the vault no longer holds as it
    was sealed is a doubt, and the source is taken anew. Raises SourceError, DurableError.
    """
    key = source_key(device.info.key, source.to_object())
    for record in records_of(stores.ledger.engine, key):
        try:
            _, leaves = intact(stores, record)
        except DurableError:
            continue
        if len(leaves) != leaf_count(source.size):
            continue
        probed = _chosen(len(leaves), _denied(stores, record))
        if _device_has(device, source, leaves, probed) and _vault_has(stores, record, source.size, leaves, probed):
            return record
    return None


def stage_agrees(device: Device, source: SourceInfo, stage: Stage) -> bool:
    """Whether the device still gives what was staged of it; an empty stage agrees with anything. Raises SourceError,
    DurableError."""
    staged = read_leaf_list(stage.leaves)[: durable_leaves(stage)] if stage.leaves.exists() else []
    return _device_has(device, source, staged, _chosen(len(staged)))


def read_leaf(reader: Reader, size: int, index: int) -> bytes | None:
    """Hash of one leaf of a source of `size` bytes as `reader` gives it; None where the source ends before. Raises
    SourceError."""
    length = leaf_length(size, index)
    data = bytearray()
    while len(data) < length:
        piece = reader.read(index * LEAF_SIZE + len(data), length - len(data))
        if not piece:
            return None
        data += piece
    return merkle.leaf_hash(bytes(data))


def _chosen(count: int, also: Collection[int] = ()) -> list[int]:
    """Which of `count` leaves to probe."""
    if not count:
        return []
    drawn = (secrets.randbelow(count) for _ in range(PROBES))
    return sorted({0, count - 1, *drawn, *(index for index in also if index < count)})


def _denied(stores: Stores, record: str) -> list[int]:
    """The leaves that a device did not confirm at the last try."""
    entry = said(stores, record, "confirmed", "station")
    body = entry.body if entry is not None and entry.envelope.outcome == "failed" else None
    denied = fields.array(body, "denied") if body is not None and "denied" in body else []
    return [index for index in denied if isinstance(index, int)]


def _device_has(device: Device, source: SourceInfo, leaves: list[bytes], probed: list[int]) -> bool:
    if not probed:
        return True
    reader = device.open(source, uncached=True)
    try:
        return all(read_leaf(reader, source.size, index) == leaves[index] for index in probed)
    finally:
        reader.close()


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
