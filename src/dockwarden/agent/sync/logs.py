"""The exchange of logs with the centre: our facts go up, and each side cosigns the other's head."""

from dataclasses import dataclass

from sqlalchemy import select

from dockwarden.agent.metadata.registry import Registry
from dockwarden.agent.metadata.secrecy import must_stay
from dockwarden.agent.stores import Stores
from dockwarden.durable.queries import keep_head, kept_head
from dockwarden.durable.tables import heads, reading, writing
from dockwarden.evidence import checkpoints, merkle, notes
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.facts import Entry
from dockwarden.evidence.notes import VerifierKey
from dockwarden.rules.deadlines import parse_utc
from dockwarden.wire.ledgers import FactBatch, HeadMessage, LogSize, fact_batch

BATCH_BYTES = 256 * 1024
BATCH_ENTRIES = 500
QUIET_S = 10.0
"""How long an unanswered batch or head is waited for before it is said again."""
LOOK_S = 0.2
"""How often the log's size is looked at: `next` is asked before every chunk."""
REST_S = 1.0
"""How long the log must be still before its head is shown for cosigning."""


@dataclass
class _Told:
    """What the centre is known to hold of our log, and when we last said something."""

    size: int | None = None
    cosigned: int = 0
    asked: float = 0.0
    grown_to: int = 0
    grown_at: float = 0.0
    looked: float = float("-inf")


class LogExchange:
    """The exchange of a connected station; used by the sync thread alone."""

    def __init__(self, stores: Stores, registry: Registry, centre_key: VerifierKey) -> None:
        self._stores = stores
        self._registry = registry
        self._centre_key = centre_key
        self._told = _Told()
        self._cosigned: bytes | None = None
        self._centre_log: str | None = None

    def connected(self) -> None:
        """The link is up (again): ask how much of our log the centre has."""
        self._told = _Told()

    def next(self, now: float) -> HeadMessage | FactBatch | None:
        """The next message to publish, or None."""
        told = self._told
        if self._cosigned is None and now - told.looked < LOOK_S:
            return None
        told.looked = now
        return self._look(told, now)

    def _look(self, told: _Told, now: float) -> HeadMessage | FactBatch | None:
        size = self._stores.ledger.size()
        if size != told.grown_to:
            told.grown_to, told.grown_at = size, now
        if self._cosigned is not None:
            return self._head(now)
        if now - told.asked < QUIET_S:
            return None
        if told.size is None:
            return self._head(now)
        batch = self._batch(told.size) if told.size < size else None
        if batch is not None:
            told.asked = now
            return batch
        if told.size == size and told.cosigned < size and now - told.grown_at >= REST_S:
            return self._head(now)
        return None

    def on_head(self, payload: bytes, now: float) -> None:
        """Take the centre's word; raises MalformedError, SignatureError, ProofError.

        Nothing is taken of a message of which any part is wrong.
        """
        message = HeadMessage.decode(payload)
        head = checkpoints.open_head(message.head, [self._centre_key])
        self._centre_log = head.log
        before = self._kept_centre_head(head.log)
        if before is not None and before.size > head.size:
            return  # overtaken on the way
        try:
            if before is not None:
                merkle.verify_consistency(before.size, before.root, head.size, head.root, message.consistency)
        except merkle.ProofError:
            self._told.size = None  # a centre that has started anew knows not what we have seen: tell it
            raise
        mine = self._own_cosigned(message.cosigned)
        self._see(message.seen, now)
        if before is None or before != head:
            self._cosign(head, message.head)
        if mine is not None:
            with writing(self._stores.ledger.engine, self._stores.files) as connection:
                keep_head(connection, mine, self._centre_key.name, message.cosigned or b"")
            self._told.cosigned = max(self._told.cosigned, mine.size)

    def _see(self, seen: LogSize | None, now: float) -> None:
        ledger = self._stores.ledger
        size = 0 if seen is None or seen.log != ledger.log else seen.size
        if size > ledger.size():
            raise MalformedError("seen", "the centre has more of this station's log than the station itself")
        self._told.size = size
        self._told.asked = now - QUIET_S
        self._told.looked = now - LOOK_S

    def _own_cosigned(self, note: bytes | None) -> Head | None:
        """Our own head under the centre's cosignature, checked against our own tree."""
        if note is None:
            return None
        ledger = self._stores.ledger
        head = checkpoints.open_head(note, [self._stores.key.verifier])
        if not notes.verify_cosignatures(note, [self._centre_key]):
            raise MalformedError("cosigned", "bears no cosignature of the centre")
        if head.log != ledger.log or head.size > ledger.size() or ledger.root(size=head.size) != head.root:
            raise MalformedError("cosigned", "is not a head of this log")
        return head

    def _kept_centre_head(self, log: str) -> Head | None:
        with reading(self._stores.ledger.engine) as connection:
            note = kept_head(connection, log, self._stores.station)
        return None if note is None else Head.parse(notes.parse(note).text)

    def _cosign(self, head: Head, note: bytes) -> None:
        seconds = int(parse_utc(self._stores.clock().utc).timestamp())
        cosigned = self._stores.key.cosign(note, seconds)
        with writing(self._stores.ledger.engine, self._stores.files) as connection:
            keep_head(connection, head, self._stores.station, cosigned)
        self._cosigned = cosigned

    def _head(self, now: float) -> HeadMessage:
        self._told.asked = now
        cosigned, self._cosigned = self._cosigned, None
        seen, kept = self._seen()
        if cosigned is None and self._told.size is None:
            cosigned = kept  # it may have been lost, and it proves to a centre that was set back what it had signed
        return HeadMessage(self._stores.ledger.head(self._stores.key), seen, cosigned)

    def _seen(self) -> tuple[LogSize | None, bytes | None]:
        """How far we have seen the centre's log: the newest head that we cosigned, of the log that it shows now."""
        shown = self._centre_log
        mine = (
            heads.c.log.startswith(f"{self._centre_key.name}.", autoescape=True)
            if shown is None
            else heads.c.log == shown
        )
        query = select(heads.c.log, heads.c.size, heads.c.note).where(heads.c.keeper == self._stores.station, mine)
        with reading(self._stores.ledger.engine) as connection:
            row = connection.execute(query.order_by(heads.c.size.desc())).first()
        return (None, None) if row is None else (LogSize(row.log, row.size), row.note)

    def _batch(self, start: int) -> FactBatch | None:
        """The next entries, bodies of secret records withheld; it stops before a record that nobody has judged."""
        entries: list[Entry] = []
        for entry in self._stores.ledger.entries(start, BATCH_ENTRIES):
            hidden = self._is_withheld(entry)
            if hidden is None:
                break
            entries.append(Entry(entry.envelope_bytes, None) if hidden else entry)
        return fact_batch(self._stores.ledger.log, start, entries, BATCH_BYTES) if entries else None

    def _is_withheld(self, entry: Entry) -> bool | None:
        record = entry.envelope.record
        if record is None:
            return False
        if entry.envelope.kind == "quarantined":
            marks = self._registry.marks()  # which bay it came from is not said here: where one is marked all stay
            return bool(marks.bays) or (entry.body or {}).get("device") in marks.devices
        return must_stay(self._stores, self._registry, record)
