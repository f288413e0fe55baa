"""What is due: whenever it is asked, just what a plain reading of all facts finds."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from tests.durable.test_ledger import LOG, OTHER_LOG, RECORDS, Clock, Said

from dockwarden.durable import due
from dockwarden.durable.due import Due
from dockwarden.durable.files import OsFiles
from dockwarden.durable.ledger import Ledger
from dockwarden.durable.queries import Latest, Work
from dockwarden.durable.tables import open_engine
from dockwarden.evidence.facts import Entry, Place

KINDS = ["sealed", "probed", "previewed", "disposed"]
PLACES: list[Place | None] = [None, "station"]
RETRY = (10, 100)

said = st.builds(
    Said,
    st.sampled_from(KINDS),
    st.sampled_from(RECORDS[:3]),
    st.sampled_from(PLACES),
    st.sampled_from(["done", "done", "failed", "void"]),
    st.fixed_dictionaries({"version": st.integers(0, 2)}),
)
moves = st.tuples(st.just("wait"), st.sampled_from([1, 9_999, 10_000, 99_999, 100_000])) | st.just(("reboot", 0))
steps = st.lists(st.tuples(st.sampled_from([LOG, LOG, OTHER_LOG]), said) | moves, max_size=20)
works = st.builds(
    Work,
    st.just("previewed"),
    st.lists(st.sampled_from(["sealed", "probed"]), min_size=1, max_size=2, unique=True),
    st.sampled_from(PLACES),
    st.integers(0, 2),
    st.lists(st.sampled_from(["sealed", "probed"]), max_size=2, unique=True),
    st.lists(st.just("disposed"), max_size=1),
    st.sampled_from([RETRY, (5,)]),
)


class Model:
    """Reads all facts, one record after another."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, Entry]] = []

    def latest(self, record: str, kind: str) -> dict[tuple[str, Place | None], tuple[int, Entry]]:
        """By log and place: how often it failed in a row, and the latest fact."""
        found: dict[tuple[str, Place | None], tuple[int, Entry]] = {}
        for log, entry in self.facts:
            envelope = entry.envelope
            if (envelope.record, envelope.kind) == (record, kind):
                key = (log, envelope.place)
                before = found[key][0] if key in found else 0
                found[key] = (before + 1 if envelope.outcome == "failed" else 0, entry)
        return found

    def has(self, record: str, kind: str) -> bool:
        return any(entry.envelope.outcome == "done" for _, entry in self.latest(record, kind).values())

    def is_due(self, record: str, work: Work, clock: Clock) -> bool:
        if not all(self.has(record, kind) for kind in work.needs) or any(
            self.has(record, kind) for kind in work.unless
        ):
            return False
        mine = self.latest(record, work.kind).get((LOG, work.place))
        if mine is None or mine[1].envelope.outcome == "void":
            return True
        attempts, entry = mine
        seq, at = entry.envelope.seq, entry.envelope.at
        if (entry.body or {})["version"] < work.version:  # type: ignore[operator]  # it is a number here
            return True
        newer = [
            fact for kind in work.after for (log, _), (_, fact) in self.latest(record, kind).items() if log == LOG
        ]
        if any(fact.envelope.seq > seq for fact in newer):
            return True
        if entry.envelope.outcome != "failed":
            return False
        waited = clock.mono - at.mono
        return (
            at.boot != clock.boot or waited >= 1000 * work.retry_after_s[min(attempts, len(work.retry_after_s)) - 1]
        )


@settings(max_examples=80)
@given(steps, st.lists(works, min_size=1, max_size=4), st.sampled_from([0, 2, 20_000]), st.data())
def test_due_is_what_a_plain_reading_of_the_facts_finds_whenever_it_is_asked(
    taken: list[tuple[str, object]], asked: list[Work], many: int, draw: st.DataObject
) -> None:
    clock, model = Clock(), Model()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(due, "_MANY", many)
        patch.setattr(due, "_FEW", 2)
        engine = open_engine(Path(folder) / "ledger.sqlite")
        logs = {name: Ledger(engine, name, clock, OsFiles()) for name in (LOG, OTHER_LOG)}
        kept = [Due(logs[LOG], work) for work in asked]
        for what, how in [*taken, ("wait", 0)]:
            if isinstance(how, Said):
                model.facts.append((what, how.to(logs[what])))
            elif what == "reboot":
                clock.boot, clock.mono = f"{int(clock.boot) + 1:032d}", 0
            else:
                clock.mono += int(str(how))
            for work, one in zip(asked, kept, strict=True):
                if draw.draw(st.booleans()):
                    found = list(one.now())
                    assert set(found) == {record for record in RECORDS if model.is_due(record, work, clock)}
                    assert found == list(Due(logs[LOG], work).now())  # as after a restart
        engine.dispose()


def test_what_was_needed_first_is_due_first(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "ledger.sqlite")
    log = Ledger(engine, LOG, Clock(), OsFiles())
    kept = Due(log, Work("probed", ["sealed"]))
    order = [RECORDS[2], RECORDS[0], RECORDS[3], RECORDS[1]]
    for number, record in enumerate(order, 1):
        Said(record=record).to(log)
        assert list(kept.now()) == order[:number]
    found = kept.now()
    Said("probed", record=order[0], place=None).to(log)
    assert list(kept.now()) == order[1:]
    assert list(found) == order, "a list that is gone through does not change"
    Said("probed", record=order[0], place=None, outcome="void").to(log)
    assert list(kept.now()) == order
    engine.dispose()


def test_a_question_that_fails_changes_nothing_of_the_next_answer(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "ledger.sqlite")
    log = Ledger(engine, LOG, Clock(), OsFiles())
    kept = Due(log, Work("probed", ["sealed"]))
    assert list(kept.now()) == []
    Said(record=RECORDS[0]).to(log)
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE latest RENAME TO hidden")
        connection.commit()
    with pytest.raises(OperationalError):
        kept.now()
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO latest")
        connection.commit()
    assert list(kept.now()) == RECORDS[:1]
    engine.dispose()


def test_a_due_stage_can_learn_how_often_it_failed(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "ledger.sqlite")
    log = Ledger(engine, LOG, Clock(), OsFiles())
    for _ in range(3):
        Said("probed", outcome="failed", place=None).to(log)
    assert log.latest(RECORDS[0]) == {("probed", None): Latest(2, "failed", 0, 3)}
    engine.dispose()


def test_work_needs_a_fact_and_a_retry_time() -> None:
    with pytest.raises(ValueError, match="work needs"):
        Work("probed", [])
    with pytest.raises(ValueError, match="work needs"):
        Work("probed", ["sealed"], retry_after_s=())
