"""The calls whose effect on a disk matters, and the two durable acts that are made of them.

`Files` is a seam: whoever wants to know what a crash, a full disk or a lying disk does wraps `OsFiles` and fails,
or kills the process, before or after the n-th call. Nothing else in this program renames or syncs.
"""

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

BLOCK = 4096
"""Bytes to which direct input and output are aligned: a multiple of every sector size in use."""

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_PARTS = f".{'?' * 16}.part"
_LIBC = ctypes.CDLL(None, use_errno=True)

_CODES = {
    errno.ENOSPC: ("disk-full", "the disk is full", "Free space on this disk, then try again."),
    errno.EDQUOT: ("disk-full", "the disk quota is used up", "Free space or raise the quota, then try again."),
    errno.EFBIG: (
        "file-too-large",
        "the file is larger than this disk allows",
        "Use ext4 or XFS and lift ulimit -f.",
    ),
    errno.EEXIST: ("exists", "the target exists already", "Nothing was overwritten; look at what is there."),
    errno.ENOTEMPTY: ("exists", "the target exists already", "Nothing was overwritten; look at what is there."),
    errno.ENOENT: ("missing", "a file or folder is not there", "Check that the disk is mounted."),
    errno.EROFS: ("read-only", "the disk is mounted read-only", "Check the disk's health and mount it for writing."),
    errno.EACCES: ("not-permitted", "the program may not do this", "Check owner and mode of the folder."),
    errno.EPERM: ("not-permitted", "the program may not do this", "Check owner and mode of the folder."),
}
_IO_ERROR = ("io-error", "the disk reported an error", "Check the disk's health and its cable, then try again.")


class DurableError(Exception):
    """Something that must not be lost could not be made durable, or was found changed: {code, what, where, do}.

    `code` is for programs, `what` says what happened, `where` names the file (and byte), `do` what a person does.
    """

    def __init__(self, code: str, what: str, where: str, do: str) -> None:
        super().__init__(code, what, where, do)
        self.code = code
        self.what = what
        self.where = where
        self.do = do

    def __str__(self) -> str:
        return f"{self.what} ({self.where}). {self.do}"


class Commits(Protocol):
    """A database connection with an open transaction."""

    def commit(self) -> None: ...


class Files(Protocol):
    """What `OsFiles` does; every method raises OSError, and `commit` what the database raises."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int: ...
    def close(self, fd: int) -> None: ...
    def pread(self, fd: int, buffer: memoryview, offset: int) -> int: ...
    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> None: ...
    def truncate(self, fd: int, size: int) -> None: ...
    def fallocate(self, fd: int, size: int) -> None: ...
    def fdatasync(self, fd: int) -> None: ...
    def fsync_folder(self, path: Path) -> None: ...
    def replace(self, source: Path, target: Path) -> None: ...
    def rename_new(self, source: Path, target: Path) -> None: ...
    def mkdir(self, path: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def rmtree(self, path: Path) -> None: ...
    def commit(self, connection: Commits) -> None: ...


class OsFiles:
    """The real disk."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Open `path`; the descriptor is not inherited by child processes."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def pread(self, fd: int, buffer: memoryview, offset: int) -> int:
        """Read once into `buffer`; returns the number of bytes, 0 at the end of the file."""
        return os.preadv(fd, [buffer], offset)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`."""
        view = memoryview(data)
        while view.nbytes:
            written = os.pwrite(fd, view, offset)
            if not written:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            view, offset = view[written:], offset + written

    def truncate(self, fd: int, size: int) -> None:
        """Cut or extend the file to `size` bytes."""
        os.ftruncate(fd, size)

    def fallocate(self, fd: int, size: int) -> None:
        """Reserve the file's first `size` bytes on the disk. Unlike posix_fallocate it never falls back on writing
        zeros, which on a large file would look like a hang."""
        while _LIBC.fallocate64(fd, 0, ctypes.c_int64(0), ctypes.c_int64(size)):
            code = ctypes.get_errno()
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))

    def fdatasync(self, fd: int) -> None:
        """Return when the file's contents and size are on the disk."""
        os.fdatasync(fd)

    def fsync_folder(self, path: Path) -> None:
        """Return when the folder's entries are on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file over another or to a new name; atomic."""
        source.rename(target)

    def rename_new(self, source: Path, target: Path) -> None:
        """Rename to a name that must be free, atomically (renameat2, Linux 3.15)."""
        old, new = os.fsencode(source), os.fsencode(target)
        if not _LIBC.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_NOREPLACE):
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(code, os.strerror(code), str(source), None, str(target))
        # File systems without the flag (some network and FUSE ones): look first. Only one of our processes writes.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        source.rename(target)

    def mkdir(self, path: Path) -> None:
        """Make a folder that only its owner may enter."""
        path.mkdir(mode=0o700)

    def unlink(self, path: Path) -> None:
        """Remove a file's name."""
        path.unlink()

    def rmtree(self, path: Path) -> None:
        """Remove a folder with all that is in it."""
        shutil.rmtree(path)

    def commit(self, connection: Commits) -> None:
        """Commit a database transaction."""
        connection.commit()


def durable_error(error: OSError, where: str) -> DurableError:
    """The error that a person sees for an operating system error at `where`."""
    code, what, do = _CODES.get(error.errno or 0, _IO_ERROR)
    detail = "" if error.errno in _CODES or error.strerror is None else f": {error.strerror}"
    return DurableError(code, what + detail, where, do)


@contextmanager
def explained(where: Path | str) -> Iterator[None]:
    """Turn operating system errors inside into DurableError."""
    try:
        yield
    except OSError as error:
        raise durable_error(error, str(where)) from error


@contextmanager
def opened(files: Files, path: Path, flags: int, mode: int = 0o600) -> Iterator[int]:
    """Open a file for the length of a block. Closing is no durable step: what counts was synced before."""
    fd = files.open(path, flags, mode)
    try:
        yield fd
    finally:
        files.close(fd)


def write_durably(files: Files, path: Path, data: bytes, mode: int = 0o600) -> None:
    """Give the file `path` the contents `data`; when this returns, they survive a power cut.

    At every moment, and after any crash, the file has its old or its new contents as a whole. Raises DurableError;
    after a failed sync the kernel may have thrown the data away, so the caller writes anew (which is what a second
    call does: it begins with a fresh file). A crash can leave a part file behind: see `remove_parts`.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    with explained(path):
        try:
            with opened(files, part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode) as fd:
                files.pwrite(fd, data, 0)
                files.fdatasync(fd)
            files.replace(part, path)
        except OSError:
            with suppress(OSError):
                files.unlink(part)
            raise
        files.fsync_folder(path.parent)


def remove_parts(files: Files, folder: Path) -> None:
    """Remove what crashes in `write_durably` left in `folder`. Call at start-up, before anybody writes there."""
    with explained(folder):
        for part in sorted(folder.glob(_PARTS)):
            files.unlink(part)


def make_folder(files: Files, path: Path) -> None:
    """Make `path` and its missing parents durably. Raises DurableError.

    A folder that is there already is synced too: whoever made it may have been killed before it could.
    """
    with explained(path):
        if not path.is_dir():
            if not path.parent.is_dir():
                make_folder(files, path.parent)
            with suppress(FileExistsError):
                files.mkdir(path)
        files.fsync_folder(path.parent)


def publish(files: Files, staged: Path, target: Path) -> None:
    """Move the folder `staged` to `target` so that after any crash it is whole at one of the two places.

    Order (design §5.3): contents of every file, the folders that hold them, rename, both parents. Raises
    DurableError `exists` where there is anything at `target`: a published folder is never overwritten.
    """
    with explained(target):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        _sync_tree(files, staged)
        make_folder(files, target.parent)
        files.rename_new(staged, target)
        files.fsync_folder(target.parent)
        files.fsync_folder(staged.parent)


def settle(files: Files, published: Path) -> None:
    """Make durable a folder that a crash left after its rename in `publish`: the same syncs, no rename."""
    with explained(published):
        _sync_tree(files, published)
        make_folder(files, published.parent)
        files.fsync_folder(published.parent)


def _sync_tree(files: Files, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            _sync_tree(files, path)
        elif path.is_file() and not path.is_symlink():
            with opened(files, path, os.O_RDONLY) as fd:
                files.fdatasync(fd)
        else:
            raise OSError(errno.EINVAL, "only files and folders can be published")
    files.fsync_folder(folder)


def free_space(path: Path) -> int:
    """Bytes that this program may still write on the disk that holds `path`. Raises DurableError."""
    with explained(path):
        found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def reserve(files: Files, path: Path, size: int, keep_free: int = 0) -> None:
    """Take the space for `size` bytes of the file `path` before anything is copied into it.

    Makes the file if it is missing. Raises DurableError `disk-full` where less than `size` + `keep_free` bytes are
    left (what the file has already counts); then the space that was taken is given back, so that a file which does
    not fit does not starve the ledger and the other bays.
    """
    rounded = -(-size // BLOCK) * BLOCK
    with explained(path), opened(files, path, os.O_RDWR | os.O_CREAT) as fd:
        before = os.fstat(fd)
        if rounded - before.st_blocks * 512 > free_space(path.parent) - keep_free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not rounded:
            return
        try:
            files.fallocate(fd, rounded)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return  # this file system cannot reserve: the look at the free space has to do
            with suppress(OSError):
                files.truncate(fd, before.st_size)
            raise
