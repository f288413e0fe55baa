"""The ledger: a log only grows, its tree is the tree of its entries, and its projections say what it says."""

import errno
import secrets
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable
from tests.durable.disks import FaultyFiles, Killed

from dockwarden.durable import ledger, queries, tables
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.durable.ledger import ForkError, GapError, Ledger, add
from dockwarden.durable.tables import open_engine, writing
from dockwarden.evidence import checkpoints, ids, merkle
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.facts import By, Entry, Instant, Outcome, Place, entry_from_object, entry_to_object
from dockwarden.evidence.notes import SigningKey

LOG, OTHER_LOG = "station-1.aaaaaaaa", "centre.bbbbbbbb"
BY = By("intake", "stage", "dockwarden/0.1.0 intake")
RECORDS = [ids.new_record_id(bytes([number]) * 16) for number in range(4)]
BOOT = "0" * 32


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    mono: int = 0
    boot: str = BOOT

    def __call__(self) -> Instant:
        return Instant("2026-11-24T00:00:00.000Z", self.boot, self.mono, True)


@contextmanager
def opened(folder: Path, disk: OsFiles | None = None, log: str = LOG, read_only: bool = False) -> Iterator[Ledger]:
    engine = open_engine(folder / "ledger.sqlite", read_only=read_only)
    try:
        yield Ledger(engine, log, Clock(), disk or OsFiles())
    finally:
        engine.dispose()


@dataclass(frozen=True)
class Said:
    """A fact to be said."""

    kind: str = "sealed"
    record: str | None = RECORDS[0]
    place: Place | None = "station"
    outcome: Outcome = "done"
    body: Object = field(default_factory=dict)

    def to(self, to: Ledger) -> Entry:
        return to.append(self.kind, record=self.record, place=self.place, outcome=self.outcome, by=BY, body=self.body)


facts_said = st.builds(
    Said,
    st.sampled_from(["sealed", "confirmed", "probed"]),
    st.sampled_from([None, *RECORDS]),
    st.sampled_from([None, "station", "centre"]),
    st.sampled_from(["done", "failed", "void"]),
    st.fixed_dictionaries({}, optional={"version": st.integers(0, 3) | st.text(max_size=2) | st.booleans()}),
)


@settings(max_examples=25)
@given(st.lists(facts_said, max_size=25), st.data())
def test_the_tree_and_the_projections_are_those_of_the_entries(said: list[Said], draw: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as log:
        entries = [one.to(log) for one in said]
        leaves = [entry.leaf for entry in entries]
        assert log.size() == len(said)
        assert log.root() == merkle.root(leaves)
        assert log.entries() == entries
        assert [entry.envelope.seq for entry in entries] == list(range(len(said)))
        old = draw.draw(st.integers(0, len(said)))
        assert log.root(size=old) == merkle.root(leaves[:old])
        proof = log.consistency_proof(old, len(said))
        merkle.verify_consistency(old, merkle.root(leaves[:old]), len(said), log.root(), proof)
        if old < len(said):
            proof = log.inclusion_proof(old, len(said))
            merkle.verify_inclusion(leaves[old], old, len(said), proof, log.root())
        start, limit = draw.draw(st.integers(0, 30)), draw.draw(st.integers(0, 30))
        assert log.entries(start, limit) == entries[start : start + limit]
        for record in RECORDS:
            assert log.facts_of(record) == [entry for entry in entries if entry.envelope.record == record]
            assert log.latest(record) == latest_by_hand(entries, record)


def latest_by_hand(entries: list[Entry], record: str) -> dict[tuple[str, Place | None], queries.Latest]:
    found: dict[tuple[str, Place | None], queries.Latest] = {}
    for entry in entries:
        envelope, body = entry.envelope, entry.body or {}
        if envelope.record != record:
            continue
        key = (envelope.kind, envelope.place)
        before = found[key].attempts if key in found else 0
        version = body.get("version")
        found[key] = queries.Latest(
            envelope.seq,
            envelope.outcome,
            version if type(version) is int else 0,
            before + 1 if envelope.outcome == "failed" else 0,
        )
    return found


def test_an_entry_survives_and_its_body_is_bound_by_a_salt_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        first, second = (Said(body={"size": 7}).to(log) for _ in range(2))
    with opened(tmp_path) as log:
        assert log.entries() == [first, second]
        assert log.entries()[0].body == {"size": 7}
        assert first.body_bytes != second.body_bytes
        assert first.envelope.body_sha256 != second.envelope.body_sha256
    assert (tmp_path / "ledger.sqlite").stat().st_mode & 0o777 == 0o600


def test_many_threads_write_one_log(tmp_path: Path) -> None:
    with opened(tmp_path) as log:

        def write(number: int) -> None:
            for _ in range(15):
                Said(record=RECORDS[number], body={"version": number}).to(log)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        entries = log.entries()
        assert [entry.envelope.seq for entry in entries] == list(range(60))
        assert log.root() == merkle.root([entry.leaf for entry in entries])


def test_what_also_writes_becomes_durable_with_the_fact_or_not_at_all(tmp_path: Path) -> None:
    def note(connection: Connection) -> None:
        connection.execute(insert(tables.heads).values(log=LOG, keeper="x", size=0, note=b"n"))

    def note_and_fail(connection: Connection) -> None:
        note(connection)
        raise RuntimeError("no")

    with opened(tmp_path) as log:
        with pytest.raises(RuntimeError, match="no"):
            log.append("sealed", record=RECORDS[0], by=BY, body={}, also=note_and_fail)
        assert log.size() == 0
        assert log.latest(RECORDS[0]) == {}
        log.append("sealed", record=RECORDS[0], by=BY, body={}, also=note)
        with tables.reading(log.engine) as connection:
            assert connection.execute(select(tables.heads.c.note)).scalars().all() == [b"n"]


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("kill", [False, True])
def test_a_commit_that_fails_was_made_or_was_not_and_the_log_goes_on(tmp_path: Path, done: bool, kill: bool) -> None:
    with opened(tmp_path) as log:
        Said().to(log)
    disk = FaultyFiles(0, done=done, kill=kill, code=errno.EIO)
    with opened(tmp_path, disk) as log, pytest.raises(Killed if kill else DurableError):
        Said("confirmed").to(log)
    with opened(tmp_path) as log:
        assert log.size() == (2 if done else 1)
        assert set(log.latest(RECORDS[0])) == {("sealed", "station")} | (
            {("confirmed", "station")} if done else set()
        )
        Said("probed").to(log)
        entries = log.entries()
        assert log.root() == merkle.root([entry.leaf for entry in entries])


@pytest.mark.parametrize("kind", ["Sealed", "", "sealed\n", "x" * 5000])
def test_what_no_reader_would_accept_does_not_get_into_the_log(tmp_path: Path, kind: str) -> None:
    with opened(tmp_path) as log:
        with pytest.raises(MalformedError):
            Said(kind).to(log)
        with pytest.raises(MalformedError):
            Said(record="someone's name").to(log)
        assert log.size() == 0


def test_a_head_is_signed_over_the_log_as_it_is(tmp_path: Path) -> None:
    key = SigningKey.generate("station-1")
    with opened(tmp_path) as log:
        Said().to(log)
        head = checkpoints.open_head(log.head(key), [key.verifier])
        assert (head.log, head.size, head.root) == (LOG, 1, log.root())


def test_a_tree_larger_than_the_log_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        for ask in (lambda: log.root(size=1), lambda: log.inclusion_proof(0, 1), lambda: log.consistency_proof(0, 1)):
            with pytest.raises(ValueError, match="has not"):
                ask()


def mirrored(folder: Path, entries: list[Entry]) -> Iterator[bool]:
    with opened(folder, log=OTHER_LOG) as log, writing(log.engine) as connection:
        yield from (add(connection, entry) for entry in entries)


def test_a_mirror_is_the_log_and_stands_beside_others(tmp_path: Path) -> None:
    (tmp_path / "station").mkdir()
    (tmp_path / "centre").mkdir()
    with opened(tmp_path / "station") as log:
        entries = [Said(record=record).to(log) for record in RECORDS]
        root = log.root()
    travelled = [entry_from_object(entry_to_object(entry)) for entry in entries]
    withheld = Entry(travelled[3].envelope_bytes, None)
    with opened(tmp_path / "centre", log=OTHER_LOG) as log:
        Said("stored", place="centre").to(log)
        with writing(log.engine) as connection:
            assert [add(connection, entry) for entry in [*travelled[:3], withheld]] == [True] * 4
        with writing(log.engine) as connection:
            assert [add(connection, entry) for entry in [*travelled, withheld]] == [False] * 5
        assert log.root(LOG) == root
        assert log.size(LOG) == 4
        assert log.size() == 1
        assert log.entries(log=LOG) == [*travelled[:3], withheld]
        assert set(log.latest(RECORDS[0], LOG)) == {("sealed", "station")}
        assert set(log.latest(RECORDS[0])) == {("stored", "centre")}
        assert [entry.envelope.log for entry in log.facts_of(RECORDS[0])] == [OTHER_LOG, LOG]


def test_a_gap_says_what_is_missing_and_a_fork_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with opened(tmp_path / "one") as log:
        entries = [Said(body={"n": number}).to(log) for number in range(3)]
    with opened(tmp_path / "two") as log:
        forked = Said(body={"n": 0}).to(log)
    with opened(tmp_path, log=OTHER_LOG) as log:
        with writing(log.engine) as connection:
            add(connection, entries[0])
        with pytest.raises(GapError) as gap, writing(log.engine) as connection:
            add(connection, entries[2])
        assert gap.value.size == 1
        with pytest.raises(ForkError) as fork, writing(log.engine) as connection:
            add(connection, entries[1])
            add(connection, forked)
        assert fork.value.code == "fork"
        assert log.entries(log=LOG) == entries[:1]


def test_heads_are_kept_by_keeper_and_the_newer_one_replaces_the_older(tmp_path: Path) -> None:
    key = SigningKey.generate("station-1")
    with opened(tmp_path) as log, writing(log.engine) as connection:
        assert queries.kept_head(connection, LOG, "centre") is None
        for size in (1, 2):
            head = checkpoints.Head(LOG, size, bytes([size]) * 32)
            note = checkpoints.sign_head(head, key)
            queries.keep_head(connection, head, "centre", note)
            queries.keep_head(connection, head, f"other-{size}", note)
            assert queries.kept_head(connection, LOG, "centre") == note


def test_another_process_reads_without_writing_or_checkpointing(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        Said().to(log)
        with opened(tmp_path, read_only=True) as reader:
            assert reader.size() == 1
            Said().to(log)
            assert reader.size() == 2
            with pytest.raises(DurableError) as caught:
                Said().to(reader)
            assert caught.value.code == "read-only"
            with reader.engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar() == 0
        assert (tmp_path / "ledger.sqlite-wal").stat().st_size > 0
        assert log.size() == 2
    with opened(tmp_path, read_only=True) as reader:  # the writer has closed and removed its log
        assert reader.size() == 2


def test_the_database_is_opened_to_lose_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as log, log.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_a_full_disk_in_the_middle_of_a_fact_says_so_and_the_log_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        Said().to(log)
        with log.engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DurableError) as caught:
            Said(body={"text": "x" * 100_000}).to(log)
        assert caught.value.code == "disk-full"
        assert log.size() == 1
        with log.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        Said(body={"text": "x" * 100_000}).to(log)
        assert log.root() == merkle.root([entry.leaf for entry in log.entries()])


def test_a_ledger_of_a_newer_program_is_refused_and_not_touched(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        Said().to(log)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as raw:
        raw.execute("UPDATE schema SET version = version + 1")
    for read_only in (False, True):
        with pytest.raises(DurableError) as caught, opened(tmp_path, read_only=read_only):
            pass
        assert caught.value.code == "newer-schema"


def test_a_missing_or_damaged_ledger_says_so(tmp_path: Path) -> None:
    with pytest.raises(DurableError) as caught, opened(tmp_path, read_only=True):
        pass
    assert caught.value.code == "missing"
    (tmp_path / "ledger.sqlite").write_bytes(secrets.token_bytes(8192))
    with pytest.raises(DurableError) as caught, opened(tmp_path):
        pass
    assert caught.value.code == "damaged"


def test_the_tables_and_the_prepared_statements_are_good_for_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it without types
    for table in tables.metadata.sorted_tables:
        assert "WITHOUT" not in str(CreateTable(table).compile(dialect=dialect))
    prepared = [
        value for module in (ledger, queries) for value in vars(module).values() if isinstance(value, tables.Prepared)
    ]
    assert len(prepared) >= 7
    texts = [str(statement._statement.compile(dialect=dialect)) for statement in prepared]
    assert any("FOR UPDATE" in text for text in texts)
