"""The station's end of one transfer: offers an item, and sends just what the centre wants of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from dockwarden.evidence import merkle
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.errors import LocalError, RemoteError
from dockwarden.wire.messages import ORIGINAL, Offer, Want
from dockwarden.wire.transfer import Event, Item, State, Timers, backoff, step

_ROUNDS = 3
"""Silence is at least as long as so many times what a chunk last needed to be seen."""


@dataclass(frozen=True)
class Piece:
    """A leaf to be read (`length` bytes from `offset` of the item) and sent as chunk `serial` of `epoch`.

    `doubted`: the centre has had it and wants it again, so its bytes are compared with the seal's tree first.
    """

    item: Item
    epoch: int
    serial: int
    leaf: int
    offset: int
    length: int
    doubted: bool


@dataclass(frozen=True)
class _Flying:
    serial: int
    length: int
    at: float


class Sender:
    """Sends `item`. `seal` is the seal's note for an original, else None.

    `session` is the station's session, `floor` the highest epoch of any want that was taken in this session
    before: what is not above it is about another transfer.
    """

    def __init__(
        self, item: Item, seal: bytes | None, session: str, floor: int = 0, timers: Timers | None = None
    ) -> None:
        if (seal is None) != (item.part != ORIGINAL):
            raise LocalError("seal-missing", "an original is offered with its seal, and nothing else is", item.name)
        self.item = item
        self.state = State.APART
        self.epoch = floor
        self.in_flight = 0
        """Bytes of data on their way: sent in this epoch and not yet said to be seen."""
        self.arrived = 0
        """Bytes of data that arrived, as the centre's wants tell."""
        self._seal, self._session, self._floor = seal, session, floor
        self._timers = timers or Timers()
        self._serial = self._seen = self._credit = self._tries = 0
        self._ranges: tuple[tuple[int, int], ...] = ()
        self._ahead: Iterator[int] = iter(())
        self._next: int | None = None
        self._flying: dict[int, _Flying] = {}
        self._doubted: set[int] = set()
        self._round = 0.0
        self._due = 0.0

    def connected(self, now: float) -> None:
        """The link is up (again): whatever was in flight may be lost, so the item is offered at once."""
        self._turn(Event.CONNECTED)
        self._tries, self._due = 0, now

    def disconnected(self) -> None:
        """The link is down."""
        self._turn(Event.DISCONNECTED)

    def due(self) -> float | None:
        """When `offer` has something to say at the latest; None: not by the clock."""
        return None if self.state in (State.APART, State.DONE) or self._may_go_on() else self._due

    def offer(self, now: float) -> Offer | None:
        """The offer to publish now, if it is time for one. Saying it forgets all that was in flight."""
        due = self.due()
        if due is None or now < due:
            return None
        self._turn(Event.SILENT)
        self._due = now + self._patience()
        self._tries += 1
        root = self.item.leaves_root.hex()
        return Offer(self._session, self.item.record, self.item.part, self.epoch, self.item.size, root, self._seal)

    def on_want(self, want: Want, now: float) -> bool:
        """Take a checked want for this item; False where it is out of date, which is nobody's fault.

        Raises RemoteError for a want that cannot be.
        """
        if (want.record, want.part) != self.item.key:
            raise LocalError("wrong-item", "a want was given to the sender of another item", self.item.name)
        newer = want.epoch > self.epoch
        current = want.epoch == self.epoch > self._floor
        ours = (want.session, want.leaves_root) == (self._session, self.item.leaves_root.hex())
        if not ours or not (newer or current) or self.state in (State.APART, State.DONE):
            return False
        if want.complete:
            return self._completed(want, now)
        if not newer and (self.state is not State.SENDING or want.seen < self._seen):
            return False
        self._check(want)
        if want.seen > (0 if newer else self._serial):
            return self._offer_above(want.epoch)
        self._take_over(want, newer, now)
        return True

    def on_receipt(self) -> None:
        """The caller has checked the receipt (signature, record, seal, digests) and recorded it durably."""
        if self.item.part != ORIGINAL:
            raise LocalError("no-receipt", "only originals get receipts", self.item.name)
        self._turn(Event.SETTLED)

    def take(self, budget: int, now: float) -> Piece | None:
        """The next leaf to send that fits into `budget` bytes and the centre's credit; it is in flight then."""
        if self.state is not State.SENDING:
            return None
        leaf = self._peek()
        if leaf is None:
            return None
        length = self.item.length(leaf)
        if length > budget or self.in_flight + length > self._credit:
            return None
        if not self.in_flight:
            self._due = now + self._patience()
        self._next = None
        self._serial += 1
        self._flying[leaf] = _Flying(self._serial, length, now)
        self.in_flight += length
        doubted = leaf in self._doubted
        self._doubted.discard(leaf)
        return Piece(self.item, self.epoch, self._serial, leaf, self.item.offset(leaf), length, doubted)

    def _completed(self, want: Want, now: float) -> bool:
        self.epoch = want.epoch
        self._turn(Event.COMPLETE)
        self._due = now + self._patience()
        if self.item.part != ORIGINAL:
            self._turn(Event.SETTLED)
        return True

    def _check(self, want: Want) -> None:
        end = sum(want.ranges[-1]) if want.ranges else 0
        if end > self.item.leaves:
            raise RemoteError("no-such-leaf", f"leaf {end - 1} of {self.item.leaves} is wanted", self.item.name)

    def _offer_above(self, epoch: int) -> bool:
        """A serial is said to be seen that was not sent in this epoch.

        A chunk of our earlier session bore the same epoch, which the centre cannot tell: nobody is to blame. The next
        offer names the epoch, so that the centre begins a new one with all serials forgotten.
        """
        self._turn(Event.SILENT)
        self.epoch = epoch
        return False

    def _take_over(self, want: Want, newer: bool, now: float) -> None:
        if newer:
            self._forget()
            self.epoch, self._serial = want.epoch, 0
        self._seen, self._credit, self._ranges = want.seen, want.credit, want.ranges
        for leaf, flying in list(self._flying.items()):
            if flying.serial <= want.seen:
                self._landed(leaf, flying, now)
        self._ahead, self._next = self._leaves_ahead(), None
        self.state = step(self.state, Event.WANT)
        self._due = now + self._patience()

    def _landed(self, leaf: int, flying: _Flying, now: float) -> None:
        del self._flying[leaf]
        self.in_flight -= flying.length
        self._round, self._tries = now - flying.at, 0
        if any(first <= leaf < first + count for first, count in self._ranges):
            self._doubted.add(leaf)
        else:
            self.arrived += flying.length

    def _leaves_ahead(self) -> Iterator[int]:
        for first, count in self._ranges:
            for leaf in range(first, first + count):
                if leaf not in self._flying:
                    yield leaf

    def _peek(self) -> int | None:
        if self._next is None:
            self._next = next(self._ahead, None)
        return self._next

    def _may_go_on(self) -> bool:
        """Whether it is for this side to go on: nothing is in flight, and a leaf may be sent."""
        if self.state is not State.SENDING or self.in_flight:
            return False
        leaf = self._peek()
        return leaf is not None and self.item.length(leaf) <= self._credit

    def _patience(self) -> float:
        return max(backoff(self._timers.offer_first, self._timers.offer_longest, self._tries), _ROUNDS * self._round)

    def _turn(self, event: Event) -> None:
        """A step after which nothing is in flight."""
        self.state = step(self.state, event)
        self._forget()

    def _forget(self) -> None:
        self._flying.clear()
        self._doubted.clear()
        self._ahead, self._next, self._ranges = iter(()), None, ()
        self.in_flight = 0


def make_chunk(piece: Piece, data: bytes, tree: merkle.Tree) -> Chunk:
    """The chunk of a piece whose bytes have been read; `tree` is the one over the item's leaves.

    Raises LocalError where `data` has another length or, for a doubted leaf, is not what was sealed.
    """
    item = piece.item
    if len(data) != piece.length:
        raise LocalError("wrong-length", f"leaf {piece.leaf} has {len(data)} bytes, not {piece.length}", item.name)
    proof = tuple(tree.proof(piece.leaf))
    chunk = Chunk(item.record, item.part, piece.epoch, piece.serial, piece.leaf, proof, data)
    if piece.doubted and chunk.leaf_hash() != tree.node(0, piece.leaf):
        raise LocalError(
            "own-bytes-changed",
            f"leaf {piece.leaf} is not what was sealed",
            item.name,
            "Check the vault: the record is damaged here.",
        )
    return chunk
