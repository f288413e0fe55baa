"""The catalogue: what the centre knows. Mirrors of the stations' logs, its own log, stations, questions.

All of it is one database; an entry of a log and what follows from it are one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Engine, MetaData, Row, Table, Text, delete, insert, select, update

from dockwarden.durable.files import Files
from dockwarden.durable.ledger import add
from dockwarden.durable.tables import entries, latest, logs, reading, writing
from dockwarden.evidence import canonical
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.facts import Entry
from dockwarden.evidence.notes import VerifierKey

TABLES = MetaData()

stations = Table(
    "stations",
    TABLES,
    Column("station", Text, primary_key=True),
    Column("key", Text, nullable=False),
    Column("enrolled_at", Text, nullable=False),
)
presence = Table(
    "presence",
    TABLES,
    Column("station", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("since", Text, nullable=False),
    Column("heard_at", Text, nullable=False),
)
statuses = Table(
    "statuses",
    TABLES,
    Column("station", Text, primary_key=True),
    Column("as_of", Text, nullable=False),
    Column("body", Text, nullable=False),
)
asks = Table(
    "asks",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("station", Text, nullable=False, index=True),
    Column("what", Text, nullable=False),
    Column("asked_at", Text, nullable=False),
    Column("answered_at", Text),
    Column("body", Text),
)


@dataclass(frozen=True)
class KnownPresence:
    """What was last heard of a station's presence; times are UTC."""

    state: str
    session: str
    since: str
    heard_at: str


@dataclass(frozen=True)
class KnownStatus:
    """The newest status that a station has given, and when it was true (UTC)."""

    as_of: str
    body: Object


@dataclass(frozen=True)
class Question:
    """A question to a station; `answered_at` and `answer` are None until it has been answered."""

    id: str
    station: str
    what: str
    asked_at: str
    answered_at: str | None
    answer: Object | None


class Catalogue:
    """The database of the centre. Safe for several threads; raises DurableError."""

    def __init__(self, engine: Engine, files: Files) -> None:
        self.engine = engine
        self._files = files
        with writing(engine, files) as connection:
            TABLES.create_all(connection)

    def enrol(self, key: VerifierKey, at: str) -> None:
        """Enter a station under its key's name, or give it a new key."""
        with writing(self.engine, self._files) as connection:
            connection.execute(delete(stations).where(stations.c.station == key.name))
            connection.execute(insert(stations).values(station=key.name, key=key.text(), enrolled_at=at))

    def station_keys(self) -> dict[str, VerifierKey]:
        """The keys of all enrolled stations by name."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(stations.c.station, stations.c.key).order_by(stations.c.station))
            return {row.station: VerifierKey.parse(row.key) for row in rows}

    def hear(self, station: str, heard: KnownPresence) -> None:
        """Keep the newest presence of a station."""
        values = {"state": heard.state, "session": heard.session, "since": heard.since, "heard_at": heard.heard_at}
        with writing(self.engine, self._files) as connection:
            changed = connection.execute(update(presence).where(presence.c.station == station).values(**values))
            if not changed.rowcount:
                connection.execute(insert(presence).values(station=station, **values))

    def presence(self, station: str) -> KnownPresence | None:
        """The newest presence of a station."""
        with reading(self.engine) as connection:
            row = connection.execute(select(presence).where(presence.c.station == station)).one_or_none()
        return None if row is None else KnownPresence(row.state, row.session, row.since, row.heard_at)

    def status(self, station: str) -> KnownStatus | None:
        """The newest status of a station."""
        with reading(self.engine) as connection:
            row = connection.execute(select(statuses).where(statuses.c.station == station)).one_or_none()
        return None if row is None else KnownStatus(row.as_of, _object(row.body))

    def ask(self, question: Question) -> None:
        """Keep a question until it is answered: the broker's queue is never relied on."""
        with writing(self.engine, self._files) as connection:
            connection.execute(
                insert(asks).values(
                    id=question.id, station=question.station, what=question.what, asked_at=question.asked_at
                )
            )

    def open_questions(self, station: str) -> list[Question]:
        """The questions that a station has not answered, oldest first."""
        query = select(asks).where(asks.c.station == station, asks.c.answered_at.is_(None)).order_by(asks.c.asked_at)
        with reading(self.engine) as connection:
            return [_question(row) for row in connection.execute(query)]

    def question(self, question: str) -> Question | None:
        """A question by its id."""
        with reading(self.engine) as connection:
            row = connection.execute(select(asks).where(asks.c.id == question)).one_or_none()
        return None if row is None else _question(row)

    def answered(self, station: str, question: str, at: str, body: Object) -> bool:
        """Keep an answer, once, and the status that it brings; False where nobody asked this station that."""
        text = canonical.encode(body).decode()
        with writing(self.engine, self._files) as connection:
            changed = connection.execute(
                update(asks)
                .where(asks.c.id == question, asks.c.station == station, asks.c.answered_at.is_(None))
                .values(answered_at=at, body=text)
            )
            if not changed.rowcount:
                return False
            connection.execute(delete(statuses).where(statuses.c.station == station))
            connection.execute(insert(statuses).values(station=station, as_of=at, body=text))
        return True

    def mirror(self, batch: Sequence[Entry]) -> None:
        """Take entries of a station's log; raises GapError, ForkError, MalformedError and then takes none."""
        with writing(self.engine, self._files) as connection:
            for entry in batch:
                add(connection, entry)

    def logs_of(self, place: str) -> list[str]:
        """The logs of a place, one for each generation."""
        query = select(logs.c.log).where(logs.c.log.startswith(f"{place}.", autoescape=True)).order_by(logs.c.log)
        with reading(self.engine) as connection:
            return list(connection.execute(query).scalars())

    def facts_of(self, record: str) -> list[Entry]:
        """All facts of a record: of its station's log in order, then the centre's own."""
        query = select(entries).where(entries.c.record == record).order_by(entries.c.log, entries.c.seq)
        with reading(self.engine) as connection:
            found = [Entry(row.envelope, row.body) for row in connection.execute(query)]
        sealed_in = next((entry.envelope.log for entry in found if entry.envelope.kind == "sealed"), None)
        return sorted(found, key=lambda entry: (entry.envelope.log != sealed_in, entry.envelope.log))

    def records(self, station: str | None, limit: int, before: str | None = None) -> list[str]:
        """Sealed records, newest first; `before` is the last record of the page before."""
        query = select(latest.c.record, latest.c.log, latest.c.seq).where(latest.c.kind == "sealed")
        if station is not None:
            query = query.where(latest.c.log.startswith(f"{station}.", autoescape=True))
        with reading(self.engine) as connection:
            rows = sorted(connection.execute(query), key=lambda row: (row.seq, row.log), reverse=True)
        found = [row.record for row in rows]
        start = found.index(before) + 1 if before in found else 0
        return found[start : start + limit]


def _question(row: Row[tuple[object, ...]]) -> Question:
    answer = _object(row.body) if row.body is not None else None
    return Question(row.id, row.station, row.what, row.asked_at, row.answered_at, answer)


def _object(text: str) -> Object:
    return canonical.decode_object(text.encode(), "catalogue")
