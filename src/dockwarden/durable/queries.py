"""What is asked of a ledger's database: the logs, their trees, and the facts of a record."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, delete, insert, select

from dockwarden.durable.tables import NOWHERE, Prepared, entries, heads, latest, logs, nodes
from dockwarden.evidence import merkle
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.facts import PLACES, Entry, Outcome, Place


@dataclass(frozen=True)
class Latest:
    """The latest fact of a kind: its number in its log, what came of it, the version of the stage that said it (the
    body's `version`), and how many facts up to it failed one after another."""

    seq: int
    outcome: Outcome
    version: int
    attempts: int


@dataclass(frozen=True)
class Work:
    """What a stage does to records, in terms of facts (design §1).

    It gives facts of `kind` (about `place`) to records whose latest facts of all kinds in `needs` are done, in
    whatever log, and of none of the kinds in `unless`. It does so where its own latest fact is missing or void; is
    of a `version` below this one; is older than the latest fact of a kind in `after` in the same log; or has failed,
    and `retry_after_s` has passed: seconds after the first failure, the second and so on, the last for all further
    ones. They are counted on the monotonic clock; after a reboot what has failed is due at once.
    """

    kind: str
    needs: Sequence[str]
    place: Place | None = None
    version: int = 0
    after: Sequence[str] = ()
    unless: Sequence[str] = ()
    retry_after_s: Sequence[int] = (60, 600, 3600)

    def __post_init__(self) -> None:
        if not self.needs or not self.retry_after_s:
            raise ValueError("work needs at least one kind of fact and one retry time")


def log_size(connection: Connection, log: str) -> int:
    """Number of entries of a log, 0 for an unknown one."""
    row = _SIZE.run(connection, log=log)
    return 0 if row is None else int(row[0])


def log_root(connection: Connection, log: str, size: int | None = None) -> bytes:
    """Root hash of a log's tree, now or when it had `size` entries; raises ValueError beyond its end."""
    wanted = log_size(connection, log) if size is None else size
    return merkle.root_at(tree(connection, log, wanted), wanted)


def tree(connection: Connection, log: str, size: int) -> merkle.GetNode:
    """The nodes of a log that has at least `size` entries; raises ValueError where it has fewer."""
    if not 0 <= size <= log_size(connection, log):
        raise ValueError(f"log {log} has not {size} entries")
    return node_getter(connection, log)


def node_getter(connection: Connection, log: str) -> merkle.GetNode:
    """The stored nodes of a log's tree."""

    def get(level: int, index: int) -> bytes:
        row = _NODE.run(connection, log=log, level=level, place=index)
        if row is None:
            raise ValueError(f"log {log} has no node {index} of level {level}")
        value: bytes = row[0]
        return value

    return get


def log_entries(connection: Connection, log: str, start: int, limit: int) -> list[Entry]:
    """At most `limit` entries of a log from number `start`, in order."""
    query = select(entries.c.envelope, entries.c.body).where(entries.c.log == log, entries.c.seq >= start)
    return [Entry(*row) for row in connection.execute(query.order_by(entries.c.seq).limit(limit))]


def facts_of(connection: Connection, record: str) -> list[Entry]:
    """All entries about a record, log by log, each in its order."""
    query = select(entries.c.envelope, entries.c.body).where(entries.c.record == record)
    return [Entry(*row) for row in connection.execute(query.order_by(entries.c.log, entries.c.seq))]


def latest_of(connection: Connection, record: str, log: str) -> dict[tuple[str, Place | None], Latest]:
    """The latest fact of each kind and place that a log says of a record."""
    places: dict[str, Place | None] = {NOWHERE: None, **{place: place for place in PLACES}}
    rows = _LATEST.rows(connection, record=record, log=log)
    return {(kind, places[place]): Latest(*rest) for kind, place, *rest in rows}


def latest_entry(connection: Connection, record: str, log: str, kind: str, place: Place | None) -> Entry | None:
    """The latest entry of a kind about a record and a place in a log; None where there is none or it is void."""
    row = _LATEST_ENTRY.run(connection, record=record, log=log, kind=kind, place=place or NOWHERE)
    return None if row is None else Entry(*row)


def keep_head(connection: Connection, head: Head, keeper: str, note: bytes) -> None:
    """Keep a signed head under the name of who made it worth keeping, instead of that keeper's older one."""
    connection.execute(delete(heads).where(heads.c.log == head.log, heads.c.keeper == keeper))
    connection.execute(insert(heads).values(log=head.log, keeper=keeper, size=head.size, note=note))


def kept_head(connection: Connection, log: str, keeper: str) -> bytes | None:
    """The signed head of a log that is kept under a name."""
    query = select(heads.c.note).where(heads.c.log == log, heads.c.keeper == keeper)
    note: bytes | None = connection.execute(query).scalar()
    return note


def witnessed_heads(connection: Connection, log: str, place: str) -> tuple[bytes | None, bytes | None]:
    """The newest head of `log` that another place has cosigned, and the newest of another place's log that `place`,
    which keeps `log`, has cosigned; None where there is none."""
    of_log = select(heads.c.note).where(heads.c.log == log, heads.c.keeper != place)
    of_other = select(heads.c.note).where(
        heads.c.keeper == place, ~heads.c.log.startswith(f"{place}.", autoescape=True)
    )
    newest = [
        connection.execute(query.order_by(heads.c.size.desc()).limit(1)).scalar() for query in (of_log, of_other)
    ]
    return newest[0], newest[1]


_LATEST = Prepared(
    select(latest.c.kind, latest.c.place, latest.c.seq, latest.c.outcome, latest.c.version, latest.c.attempts).where(
        latest.c.record == bindparam("record"), latest.c.log == bindparam("log")
    )
)
_LATEST_ENTRY = Prepared(
    select(entries.c.envelope, entries.c.body)
    .join_from(latest, entries, and_(entries.c.log == latest.c.log, entries.c.seq == latest.c.seq))
    .where(
        latest.c.record == bindparam("record"),
        latest.c.kind == bindparam("kind"),
        latest.c.place == bindparam("place"),
        latest.c.log == bindparam("log"),
        latest.c.outcome != "void",
    )
)
_SIZE = Prepared(select(logs.c.size).where(logs.c.log == bindparam("log")))
_NODE = Prepared(
    select(nodes.c.hash).where(
        nodes.c.log == bindparam("log"), nodes.c.level == bindparam("level"), nodes.c.index == bindparam("place")
    )
)
