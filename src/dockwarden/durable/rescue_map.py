"""Which ranges of a source were read and which could not be, and what to try next: a plan without I/O.

In the manner of GNU ddrescue: whole leaves first, past a bad area in growing leaps, so that what is good is safe
before anything is insisted on; then what was leapt over; then from both edges of each bad leaf inwards; then the
blocks between. Each block is tried alone once at most, so the plan ends.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from dockwarden.evidence import canonical, fields
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.digests import LEAF_SIZE

BLOCK = 4096
"""Bytes that are given up at least: a page, of which the kernel reads all or nothing."""

LEAP = 64
"""Leaves that are leapt over at most."""

State: TypeAlias = Literal["untried", "torn", "bad", "good"]
"""`torn` could not be read as a whole leaf; `bad` not as a block."""


@dataclass(frozen=True)
class Span:
    """The bytes from `start` to before `end`."""

    start: int
    end: int
    state: State


class RescueMap:
    """The spans of a source of `size` bytes, in order and without gaps; no two neighbours have one state."""

    def __init__(self, size: int, good: int = 0) -> None:
        self.size = size
        self.failures = 0
        self._spans = _joined([Span(0, good, "good"), Span(good, size, "untried")])
        self._cursor, self._leap, self._leaping = 0, 0, True

    @property
    def spans(self) -> list[Span]:
        """All spans."""
        return list(self._spans)

    @property
    def good_bytes(self) -> int:
        """Bytes that were read."""
        return sum(span.end - span.start for span in self._spans if span.state == "good")

    def is_good(self, start: int, end: int) -> bool:
        """Whether all bytes of a range were read."""
        if not 0 <= start < end <= self.size:
            return False
        span = self._spans[self._at(start)]
        return span.state == "good" and span.end >= end

    def insist(self) -> None:
        """Let everything that could not be read be tried once more."""
        torn = ("torn" if span.state == "bad" else span.state for span in self._spans)
        self._spans = _joined([Span(s.start, s.end, state) for s, state in zip(self._spans, torn, strict=True)])

    def next(self) -> tuple[int, int] | None:
        """Offset and length in bytes of what is to be tried now; None where nothing is left."""
        return self._next_leaf() or self._next_block()

    def note(self, offset: int, length: int, good: bool) -> None:
        """Say how the try of `next` ended."""
        if good:
            self._leap = 0
            self._mark(offset, offset + length, "good")
            return
        self.failures += 1
        self._mark(offset, offset + length, "bad" if length <= BLOCK else "torn")
        if length > BLOCK:
            self._cursor = offset + length + self._leap * LEAF_SIZE
            self._leap = min(max(1, 2 * self._leap), LEAP)

    def to_object(self) -> Object:
        """The map's canonical object."""
        spans: list[canonical.Value] = [[span.start, span.end, span.state] for span in self._spans]
        return {"size": self.size, "spans": spans, "v": 1}

    @staticmethod
    def read(source: Object, size: int) -> "RescueMap":
        """Read the map of a source of `size` bytes; raises MalformedError."""
        fields.version(source)
        spans = [_span(value) for value in fields.array(source, "spans")]
        edges = [0, *(span.end for span in spans)]
        if fields.integer(source, "size") != size or edges[-1] != size or [s.start for s in spans] != edges[:-1]:
            raise MalformedError("rescue map", "is not of this source")
        found = RescueMap(size)
        found._spans = _joined(spans)
        return found

    def _next_leaf(self) -> tuple[int, int] | None:
        untried = [span for span in self._spans if span.state == "untried"]
        if not untried:
            return None
        if self._leaping:
            for span in untried:
                if span.end > self._cursor:
                    return _first_leaf(max(span.start, self._cursor), span.end)
            self._leaping, self._leap = False, 0
        return _first_leaf(untried[0].start, untried[0].end)

    def _next_block(self) -> tuple[int, int] | None:
        torn = [number for number, span in enumerate(self._spans) if span.state == "torn"]
        for number in torn:
            if not self._is_bad(number - 1):
                return self._first_block(number)
            if not self._is_bad(number + 1):
                return self._last_block(number)
        return self._first_block(torn[0]) if torn else None

    def _is_bad(self, number: int) -> bool:
        return 0 <= number < len(self._spans) and self._spans[number].state == "bad"

    def _first_block(self, number: int) -> tuple[int, int]:
        span = self._spans[number]
        return span.start, min(BLOCK - span.start % BLOCK, span.end - span.start)

    def _last_block(self, number: int) -> tuple[int, int]:
        span = self._spans[number]
        start = max(span.start, (span.end - 1) // BLOCK * BLOCK)
        return start, span.end - start

    def _at(self, offset: int) -> int:
        return bisect_right(self._spans, offset, key=lambda span: span.start) - 1

    def _mark(self, start: int, end: int, state: State) -> None:
        """Give a range, which lies within one span, its state."""
        number = self._at(start)
        whole = self._spans[number]
        parts = [Span(whole.start, start, whole.state), Span(start, end, state), Span(end, whole.end, whole.state)]
        first, last = max(0, number - 1), number + 2
        self._spans[first:last] = _joined([*self._spans[first:number], *parts, *self._spans[number + 1 : last]])


def _first_leaf(start: int, end: int) -> tuple[int, int]:
    return start, min(LEAF_SIZE - start % LEAF_SIZE, end - start)


def _joined(spans: Iterable[Span]) -> list[Span]:
    """The spans without empty ones, neighbours of one state made one."""
    found: list[Span] = []
    for span in spans:
        if span.start == span.end:
            continue
        if found and found[-1].state == span.state:
            found[-1] = Span(found[-1].start, span.end, span.state)
        else:
            found.append(span)
    return found


def _span(value: object) -> Span:
    match value:
        case [int(start), int(end), str(state)] if 0 <= start < end and state in get_args(State):
            return Span(start, end, next(known for known in get_args(State) if known == state))
    raise MalformedError("rescue map", "has a span that is none")
