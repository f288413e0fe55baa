"""Several transfers of one station under one window of bytes, and the order in which they have their turn."""

from collections.abc import Iterable
from dataclasses import dataclass

from dockwarden.evidence import merkle
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.errors import LocalError, RemoteError
from dockwarden.wire.messages import ORIGINAL, Offer, Want
from dockwarden.wire.sender import Piece, Sender, make_chunk
from dockwarden.wire.transfer import Item, Pace, State, Timers

MOST = 8
"""Items that are on their way at once."""
NEAR_S = 12 * 3600.0
"""An original whose deadline is nearer than this goes first."""


@dataclass(frozen=True)
class Waiting:
    """An item that waits to be sent. `marked`: the device marked the recording as important; `deadline` in
    seconds of any clock, None where there is none; `number` is the place in the order of sealing."""

    record: str
    part: int
    size: int
    number: int
    marked: bool = False
    deadline: float | None = None


def in_order(waiting: Iterable[Waiting], now: float, near: float = NEAR_S) -> list[Waiting]:
    """Derivatives first, the smallest leading; then originals: marked ones and those whose deadline is near,
    by deadline; then the others, by deadline. Where all is equal the older record leads."""

    def rank(item: Waiting) -> tuple[int, float, int]:
        if item.part != ORIGINAL:
            return 0, item.size, item.number
        deadline = float("inf") if item.deadline is None else item.deadline
        urgent = item.marked or deadline - now < near
        return (1 if urgent else 2), deadline, item.number

    return sorted(waiting, key=rank)


class Outbox:
    """The senders of `station` in its `session`; not thread-safe.

    The first item that was added has the first turn: the others use what it leaves of the window.
    """

    def __init__(self, station: str, session: str, most: int = MOST, timers: Timers | None = None) -> None:
        self.stale = 0
        """Wants that were out of date, of another session or for an item that is not here."""
        self.pace = Pace()
        self._station, self._session, self._most = station, session, most
        self._timers = timers or Timers()
        self._senders: dict[tuple[str, int], tuple[Sender, merkle.Tree]] = {}
        self._connected = False
        self._floor = 0

    @property
    def room(self) -> int:
        """How many more items may be added."""
        return self._most - len(self._senders)

    @property
    def in_flight(self) -> int:
        """Bytes of data on their way, of all items."""
        return sum(sender.in_flight for sender, _ in self._senders.values())

    def items(self) -> dict[tuple[str, int], State]:
        """The items that are here, by record and part, and where each stands."""
        return {key: sender.state for key, (sender, _) in self._senders.items()}

    def add(self, item: Item, seal: bytes | None, tree: merkle.Tree, now: float) -> None:
        """Begin to send an item; `tree` is the one over its leaves."""
        if item.key in self._senders or not self.room:
            raise LocalError("no-room", "the item is here already, or the outbox is full", item.name)
        if (tree.size, tree.root) != (item.leaves, item.leaves_root):
            raise LocalError("wrong-tree", "the leaves do not make the root that was sealed", item.name)
        sender = Sender(item, seal, self._session, self._floor, self._timers)
        if self._connected:
            sender.connected(now)
        self._senders[item.key] = sender, tree

    def drop(self, record: str, part: int) -> None:
        """Let go of an item, whether done or not; it may be added again."""
        self._senders.pop((record, part), None)

    def connected(self, now: float) -> None:
        """The link is up (again): everything is offered at once."""
        self._connected = True
        for sender, _ in self._senders.values():
            sender.connected(now)

    def disconnected(self, now: float) -> None:
        """The link is down."""
        self._connected = False
        for sender, _ in self._senders.values():
            sender.disconnected()
        self.pace.rest(now)

    def on_want(self, want: Want, now: float) -> State | None:
        """Take a checked want; the state of its item, or None where it is out of date.

        At DONE a derivative has arrived. Raises RemoteError for a want that cannot be.
        """
        if want.station != self._station:
            raise RemoteError("not-for-us", "a want names another station", f"station {self._station}")
        sender, _ = self._senders.get((want.record, want.part), (None, None))
        before = 0 if sender is None else sender.arrived
        if sender is None or not sender.on_want(want, now):
            self.stale += 1
            return None
        self._floor = max(self._floor, want.epoch)
        if sender.arrived > before:
            self.pace.arrived(sender.arrived - before, now)
        self._perhaps_rest(now)
        return sender.state

    def on_receipt(self, record: str) -> bool:
        """The receipt of an original has been checked and recorded; False where its item is not here."""
        sender, _ = self._senders.get((record, ORIGINAL), (None, None))
        if sender is not None:
            sender.on_receipt()
        return sender is not None

    def next(self, now: float) -> Offer | Piece | None:
        """What to do next: publish an offer, or read a piece and publish its chunk; None: wait for news or
        until `due`."""
        for sender, _ in self._senders.values():
            offer = sender.offer(now)
            if offer is not None:
                self._perhaps_rest(now)
                return offer
        budget = self.pace.window - self.in_flight
        for sender, _ in self._senders.values():
            piece = sender.take(budget, now)
            if piece is not None:
                self.pace.busy(now)
                return piece
        return None

    def chunk(self, piece: Piece, data: bytes) -> Chunk:
        """The chunk of a piece that was read; raises LocalError where the bytes are not what was sealed, or
        where the item was let go meanwhile."""
        found = self._senders.get(piece.item.key)
        if found is None:
            raise LocalError("no-such-item", "the item is not in the outbox any more", piece.item.name)
        return make_chunk(piece, data, found[1])

    def due(self) -> float | None:
        """When `next` has something new to say by the clock alone; None: never."""
        times = [sender.due() for sender, _ in self._senders.values()]
        return min((time for time in times if time is not None), default=None)

    def _perhaps_rest(self, now: float) -> None:
        if not self.in_flight:
            self.pace.rest(now)
