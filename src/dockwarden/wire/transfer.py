"""The transfer of one item as a state machine without I/O: the table, and what both ends share.

Time is an argument (seconds, monotonic). `sender.Sender` is the station's end, `receiver.Receiver` the centre's.
Neither is thread-safe: who calls one from several threads holds a lock.
"""

from dataclasses import dataclass, field
from enum import Enum

from dockwarden.evidence import merkle
from dockwarden.evidence.digests import LEAF_SIZE
from dockwarden.wire.errors import LocalError, RemoteError
from dockwarden.wire.messages import MAX_SIZE, PARTS, Offer

MIB = 1 << 20
LEAST_WINDOW, FIRST_WINDOW, LARGEST_WINDOW = 1 * MIB, 4 * MIB, 16 * MIB
"""Bytes that may be in flight: the bounds, and what is taken until the line has been measured."""
SECONDS_IN_FLIGHT = 0.5
"""How much of the line may be in flight: control is never longer behind data than this."""
_LONG_REST = 1.0


class State(Enum):
    """Where a transfer stands. The first five are the sender's, the others the receiver's."""

    APART = "apart"
    """No connection."""
    OFFERED = "offered"
    """Nothing in flight; the offer is said again and again until the centre says what it wants."""
    SENDING = "sending"
    STORED = "stored"
    """The centre says that it has stored the item; an original still waits for its receipt."""
    DONE = "done"
    IDLE = "idle"
    """Says nothing until it is offered the item again."""
    WANTING = "wanting"
    CHECKING = "checking"
    """All leaves are durable; the caller reads the whole again and stores it."""
    KEPT = "kept"
    REFUSED = "refused"
    """The caller will not have the item: its bytes are not what its seal says."""


class Event(Enum):
    """What happens to a transfer."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    WANT = "want"
    COMPLETE = "complete"
    SETTLED = "settled"
    """Nothing is left to wait for: the receipt is here, or the item was a derivative."""
    SILENT = "silent"
    OFFER = "offer"
    CHUNK = "chunk"
    WHOLE = "whole"
    LACKING = "lacking"
    QUIET = "quiet"
    KEPT = "kept"
    REFUSED = "refused"


_S, _E = State, Event

TABLE: dict[State, dict[Event, State]] = {
    _S.APART: {
        _E.CONNECTED: _S.OFFERED,
        _E.DISCONNECTED: _S.APART,
        _E.SETTLED: _S.DONE,
    },
    _S.OFFERED: {
        _E.CONNECTED: _S.OFFERED,
        _E.DISCONNECTED: _S.APART,
        _E.WANT: _S.SENDING,
        _E.COMPLETE: _S.STORED,
        _E.SETTLED: _S.DONE,
        _E.SILENT: _S.OFFERED,
    },
    _S.SENDING: {
        _E.CONNECTED: _S.OFFERED,
        _E.DISCONNECTED: _S.APART,
        _E.WANT: _S.SENDING,
        _E.COMPLETE: _S.STORED,
        _E.SETTLED: _S.DONE,
        _E.SILENT: _S.OFFERED,
    },
    _S.STORED: {
        _E.CONNECTED: _S.OFFERED,
        _E.DISCONNECTED: _S.APART,
        _E.WANT: _S.SENDING,
        _E.COMPLETE: _S.STORED,
        _E.SETTLED: _S.DONE,
        _E.SILENT: _S.OFFERED,
    },
    _S.DONE: {
        _E.CONNECTED: _S.DONE,
        _E.DISCONNECTED: _S.DONE,
        _E.SETTLED: _S.DONE,
    },
    _S.IDLE: {
        _E.OFFER: _S.WANTING,
        _E.CHUNK: _S.WANTING,
        _E.WHOLE: _S.CHECKING,
        _E.QUIET: _S.IDLE,
        _E.REFUSED: _S.REFUSED,
    },
    _S.WANTING: {
        _E.OFFER: _S.WANTING,
        _E.CHUNK: _S.WANTING,
        _E.WHOLE: _S.CHECKING,
        _E.QUIET: _S.IDLE,
        _E.REFUSED: _S.REFUSED,
    },
    _S.CHECKING: {
        _E.OFFER: _S.CHECKING,
        _E.LACKING: _S.WANTING,
        _E.QUIET: _S.CHECKING,
        _E.KEPT: _S.KEPT,
        _E.REFUSED: _S.REFUSED,
    },
    _S.KEPT: {
        _E.OFFER: _S.KEPT,
        _E.QUIET: _S.KEPT,
    },
    _S.REFUSED: {
        _E.OFFER: _S.REFUSED,
        _E.QUIET: _S.REFUSED,
        _E.REFUSED: _S.REFUSED,
    },
}
"""All that may happen, for both ends. What is not here is a LocalError: no message of a peer can lead there."""


def step(state: State, event: Event) -> State:
    """The state after `event`; raises LocalError where the table has none."""
    after = TABLE[state].get(event)
    if after is None:
        raise LocalError("no-such-step", f"{event.value} cannot happen while {state.value}", "transfer")
    return after


@dataclass(frozen=True)
class Item:
    """What is transferred: a part of a record. `size` in bytes, `leaves_root` of 32 bytes.

    `leaf_size` is LEAF_SIZE on every wire; only tests take smaller leaves. Raises LocalError where size and root
    contradict each other or the size is beyond what the wire carries.
    """

    record: str
    part: int
    size: int
    leaves_root: bytes
    leaf_size: int = field(default=LEAF_SIZE)

    def __post_init__(self) -> None:
        empty = self.leaves_root == merkle.EMPTY_ROOT
        if len(self.leaves_root) != 32 or not 0 <= self.size <= MAX_SIZE or empty != (self.size == 0):
            raise LocalError("no-such-item", "size and root contradict each other", self.name)

    @property
    def key(self) -> tuple[str, int]:
        """Record and part: what messages about the item name."""
        return self.record, self.part

    @property
    def name(self) -> str:
        """For people: the record's id and the part's name."""
        return f"{self.record}/{PARTS[self.part]}"

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return -(-self.size // self.leaf_size)

    def offset(self, leaf: int) -> int:
        """Where a leaf begins, in bytes."""
        return leaf * self.leaf_size

    def length(self, leaf: int) -> int:
        """Bytes of a leaf; raises IndexError outside the item."""
        if not 0 <= leaf < self.leaves:
            raise IndexError(leaf)
        return min(self.leaf_size, self.size - self.offset(leaf))


def offered_item(offer: Offer, leaf_size: int = LEAF_SIZE) -> Item:
    """The item that an offer names; raises RemoteError where it cannot be."""
    try:
        return Item(offer.record, offer.part, offer.size, bytes.fromhex(offer.leaves_root), leaf_size)
    except LocalError as error:
        raise RemoteError(error.code, error.what, error.where) from error


@dataclass(frozen=True)
class Timers:
    """Seconds. Waits begin with `*_first`, double with each one in vain up to `*_longest`, and are never shorter
    than a few times what the line was seen to need."""

    offer_first: float = 5.0
    offer_longest: float = 120.0
    stall_first: float = 10.0
    stall_longest: float = 60.0
    stalls: int = 4
    """How many stalls in a row until the receiver waits for an offer."""
    store_first: float = 1.0
    store_longest: float = 60.0


def backoff(first: float, longest: float, times: int) -> float:
    """Seconds to wait after `times` waits in vain."""
    return float(min(first * 2 ** min(times, 32), longest))


class Pace:
    """Measures a line's rate and says how many bytes may be in flight on it: half a second, within bounds."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self._since: float | None = None
        self._rested: float | None = None
        self._bytes = 0

    @property
    def window(self) -> int:
        """Bytes that may be in flight."""
        if self.rate is None:
            return FIRST_WINDOW
        return int(min(max(self.rate * SECONDS_IN_FLIGHT, LEAST_WINDOW), LARGEST_WINDOW))

    def busy(self, now: float) -> None:
        """Something is on its way from now on. After a rest of a second the measurement begins anew."""
        if self._since is None or (self._rested is not None and now - self._rested > _LONG_REST):
            self._since, self._bytes = now, 0
        self._rested = None

    def arrived(self, count: int, now: float) -> None:
        """`count` bytes that were on their way have arrived."""
        self._bytes += count
        if self._since is not None and now - self._since >= SECONDS_IN_FLIGHT:
            sample = self._bytes / (now - self._since)
            self.rate = sample if self.rate is None else (self.rate + sample) / 2
            self._since, self._bytes = now, 0

    def rest(self, now: float) -> None:
        """Nothing is on its way any more."""
        self._rested = now
