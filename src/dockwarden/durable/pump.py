"""One reader, several consumers, a ring of buffers: how a file is read once and hashed, written and checked at once.

Hashing, reading and writing release the interpreter's lock, so threads use all cores; the ring bounds the memory.
"""

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Condition, Event, Lock, Thread
from typing import TypeAlias

from dockwarden.durable.files import BLOCK, DurableError

_PRESENT = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
_POLL_S = 0.2
"""Longest time in seconds that the waiting reader takes to see a cancel."""


@dataclass(frozen=True)
class Block:
    """A piece of the file: its bytes, their offset, and the whole buffer (for writing a padded tail)."""

    data: memoryview
    offset: int
    frame: memoryview


Consumer: TypeAlias = Callable[[Iterator[Block]], None]


class Budget:
    """Bytes of buffers that several pumps share, beyond the one buffer that each has of its own."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """Take so much, or say that it is not there now; never waits."""
        with self._lock:
            fits = size <= self._left
            self._left -= size if fits else 0
            return fits

    def give_back(self, size: int) -> None:
        """Return what was taken."""
        with self._lock:
            self._left += size


SHARED = Budget(16 << 20)
"""What all pumps of this process share: its memory does not follow the number of bays."""


class Lending:
    """A few buffers of `size` bytes that are lent to whoever needs one for a moment."""

    def __init__(self, size: int, count: int) -> None:
        self.size = size
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(count):
            self._free.put(aligned_buffer(size))

    @contextmanager
    def lent(self) -> Iterator[memoryview]:
        """A buffer for the length of a block; waits for one."""
        frame = self._free.get()
        try:
            yield frame
        finally:
            self._free.put(frame)


class StoppedError(Exception):
    """Another thread has failed or the copy was cancelled; `Pump.run` raises the cause."""


def aligned_buffer(size: int) -> memoryview:
    """A page-aligned buffer of `size` bytes, at least one block, as O_DIRECT needs it.

    All of its memory is there from the start: what a copy needs is the same for a small file and for a large one, and
    no page is faulted in on the way.
    """
    return memoryview(mmap.mmap(-1, max(size, BLOCK), flags=_PRESENT))


def cancelled() -> DurableError:
    """The error of a cancelled copy."""
    return DurableError("cancelled", "the copy was cancelled", "copy", "Start it again; what is durable is kept.")


class Pump:
    """Passes blocks in order to every consumer; a buffer is used again when all have done with it.

    It has one buffer of its own, and up to `count` of them as long as `budget` has some left: where the reader is
    faster than the consumers. The budget gets them back when the run is over.

    Add consumers and tasks, then call `run` once. Any failure stops all threads; `run` returns or raises only after
    the last of them has ended. `cancel` stops the reader when it claims a buffer; what becomes of the blocks that it
    has put is for whoever runs the pump to say: an error that `read` raises stops the others too.
    """

    def __init__(self, buffer: int, count: int, cancel: Event | None = None, budget: Budget = SHARED) -> None:
        self._size = buffer
        self._most = count
        self._budget = budget
        self._made = 0
        self._free: list[memoryview] = []
        self._claimed: memoryview | None = None
        self._blocks: dict[int, Block] = {}
        self._cancel = cancel
        self._changed = Condition()
        self._tasks: list[Callable[[], None]] = []
        self._finished = 0
        self._filled = 0
        self._emptied: list[int] = []
        self._ended = False
        self._failure: BaseException | None = None

    def consume(self, consumer: Consumer) -> None:
        """Add a consumer: it gets an iterator over all blocks and runs in a thread of its own."""
        blocks = self._iterate(len(self._emptied))
        self._emptied.append(0)
        self._tasks.append(lambda: consumer(blocks))

    def task(self, task: Callable[[], None]) -> None:
        """Add a thread that takes no blocks; it follows the others by `wait_until`."""
        self._tasks.append(task)

    def claim(self) -> memoryview:
        """For the reader: the next buffer to fill, once one is free; the same one until it is put."""
        with self._changed:
            if self._claimed is None:
                self._wait(self._has_free, self._cancel)
                self._claimed = self._free.pop()
            return self._claimed

    def put(self, offset: int, length: int) -> None:
        """For the reader: hand the claimed buffer with its first `length` bytes to the consumers."""
        frame, self._claimed = self._claimed, None
        if frame is None:
            raise ValueError("no buffer was claimed")
        with self._changed:
            self._blocks[self._filled] = Block(frame[:length], offset, frame)
            self._filled += 1
            self._changed.notify_all()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Block until `ready()`; it is asked again whenever a block is done with, and after `notify`."""
        with self._changed:
            self._wait(ready)

    def notify(self) -> None:
        """Let the waiting threads ask again."""
        with self._changed:
            self._changed.notify_all()

    def run(self, read: Callable[[], None]) -> None:
        """Run `read` in this thread beside the consumers; returns when all have ended. Raises the first failure."""
        threads = [Thread(target=self._guarded, args=(task,), name="pump") for task in self._tasks]
        self._tasks.clear()
        started: list[Thread] = []
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
            read()
            self._end()
            self.wait_until(lambda: self._finished == len(threads))
        except BaseException as error:
            self._fail(error)
        finally:
            for thread in started:
                thread.join()
            self._free.clear()  # not left to the garbage collector, which does not see their size
            self._claimed = None
            self._blocks.clear()
            self._budget.give_back(max(0, self._made - 1) * self._size)
            self._made = 0
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure

    def _has_free(self) -> bool:
        """Whether a buffer is free, or may be made."""
        if not self._free and self._made < self._most and (not self._made or self._budget.take(self._size)):
            self._free.append(aligned_buffer(self._size))
            self._made += 1
        return bool(self._free)

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            self._fail(error)
        finally:
            with self._changed:
                self._finished += 1
                self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._failure is None and not isinstance(error, StoppedError):
                self._failure = error
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _iterate(self, consumer: int) -> Iterator[Block]:
        while True:
            number = self._emptied[consumer]
            with self._changed:
                self._wait(lambda: self._ended or self._filled > self._emptied[consumer])
                if self._filled == number:
                    return
                block = self._blocks[number]
            yield block
            with self._changed:
                self._emptied[consumer] += 1
                if min(self._emptied) > number:
                    self._free.append(self._blocks.pop(number).frame)
                self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool], cancel: Event | None = None) -> None:
        while True:
            if self._failure is not None:
                raise StoppedError
            if cancel is not None and cancel.is_set():
                raise cancelled()
            if ready():
                return
            self._changed.wait(_POLL_S if cancel else None)
