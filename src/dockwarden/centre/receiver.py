"""The receiver: takes what stations send, proves it, stores it, and signs for it.

Leaves go to disk as they come; one fdatasync serves all that has queued. `leaves` of an item that is being received
is its durable list too: a hash is written there only after its leaf is on the disk, so a restart goes on from it.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dockwarden.centre.archive import Archive, Kept
from dockwarden.durable.files import DurableError, free_space, reserve
from dockwarden.evidence import seals
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import VerifierKey
from dockwarden.service.logs import log
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.messages import ORIGINAL, Offer
from dockwarden.wire.receiver import Action, Complete, Receiver, SayReceipt, SayWant, Write
from dockwarden.wire.topics import Lane
from dockwarden.wire.transfer import Item, offered_item

KEEP_FREE = 256 << 20
"""Bytes of the disk that are left to the database and to what is being finished."""
LIMIT = 8 << 20
"""Bytes of data that a transfer may have on its way or not yet durable."""

_HASH = 32
_NOTHING = bytes(_HASH)


@dataclass
class _Open:
    """An item that is being received: its state machine, its files, and leaves that wait for the next fdatasync."""

    receiver: Receiver
    seal: bytes | None
    data: int
    leaves: int
    folder: Path
    waiting: list[tuple[int, bytes]] = field(default_factory=list)


Key = tuple[str, int]


class Receiving:
    """All transfers of one station; used by the office's thread alone.

    `publish` gets signed wants and receipts. `check` runs a long job in another thread: it is given the work and
    what to do with its result in this thread.
    """

    def __init__(
        self,
        station: str,
        archive: Archive,
        station_key: VerifierKey,
        publish: Callable[[Lane, bytes], None],
        check: Callable[[Callable[[], object], Callable[[object], None]], None],
    ) -> None:
        self._station = station
        self._archive = archive
        self._key = station_key
        self._publish = publish
        self._check = check
        self._open: dict[Key, _Open] = {}
        self._kept: dict[Key, Receiver] = {}

    def on_offer(self, payload: bytes, now: float) -> None:
        """Take an offer; raises MalformedError, SignatureError, RemoteError, DurableError."""
        offer = Offer.decode(payload)
        key = (offer.record, offer.part)
        found = self._open.get(key)
        receiver = found.receiver if found is not None else self._kept.get(key)
        if receiver is None:
            receiver = self._begin(offer)
        if receiver is not None:
            self._do(key, receiver, receiver.on_offer(offer, now))

    def on_chunk(self, payload: bytes, now: float) -> None:
        """Take a chunk; raises MalformedError, RemoteError. One that nobody waits for is dropped."""
        chunk = Chunk.decode(payload)
        found = self._open.get((chunk.record, chunk.part))
        if found is not None:
            self._do((chunk.record, chunk.part), found.receiver, found.receiver.on_chunk(chunk, now))

    def flush(self) -> None:
        """Make durable what was written since the last time, and say what is wanted now."""
        for key, found in list(self._open.items()):
            if found.waiting:
                self._make_durable(key, found)

    def on_time(self, now: float) -> None:
        """What the clock asks for; also lets senders go on when a full disk has room again."""
        for key, found in list(self._open.items()):
            actions = found.receiver.on_time(now)
            if free_space(self._archive.incoming) > KEEP_FREE + LIMIT:
                actions += found.receiver.set_limit(LIMIT)
            self._do(key, found.receiver, actions)

    def rest(self) -> None:
        """The station is gone: say nothing until it offers again."""
        for found in self._open.values():
            found.receiver.rest()

    def close(self) -> None:
        """Close all files; what is durable stays."""
        for found in self._open.values():
            self._close(found)
        self._open.clear()

    def _begin(self, offer: Offer) -> Receiver | None:
        """Open the item that is offered, or find that it is stored already."""
        item = offered_item(offer)
        if offer.part == ORIGINAL:
            seal, _ = seals.open_seal(offer.seal or b"", [self._key])
            if not offer.agrees(seal):
                raise RemoteError("not-the-seal", "an offer is not what its seal says", item.name)
        elif not self._archive.announced(offer.record, offer.part, offer.size, offer.leaves_root):
            return None  # its fact is still on the way; the station offers again
        kept = self._archive.kept(offer.record, offer.part, offer.leaves_root)
        if isinstance(kept, Kept):
            if offer.seal is not None and kept.seal != offer.seal:
                raise RemoteError("another-seal", "the record is stored here under another seal", item.name)
            return self._keep(item, kept.receipt)
        return self._open_item(item, offer.seal).receiver

    def _keep(self, item: Item, receipt: bytes | None) -> Receiver:
        receiver = Receiver.kept(item, self._station, receipt, _jump())
        self._kept[item.key] = receiver
        return receiver

    def _open_item(self, item: Item, seal: bytes | None) -> _Open:
        folder = self._archive.gathering(item.record, item.part)
        reserve(self._archive.files, folder / "original", item.size, KEEP_FREE)
        flags = os.O_RDWR | os.O_CREAT
        data = self._archive.files.open(folder / "original", flags)
        leaves = self._archive.files.open(folder / "leaves", flags)
        os.ftruncate(data, item.size)
        durable = _durable_leaves(leaves, item.leaves)
        receiver = Receiver(item, self._station, durable, min(LIMIT, max(item.size, LIMIT)), _jump())
        found = _Open(receiver, seal, data, leaves, folder)
        self._open[item.key] = found
        return found

    def _do(self, key: Key, receiver: Receiver, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SayWant(want):
                    self._publish("want", want.sign(self._archive.key))
                case SayReceipt(note):
                    self._publish("receipt", note)
                case Write():
                    self._write(key, action)
                case Complete():
                    self._complete(key)

    def _write(self, key: Key, write: Write) -> None:
        found = self._open[key]
        try:
            self._archive.files.pwrite(found.data, write.data, write.offset)
        except OSError as error:
            log("receiver").error("a leaf could not be written", station=self._station, error=error.strerror)
            self._do(key, found.receiver, found.receiver.on_write_failed([write.leaf]))
            return
        found.waiting.append((write.leaf, write.leaf_hash))

    def _make_durable(self, key: Key, found: _Open) -> None:
        waiting, found.waiting = found.waiting, []
        leaves = [leaf for leaf, _ in waiting]
        try:
            self._archive.files.fdatasync(found.data)
            for leaf, value in waiting:
                self._archive.files.pwrite(found.leaves, value, leaf * _HASH)
            self._archive.files.fdatasync(found.leaves)
        except OSError as error:
            # After a failed sync the cache lies: the leaves are wanted again.
            log("receiver").error("leaves could not be made durable", station=self._station, error=error.strerror)
            self._do(key, found.receiver, found.receiver.on_write_failed(leaves))
            return
        self._do(key, found.receiver, found.receiver.on_durable(leaves))

    def _complete(self, key: Key) -> None:
        """Read the whole again in another thread, then store it in this one."""
        found = self._open[key]
        item, folder, seal = found.receiver.item, found.folder, found.seal

        def work() -> object:
            return self._archive.keep(self._station, item, folder, seal)

        self._check(work, lambda result: self._stored(key, result))

    def _stored(self, key: Key, result: object) -> None:
        found = self._open[key]
        item = found.receiver.item
        match result:
            case Kept(receipt=receipt):
                self._close(found)
                del self._open[key]
                actions = found.receiver.on_stored(receipt)
                self._kept[key] = found.receiver
                self._do(key, found.receiver, actions)
            case MalformedError():
                log("receiver").error("an item is not what its seal says", item=item.name, error=str(result))
                found.receiver.refuse()
            case list():
                log("receiver").error("leaves changed on the disk", item=item.name, leaves=len(result))
                self._do(key, found.receiver, found.receiver.on_store_failed(result, self._archive.monotonic()))
            case _:
                log("receiver").error("an item could not be stored", item=item.name, error=str(result))
                self._do(key, found.receiver, found.receiver.on_store_failed([], self._archive.monotonic()))

    def _close(self, found: _Open) -> None:
        self._archive.files.close(found.data)
        self._archive.files.close(found.leaves)


def _durable_leaves(fd: int, count: int) -> list[int]:
    """The leaves whose hashes are in the list; what was never written there reads as zeros."""
    data = os.pread(fd, count * _HASH, 0)
    return [leaf for leaf in range(len(data) // _HASH) if data[leaf * _HASH : (leaf + 1) * _HASH] != _NOTHING]


def _jump() -> int:
    return 1 + secrets.randbelow(256)


def is_full(error: DurableError) -> bool:
    """Whether an error says that the disk is full: the sender waits, nothing is lost."""
    return error.code == "disk-full"
