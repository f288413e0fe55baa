"""Reading what a disk really holds, past the page cache, and being honest about where that was not possible.

`direct`: O_DIRECT on a file system that obeys it. `dropped`: the cached pages were synced and thrown away before.
`none`: neither can be shown (tmpfs, network, FUSE, unknown file systems); `none` never counts as proof. What lies
below the kernel, the drive's own cache or a virtual machine's host, is beyond all three.
"""

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Literal, TypeAlias

from dockwarden.durable.files import BLOCK, DurableError, Files, OsFiles, explained
from dockwarden.durable.hashing import Hashing, leaf_hashes
from dockwarden.durable.pump import Pump, aligned_buffer
from dockwarden.evidence.digests import LEAF_SIZE, Digests

ReadBack: TypeAlias = Literal["direct", "dropped", "none"]

BUFFER = 1024 * 1024
"""Bytes of one read."""

_WORTH: tuple[ReadBack, ...] = ("none", "dropped", "direct")
VFAT, EXFAT = 0x4D44, 0x2011BAB0
_EXT, _XFS, _BTRFS, _OVERLAY = 0xEF53, 0x58465342, 0x9123683E, 0x794C7630
_DISKS = frozenset({_EXT, _XFS, _BTRFS, VFAT, EXFAT})
# Btrfs takes O_DIRECT, and reads compressed and inline extents through the cache all the same. An overlay takes it
# too where what lies below does, and that may be a tmpfs.
_DIRECT = frozenset({_EXT, _XFS, VFAT, EXFAT})
_WINDOW = 1 << 30
# The kernel keeps pages in folios of up to this many bytes and drops none that is only partly within a range.
_FOLIO = 2 * 1024 * 1024
_LIBC = ctypes.CDLL(None, use_errno=True)


def worst(first: ReadBack, second: ReadBack) -> ReadBack:
    """The weaker of two kinds of read-back."""
    return min(first, second, key=_WORTH.index)


class UncachedReader:
    """A file opened for reading past the page cache. Not for several threads at once. Raises DurableError.

    `how` tells what kind of reading it has been so far: it only ever gets worse. With `drop=False` the caller calls
    `drop` for each range that it has synced and is going to read.
    """

    def __init__(self, files: Files, path: Path, *, drop: bool = True) -> None:
        self.path = path
        self._files = files
        self._spare: memoryview | None = None
        with explained(path):
            self._fd = files.open(path, os.O_RDONLY)
            try:
                self._file_system = file_system(self._fd)
                self._direct = self._try_direct()
                known = self._file_system in _DISKS | {_OVERLAY}
                self.how: ReadBack = "direct" if self._direct else "dropped" if known else "none"
                if drop:
                    self.drop(0, self.size)
            except BaseException:
                files.close(self._fd)
                raise

    @property
    def size(self) -> int:
        """Bytes of the file now."""
        return os.fstat(self._fd).st_size

    def drop(self, offset: int, length: int) -> None:
        """Where reading is not direct: make the next reading of this range come from the disk.

        What does not leave the cache (another process uses it, or it was not synced) makes `how` `none`.
        """
        if self.how != "dropped" or not length:
            return
        with explained(self.path):
            kept = self._evict(offset, length)
        # An overlay is only as good as what lies below it, so there the kernel must tell that nothing was kept.
        if kept or (kept is None and self._file_system == _OVERLAY):
            self.how = "none"

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; returns the number of bytes, less than asked only at the end of the file.

        `offset` and the buffer's address and size must be multiples of BLOCK.
        """
        done = 0
        with explained(f"{self.path}, byte {offset}"):
            while done < buffer.nbytes and offset + done < self.size:
                count = self._files.pread(self._fd, buffer[done:], offset + done)
                done += count
                if offset + done >= self.size:
                    break
                if count < BLOCK:
                    raise OSError(errno.EIO, "the disk gave less than a block")
                done -= done % BLOCK
        return done

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of any range; shorter than asked only at the end of the file."""
        first = offset - offset % BLOCK
        span = -(-(offset + length - first) // BLOCK) * BLOCK
        if self._spare is None or self._spare.nbytes < span:
            self._spare = aligned_buffer(span)
        count = self.read_into(self._spare[:span], first)
        return bytes(self._spare[offset - first : min(count, offset - first + length)])

    def read_whole(self, frame: memoryview, offset: int, length: int) -> memoryview:
        """Exactly `length` bytes from `offset`, in `frame`; DurableError `shorter` where the file has fewer."""
        count = self.read_into(frame[: -(-length // BLOCK) * BLOCK], offset)
        if count < length:
            where = f"{self.path}, byte {offset + count}"
            raise DurableError("shorter", "the file ends before its recorded size", where, "Check the disk's health.")
        return frame[:length]

    def close(self) -> None:
        """Close the file."""
        self._files.close(self._fd)

    def __enter__(self) -> "UncachedReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _try_direct(self) -> bool:
        """Reopen with O_DIRECT; True if that works and a trial does not show the cache at work."""
        if self._file_system not in _DIRECT or not self._reopen(os.O_DIRECT):
            return False
        if self._obeys():
            return True
        self._reopen(0)
        return False

    def _reopen(self, flags: int) -> bool:
        try:
            fd = self._files.open(self.path, os.O_RDONLY | flags)
        except OSError as error:
            if flags and error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                return False
            raise
        self._fd, before = fd, self._fd
        self._files.close(before)
        return True

    def _obeys(self) -> bool:
        """Drop the first block, read it, and look whether that brought it into the cache.

        Some files are read through the cache although their file system knows O_DIRECT (journalled data, encryption,
        inline contents). A second reader of the file can look the same, so the trial is made three times.
        """
        buffer, length = aligned_buffer(BLOCK), min(self.size, BLOCK)
        for _ in range(3):
            before = self._evict(0, length)
            try:
                self._files.pread(self._fd, buffer, 0)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return False
                raise
            if before != 0:
                return True  # another process holds it, or the kernel does not tell: the file system's rule counts
            if not resident_pages(self._fd, 0, length):
                return True
        return False

    def _evict(self, offset: int, length: int) -> int | None:
        """Drop a range from the cache; returns the pages that stayed, None where the kernel does not tell."""
        first, end = offset - offset % _FOLIO, -(-(offset + length) // _FOLIO) * _FOLIO
        for _ in range(2):
            os.posix_fadvise(self._fd, first, end - first, os.POSIX_FADV_DONTNEED)
            kept = resident_pages(self._fd, offset, length)
            if kept == 0 or os.fstatvfs(self._fd).f_flag & os.ST_RDONLY:
                break
            self._files.fdatasync(self._fd)  # only what is on the disk already can be dropped
        return kept


def open_uncached(path: Path, files: Files | None = None) -> tuple[UncachedReader, ReadBack]:
    """Open `path` for reading past the page cache; also returns what kind of reading that will be, so far as can be
    told beforehand (the reader's `how` tells it afterwards). Raises DurableError."""
    reader = UncachedReader(files or OsFiles(), path)
    return reader, reader.how


def read_leaves_uncached(
    path: Path, first: int = 0, count: int | None = None, files: Files | None = None
) -> Iterator[bytes]:
    """Leaf hashes of the file, from leaf `first`, at most `count` of them, as the disk holds them now."""
    with UncachedReader(files or OsFiles(), path) as reader:
        end = reader.size if count is None else min(reader.size, (first + count) * LEAF_SIZE)
        buffer = aligned_buffer(BUFFER)
        for offset in range(first * LEAF_SIZE, end, BUFFER):
            yield from leaf_hashes(reader.read_whole(buffer, offset, min(BUFFER, end - offset)))


def measure_uncached(path: Path, files: Files | None = None, cancel: Event | None = None) -> tuple[Digests, ReadBack]:
    """Digests of the file as the disk holds it now, and how it was read. Memory is the same for any size. Raises
    DurableError, `cancelled` once `cancel` is set."""
    hashing, size, how = hash_uncached(path, files, cancel)
    return hashing.digests(size), how


def hash_uncached(
    path: Path, files: Files | None = None, cancel: Event | None = None
) -> tuple[Hashing, int, ReadBack]:
    """The same with the leaf hashes; also returns the file's size in bytes."""
    with UncachedReader(files or OsFiles(), path) as reader:
        size, hashing, pump = reader.size, Hashing(), Pump(BUFFER, 3, cancel)
        hashing.join(pump)

        def read() -> None:
            for offset in range(0, size, BUFFER):
                length = min(BUFFER, size - offset)
                reader.read_whole(pump.claim(), offset, length)
                pump.put(offset, length)

        pump.run(read)
        return hashing, size, reader.how


def file_system(fd: int) -> int:
    """Magic number of the file system that holds an open file (statfs(2))."""
    found = (ctypes.c_long * 32)()
    if _LIBC.fstatfs(fd, found):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found[0] & 0xFFFFFFFF


def resident_pages(fd: int, offset: int, length: int) -> int | None:
    """Pages of a range that are in the page cache (mincore(2)); None where the kernel does not tell this process.

    Looking brings nothing into the cache. Since Linux 5.2 only who owns or may write a file is told.
    """
    owner = os.fstat(fd).st_uid
    if os.geteuid() not in (0, owner) and not os.access(f"/proc/self/fd/{fd}", os.W_OK, effective_ids=True):
        return None
    resident = 0
    for start in range(offset - offset % mmap.ALLOCATIONGRANULARITY, offset + length, _WINDOW):
        span = min(_WINDOW, offset + length - start)
        try:
            # A private mapping that is never touched: only its address is needed.
            mapping = mmap.mmap(fd, span, access=mmap.ACCESS_COPY, offset=start)
        except (OSError, ValueError):
            return None
        pages = (ctypes.c_ubyte * -(-span // mmap.PAGESIZE))()
        place = ctypes.c_char.from_buffer(mapping)
        failed = _LIBC.mincore(ctypes.c_void_p(ctypes.addressof(place)), ctypes.c_size_t(span), pages)
        del place
        mapping.close()
        if failed:
            return None
        resident += sum(page & 1 for page in pages)
    return resident
