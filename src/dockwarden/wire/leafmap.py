"""Which leaves of an item are missing, written or durable: a byte a leaf in memory, a bit a leaf on disk."""

import re
from collections.abc import Iterable

from dockwarden.evidence.canonical import MalformedError
from dockwarden.wire.errors import LocalError

MISSING, WRITTEN, DURABLE = 0, 1, 2
_GAP = re.compile(rb"\x00+")
_DIGITS = bytes.maketrans(bytes((MISSING, WRITTEN, DURABLE)), b"001")
_MARKS = bytes.maketrans(b"01", bytes((MISSING, DURABLE)))


class LeafMap:
    """The leaves of an item of `count` leaves; those in `durable` are durable already. Raises LocalError for
    leaves that the item has not."""

    def __init__(self, count: int, durable: Iterable[int] = ()) -> None:
        self.count = count
        self.missing = count
        self._marks = bytearray(count)
        self._first = 0
        for leaf in durable:
            self.mark(leaf, DURABLE)

    @staticmethod
    def from_bitmap(count: int, bitmap: bytes) -> "LeafMap":
        """Restore what `bitmap` printed; raises MalformedError for another length or bits beyond the item."""
        number = int.from_bytes(bitmap, "little")
        if len(bitmap) != (count + 7) // 8 or number.bit_length() > count:
            raise MalformedError("bitmap", "is not one of this item")
        leaves = LeafMap(count)
        if count:
            leaves._marks = bytearray(f"{number:0{count}b}"[::-1].encode().translate(_MARKS))
            leaves.missing = leaves._marks.count(MISSING)
        return leaves

    def bitmap(self) -> bytes:
        """The durable leaves: leaf i is bit i mod 8 (1 is the lowest) of byte i div 8."""
        digits = self._marks.translate(_DIGITS)[::-1].decode()
        return int(digits or "0", 2).to_bytes((self.count + 7) // 8, "little")

    def state(self, leaf: int) -> int:
        """MISSING, WRITTEN or DURABLE."""
        self._check(leaf)
        return self._marks[leaf]

    def mark(self, leaf: int, state: int) -> None:
        """Say what a leaf now is."""
        self._check(leaf)
        self.missing += (state == MISSING) - (self._marks[leaf] == MISSING)
        self._marks[leaf] = state
        if state == MISSING:
            self._first = min(self._first, leaf)

    def gaps(self, most: int) -> tuple[tuple[int, int], ...]:
        """The first `most` ranges of missing leaves, as (first, count)."""
        found: list[tuple[int, int]] = []
        for match in _GAP.finditer(self._marks, self._first):
            if len(found) == most:
                break
            found.append((match.start(), match.end() - match.start()))
        self._first = found[0][0] if found else self.count
        return tuple(found)

    def _check(self, leaf: int) -> None:
        if not 0 <= leaf < self.count:
            raise LocalError("no-such-leaf", f"the item has {self.count} leaves, none is number {leaf}", "leaf map")
