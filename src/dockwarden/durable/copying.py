"""The one pass of intake: read a source once, hash it, write it, and read it back while the copy goes on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeAlias

from dockwarden.durable.files import BLOCK, DurableError, Files, explained, reserve
from dockwarden.durable.hashing import Hashing, leaf_hashes
from dockwarden.durable.leaflist import LeafList, read_leaf_list
from dockwarden.durable.pump import Block, Lending, Pump, StoppedError, aligned_buffer, cancelled
from dockwarden.durable.readback import ReadBack, UncachedReader
from dockwarden.durable.target import Target
from dockwarden.evidence.digests import LEAF_SIZE, Digests, Measure, leaf_count

Read: TypeAlias = Callable[[int, int], bytes]
"""`read(offset, length)`: at most `length` bytes of the source, none only at its end."""


@dataclass(frozen=True)
class Geometry:
    """Sizes in bytes: `buffer` and `group` (synced and read back as one) are multiples of a leaf.

    `buffers` is the most that one copy uses; how many it gets depends on what the others leave (`pump.SHARED`).
    """

    buffer: int = 1024 * 1024
    buffers: int = 6
    group: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        sizes_fit = self.buffer % LEAF_SIZE == 0 and self.group % self.buffer == 0
        if min(self.buffer, self.buffers, self.group) < 1 or not sizes_fit:
            raise ValueError("a buffer is whole leaves, and a group is whole buffers")


GEOMETRY = Geometry()

LEAD = 2
"""Groups that may be on the disk and not read back yet: so much is left to prove where the reading ends early."""


PROVING = Lending(1024 * 1024, 4)
"""So many copies read back at once: more would only get in each other's way on the disk that they all share."""


@dataclass(frozen=True)
class Copied:
    """Digests of the bytes that were read from the source, and how the copy was read back to compare it."""

    digests: Digests
    read_back: ReadBack


def copy_in_one_pass(
    files: Files,
    read: Read,
    size: int,
    original: Path,
    leaves: Path,
    *,
    first_leaf: int = 0,
    geometry: Geometry = GEOMETRY,
    keep_free: int = 0,
    progress: Callable[[int], None] | None = None,
    cancel: Event | None = None,
) -> Copied:
    """Copy a source of `size` bytes to the file `original` and its leaf hashes to the file `leaves`.

    When this returns, all bytes are on the disk and were read back from there (`read_back` tells how) equal to what
    the source gave, and so is the leaf list. When it raises, the leaf list names only leaves for which that holds:
    the next call may begin at any `first_leaf` up to their number. It then takes the bytes before from `original`,
    again past the cache and compared with the leaf list, and reads only the rest from the source. Where reading
    failed or was cancelled, the list names all whole leaves that were read before, unless the file fits into one
    buffer; only where the disk or the program failed may it be fewer.

    `progress` is called in this thread with the number of bytes that have gone through. The space is reserved first;
    `keep_free` bytes of the disk are left to others. Whatever `read` raises passes through. DurableError codes:
    `disk-full`, `source-ended`, `source-grew`, `source-misread`, `stage-differs` (start anew), `read-back-differs`,
    `cancelled` and those of the operating system.
    """
    reserve(files, original, size, keep_free)
    with ExitStack() as stack:
        target = Target(files, original)
        stack.callback(target.close)
        leaf_list = LeafList(files, leaves)
        stack.callback(leaf_list.close)
        reader = UncachedReader(files, original, drop=False)
        stack.callback(reader.close)
        leaf_list.cut(first_leaf if size > geometry.buffer else 0)
        source = _Source(read, size, progress or (lambda done: None), cancel)
        if size <= geometry.buffer:  # threads cost more than they save
            return _copy_small(source, target, reader, leaf_list)
        with explained(original):
            files.fsync_folder(original.parent)
        known = _known_leaves(leaves, first_leaf)
        return _Copy(source, target, reader, leaf_list, known, geometry).run()


@dataclass(frozen=True)
class _Source:
    """Where the bytes come from, how many there are, whom to tell, and when to stop."""

    read: Read
    size: int
    progress: Callable[[int], None]
    cancel: Event | None

    def fill(self, frame: memoryview, offset: int, length: int) -> tuple[int, Exception | None]:
        """Read `length` bytes from `offset` to the beginning of `frame`; returns how many came, and what kept the
        others from coming."""
        done = 0
        try:
            while done < length:
                if self.cancel is not None and self.cancel.is_set():
                    raise cancelled()
                data = self.read(offset + done, length - done)
                if not data:
                    raise _source_error("source-ended", "ended early", offset + done)
                if len(data) > length - done:
                    raise _source_error("source-misread", "gave too many bytes", offset + done)
                frame[done : done + len(data)] = data
                done += len(data)
        except Exception as error:
            return done, error
        return done, None

    def check_end(self) -> None:
        """Raise DurableError where the source goes on after its size."""
        if self.read(self.size, 1):
            raise _source_error("source-grew", "has grown since it was listed", self.size)


def _copy_small(source: _Source, target: Target, reader: UncachedReader, leaf_list: LeafList) -> Copied:
    """The same promises without threads, for a file that fits into one buffer."""
    size, measure, frame = source.size, Measure(), aligned_buffer(-(-source.size // BLOCK) * BLOCK)
    _, failure = source.fill(frame, 0, size)
    if failure is not None:
        raise failure
    source.check_end()
    measure.update(frame[:size])
    digests = measure.finish()
    if size:
        target.write(frame, 0, size)
    target.finish(size)
    reader.drop(0, size)
    _compare(reader, frame, 0, size, measure.leaves)
    leaf_list.append(0, measure.leaves)
    leaf_list.cut(len(measure.leaves))
    source.progress(size)
    return Copied(digests, reader.how)


def _compare(reader: UncachedReader, frame: memoryview, offset: int, length: int, leaves: list[bytes]) -> None:
    """Read a range of whole leaves back and compare it with what was read from the source."""
    for place, (found, expected) in enumerate(
        zip(leaf_hashes(reader.read_whole(frame, offset, length)), leaves, strict=True)
    ):
        if found != expected:
            raise DurableError(
                "read-back-differs",
                "the disk gave back other bytes than were written",
                f"{reader.path}, byte {offset + place * LEAF_SIZE}",
                "Do not trust this disk or its memory; check both before you go on.",
            )


def _steps(first: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of the pieces of a range; all but the first begin at a multiple of `size`."""
    while first < end:
        length = min(size - first % size, end - first)
        yield first, length
        first += length


def _known_leaves(leaves: Path, count: int) -> list[bytes]:
    known = read_leaf_list(leaves, 0, count)
    if len(known) < count:
        raise _stage_differs(leaves, len(known))
    return known


def _source_error(code: str, what: str, offset: int) -> DurableError:
    return DurableError(code, f"the source {what}", f"source, byte {offset}", "Read the device again.")


def _stage_differs(path: Path, leaf: int) -> DurableError:
    what = "the staged copy is not what the leaf list says"
    return DurableError("stage-differs", what, f"{path}, leaf {leaf}", "Copy the file from its beginning.")


@dataclass
class _Copy:
    """A copy with threads: hashing, writing, and reading back what has been synced.

    Where reading fails, what was read before is still written, synced and proven: a camera that was pulled out goes
    on from there. `end` is where this copy ends, then: behind the last whole leaf that was read.
    """

    source: _Source
    target: Target
    reader: UncachedReader
    leaf_list: LeafList
    known: list[bytes]
    geometry: Geometry

    def __post_init__(self) -> None:
        self.staged = min(len(self.known) * LEAF_SIZE, self.source.size)
        self.synced = self.proven = self.staged
        self.read_to, self.end = 0, self.source.size
        self.failure: Exception | None = None
        self.hashing = Hashing()
        self.pump = Pump(self.geometry.buffer, self.geometry.buffers, self.source.cancel)

    def run(self) -> Copied:
        self.hashing.join(self.pump)
        self.pump.consume(self._write)
        self.pump.task(self._verify)
        self.pump.run(self._read)
        failure, self.failure = self.failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # else the buffers wait for the garbage collector
        return Copied(self.hashing.digests(self.source.size), self.reader.how)

    def _read(self) -> None:
        """What is staged already comes from there, since the digests of the whole need it; then the source."""
        try:
            self.reader.drop(0, self.staged)
            for offset, length in _steps(0, self.staged, self.geometry.buffer):
                self.reader.read_whole(self.pump.claim(), offset, length)
                self._put(offset, length)
            for offset, length in _steps(self.staged, self.source.size, self.geometry.buffer):
                done, failure = self.source.fill(self.pump.claim(), offset, length)
                self._put(offset, done if failure is None else done - done % LEAF_SIZE)
                if failure is not None:
                    raise failure
            self.source.check_end()
        except StoppedError:
            raise
        except Exception as error:
            self.failure, self.end = error, self.read_to - self.read_to % LEAF_SIZE
            self.pump.notify()

    def _put(self, offset: int, length: int) -> None:
        if length:
            self.pump.put(offset, length)
            self.read_to = offset + length
            self.source.progress(self.read_to)

    def _write(self, blocks: Iterator[Block]) -> None:
        size = self.source.size
        for block in blocks:
            end = block.offset + block.data.nbytes
            if block.offset < self.staged:
                continue
            self.target.write(block.frame, block.offset, block.data.nbytes)
            if end == self._group_end(block.offset) and end < size:
                self.target.sync()
                self._is_on_the_disk(end)
                self.pump.wait_until(lambda: self.synced - self.proven <= LEAD * self.geometry.group)
        if self.failure is None:
            self.target.finish(size)
        else:
            self.target.sync()
        self._is_on_the_disk(self.end)

    def _is_on_the_disk(self, end: int) -> None:
        self.synced = end
        self.pump.notify()

    def _verify(self) -> None:
        """Compare each group that is on the disk; only then does the leaf list name it."""
        leaves = self.hashing.leaves
        self.pump.wait_until(lambda: len(leaves) >= min(len(self.known), leaf_count(self.end)))
        for leaf, (known, found) in enumerate(zip(self.known, leaves, strict=False)):
            if found != known:
                raise _stage_differs(self.target.path, leaf)
        while self.proven < self.end:
            self.pump.wait_until(self._has_group)
            done, end = self.proven, self._proves_to()
            if done == end:  # the reading has just failed, and gave nothing more
                break
            self.reader.drop(done, end - done)
            for offset, length in _steps(done, end, PROVING.size):
                expected = leaves[offset // LEAF_SIZE : leaf_count(offset + length)]
                with PROVING.lent() as frame:
                    _compare(self.reader, frame, offset, length, expected)
            self.leaf_list.append(done // LEAF_SIZE, leaves[done // LEAF_SIZE : leaf_count(end)])
            self.proven = end
            self.pump.notify()
        if self.failure is None:
            self.leaf_list.cut(leaf_count(self.source.size))

    def _proves_to(self) -> int:
        """Where the next piece to prove ends: a group, or what was read of it before the reading failed."""
        return max(self.proven, min(self._group_end(self.proven), self.end))

    def _has_group(self) -> bool:
        end = self._proves_to()
        return self.synced >= end and len(self.hashing.leaves) >= leaf_count(end)

    def _group_end(self, done: int) -> int:
        """End of the group that begins at `done`: groups end at multiples of their size."""
        return min((done // self.geometry.group + 1) * self.geometry.group, self.source.size)
