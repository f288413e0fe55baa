"""Reading one file of a mounted device: step by step from the root, and still the file that was listed at the end."""

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dockwarden.agent.drivers.source import SourceError, SourceInfo
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.durable.readback import EXFAT, VFAT, UncachedReader, file_system
from dockwarden.evidence.seals import ReadBack

_GONE = {errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.EBADF}
_MISSING = {errno.ENOENT, errno.ENOTDIR}
_BLOCK_DEVICES = Path("/sys/dev/block")
_OFF = {
    "offline",
    "transport-offline",
    "cancel",
    "deleted",
}  # linux/include/scsi/scsi_device.h: takes no command more
_LEAVING_S = 1.0  # how long the kernel may take to let go of a disk whose reads fail because the cable was pulled
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe that took the name must not block us


@dataclass(frozen=True)
class Identity:
    """What tells a file from another that has taken its name. `inode` None: its number does not last (see `of`)."""

    device: int
    inode: int | None
    size: int
    modified_ns: int

    @staticmethod
    def of(status: os.stat_result, lasting: bool = True) -> "Identity":
        """The identity of a file's status. The number of an inode counts only where it is `lasting`: FAT and exFAT
        have none, and the kernel draws one anew each time that the file comes into its cache."""
        return Identity(status.st_dev, status.st_ino if lasting else None, status.st_size, status.st_mtime_ns)


class _Quiet(OsFiles):
    """Leaves the device's access times alone where that is allowed (by the owner and by root)."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        return _open_quietly(os.fsencode(path), flags | os.O_CLOEXEC, None)


class _Cached:
    """Plain reading: what the kernel gives, be it from the device or from its cache."""

    how: ReadBack = "none"

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, offset: int, length: int) -> bytes:
        pieces: list[bytes] = []
        while length:
            piece = os.pread(self._fd, length, offset)
            if not piece:
                break
            pieces.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """The descriptor belongs to FileReader."""


class FileReader:
    """A Reader (see `source.Reader`) of one file; it owns the descriptors of the root, the folder and the file."""

    def __init__(self, fds: tuple[int, int, int], source: SourceInfo, *, uncached: bool, where: str) -> None:
        self._root, self._folder, self._fd = fds
        self._size = source.size
        self._base = source.name.raw.rpartition(b"/")[2]
        self._where = where
        self._open = True
        self._identity = Identity.of(os.fstat(self._fd))
        # By way of /proc the very file is opened again that was checked, not whatever bears its name now.
        place = Path(f"/proc/self/fd/{self._fd}")
        self._bytes = UncachedReader(_Quiet(), place) if uncached else _Cached(self._fd)

    @property
    def how(self) -> ReadBack:
        """See Reader."""
        return self._bytes.how

    def read(self, offset: int, length: int) -> bytes:
        """See Reader."""
        length = max(0, min(length, self._size - offset))
        try:
            data = self._bytes.read(offset, length) if length else b""
        except (OSError, DurableError) as error:
            self.check()
            raise broken(cause(error), self._root, self._where, offset, length) from error
        if len(data) < length or offset + length >= self._size:
            self.check()
        if len(data) < length:
            raise SourceError("unreadable", self._where, offset + len(data), length - len(data))
        return data

    def close(self) -> None:
        """See Reader."""
        if not self._open:
            return
        self._open = False
        self._bytes.close()
        for fd in (self._fd, self._folder, self._root):
            os.close(fd)

    @property
    def place(self) -> tuple[int, int, bytes]:
        """The open file, its folder (O_PATH) and its name there; they are the reader's."""
        return self._fd, self._folder, self._base

    def check(self) -> None:
        """Raise SourceError unless this is still the file that was listed, under the same name."""
        try:
            with _unless_gone(self._root, self._where):
                compare(os.fstat(self._fd), self._identity, self._where)
                named = os.stat(self._base, dir_fd=self._folder, follow_symlinks=False)
                compare(named, self._identity, self._where)
        except OSError as error:
            raise broken(error, self._root, self._where, 0, self._size) from error


def open_reader(root: int, source: SourceInfo, listed: Identity | None, uncached: bool, where: str) -> "FileReader":
    """Open `source` below the open folder `root`.

    Raises OSError, DurableError, and SourceError where it is not as listed.
    """
    *steps, base = source.name.raw.split(b"/")
    if not base or any(step in (b"", b".", b"..") for step in (*steps, base)):
        raise SourceError("vanished", where)
    opened = [os.dup(root)]
    try:
        opened.append(os.dup(root))
        for step in steps:
            below = os.open(step, _STEP, dir_fd=opened[1])
            os.close(opened[1])
            opened[1] = below
        opened.append(_open_quietly(base, _FILE, opened[1]))
        status = os.fstat(opened[2])
        with _unless_gone(opened[0], where):
            compare(status, listed or Identity.of(status), where)
            if status.st_size != source.size:
                raise SourceError("grew" if status.st_size > source.size else "shrank", where)
            if status.st_mtime_ns // 1_000_000_000 != source.modified_raw:
                raise SourceError("changed", where)
        return FileReader((opened[0], opened[1], opened[2]), source, uncached=uncached, where=where)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise


def compare(status: os.stat_result, listed: Identity, where: str) -> None:
    """Raise SourceError grew, shrank or changed unless the file is the one that was listed."""
    same = status.st_dev == listed.device and listed.inode in (None, status.st_ino)
    if not stat.S_ISREG(status.st_mode) or not same:
        raise SourceError("changed", where)
    if status.st_size != listed.size:
        raise SourceError("grew" if status.st_size > listed.size else "shrank", where)
    if status.st_mtime_ns != listed.modified_ns:
        raise SourceError("changed", where)


def broken(error: OSError, root: int, where: str, offset: int, length: int) -> SourceError:
    """The SourceError for an operating system error: the whole device, the file's name, or a range of its bytes."""
    if error.errno in _GONE or _is_gone(root) or (error.errno == errno.EIO and _leaves(root)):
        return SourceError("unplugged", where)
    if error.errno in _MISSING:
        return SourceError("vanished", where)
    if error.errno == errno.ELOOP:
        return SourceError("changed", where)
    return SourceError("unreadable", where, offset, length)


def _is_gone(root: int) -> bool:
    """Whether the mounted tree cannot be listed any more, or lies on a block device that the kernel has let go of.

    The tree alone does not tell: after the cable is pulled the kernel still lists what it has in its cache.
    """
    try:
        status = os.fstat(root)
        if status.st_nlink == 0 or has_lost_its_device(status.st_dev):
            return True
        with os.scandir(root) as entries:
            next(entries, None)
    except OSError:
        return True
    return False


def has_lasting_inodes(fd: int) -> bool:
    """Whether the file system that holds an open file gives its files numbers that stay."""
    return file_system(fd) not in (VFAT, EXFAT)


@contextmanager
def _unless_gone(root: int, where: str) -> Iterator[None]:
    """Raise `unplugged` in place of what a comparison finds on a device that is not there any more.

    A kernel that has dropped its cache of a pulled disk shows the same files under new inodes.
    """
    try:
        yield
    except SourceError as error:
        if _is_gone(root):
            raise SourceError("unplugged", where) from error
        raise


def _leaves(root: int) -> bool:
    """Whether the USB disk below `root` goes away within a moment: its reads fail before the kernel lets go of it."""
    try:
        number = os.fstat(root).st_dev
        if "/usb" not in os.fspath(_block_device(number).resolve(strict=True)):
            return False
    except OSError:
        return _is_gone(root)
    until = time.monotonic() + _LEAVING_S
    while time.monotonic() < until:
        if has_lost_its_device(number):
            return True
        time.sleep(_LEAVING_S / 20)
    return has_lost_its_device(number)


def has_lost_its_device(number: int) -> bool:
    """Whether `number` is that of a block device (sysfs(5)) and there is none, or it is a disk that was taken off its
    bus; other file systems have major 0."""
    if not os.major(number) or not _BLOCK_DEVICES.is_dir():
        return False
    try:
        device = _block_device(number).resolve(strict=True)
    except OSError:
        return True
    disk = device.parent if (device / "partition").exists() else device
    try:
        return (disk / "device" / "state").read_text("ascii").strip() in _OFF
    except OSError:
        return False  # not a SCSI disk: it has no such state


def _block_device(number: int) -> Path:
    return _BLOCK_DEVICES / f"{os.major(number)}:{os.minor(number)}"


def cause(error: OSError | DurableError) -> OSError:
    """The operating system's error behind one of `durable`."""
    if isinstance(error, OSError):
        return error
    return error.__cause__ if isinstance(error.__cause__, OSError) else OSError(errno.EIO, error.what)


def _open_quietly(path: bytes, flags: int, folder: int | None) -> int:
    try:
        return os.open(path, flags | os.O_NOATIME, dir_fd=folder)
    except PermissionError:
        return os.open(path, flags, dir_fd=folder)
