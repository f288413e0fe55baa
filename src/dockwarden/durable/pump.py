"""One reader, several consumers, a ring of buffers: how a file is read once and hashed, written and checked at once.

Hashing, reading and writing release the interpreter's lock, so threads use all cores; the ring bounds the memory.
"""

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Condition, Event, Thread
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

    Add consumers and tasks, then call `run` once. Any failure stops all threads; `run` returns or raises only after
    the last of them has ended. `cancel` stops the reader when it claims a buffer; what becomes of the blocks that it
    has put is for whoever runs the pump to say: an error that `read` raises stops the others too.
    """

    def __init__(self, buffer: int, count: int, cancel: Event | None = None) -> None:
        self._frames = [aligned_buffer(buffer) for _ in range(count)]
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
        """For the reader: the next buffer to fill, once every consumer has done with it."""
        with self._changed:
            self._wait(lambda: self._filled - min(self._emptied) < len(self._frames), self._cancel)
            return self._frames[self._filled % len(self._frames)]

    def put(self, offset: int, length: int) -> None:
        """For the reader: hand the claimed buffer with its first `length` bytes to the consumers."""
        with self._changed:
            slot = self._filled % len(self._frames)
            self._blocks[slot] = Block(self._frames[slot][:length], offset, self._frames[slot])
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
            self._frames.clear()  # not left to the garbage collector, which does not see their size
            self._blocks.clear()
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure

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
                block = self._blocks[number % len(self._frames)]
            yield block
            with self._changed:
                self._emptied[consumer] += 1
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
