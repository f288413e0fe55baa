"""The receiver: takes what a station sends, proves it, stores it, and signs for it.

Leaves go to disk as they come; one fdatasync serves all that has queued. `leaves` of an item that is being received
is its durable list too: a hash is written there only after its leaf is on the disk, so a restart goes on from it.
What a station can have open is bounded: files, folders, and what is remembered of it.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable

from dockwarden.centre.archive import Archive, Kept, Unsigned
from dockwarden.centre.gathering import Gathering, holds_leaves, open_gathering
from dockwarden.durable.files import DurableError, free_space
from dockwarden.evidence import seals
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import VerifierKey
from dockwarden.service.logs import log
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.messages import ORIGINAL, Offer
from dockwarden.wire.receiver import Action, Complete, Receiver, SayReceipt, SayWant, Write
from dockwarden.wire.topics import Lane
from dockwarden.wire.transfer import Item, State, backoff, offered_item

KEEP_FREE = 256 << 20
"""Bytes of the disk that are left to the database and to what is being finished."""
SHARE = 2
"""One station's unfinished items may hold one part in so many of what would be free without them."""
LIMIT = 8 << 20
"""Bytes of data that a transfer may have on its way or not yet durable."""
MOST_OPEN = 8
"""Items of one station that are open at once: what a station sends at once (`wire.outbox.MOST`)."""
MOST_SETTLED = 256
"""Items of one station of which is remembered that they are stored or refused."""
IDLE_S = 600.0
"""An item of which nothing is heard for so long is closed, and the disk space that was reserved for it given back."""
RETRY_FIRST_S, RETRY_LONGEST_S = 0.2, 60.0

Key = tuple[str, int]
Use = Callable[[object], None]


class Receiving:
    """All transfers of one station; used by the office's thread alone.

    `publish` gets signed wants and receipts. `check` runs a long job in another thread: it is given the work and
    what to do with its result, or the error that it raised, in this thread.
    """

    def __init__(
        self,
        station: str,
        archive: Archive,
        station_key: VerifierKey,
        publish: Callable[[Lane, bytes], None],
        check: Callable[[Callable[[], object], Use], None],
    ) -> None:
        self._station = station
        self._archive = archive
        self._key = station_key
        self._publish = publish
        self._check = check
        self._open: OrderedDict[Key, Gathering] = OrderedDict()
        self._settled: OrderedDict[Key, Receiver] = OrderedDict()
        self._finishing: set[str] = set()

    def on_offer(self, payload: bytes, now: float) -> None:
        """Take an offer; raises MalformedError, SignatureError, RemoteError, DurableError."""
        offer = Offer.decode(payload)
        key = (offer.record, offer.part)
        receiver = self._known(offer)
        if receiver is None:
            receiver = self._begin(offer, now)
        if receiver is not None:
            self._touch(key, now)
            self._do(key, receiver, receiver.on_offer(offer, now))

    def on_chunk(self, payload: bytes, now: float) -> None:
        """Take a chunk; raises MalformedError, RemoteError. One that nobody waits for is dropped."""
        chunk = Chunk.decode(payload)
        key = (chunk.record, chunk.part)
        found = self._open.get(key)
        if found is not None:
            actions = found.receiver.on_chunk(chunk, now)
            if actions:
                self._touch(key, now)
            self._do(key, found.receiver, actions)

    def flush(self, now: float) -> None:
        """Make durable what was written since the last time, and say what is wanted now."""
        for key, found in list(self._open.items()):
            if not found.waiting:
                continue
            leaves, error = found.make_durable()
            if error is None:
                found.failures = 0
                self._do(key, found.receiver, found.receiver.on_durable(leaves))
            else:
                self._write_failed(key, found, leaves, error, now)

    def on_time(self, now: float) -> None:
        """What the clock asks for; also lets senders go on when a full disk has room again."""
        for key, found in list(self._open.items()):
            if found.receiver.state in (State.IDLE, State.REFUSED) and now - found.heard > IDLE_S:
                self._put_away(key)
                continue
            actions = found.receiver.on_time(now)
            if now >= found.retry_at and free_space(self._archive.incoming) > KEEP_FREE + LIMIT:
                actions += found.receiver.set_limit(LIMIT)
            self._do(key, found.receiver, actions)

    def rest(self) -> None:
        """The station is gone: say nothing until it offers again."""
        for found in self._open.values():
            found.receiver.rest()

    def close(self) -> None:
        """Close all files; what is durable stays."""
        for found in self._open.values():
            found.close()
        self._open.clear()

    def _known(self, offer: Offer) -> Receiver | None:
        """The receiver that an offered item has already; that of an older preview gives way to a newer one's."""
        key = (offer.record, offer.part)
        found = self._open.get(key)
        receiver = found.receiver if found is not None else self._settled.get(key)
        if receiver is None or offer.part == ORIGINAL:
            return receiver
        if receiver.item.leaves_root.hex() == offer.leaves_root:
            return receiver
        if receiver.state is State.CHECKING or not self._is_announced(offer):
            raise RemoteError("another-item", "a preview was offered that is not the newest", receiver.item.name)
        if found is not None:
            self._close(key, found)
            self._archive.discard(self._station, receiver.item)
        self._settled.pop(key, None)
        return None

    def _begin(self, offer: Offer, now: float) -> Receiver | None:
        """Open the item that is offered, or find that it is stored already; None where it is too early to answer."""
        item = offered_item(offer)
        if offer.part == ORIGINAL:
            self._archive.check_owner(self._station, offer.record)
            seal, _ = seals.open_seal(offer.seal or b"", [self._key])
            if not offer.agrees(seal):
                raise RemoteError("not-the-seal", "an offer is not what its seal says", item.name)
        elif not self._is_announced(offer):
            return None  # its fact is still on the way; the station offers again
        kept = self._archive.kept(offer.record, offer.part, offer.leaves_root)
        if isinstance(kept, Kept | Unsigned) and offer.seal is not None and kept.seal != offer.seal:
            raise RemoteError("another-seal", "the record is stored here under another seal", item.name)
        if isinstance(kept, Unsigned):
            self._finish(item, kept.seal, offer)
            return None
        if isinstance(kept, Kept):
            receiver = Receiver.kept(item, self._station, kept.receipt, _jump())
            self._settle(item.key, receiver)
            return receiver
        return self._open_item(item, offer.seal, now)

    def _is_announced(self, offer: Offer) -> bool:
        return self._archive.announced(self._station, offer.record, offer.part, offer.size, offer.leaves_root)

    def _finish(self, item: Item, seal: bytes, offer: Offer) -> None:
        """Sign for what a crash left in the store without its fact; the offer is answered then."""
        if item.record in self._finishing:
            return
        self._finishing.add(item.record)

        def use(result: object) -> None:
            self._finishing.discard(item.record)
            now = self._archive.monotonic()
            if isinstance(result, Kept):
                receiver = Receiver.kept(item, self._station, result.receipt, _jump())
                self._settle(item.key, receiver)
                self._do(item.key, receiver, receiver.on_offer(offer, now))
            elif isinstance(result, MalformedError):
                self._refuse(item, Receiver(item, self._station), result)
            else:
                self._tell("an item could not be finished", item, result)

        self._check(lambda: self._archive.finish(item.record, seal), use)

    def _open_item(self, item: Item, seal: bytes | None, now: float) -> Receiver:
        self._make_room()
        spared = [found.receiver.item for found in self._open.values()]
        self._keep_to_share(item, spared)
        folder = self._archive.gather(self._station, item, spared)
        try:
            found = open_gathering(self._archive.files, folder, item, seal, self._station, LIMIT, _jump(), KEEP_FREE)
        except DurableError as error:
            if not holds_leaves(folder):
                self._archive.discard(self._station, item)
            if error.code == "disk-full":
                self._alarm("disk-full", "the centre's disk has no room for what a station offers")
            raise
        found.heard = now
        self._open[item.key] = found
        return found.receiver

    def _keep_to_share(self, item: Item, spared: list[Item]) -> None:
        """See that no station takes all of the disk by what it only says that it will send. Its unfinished items that
        are not open give way, the oldest first. Raises RemoteError; an alarm says so."""
        archive = self._archive
        free = free_space(archive.incoming) - KEEP_FREE
        held = archive.held(self._station, item)
        if item.size > free:
            return  # the disk itself is full: the reserving says so
        share = (free + held) // SHARE
        while held + item.size > share and archive.drop_oldest(self._station, [*spared, item]):
            held = archive.held(self._station, item)
        if held + item.size > share:
            what = "a station offers more at once than its share of the centre's free disk"
            self._alarm("over-share", what)
            raise RemoteError("over-share", what, f"station {self._station}")

    def _alarm(self, code: str, what: str) -> None:
        """Keep an alarm about this station, one of its code a day."""
        at = self._archive.clock().utc
        self._archive.catalogue.alarm(self._station, code, what, f"on {at[:10]}", at)

    def _make_room(self) -> None:
        """Put away what was heard of least lately, where the station has begun as much as it may."""
        while len(self._open) >= MOST_OPEN:
            rested = [key for key, found in self._open.items() if found.receiver.state is not State.CHECKING]
            if not rested:
                raise RemoteError("too-many", "all that the station may have open is being stored", self._station)
            self._put_away(rested[0])

    def _put_away(self, key: Key) -> None:
        """Close an item; what of it is durable stays for its next offer, if there is anything."""
        found = self._open[key]
        found.give_back()
        self._close(key, found)
        if found.is_empty:
            self._archive.discard(self._station, found.receiver.item)

    def _close(self, key: Key, found: Gathering) -> None:
        del self._open[key]
        found.close()

    def _settle(self, key: Key, receiver: Receiver) -> None:
        self._settled[key] = receiver
        self._settled.move_to_end(key)
        while len(self._settled) > MOST_SETTLED:
            self._settled.popitem(last=False)

    def _touch(self, key: Key, now: float) -> None:
        if key in self._open:
            self._open[key].heard = now
            self._open.move_to_end(key)

    def _do(self, key: Key, receiver: Receiver, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SayWant(want):
                    self._publish("want", want.sign(self._archive.key))
                case SayReceipt(note):
                    self._publish("receipt", note)
                case Write():
                    self._write(key, action)
                case Complete():
                    self._complete(key)

    def _write(self, key: Key, write: Write) -> None:
        found = self._open[key]
        try:
            found.write(write)
        except OSError as error:
            self._write_failed(key, found, [write.leaf], error, self._archive.monotonic())

    def _write_failed(self, key: Key, found: Gathering, leaves: list[int], error: OSError, now: float) -> None:
        """The disk is full or failing: the leaves are wanted again after a while. After a failed sync the cache
        lies, so what was written since the last one counts as lost."""
        found.retry_at = now + backoff(RETRY_FIRST_S, RETRY_LONGEST_S, found.failures)
        found.failures += 1
        log("receiver").error("leaves could not be kept", station=self._station, error=error.strerror)
        self._do(key, found.receiver, found.receiver.on_write_failed(leaves))

    def _complete(self, key: Key) -> None:
        """Read the whole again in another thread, then store it in this one."""
        found = self._open[key]
        item, folder, seal = found.receiver.item, found.folder, found.seal
        self._check(
            lambda: self._archive.keep(self._station, item, folder, seal),
            lambda result: self._stored(key, found, result),
        )

    def _stored(self, key: Key, found: Gathering, result: object) -> None:
        if self._open.get(key) is not found:
            return  # closed meanwhile: what is stored is found at the next offer
        receiver, item, now = found.receiver, found.receiver.item, self._archive.monotonic()
        match result:
            case Kept(receipt=receipt):
                self._close(key, found)
                self._settle(key, receiver)
                self._do(key, receiver, receiver.on_stored(receipt))
            case MalformedError():
                self._close(key, found)
                self._refuse(item, receiver, result)
            case RemoteError():
                self._close(key, found)
                self._archive.discard(self._station, item)
                self._tell("an item was not stored", item, result)
            case list():
                self._tell("leaves changed on the disk", item, f"{len(result)} leaves")
                self._do(key, receiver, receiver.on_store_failed(result, now))
            case _:
                self._tell("an item could not be stored", item, result)
                self._do(key, receiver, receiver.on_store_failed([], now))

    def _refuse(self, item: Item, receiver: Receiver, error: MalformedError) -> None:
        """The bytes are proven and not what was sealed: sending them again would not help, a person has to look."""
        receiver.refuse()
        self._settle(item.key, receiver)
        what = "the bytes are not what the seal says"
        at = self._archive.clock().utc
        self._archive.catalogue.alarm(self._station, "not-as-sealed", what, f"record {item.record}", at)
        self._tell("an item is not what its seal says", item, error)

    def _tell(self, what: str, item: Item, error: object) -> None:
        told = str(error) if isinstance(error, MalformedError | RemoteError | DurableError | str) else None
        log("receiver").error(what, station=self._station, item=item.name, error=told or type(error).__name__)


def _jump() -> int:
    return 1 + secrets.randbelow(256)
