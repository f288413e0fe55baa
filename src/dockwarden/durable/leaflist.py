"""The leaf list: a file's leaf hashes (32 bytes each) one after another, in a file beside it."""

import os
from pathlib import Path

from dockwarden.durable.files import DurableError, Files, explained

HASH_SIZE = 32
_NOTHING = bytes(HASH_SIZE)


class LeafList:
    """The leaf list of a file that is being copied; opened for writing, made if it is missing."""

    def __init__(self, files: Files, path: Path) -> None:
        self._files = files
        self._path = path
        with explained(path):
            self._fd = files.open(path, os.O_RDWR | os.O_CREAT)

    def append(self, first: int, hashes: list[bytes]) -> None:
        """Write the hashes from leaf number `first`; they are durable when this returns."""
        with explained(self._path):
            self._files.pwrite(self._fd, b"".join(hashes), first * HASH_SIZE)
            self._files.fdatasync(self._fd)

    def cut(self, count: int) -> None:
        """Forget what an earlier copy may have recorded from leaf number `count`."""
        with explained(self._path):
            if os.fstat(self._fd).st_size > count * HASH_SIZE:
                self._files.truncate(self._fd, count * HASH_SIZE)
                self._files.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        self._files.close(self._fd)


def read_leaf_list(path: Path, first: int = 0, count: int | None = None) -> list[bytes]:
    """The hashes from leaf `first`, at most `count`; a torn entry at the end is left out. Raises DurableError."""
    with explained(path), path.open("rb") as source:
        source.seek(first * HASH_SIZE)
        data = source.read(-1 if count is None else count * HASH_SIZE)
    return [data[i : i + HASH_SIZE] for i in range(0, len(data) - len(data) % HASH_SIZE, HASH_SIZE)]


def recorded_leaves(path: Path) -> int:
    """Number of leaves in the list; 0 where there is none.

    After a power cut the last entry may be torn, or the file be longer than what reached the disk: the rest reads
    as zeros, which no SHA-256 is known to be. Neither counts.
    """
    try:
        hashes = read_leaf_list(path)
    except DurableError as error:
        if error.code == "missing":
            return 0
        raise
    while hashes and hashes[-1] == _NOTHING:
        hashes.pop()
    return len(hashes)
