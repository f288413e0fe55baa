"""The file that a copy writes."""

import errno
import fcntl
import os
from pathlib import Path

from dockwarden.durable.files import BLOCK, Files, explained


class Target:
    """A file that is written past the cache where the file system lets us. Raises DurableError."""

    def __init__(self, files: Files, path: Path) -> None:
        self.path = path
        self._files = files
        flags = os.O_WRONLY | os.O_CREAT
        with explained(path):
            try:
                self._fd = files.open(path, flags | os.O_DIRECT)
                self._direct = True
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                self._fd = files.open(path, flags)
                self._direct = False

    def write(self, frame: memoryview, offset: int, length: int) -> None:
        """Write the first `length` bytes of an aligned buffer; a length that is no whole block is padded."""
        with explained(f"{self.path}, byte {offset}"):
            if self._direct:
                padded = -(-length // BLOCK) * BLOCK
                frame[length:padded] = bytes(padded - length)
                try:
                    self._files.pwrite(self._fd, frame[:padded], offset)
                    return
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                # It was opened so, but cannot be written so (blocks larger than ours): through the cache, then.
                fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~os.O_DIRECT)
                self._direct = False
            self._files.pwrite(self._fd, frame[:length], offset)

    def sync(self) -> None:
        """Return when all that was written is on the disk."""
        with explained(self.path):
            self._files.fdatasync(self._fd)

    def finish(self, size: int) -> None:
        """Cut padding and reserve, and sync: only after this may the tail be read back."""
        with explained(self.path):
            self._files.truncate(self._fd, size)
            self._files.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        self._files.close(self._fd)
