"""An item while it is being received: its two files, and the leaves that wait for the next fdatasync."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dockwarden.durable.files import Files, explained, reserve
from dockwarden.wire.leafmap import MISSING
from dockwarden.wire.receiver import Receiver, Write
from dockwarden.wire.transfer import Item

HASH = 32
_NOTHING = bytes(HASH)


@dataclass
class Gathering:
    """The files `data` and `leaves` are open. `heard` and `retry_at` in monotonic seconds; `failures` counts the
    disk's, one after another."""

    files: Files
    folder: Path
    receiver: Receiver
    seal: bytes | None
    data: int
    leaves: int
    waiting: list[tuple[int, bytes]] = field(default_factory=list)
    heard: float = 0.0
    retry_at: float = 0.0
    failures: int = 0

    def write(self, write: Write) -> None:
        """Write a leaf; it counts after the next `make_durable`. Raises OSError."""
        self.files.pwrite(self.data, write.data, write.offset)
        self.waiting.append((write.leaf, write.leaf_hash))

    def make_durable(self) -> tuple[list[int], OSError | None]:
        """Sync what was written, then list it; returns the leaves that it was about, and the error if it failed."""
        waiting, self.waiting = self.waiting, []
        leaves = [leaf for leaf, _ in waiting]
        try:
            self.files.fdatasync(self.data)
            for leaf, value in waiting:
                self.files.pwrite(self.leaves, value, leaf * HASH)
            self.files.fdatasync(self.leaves)
        except OSError as error:
            return leaves, error
        return leaves, None

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the item is here."""
        return self.receiver.leaves.missing == self.receiver.item.leaves

    def give_back(self) -> None:
        """Give back the space that was reserved behind the last leaf that is here."""
        leaves, item = self.receiver.leaves, self.receiver.item
        last = next((leaf for leaf in reversed(range(item.leaves)) if leaves.state(leaf) != MISSING), -1)
        with suppress(OSError):
            self.files.truncate(self.data, min(item.offset(last + 1), item.size))

    def close(self) -> None:
        """Close both files."""
        self.files.close(self.data)
        self.files.close(self.leaves)


def open_gathering(
    files: Files, folder: Path, item: Item, seal: bytes | None, station: str, limit: int, jump: int, keep_free: int
) -> Gathering:
    """Open an item's files, making them and taking the space for all of it where they are missing.

    Raises DurableError, `disk-full` where less than `keep_free` bytes would be left.
    """
    reserve(files, folder / "original", item.size, keep_free)
    flags = os.O_RDWR | os.O_CREAT
    with explained(folder):
        data = files.open(folder / "original", flags)
        try:
            leaves = files.open(folder / "leaves", flags)
        except OSError:
            files.close(data)
            raise
    try:
        with explained(folder):
            if os.fstat(data).st_size != item.size:
                files.truncate(data, item.size)
            durable = _durable_leaves(leaves, item.leaves)
        receiver = Receiver(item, station, durable, limit, jump)
    except BaseException:
        files.close(data)
        files.close(leaves)
        raise
    return Gathering(files, folder, receiver, seal, data, leaves)


def holds_leaves(folder: Path) -> bool:
    """Whether a folder of gathered files lists any durable leaf."""
    listed = folder / "leaves"
    return listed.exists() and listed.stat().st_size > 0


def _durable_leaves(fd: int, count: int) -> list[int]:
    """The leaves whose hashes are in the list; what was never written there reads as zeros."""
    data = os.pread(fd, count * HASH, 0)
    return [leaf for leaf in range(len(data) // HASH) if data[leaf * HASH : (leaf + 1) * HASH] != _NOTHING]
