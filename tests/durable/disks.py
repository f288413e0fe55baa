"""Disks for tests: one that fails or kills at a chosen step, one that lies when it is read, and a small full one."""

import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dockwarden.durable.files import OsFiles

STEPS = frozenset(
    {
        *("pwrite", "truncate", "fallocate", "fdatasync", "fsync_folder", "replace", "rename_new"),
        *("mkdir", "unlink", "rmtree", "commit"),
    }
)
MIB = 1024 * 1024


class Killed(BaseException):
    """The process has ended here."""


class FaultyFiles(OsFiles):
    """The real disk, until step number `at` (from 0): it fails or kills, before or after it was done.

    After a kill every further step kills too. Without `at` it only writes down what is done, in `trace`.
    """

    def __init__(
        self, at: int | None = None, *, done: bool = False, kill: bool = False, code: int = errno.EIO
    ) -> None:
        self.trace: list[tuple[str, ...]] = []
        self.dead = False
        self._at = at
        self._done = done
        self._kill = kill
        self._code = code

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self._step(name, found) if name in STEPS else found

    def _step(self, name: str, call: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: Any) -> None:
            if self.dead:
                raise Killed
            number = len(self.trace)
            self.trace.append((name, *(item.name for item in arguments if isinstance(item, Path))))
            if number != self._at:
                call(*arguments)
                return
            if self._done:
                call(*arguments)
            self.dead = self._kill
            raise Killed if self._kill else OSError(self._code, os.strerror(self._code))

        return step


class LyingFiles(OsFiles):
    """A disk that flips a bit of byte `byte` whenever that is read."""

    def __init__(self, byte: int) -> None:
        self._byte = byte

    def pread(self, fd: int, buffer: memoryview, offset: int) -> int:
        count = super().pread(fd, buffer, offset)
        if offset <= self._byte < offset + count:
            buffer[self._byte - offset] ^= 1
        return count


@contextmanager
def small_disk(folder: Path, size: int = 32 * MIB) -> Iterator[Path]:
    """A place where files of `size` bytes do not fit: a mounted ext4 image for root, else a limit of half that size
    on what this process may write."""
    if os.geteuid() != 0:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
        try:
            yield folder
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return
    image, place = folder / "image", folder / "disk"
    place.mkdir()
    with image.open("wb") as target:
        target.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
    with loop_mounted(image, place):
        yield place
    image.unlink()


@contextmanager
def loop_mounted(image: Path, place: Path) -> Iterator[None]:
    """The file system in `image`, mounted at `place` for writing (takes root).

    The loop device is a shared one of the kernel: whoever had it before may have left it read-only
    (blockdev --setro), and it keeps that when another file is attached.
    """
    while True:
        command = ["losetup", "-f", "--show", str(image)]
        attached = subprocess.run(command, check=False, capture_output=True, text=True)
        if attached.returncode == 0:
            break
        assert "busy" in attached.stderr, attached.stderr  # another process took the free one that was found
    node = attached.stdout.strip()
    try:
        subprocess.run(["blockdev", "--setrw", node], check=True)
        subprocess.run(["mount", node, str(place)], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
    finally:
        subprocess.run(["losetup", "-d", node], check=True)
