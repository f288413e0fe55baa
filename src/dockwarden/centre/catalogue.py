"""The catalogue: what the centre knows. Mirrors of the stations' logs, its own log, stations, alarms.

All of it is one database; an entry of a log and what follows from it are one transaction. A record belongs to the
station that sealed it first: what other stations say of it is kept in their logs, and counts for nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    inspect,
    or_,
    select,
    update,
)

from dockwarden.centre.tables import TABLES, alarms, generations, heard, labels, records, stations
from dockwarden.durable.files import Files
from dockwarden.durable.ledger import ForkError, add
from dockwarden.durable.tables import entries, latest, logs, reading, writing
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.facts import Entry, Envelope
from dockwarden.evidence.notes import VerifierKey
from dockwarden.rules.labels import Label, parse_case_number
from dockwarden.service.errors import ServiceError

MOST_ALARMS = 100
"""Alarms of one code that are kept of one station: the first ones tell what began, and none hides another kind."""
PAGE = 500


@dataclass(frozen=True)
class KnownPresence:
    """What was last heard of a station's presence; times are UTC, `said_at` by its clock, `heard_at` by ours."""

    state: str
    session: str
    since: str
    said_at: str
    heard_at: str


@dataclass(frozen=True)
class Alarm:
    """Something that a person has to look into: a fork, another's record, bytes that are not what was sealed."""

    code: str
    what: str
    where: str
    at: str


class Catalogue:
    """The database of the centre `centre`. Safe for several threads; raises DurableError."""

    def __init__(self, engine: Engine, files: Files, centre: str) -> None:
        self.engine = engine
        self._files = files
        self._centre = centre
        self._settled: dict[str, int] = {}
        with reading(engine) as connection:
            projected = inspect(connection).has_table(records.name)
        with writing(engine, files) as connection:
            TABLES.create_all(connection)
            if not projected:
                _project_all(connection)

    def enrol(self, key: VerifierKey, at: str) -> None:
        """Enter a station under its key's name; nothing happens where just this one is there.

        Raises ServiceError where the name is another key's or the key another name's: what a station has signed is
        checked for ever by the key that its name had.
        """
        with writing(self.engine, self._files) as connection:
            rows = connection.execute(select(stations.c.station, stations.c.key)).all()
            known = {row.station: VerifierKey.parse(row.key) for row in rows}
            if known.get(key.name) == key:
                return
            do = "Give the new station a name of its own."
            if key.name in known:
                raise ServiceError("name-taken", "a station of this name has another key", f"station {key.name}", do)
            for name, other in known.items():
                if other.public == key.public:
                    raise ServiceError("key-taken", "another station has this key", f"station {name}", do)
            connection.execute(insert(stations).values(station=key.name, key=key.text(), enrolled_at=at))

    def station_keys(self) -> dict[str, VerifierKey]:
        """The keys of all enrolled stations by name."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(stations.c.station, stations.c.key).order_by(stations.c.station))
            return {row.station: VerifierKey.parse(row.key) for row in rows}

    def hear(self, station: str, said: KnownPresence) -> None:
        """Keep the newest presence of a station."""
        values = {name: getattr(said, name) for name in ("state", "session", "since", "said_at", "heard_at")}
        with writing(self.engine, self._files) as connection:
            changed = connection.execute(update(heard).where(heard.c.station == station).values(**values))
            if not changed.rowcount:
                connection.execute(insert(heard).values(station=station, **values))

    def presence(self, station: str) -> KnownPresence | None:
        """The newest presence of a station."""
        with reading(self.engine) as connection:
            row = connection.execute(select(heard).where(heard.c.station == station)).one_or_none()
        return None if row is None else KnownPresence(row.state, row.session, row.since, row.said_at, row.heard_at)

    def mirror(self, batch: Sequence[Entry], at: str) -> None:
        """Take entries of one station's log; raises GapError, ForkError, MalformedError and then takes none.

        Of a fork the other entry is kept in an alarm.
        """
        entry = None
        try:
            with writing(self.engine, self._files) as connection:
                for entry in batch:
                    if add(connection, entry):
                        _project(connection, entry, at)
        except ForkError as error:
            if entry is not None:
                self.alarm(_station(entry.envelope), error.code, error.what, error.where, at, entry.envelope_bytes)
            raise

    def project(self, connection: Connection, entry: Entry, at: str) -> None:
        """What follows from an entry that was mirrored; part of the caller's transaction."""
        _project(connection, entry, at)

    def alarm(self, station: str, code: str, what: str, where: str, at: str, evidence: bytes = b"") -> None:
        """Keep an alarm, once, with what was received."""
        with writing(self.engine, self._files) as connection:
            _alarm(connection, station, Alarm(code, what, where, at), evidence)

    def alarms(self, station: str) -> list[Alarm]:
        """The alarms about a station, oldest first."""
        query = select(alarms).where(alarms.c.station == station).order_by(alarms.c.at, alarms.c.id)
        with reading(self.engine) as connection:
            return [Alarm(row.code, row.what, row.where, row.at) for row in connection.execute(query)]

    def logs_of(self, place: str) -> list[str]:
        """The logs of a place, one for each generation, in the order in which they were begun."""
        query = (
            select(logs.c.log, entries.c.envelope)
            .join(entries, (entries.c.log == logs.c.log) & (entries.c.seq == 0))
            .where(_of_place(logs.c.log, place))
        )
        with reading(self.engine) as connection:
            begun = [(Envelope.decode(row.envelope).at.utc, row.log) for row in connection.execute(query)]
        return [log for _, log in sorted(begun)]

    def own_log(self) -> str | None:
        """The log of the centre's own generation; None where no other was begun than its first."""
        with reading(self.engine) as connection:
            query = select(generations.c.log).where(generations.c.place == self._centre)
            log: str | None = connection.execute(query).scalar()
        return log

    def begin_generation(self, connection: Connection, log: str) -> None:
        """From now on the centre's own log is this one; part of the caller's transaction."""
        connection.execute(delete(generations).where(generations.c.place == self._centre))
        connection.execute(insert(generations).values(place=self._centre, log=log))

    def owner(self, record: str) -> str | None:
        """The station that a record belongs to; None where nobody is known to have sealed it."""
        with reading(self.engine) as connection:
            return _owner(connection, record)

    def facts_of(self, record: str) -> list[Entry]:
        """All facts of a record: of its own station's logs in order, then the centre's own."""
        return self.facts_of_many([record])[record]

    def facts_of_many(self, wanted: Sequence[str]) -> dict[str, list[Entry]]:
        """The facts of each of some records, as `facts_of`."""
        found: dict[str, list[Entry]] = {record: [] for record in wanted}
        with reading(self.engine) as connection:
            for start in range(0, len(wanted), PAGE):
                page = list(wanted[start : start + PAGE])
                owners = {
                    row.record: row.station
                    for row in connection.execute(
                        select(records.c.record, records.c.station).where(records.c.record.in_(page))
                    )
                }
                query = select(entries.c.record, entries.c.log, entries.c.envelope, entries.c.body)
                query = query.where(entries.c.record.in_(page)).order_by(entries.c.log, entries.c.seq)
                for row in connection.execute(query):
                    if row.log.partition(".")[0] in (owners.get(row.record), self._centre):
                        found[row.record].append(Entry(row.envelope, row.body))
        return {record: self._in_order(facts) for record, facts in found.items()}

    def records(self, station: str | None, limit: int, before: str | None = None) -> list[str]:
        """Sealed records, newest first; `before` is the last of the page before: none come after an unknown one."""
        query = select(records.c.record).order_by(records.c.number.desc()).limit(limit)
        if station is not None:
            query = query.where(records.c.station == station)
        if before is not None:
            last = select(records.c.number).where(records.c.record == before).scalar_subquery()
            query = query.where(records.c.number < last)
        return self._column(query)

    def records_of_case(self, key: str) -> list[str]:
        """The records whose newest label has the case's key, oldest first."""
        query = select(records.c.record).join(labels, labels.c.record == records.c.record)
        return self._column(query.where(labels.c.case_key == key).order_by(records.c.number))

    def latest_counts(self) -> dict[str, dict[tuple[str, str], int]]:
        """For each station how many of its records have a latest fact (kind, outcome) of which a person should know:
        what is in quarantine, what was found, and what has failed."""
        told = or_(latest.c.kind == "quarantined", latest.c.kind == "finding")
        failed = and_(latest.c.kind.in_(("backed-up", "drilled", "confirmed")), latest.c.outcome == "failed")
        columns = (latest.c.log, latest.c.kind, latest.c.outcome)
        query = select(*columns, func.count()).where(or_(told, failed), latest.c.outcome != "void").group_by(*columns)
        found: dict[str, dict[tuple[str, str], int]] = {}
        with reading(self.engine) as connection:
            for log, kind, outcome, count in connection.execute(query):
                counts = found.setdefault(log.partition(".")[0], {})
                counts[kind, outcome] = counts.get((kind, outcome), 0) + count
        return found

    def oldest_waiting(self, station: str) -> str | None:
        """When the oldest record of a station was sealed (UTC) that is not stored here; None where none waits.

        A record whose label's body is withheld is secret: it does not wait. What is stored stays so, and each look
        goes on where the one before has ended.
        """
        stored, label = latest.alias("stored"), latest.alias("label")
        is_stored = exists().where(
            stored.c.record == records.c.record,
            stored.c.kind == "stored",
            stored.c.outcome == "done",
            _of_place(stored.c.log, self._centre),
        )
        is_secret = (
            exists()
            .where(label.c.record == records.c.record, label.c.kind == "labelled")
            .where(entries.c.log == label.c.log, entries.c.seq == label.c.seq, entries.c.body.is_(None))
        )
        query = (
            select(records.c.number, records.c.record)
            .where(records.c.station == station, records.c.number >= self._settled.get(station, 0))
            .where(~is_stored, ~is_secret)
            .order_by(records.c.number)
            .limit(1)
        )
        with reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            sealed = (entries.c.record == row.record, entries.c.kind == "sealed")
            envelope = connection.execute(select(entries.c.envelope).where(*sealed).limit(1)).scalar_one()
        self._settled[station] = row.number
        return Envelope.decode(envelope).at.utc

    def _column(self, query: Select[str]) -> list[str]:
        with reading(self.engine) as connection:
            return list(connection.execute(query).scalars())

    def _in_order(self, found: list[Entry]) -> list[Entry]:
        """Log by log: the station's as they were begun (the seal's comes first), then the centre's."""
        begun: dict[str, str] = {}
        for entry in found:
            at = entry.envelope.at.utc
            begun[entry.envelope.log] = min(at, begun.get(entry.envelope.log, at))
        sealed_in = next((entry.envelope.log for entry in found if entry.envelope.kind == "sealed"), None)

        def rank(entry: Entry) -> tuple[bool, bool, str, str]:
            log = entry.envelope.log
            return _station(entry.envelope) == self._centre, log != sealed_in, begun[log], log

        return sorted(found, key=rank)


def _project_all(connection: Connection) -> None:
    """Make the projections anew from all logs that are here."""
    query = select(entries.c.envelope, entries.c.body).where(entries.c.kind.in_(("sealed", "labelled")))
    for row in connection.execute(query.order_by(entries.c.log, entries.c.seq)).all():
        entry = Entry(row.envelope, row.body)
        _project(connection, entry, entry.envelope.at.utc)


def _project(connection: Connection, entry: Entry, at: str) -> None:
    """What follows from a mirrored entry."""
    envelope, station = entry.envelope, _station(entry.envelope)
    record = envelope.record
    if record is None or envelope.kind not in ("sealed", "labelled"):
        return
    owner = _owner(connection, record)
    if owner is not None and owner != station:
        what = "a station speaks of a record that another has sealed"
        _alarm(connection, station, Alarm("another-station", what, f"record {record}", at), entry.envelope_bytes)
    elif envelope.kind == "sealed" and owner is None and envelope.outcome == "done":
        connection.execute(insert(records).values(record=record, station=station))
    elif envelope.kind == "labelled" and owner is not None:
        connection.execute(delete(labels).where(labels.c.record == record))
        connection.execute(insert(labels).values(record=record, case_key=_case_key(entry)))


def _case_key(entry: Entry) -> str | None:
    """The key of the case that a label names, as this program reads it; None where it names none."""
    body = entry.body if entry.envelope.outcome != "void" else None
    try:
        label = Label.from_object(body) if body is not None else None
        return parse_case_number(label.case.text).key if label is not None and label.case is not None else None
    except MalformedError:
        return None


def _alarm(connection: Connection, station: str, alarm: Alarm, evidence: bytes) -> None:
    told = f"{station} {alarm.code} {alarm.where} ".encode() + evidence
    number = hashlib.sha256(told).hexdigest()
    same = alarms.c.station == station, alarms.c.code == alarm.code
    count = select(func.count()).select_from(alarms).where(*same)
    if connection.execute(select(alarms.c.id).where(alarms.c.id == number)).scalar() is not None:
        return
    if connection.execute(count).scalar_one() < MOST_ALARMS:
        connection.execute(
            insert(alarms).values(
                id=number,
                station=station,
                code=alarm.code,
                what=alarm.what,
                where=alarm.where,
                at=alarm.at,
                evidence=evidence,
            )
        )


def _owner(connection: Connection, record: str) -> str | None:
    owner: str | None = connection.execute(select(records.c.station).where(records.c.record == record)).scalar()
    return owner


def _station(envelope: Envelope) -> str:
    return envelope.log.partition(".")[0]


def _of_place(column: ColumnElement[str], place: str) -> ColumnElement[bool]:
    return column.startswith(f"{place}.", autoescape=True)
