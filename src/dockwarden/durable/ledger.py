"""The custody ledger: logs of facts that only grow, each a Merkle tree, with what is needed to ask them quickly."""

import secrets
from collections.abc import Callable

from sqlalchemy import Connection, Engine, bindparam, insert, select, text, update

from dockwarden.durable import queries
from dockwarden.durable.files import DurableError, Files
from dockwarden.durable.queries import Latest
from dockwarden.durable.tables import NOWHERE, Prepared, entries, logs, nodes, reading, writing
from dockwarden.evidence import facts, merkle
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.checkpoints import Head, sign_head
from dockwarden.evidence.facts import By, Entry, Envelope, Instant, Outcome, Place
from dockwarden.evidence.notes import SigningKey


class ForkError(DurableError):
    """A log has two different entries at one place: somebody rewrote it. Keep both, raise the alarm."""


class GapError(DurableError):
    """An entry comes after ones that are not here yet; `size` is the number of those that are."""

    def __init__(self, log: str, seq: int, size: int) -> None:
        super().__init__("gap", f"entry {seq} came before entry {size}", log, "Ask for the entries between.")
        self.size = size


class Ledger:
    """One place's own log in a database that may hold mirrors of others. Safe for any number of threads."""

    def __init__(self, engine: Engine, log: str, clock: Callable[[], Instant], files: Files) -> None:
        self.engine = engine
        self.log = log
        self.clock = clock
        self.appends = 0
        """How often a fact was said by this object, or tried: cheap to ask whether there may be something new."""
        self._files = files

    def append(
        self,
        kind: str,
        *,
        by: By,
        body: Object,
        record: str | None = None,
        place: Place | None = None,
        outcome: Outcome = "done",
        also: Callable[[Connection], None] | None = None,
    ) -> Entry:
        """Say a fact: its entry, the tree, the projections and what `also` writes become durable together.

        `also` gets the transaction's connection. Raises DurableError; then the caller cannot know whether the fact
        was said and asks again. MalformedError for what no reader would accept, and then nothing is said.
        """
        sealed = facts.seal_body(body, secrets.token_bytes(facts.SALT_SIZE))
        digest = facts.body_digest(sealed)
        try:
            with writing(self.engine, self._files) as connection:
                seq = lock_log(connection, self.log)
                envelope = Envelope(self.log, seq, self.clock(), kind, outcome, by, digest, record, place)
                entry = Entry(envelope.encode(), sealed)
                _write(connection, entry, body)
                if also is not None:
                    also(connection)
        finally:
            self.appends += 1
        return entry

    def size(self, log: str | None = None) -> int:
        """Number of entries of this log or another."""
        with reading(self.engine) as connection:
            return queries.log_size(connection, log or self.log)

    def root(self, log: str | None = None, size: int | None = None) -> bytes:
        """Root hash of a log's tree, now or when it had `size` entries; raises ValueError beyond its end."""
        with reading(self.engine) as connection:
            return queries.log_root(connection, log or self.log, size)

    def head(self, key: SigningKey) -> bytes:
        """The signed head of this log now."""
        with reading(self.engine) as connection:
            size = queries.log_size(connection, self.log)
            return sign_head(Head(self.log, size, queries.log_root(connection, self.log, size)), key)

    def inclusion_proof(self, seq: int, size: int, log: str | None = None) -> list[bytes]:
        """Proof that entry `seq` is in the first `size`; raises ProofError or ValueError."""
        with reading(self.engine) as connection:
            return merkle.inclusion_proof(queries.tree(connection, log or self.log, size), seq, size)

    def consistency_proof(self, old: int, new: int, log: str | None = None) -> list[bytes]:
        """Proof that the first `old` entries begin the first `new`; raises ProofError or ValueError."""
        with reading(self.engine) as connection:
            return merkle.consistency_proof(queries.tree(connection, log or self.log, new), old, new)

    def entries(self, start: int = 0, limit: int = 1000, log: str | None = None) -> list[Entry]:
        """At most `limit` entries of a log, from number `start`, in order."""
        with reading(self.engine) as connection:
            return queries.log_entries(connection, log or self.log, start, limit)

    def facts_of(self, record: str) -> list[Entry]:
        """All that is known of a record, in all logs here: log by log, each in its order."""
        with reading(self.engine) as connection:
            return queries.facts_of(connection, record)

    def latest(self, record: str, log: str | None = None) -> dict[tuple[str, Place | None], Latest]:
        """The latest fact of each kind and place that a log says of a record."""
        with reading(self.engine) as connection:
            return queries.latest_of(connection, record, log or self.log)

    def latest_entry(self, record: str, kind: str, place: Place | None = None) -> Entry | None:
        """The latest entry of a kind about a record and a place in this log; None where there is none or it is
        void."""
        with reading(self.engine) as connection:
            return queries.latest_entry(connection, record, self.log, kind, place)


def add(connection: Connection, entry: Entry) -> bool:
    """Take an entry of any log into the mirror of that log, inside the caller's `writing` transaction.

    Returns False where it is here already; the body that is here then stays as it is. Raises GapError where earlier
    ones are missing, ForkError where another entry stands in its place, MalformedError.
    """
    log, seq = entry.envelope.log, entry.envelope.seq
    size = lock_log(connection, log)
    if seq > size:
        raise GapError(log, seq, size)
    if seq == size:
        _write(connection, entry, entry.body)
        return True
    query = select(entries.c.envelope).where(entries.c.log == log, entries.c.seq == seq)
    if connection.execute(query).scalar_one() != entry.envelope_bytes:
        what = f"the log has two different entries number {seq}"
        raise ForkError("fork", what, log, "Keep both, stop release and disposal, and find out who rewrote it.")
    return False


def lock_log(connection: Connection, log: str) -> int:
    """Return the number of entries of `log`, and let no other writer at it until the transaction ends."""
    row = _SIZE.run(connection, log=log)
    if row is None:
        _NEW_LOG.run(connection, log=log, size=0)
        return 0
    size: int = row[0]
    return size


def _write(connection: Connection, entry: Entry, body: Object | None) -> None:
    envelope = entry.envelope  # parsed from its bytes: what no reader would accept must not get into a log
    log, seq = envelope.log, envelope.seq
    _NEW_ENTRY.run(
        connection,
        log=log,
        seq=seq,
        envelope=entry.envelope_bytes,
        body=entry.body_bytes,
        kind=envelope.kind,
        record=envelope.record,
        place=envelope.place,
        outcome=envelope.outcome,
    )
    grown = merkle.completed_nodes(queries.node_getter(connection, log), seq, entry.leaf)
    _NEW_NODE.run_all(connection, [{"log": log, "level": n, "index": i, "hash": value} for n, i, value in grown])
    _GROW.run(connection, of=log, size=seq + 1)
    if envelope.record is not None:
        _project(connection, envelope, body)


def _project(connection: Connection, envelope: Envelope, body: Object | None) -> None:
    version = (body or {}).get("version")
    values = {
        "record": envelope.record,
        "kind": envelope.kind,
        "place": envelope.place or NOWHERE,
        "log": envelope.log,
        "seq": envelope.seq,
        "outcome": envelope.outcome,
        "version": version if isinstance(version, int) and not isinstance(version, bool) else 0,
        "attempts": int(envelope.outcome == "failed"),
        "boot": envelope.at.boot,
        "mono": envelope.at.mono,
    }
    _LATEST.run(connection, **values)


_SIZE = Prepared(select(logs.c.size).where(logs.c.log == bindparam("log")).with_for_update())
_NEW_LOG = Prepared(insert(logs))
_GROW = Prepared(update(logs).where(logs.c.log == bindparam("of")).values(size=bindparam("size")))
_NEW_ENTRY = Prepared(insert(entries))
_NEW_NODE = Prepared(insert(nodes))
_LATEST = Prepared(
    # Both databases understand this form, SQLAlchemy builds it for one of them at a time.
    text(
        "INSERT INTO latest (record, kind, place, log, seq, outcome, version, attempts, boot, mono)"
        " VALUES (:record, :kind, :place, :log, :seq, :outcome, :version, :attempts, :boot, :mono)"
        " ON CONFLICT (record, kind, place, log) DO UPDATE SET seq = excluded.seq, outcome = excluded.outcome,"
        " version = excluded.version, attempts = (latest.attempts + 1) * excluded.attempts,"
        " boot = excluded.boot, mono = excluded.mono"
    )
)
