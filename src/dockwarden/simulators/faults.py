"""Faults wrap the real thing: a device that works, and data that say where it stops working.

A fault is an object, in a bus file as in a test: `{"kind", "source", "at", "length", "reading", "rate"}`. All but
`kind` may be left out.

| kind | what happens |
| --- | --- |
| `unplug` | the device is pulled out once `at` bytes of all its files have been read |
| `flip` | the lowest bit of byte `at` is wrong |
| `unreadable` | reading any byte of `at` to `at` + `length` fails |
| `eof` | the file ends at byte `at`, without an error |
| `slow` | all reading together gets `rate` bytes a second |
| `grow` | when byte `at` is asked for, `length` bytes are appended to the file |
| `shrink` | when byte `at` is asked for, the file is cut to `length` bytes |
| `alter` | when byte `at` is asked for, the first byte of the file is changed on the card |
| `vanish` | when byte `at` is asked for, the file is removed from the card |
| `wrong-size` | the listing says `length` bytes more (or less, where negative) than there are |

`source` is a pattern (fnmatch) on the name's text, `*` without. `reading` gives a source the fault only the n-th time
that the place is read (1 the first reading, 2 the second; a probe counts like any other); without it every time. For
`eof` it is the n-th opening that comes to the place.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, TypeAlias

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
from dockwarden.evidence.seals import ReadBack
from dockwarden.simulators.camera import WALL, at

Kind: TypeAlias = Literal[
    "unplug", "flip", "unreadable", "eof", "slow", "grow", "shrink", "alter", "vanish", "wrong-size"
]

_ON_THE_CARD = {"grow", "shrink", "alter", "vanish"}
_NEVER_SET_MS = 946_684_800_000  # 2000-01-01T00:00 of whatever clock
_STEP = 65_536


@dataclass(frozen=True)
class Fault:
    """One fault; see the module. `at` and `length` in bytes, `rate` in bytes a second."""

    kind: Kind
    source: str = "*"
    at: int = 0
    length: int = 0
    reading: int | None = None
    rate: int = 0


@dataclass(frozen=True)
class Clock:
    """A clock that can be asked: `offset_ms` before (or after) official time, or never set."""

    offset_ms: int = 0
    uncertainty_ms: int = 1000
    unset: bool = False


@dataclass
class _Counts:
    """What has happened so far to a device, under one lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    delivered: int = 0
    reached: Counter[tuple[Fault, bytes]] = field(default_factory=Counter)
    done: set[tuple[Fault, bytes]] = field(default_factory=set)


class FaultyDevice:
    """A Device that can be pulled out, and has the faults it is given. `root` is the card's folder."""

    def __init__(
        self,
        inner: Device,
        root: Path,
        faults: Sequence[Fault] = (),
        clock: Clock | None = None,
        pulled: Callable[[], None] | None = None,
    ) -> None:
        self._inner = inner
        self._root = root
        self._faults = tuple(faults)
        self._clock = clock
        self._pulled = pulled
        self._gone = threading.Event()
        self._counts = _Counts()

    @property
    def info(self) -> DeviceInfo:
        """See Device."""
        return self._inner.info

    @property
    def gone(self) -> threading.Event:
        """Set once the device is out of its bay."""
        return self._gone

    def pull(self) -> None:
        """Pull the device out: from now on nothing of it can be read."""
        if not self._gone.is_set():
            self._gone.set()
            if self._pulled is not None:
                self._pulled()

    def sources(self) -> list[SourceInfo]:
        """See Device."""
        self.check()
        return [self._shown(source) for source in self._inner.sources()]

    def unlisted(self) -> list[Unlisted]:
        """See Device."""
        self.check()
        return self._inner.unlisted()

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """See Device."""
        self.check()
        return self.faulty(self._inner.open(source, uncached), source)

    def clock(self) -> ClockReading | None:
        """See Device."""
        self.check()
        if self._clock is None:
            return self._inner.clock()
        now = time.time_ns() // 1_000_000
        wall = now + int(WALL.total_seconds() * 1000) + self._clock.offset_ms
        shown = _NEVER_SET_MS if self._clock.unset else wall
        return ClockReading(shown, now, self._clock.uncertainty_ms, "asked")

    def clearing(self) -> Clearing | None:
        """See Device."""
        self.check()
        inner = self._inner.clearing()
        return None if inner is None else _FaultyClearing(self, inner)

    def faulty(self, inner: Reader, source: SourceInfo) -> Reader:
        """A reader with the faults of its source."""
        faults = [fault for fault in self._faults if fnmatchcase(source.name.text, fault.source)]
        return _FaultyReader(self, inner, source, faults)

    def close(self) -> None:
        """See Device."""
        self._inner.close()

    def check(self) -> None:
        """Raise `unplugged` where the device is out."""
        if self._gone.is_set():
            raise SourceError("unplugged", f"device {self.info.key}")

    def deliver(self, length: int) -> None:
        """Count bytes that are about to be given; pulls the device where that is its fault."""
        with self._counts.lock:
            self._counts.delivered += length
            total = self._counts.delivered
        if any(fault.kind == "unplug" and total > fault.at for fault in self._faults):
            self.pull()
        self.check()

    def wait(self, length: int, faults: Sequence[Fault]) -> None:
        """Take as long as reading `length` bytes takes at the slowest of the rates."""
        rates = [fault.rate for fault in faults if fault.kind == "slow" and fault.rate > 0]
        if rates:
            self._gone.wait(length / min(rates))
            self.check()

    def reaches(self, fault: Fault, source: SourceInfo) -> bool:
        """Count a reading of a fault's place; returns whether it is one that has the fault."""
        with self._counts.lock:
            self._counts.reached[fault, source.name.raw] += 1
            return fault.reading in (None, self._counts.reached[fault, source.name.raw])

    def strike(self, fault: Fault, source: SourceInfo) -> None:
        """Do to the card what a fault says, once for each file."""
        with self._counts.lock:
            if (fault, source.name.raw) in self._counts.done:
                return
            self._counts.done.add((fault, source.name.raw))
        strike(at(self._root, source.name.raw), fault)

    def _shown(self, source: SourceInfo) -> SourceInfo:
        for fault in self._faults:
            if fault.kind == "wrong-size" and fnmatchcase(source.name.text, fault.source):
                return replace(source, size=max(0, source.size + fault.length))
        return source


class _FaultyClearing:
    """A Clearing of a device that can be pulled out, also after it was read and before the file is gone."""

    def __init__(self, device: FaultyDevice, inner: Clearing) -> None:
        self._device = device
        self._inner = inner

    def remove(self, source: SourceInfo, proven: Callable[[Reader], bool]) -> None:
        """See Clearing."""

        def still_there(reader: Reader) -> bool:
            found = proven(self._device.faulty(reader, source))
            self._device.check()
            return found

        self._device.check()
        self._inner.remove(source, still_there)
        self._device.check()

    def close(self) -> None:
        """See Clearing. What was pulled out is not written to any more."""
        self._inner.close()
        self._device.check()


class _FaultyReader:
    """A Reader that has the faults of its source."""

    def __init__(self, device: FaultyDevice, inner: Reader, source: SourceInfo, faults: Sequence[Fault]) -> None:
        self._device = device
        self._inner = inner
        self._source = source
        self._faults = faults
        self._ends: dict[Fault, bool] = {}

    @property
    def how(self) -> ReadBack:
        """See Reader."""
        return self._inner.how

    def read(self, offset: int, length: int) -> bytes:
        """See Reader."""
        self._device.check()
        end = min(offset + length, self._source.size)
        for fault in self._reached("unreadable", offset, end):
            first = max(offset, fault.at)
            raise SourceError("unreadable", f"device {self._device.info.key}", first, end - first)
        for fault in self._reached("eof", offset, end):
            end = max(offset, fault.at)
            if end == offset:
                return b""
        for kind in ("grow", "shrink", "alter", "vanish"):
            for fault in self._reached(kind, offset, end):
                self._device.strike(fault, self._source)
        data = self._inner.read(offset, length if end >= self._source.size else end - offset)
        for fault in self._reached("flip", offset, offset + len(data)):
            place = fault.at - offset
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        self._device.deliver(len(data))
        self._device.wait(len(data), self._faults)
        return data

    def close(self) -> None:
        """See Reader."""
        self._inner.close()

    def _reached(self, kind: str, offset: int, end: int) -> list[Fault]:
        """The faults of a kind that this reading of `offset` to `end` has."""
        found = []
        for fault in self._faults:
            if fault.kind != kind or not _touches(fault, offset, end):
                continue
            if fault not in self._ends:
                struck = self._device.reaches(fault, self._source)
                if kind == "eof":
                    self._ends[fault] = struck
            else:
                struck = self._ends[fault]
            if struck:
                found.append(fault)
        return found


def strike(place: Path, fault: Fault) -> None:
    """Do to a card's file what a fault says. Refuses a file with a second name: it may be somebody's footage."""
    if fault.kind not in _ON_THE_CARD:
        raise ValueError(f"{fault.kind} is no fault of the card")
    if place.stat().st_nlink > 1:
        raise ValueError("this file has a second name: a fault would hurt what is not the card's")
    if fault.kind == "vanish":
        place.unlink()
    elif fault.kind == "shrink":
        os.truncate(place, fault.length)
    elif fault.kind == "grow":
        with place.open("ab") as file:
            for step in range(0, fault.length, _STEP):
                file.write(b"\xa5" * min(_STEP, fault.length - step))
    else:
        with place.open("r+b") as file:
            first = file.read(1) or b"\0"
            file.seek(0)
            file.write(bytes([first[0] ^ 1]))


def _touches(fault: Fault, offset: int, end: int) -> bool:
    """Whether reading `offset` to `end` comes to the fault."""
    if fault.kind == "unreadable":
        return offset < fault.at + fault.length and fault.at < end
    if fault.kind == "eof":
        return fault.at < end
    if fault.kind == "flip":
        return offset <= fault.at < end
    return offset <= fault.at < end or offset == end == fault.at
