"""The centre's end of one transfer: says what it wants, checks each leaf, and asks for a receipt at the end."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from dockwarden.evidence import merkle
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.errors import LocalError, RemoteError
from dockwarden.wire.leafmap import DURABLE, MISSING, WRITTEN, LeafMap
from dockwarden.wire.messages import MAX_EPOCH, MAX_RANGES, ORIGINAL, Offer, Want
from dockwarden.wire.transfer import LARGEST_WINDOW, Event, Item, State, Timers, backoff, step

HIGHEST_KNOWN = MAX_EPOCH // 2
"""The highest epoch that a station may claim to know: half of them stay for what follows."""
_GAPS = 4
"""A stall is at least as long as so many times what lately lay between two chunks."""


@dataclass(frozen=True)
class SayWant:
    """Sign and publish this want."""

    want: Want


@dataclass(frozen=True)
class SayReceipt:
    """Publish this receipt's note."""

    note: bytes


@dataclass(frozen=True)
class Write:
    """Write `data` at `offset` of the staged item; say `on_durable([leaf])` after the next fdatasync.

    `data` is a view into the message: let it go after the write. `leaf_hash` is what was proven.
    """

    leaf: int
    offset: int
    data: bytes | memoryview
    leaf_hash: bytes


@dataclass(frozen=True)
class Complete:
    """All leaves are durable: read the whole again, compare with the seal, store it, then say `on_stored`."""


Action: TypeAlias = SayWant | SayReceipt | Write | Complete


class Receiver:
    """Receives `item` from `station`.

    `durable` are the leaves that were durable before (after a restart: the staged list). `limit` is how many bytes
    of data may be on their way or written but not yet durable, 0 or at least a leaf. `jump` is how far an epoch
    lies above the last: drawn at random, 1 to 256, it keeps two centres that answer one offer apart.
    """

    def __init__(
        self,
        item: Item,
        station: str,
        durable: Iterable[int] = (),
        limit: int = LARGEST_WINDOW,
        jump: int = 1,
        timers: Timers | None = None,
    ) -> None:
        if not 1 <= jump <= 256:
            raise LocalError("wrong-jump", "epochs rise by 1 to 256", item.name)
        self.item = item
        self.state = State.IDLE
        self.leaves = LeafMap(item.leaves, durable)
        self.session: str | None = None
        self.epoch = 0
        self.pending = 0
        """Bytes that were given to be written and are not yet said to be durable."""
        self.duplicates = self.dropped = self.breaches = 0
        self._station, self._jump = station, jump
        self._timers = timers or Timers()
        self._limit = self._checked_limit(limit)
        self._highest = self._seen = self._said = 0
        self._receipt: bytes | None = None
        self._stalls = self._failures = 0
        self._gap = self._heard = 0.0
        self._check_at: float | None = None

    @staticmethod
    def kept(item: Item, station: str, receipt: bytes | None, jump: int = 1) -> "Receiver":
        """A receiver for an item that is stored already: it answers offers with `complete` and the receipt."""
        receiver = Receiver(item, station, (), 0, jump)
        receiver._keep(receipt)
        receiver.state = State.KEPT
        return receiver

    def on_offer(self, offer: Offer, now: float) -> list[Action]:
        """Take an offer of this item whose seal the caller has checked.

        A new epoch begins where the station has changed its session or forgotten what was in flight; an offer
        that was on its way before our last want is only answered. Raises RemoteError for another item's size or
        root under the same name: a record has one seal.
        """
        if (offer.record, offer.part) != self.item.key:
            raise LocalError("wrong-item", "an offer was given to the receiver of another item", self.item.name)
        if (offer.size, offer.leaves_root) != (self.item.size, self.item.leaves_root.hex()):
            raise RemoteError("another-item", "the same item was offered with another size or root", self.item.name)
        if offer.epoch > HIGHEST_KNOWN:
            raise RemoteError("epochs-exhausted", "the station's session has used up all epochs", self.item.name)
        if offer.session != self.session or offer.epoch >= self.epoch:
            self._renew(offer.epoch)
            self.session = offer.session
        self.state = step(self.state, Event.OFFER)
        self._stalls, self._heard = 0, now
        return self._say()

    def on_chunk(self, chunk: Chunk, now: float) -> list[Action]:
        """Take a chunk of this item; raises RemoteError where it is not a leaf of it.

        Chunks of earlier epochs are taken as well: what is proven is right whenever it comes.
        """
        if (chunk.record, chunk.part) != self.item.key:
            raise LocalError("wrong-item", "a chunk was given to the receiver of another item", self.item.name)
        if self.session is None or self.state not in (State.IDLE, State.WANTING):
            return []
        if chunk.epoch > HIGHEST_KNOWN:
            self._breach("not-wanted", "a chunk is of an epoch that never was")
        if chunk.epoch > self.epoch:
            self._highest = max(self._highest, chunk.epoch)
            self.state = step(self.state, Event.QUIET)
            return []
        if chunk.epoch == self.epoch:
            self._seen = max(self._seen, chunk.serial)
        self._check_form(chunk)
        if self.leaves.state(chunk.leaf) != MISSING:
            self.duplicates += 1
            unsaid = self.state is State.WANTING and not self.pending and self._seen > self._said
            return self._say() if unsaid else []
        if self.pending + len(chunk.data) > self._limit:
            self.dropped += 1
            return []
        return [self._take(chunk, now)]

    def on_durable(self, leaves: Iterable[int]) -> list[Action]:
        """The caller has made these written leaves durable (one fdatasync for many), and its list of them."""
        for leaf in leaves:
            self._settle(leaf, DURABLE)
        return self._say() if self.state is State.WANTING or self._is_whole() else []

    def on_write_failed(self, leaves: Iterable[int]) -> list[Action]:
        """These writes, or the fdatasync after them, failed: they are wanted again once `set_limit` says so."""
        for leaf in leaves:
            self._settle(leaf, MISSING)
        self._limit = 0
        if self.session is not None:
            self._renew(0)
        return self._say() if self.state is State.WANTING else []

    def on_stored(self, receipt: bytes | None) -> list[Action]:
        """The whole has been read again, equals its seal and is stored; an original has its receipt's note."""
        self.state = step(self.state, Event.KEPT)
        self._keep(receipt)
        return self._say()

    def on_store_failed(self, lacking: Iterable[int], now: float) -> list[Action]:
        """The whole could not be stored. `lacking` leaves were not as they should be and are wanted again; where
        there are none, `Complete` is said again after a while."""
        if self.state is not State.CHECKING:
            raise LocalError("no-such-step", f"nothing is being stored while {self.state.value}", self.item.name)
        wanted = list(lacking)
        for leaf in wanted:
            self.leaves.mark(leaf, MISSING)
        if not wanted:
            self._check_at = now + backoff(self._timers.store_first, self._timers.store_longest, self._failures)
            self._failures += 1
            return []
        self.state = step(self.state, Event.LACKING)
        self._renew(0)
        self._heard = now
        return self._say()

    def refuse(self) -> None:
        """The bytes are proven and yet not what the seal says: the item is refused until this receiver is dropped."""
        self.state = step(self.state, Event.REFUSED)

    def rest(self) -> None:
        """The station is gone: say nothing until it offers again."""
        self.state = step(self.state, Event.QUIET)

    def set_limit(self, limit: int) -> list[Action]:
        """Change how many bytes may be on their way; 0 (a full disk) stops the sender."""
        grown = self._limit == 0 and limit > 0
        self._limit = self._checked_limit(limit)
        return self._say() if grown and self.state is State.WANTING else []

    def due(self) -> float | None:
        """When `on_time` has something to do; None: not by the clock."""
        if self.state is State.CHECKING:
            return self._check_at
        waits = self.state is State.WANTING and self.leaves.missing and not self.pending and self._limit
        return self._heard + self._patience() if waits else None

    def on_time(self, now: float) -> list[Action]:
        """What the clock asks for: after a stall a new epoch, in the end rest; after a failure another try."""
        due = self.due()
        if due is None or now < due:
            return []
        if self.state is State.CHECKING:
            self._check_at = None
            return [Complete()]
        if self._stalls >= self._timers.stalls:
            self.rest()
            return []
        self._stalls += 1
        self._heard = now
        self._renew(0)
        return self._say()

    def _check_form(self, chunk: Chunk) -> None:
        if chunk.leaf >= self.item.leaves:
            self._breach("no-such-leaf", f"leaf {chunk.leaf} of {self.item.leaves} was sent")
        if len(chunk.data) != self.item.length(chunk.leaf):
            self._breach("wrong-length", f"leaf {chunk.leaf} was sent with {len(chunk.data)} bytes")

    def _take(self, chunk: Chunk, now: float) -> Write:
        proven = chunk.leaf_hash()
        try:
            merkle.verify_inclusion(proven, chunk.leaf, self.item.leaves, chunk.proof, self.item.leaves_root)
        except merkle.ProofError as error:
            self._breach("wrong-proof", f"leaf {chunk.leaf}: {error}")
        self.leaves.mark(chunk.leaf, WRITTEN)
        self.pending += len(chunk.data)
        self.state = step(self.state, Event.CHUNK)
        self._gap = max(now - self._heard, self._gap * 0.75)
        self._stalls, self._heard = 0, now
        return Write(chunk.leaf, self.item.offset(chunk.leaf), chunk.data, proven)

    def _breach(self, code: str, what: str) -> NoReturn:
        self.breaches += 1
        raise RemoteError(code, what, self.item.name, "Look at the station's vault and at its version.")

    def _settle(self, leaf: int, state: int) -> None:
        if self.leaves.state(leaf) != WRITTEN:
            raise LocalError("not-written", f"leaf {leaf} was not given to be written", self.item.name)
        self.leaves.mark(leaf, state)
        self.pending -= self.item.length(leaf)

    def _keep(self, receipt: bytes | None) -> None:
        if (receipt is None) != (self.item.part != ORIGINAL):
            raise LocalError(
                "receipt-missing", "an original is stored with a receipt, and nothing else is", self.item.name
            )
        self._receipt = receipt

    def _is_whole(self) -> bool:
        return self.state in (State.IDLE, State.WANTING) and not self.leaves.missing and not self.pending

    def _say(self) -> list[Action]:
        """The want that fits the state, and what goes with it."""
        actions: list[Action] = []
        if self._is_whole():
            self.state = step(self.state, Event.WHOLE)
            self._check_at, self._failures = None, 0
            actions.append(Complete())
        if self.session is None or self.state in (State.IDLE, State.REFUSED):
            return actions
        kept, wanting = self.state is State.KEPT, self.state is State.WANTING
        ranges = self.leaves.gaps(MAX_RANGES) if wanting else ()
        credit = max(0, self._limit - self.pending) if ranges else 0
        self._said = self._seen
        record, part = self.item.key
        root = self.item.leaves_root.hex()
        want = Want(self._station, self.session, record, part, root, self.epoch, self._seen, credit, ranges, kept)
        actions.insert(0, SayWant(want))
        if kept and self._receipt is not None:
            actions.append(SayReceipt(self._receipt))
        return actions

    def _renew(self, known: int) -> None:
        """Begin a new epoch above all that are known: what was in flight is forgotten."""
        epoch = max(self.epoch, self._highest, known) + self._jump
        self.epoch, self._seen, self._said = min(epoch, MAX_EPOCH), 0, 0

    def _patience(self) -> float:
        return max(backoff(self._timers.stall_first, self._timers.stall_longest, self._stalls), _GAPS * self._gap)

    def _checked_limit(self, limit: int) -> int:
        if limit != 0 and limit < min(self.item.leaf_size, max(self.item.size, 1)):
            raise LocalError("limit-too-small", "a limit is 0 or at least a leaf", self.item.name)
        return limit
