"""A device whose answers are waited for no longer than its stay.

A dying card can keep a reading in the kernel for half a minute, or for good, and nothing ends that. So a thread of
its own asks the device, and the session, which waits, can leave it: what is answered later is let go.
"""

from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

from dockwarden.agent.drivers.source import (
    Clearing,
    ClockReading,
    Device,
    DeviceInfo,
    Reader,
    SourceError,
    SourceInfo,
    Unlisted,
)
from dockwarden.durable.pump import cancelled
from dockwarden.evidence.seals import ReadBack

POLL_S = 0.1
"""Longest time in seconds until the end of a stay is seen by who waits for an answer."""

_T = TypeVar("_T")


class AwaitedDevice:
    """A Device that raises DurableError `cancelled` once `ended` is set, whatever `inner` is doing then.

    For one thread at a time. `finish` ends the asking thread; `inner` is closed by who took it from the hot-plug
    source.
    """

    def __init__(self, inner: Device, ended: Event) -> None:
        self._inner = inner
        self._ended = ended
        self._questions: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._left = False
        Thread(target=self._answer, name="device", daemon=True).start()

    @property
    def info(self) -> DeviceInfo:
        """See Device."""
        return self._inner.info

    def sources(self) -> list[SourceInfo]:
        """See Device."""
        return self.ask(self._inner.sources)

    def unlisted(self) -> list[Unlisted]:
        """See Device."""
        return self.ask(self._inner.unlisted)

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """See Device."""
        inner = self.ask(lambda: self._inner.open(source, uncached), lambda reader: reader.close())
        return _AwaitedReader(self, inner)

    def clock(self) -> ClockReading | None:
        """See Device."""
        return self.ask(self._inner.clock)

    def clearing(self) -> Clearing | None:
        """See Device."""
        inner = self.ask(self._inner.clearing, lambda clearing: clearing.close() if clearing is not None else None)
        return None if inner is None else _AwaitedClearing(self, inner)

    def close(self) -> None:
        """See Device."""
        self._inner.close()

    def finish(self) -> None:
        """Nothing more is asked."""
        self._questions.put(None)

    def ask(self, call: Callable[[], _T], let_go: Callable[[_T], None] = lambda answer: None) -> _T:
        """The answer of `call`, or what it raises. `let_go` gets an answer for which nobody waits any more."""
        if self._ended.is_set():
            raise cancelled()
        question = _Question(call, let_go)
        self._questions.put(question)
        while not question.answered.wait(POLL_S):
            if self._ended.is_set() and question.leave():
                self._left = True
                raise cancelled()
        if question.error is not None:
            raise question.error
        return question.answers[0]

    def let_go(self, opened: Reader | Clearing) -> None:
        """Close what was opened: at once, or, where the device still owes an answer, after it. Raises SourceError."""
        if self._left:
            self._questions.put(opened.close)
        else:
            opened.close()

    def _answer(self) -> None:
        while (question := self._questions.get()) is not None:
            with suppress(SourceError):  # only of what is closed after all: nobody waits for it
                question()


class _Question(Generic[_T]):
    """A question to a device and what came of it."""

    def __init__(self, call: Callable[[], _T], let_go: Callable[[_T], None]) -> None:
        self.answered = Event()
        self.answers: list[_T] = []
        self.error: BaseException | None = None
        self._call = call
        self._let_go = let_go
        self._lock = Lock()
        self._left = False

    def __call__(self) -> None:
        """Ask, in the asking thread."""
        try:
            self.answers.append(self._call())
        except BaseException as error:
            self.error = error
        with self._lock:
            if not self._left:
                self.answered.set()
                return
        for answer in self.answers:
            self._let_go(answer)

    def leave(self) -> bool:
        """Wait no longer; False where the answer has just come."""
        with self._lock:
            self._left = not self.answered.is_set()
            return self._left


class _AwaitedReader:
    """A Reader of an AwaitedDevice."""

    def __init__(self, device: AwaitedDevice, inner: Reader) -> None:
        self._device = device
        self._inner = inner

    @property
    def how(self) -> ReadBack:
        """See Reader."""
        return self._inner.how

    def read(self, offset: int, length: int) -> bytes:
        """See Reader."""
        return self._device.ask(lambda: self._inner.read(offset, length))

    def close(self) -> None:
        """See Reader."""
        self._device.let_go(self._inner)


class _AwaitedClearing:
    """A Clearing of an AwaitedDevice. Closing is waited for even where the stay is over."""

    def __init__(self, device: AwaitedDevice, inner: Clearing) -> None:
        self._device = device
        self._inner = inner

    def remove(self, source: SourceInfo, proven: Callable[[Reader], bool]) -> None:
        """See Clearing. `proven` is called in the asking thread."""
        self._device.ask(lambda: self._inner.remove(source, proven))

    def close(self) -> None:
        """See Clearing."""
        self._device.let_go(self._inner)
