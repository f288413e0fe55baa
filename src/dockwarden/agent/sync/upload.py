"""Upload: offers what the centre lacks and sends just what it wants.

What waits is asked of the ledger: records without a receipt, previews that were not delivered. Nothing of a record
is offered before its secrecy has been judged, and nothing of a secret one at all (article 14).
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from dockwarden.agent import derivatives, vault
from dockwarden.agent.metadata.completion import label_of
from dockwarden.agent.metadata.registry import Marks, Registry
from dockwarden.agent.metadata.secrecy import must_stay, tell_gone
from dockwarden.agent.sealed import damaged, intact, seal_of
from dockwarden.agent.stores import Stores, said
from dockwarden.durable.due import Due
from dockwarden.durable.files import DurableError
from dockwarden.durable.queries import Work
from dockwarden.durable.readback import read_leaves_uncached
from dockwarden.evidence import fields, merkle, receipts, seals
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.notes import VerifierKey
from dockwarden.rules.deadlines import Policy, deadline, parse_utc
from dockwarden.rules.records import ended_at
from dockwarden.service.logs import log
from dockwarden.wire.errors import LocalError
from dockwarden.wire.messages import ORIGINAL, PARTS, Offer, Want
from dockwarden.wire.outbox import Outbox, Waiting, in_order
from dockwarden.wire.sender import Piece
from dockwarden.wire.transfer import Item, State

_OURS = frozenset({"no-room", "no-such-item", "vault-damaged"})
"""Errors that say nothing of the vault, or have done so already."""

_T = TypeVar("_T")

RECEIVED = Work("received", ("sealed",), place="centre")
DELIVERED = Work("delivered", ("previewed", "sealed"), place="centre", after=("previewed",))
LOOK_S = 1.0
"""How often the ledger is asked for more while there is room."""
CANDIDATES = 64
REST_S = 300.0
"""For how long a secret record is not looked at again, nor an item whose bytes the station itself cannot give."""


class Uploads:
    """The uploads of a connected station; used by the sync thread alone."""

    def __init__(
        self, stores: Stores, registry: Registry, policy: Policy, centre_key: VerifierKey, session: str
    ) -> None:
        self._stores = stores
        self._registry = registry
        self._policy = policy
        self._centre_key = centre_key
        self._outbox = Outbox(stores.station, session)
        self._open: dict[tuple[str, int], Path] = {}
        self._delivered: dict[str, set[int]] = {}
        self._secret: dict[str, float] = {}
        self._broken: dict[tuple[str, int], float] = {}
        self._to_deliver, self._to_prove = Due(stores.ledger, DELIVERED), Due(stores.ledger, RECEIVED)
        self._sent: set[str] = set()
        self._judged: tuple[int, Marks] | None = None
        self._looked = 0.0

    def connected(self, now: float) -> None:
        """The link is up (again)."""
        self._looked = 0.0
        self._outbox.connected(now)

    def disconnected(self, now: float) -> None:
        """The link is down."""
        self._outbox.disconnected(now)

    def next(self, now: float) -> Offer | bytes | None:
        """The next offer, or the payload of the next chunk, or None where there is nothing to do now."""
        self._withdraw()
        self._fill(now)
        while True:
            step = self._outbox.next(now)
            if step is None or isinstance(step, Offer):
                return step
            payload = self._read(step, now)
            if payload is not None:
                return payload

    def due(self, now: float) -> float:
        """Seconds until `next` may have something to say by the clock alone."""
        due = self._outbox.due()
        return LOOK_S if due is None else min(LOOK_S, max(0.0, due - now))

    def on_want(self, payload: bytes, now: float) -> None:
        """Take a want; raises MalformedError, SignatureError, RemoteError."""
        want = Want.open(payload, [self._centre_key])
        state = self._outbox.on_want(want, now)
        if state is State.DONE and want.part != ORIGINAL:
            self._arrived(want.record, want.part)

    def on_receipt(self, payload: bytes) -> None:
        """Take a receipt; raises MalformedError, SignatureError.

        It counts only while the centre has just said that it has stored the record: a replayed one finds no such
        item here.
        """
        receipt = receipts.open_receipt(payload, [self._centre_key])
        if self._outbox.items().get((receipt.record, ORIGINAL)) is not State.STORED:
            raise MalformedError("receipt", "answers no upload of this session")
        seal, data = seal_of(self._stores, receipt.record)
        if receipt.place != "centre" or not receipt.agrees(receipt.record, seals.seal_sha256(data), seal.digests):
            raise MalformedError("receipt", "is not about the bytes that were sealed here")
        body: Object = {"generation": receipt.generation, "receipt": fields.base64_text(payload)}
        if not self._is_received(receipt.record):  # an append that failed may have been done all the same
            self._stores.ledger.append(
                "received", record=receipt.record, place="centre", by=self._stores.by("upload"), body=body
            )
        self._outbox.on_receipt(receipt.record)
        self._let_go(receipt.record, ORIGINAL)

    def _is_received(self, record: str) -> bool:
        found = self._stores.ledger.latest(record).get(("received", "centre"))
        return found is not None and found.outcome == "done"

    def _fill(self, now: float) -> None:
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        if not self._outbox.room:
            return
        waiting = {(item.record, item.part): item for item in self._waiting(now)}
        # The deadline's clock and this one differ; only what is near counts, and that was judged on the wall clock.
        for item in in_order(waiting.values(), now=0.0):
            if (item.record, item.part) not in self._open and self._outbox.room:
                self._guarded((item.record, item.part), partial(self._add, item, now), now)

    def _withdraw(self) -> None:
        """Send no more of what has been marked with secrecy meanwhile; asked before each chunk, it looks only where
        the log or the marks have changed."""
        now = self._stores.ledger.appends, self._registry.marks()
        if now == self._judged:
            return
        for record in {record for record, _ in self._open}:
            if must_stay(self._stores, self._registry, record) is not False:
                for part in [part for other, part in self._open if other == record]:
                    self._let_go(record, part)
                tell_gone(self._stores, record, {"parts"} if record in self._sent else ())
        self._judged = now

    def _waiting(self, now: float) -> list[Waiting]:
        found: list[Waiting] = []
        for record in self._first(self._to_deliver, range(ORIGINAL + 1, len(PARTS)), now):
            parts = self._parts(record)
            if not parts:
                self._say_delivered(record)
            found += parts
        for number, record in enumerate(self._first(self._to_prove, [ORIGINAL], now)):
            found.append(self._original(record, number))
        return found

    def _first(self, due: Due, parts: Sequence[int], now: float) -> list[str]:
        """The first records that may be offered now. Those that may not, however many, do not stand in the way."""
        return list(islice((record for record in due.now() if self._may_go(record, parts, now)), CANDIDATES))

    def _may_go(self, record: str, parts: Sequence[int], now: float) -> bool:
        if self._secret.get(record, 0.0) > now or any(self._broken.get((record, part), 0.0) > now for part in parts):
            return False
        secret = must_stay(self._stores, self._registry, record)
        if secret:
            self._secret[record] = now + REST_S
        return secret is False

    def _parts(self, record: str) -> list[Waiting]:
        previewed = said(self._stores, record, "previewed")
        parts = fields.array(previewed.body or {}, "parts") if previewed is not None else []
        done = self._delivered.get(record, set())
        return [
            Waiting(record, fields.integer(part, "part"), fields.integer(part, "size"), 0)
            for part in parts
            if isinstance(part, dict) and part["part"] not in done
        ]

    def _original(self, record: str, number: int) -> Waiting:
        seal, _ = seal_of(self._stores, record)
        label = label_of(self._stores, record)
        now = self._stores.clock().utc
        due = deadline(self._policy, ended_at(seal, None), None, now).due
        left = (parse_utc(due) - parse_utc(now)).total_seconds() if due is not None else None
        marked = label is not None and label.important
        return Waiting(record, ORIGINAL, seal.digests.size, number, marked, left)

    def _add(self, waiting: Waiting, now: float) -> None:
        record, part = waiting.record, waiting.part
        if part == ORIGINAL:
            path = vault.folder(self._stores.folders.vault, record) / vault.ORIGINAL
            seal, leaves = intact(self._stores, record)
            _, note = seal_of(self._stores, record)
            item = Item(record, part, seal.digests.size, bytes.fromhex(seal.digests.leaves_root))
            self._outbox.add(item, note, merkle.Tree(leaves), now)
        else:
            path = derivatives.folder(self._stores, record) / PARTS[part]
            tree = merkle.Tree(list(read_leaves_uncached(path)))
            self._outbox.add(Item(record, part, path.stat().st_size, tree.root), None, tree, now)
        self._open[record, part] = path

    def _read(self, piece: Piece, now: float) -> bytes | None:
        return self._guarded(piece.item.key, partial(self._payload, piece), now)

    def _payload(self, piece: Piece) -> bytes:
        with self._open[piece.item.key].open("rb") as source:
            data = os.pread(source.fileno(), piece.length, piece.offset)
        self._sent.add(piece.item.record)
        return self._outbox.chunk(piece, data).encode()

    def _guarded(self, key: tuple[str, int], work: Callable[[], _T], now: float) -> _T | None:
        """Do something with an item's bytes; one that cannot give them rests, and the others go on."""
        try:
            return work()
        except (LocalError, DurableError, MalformedError, OSError) as error:
            record, part = key
            if part == ORIGINAL and getattr(error, "code", "") not in _OURS:
                damaged(self._stores, record, error)
            log("upload").error("an item cannot be sent", record=record, part=part, error=type(error).__name__)
            self._broken[key] = now + REST_S
            self._let_go(*key)
            return None

    def _arrived(self, record: str, part: int) -> None:
        self._delivered.setdefault(record, set()).add(part)
        self._let_go(record, part)
        if not self._parts(record):
            self._say_delivered(record)

    def _say_delivered(self, record: str) -> None:
        parts = sorted(self._delivered.pop(record, set()))
        body: Object = {"parts": [PARTS[part] for part in parts]}
        self._stores.ledger.append(
            "delivered", record=record, place="centre", by=self._stores.by("upload"), body=body
        )

    def _let_go(self, record: str, part: int) -> None:
        self._outbox.drop(record, part)
        self._open.pop((record, part), None)
