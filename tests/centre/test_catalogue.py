"""The catalogue: mirrors that take a log whole or not at all, whose record is whose, and pages of records."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from tests.centre.centre_samples import T0, Footage, StationSide, fact, label_body, record_id, sealed_body
from tests.centre.desk import Desk, Talk

from dockwarden.centre.catalogue import MOST_ALARMS, Catalogue
from dockwarden.centre.records import station_states
from dockwarden.durable.ledger import ForkError, GapError
from dockwarden.durable.queries import log_root
from dockwarden.durable.tables import reading
from dockwarden.evidence import merkle
from dockwarden.evidence.facts import Entry
from dockwarden.service.errors import ServiceError

MakeDesk = Callable[..., Desk]


def seal_many(side: StationSide, count: int) -> list[str]:
    """Seal some records and return their ids."""
    made = [Footage(record_id(f"{side.name} {number}"), b"%d" % number) for number in range(count)]
    for footage in made:
        side.sealed(footage)
    return [footage.record for footage in made]


def mirror(desk: Desk, *entries: Entry) -> None:
    desk.archive.catalogue.mirror(entries, desk.time.wall)


def log_size(desk: Desk, log: str) -> int:
    return desk.archive.ledger.size(log)


def test_a_mirror_is_the_log_with_its_root(talk: Talk) -> None:
    seal_many(talk.side, 5)
    mirror(talk.desk, *talk.side.entries[:2])
    mirror(talk.desk, *talk.side.entries)  # what is here already is taken again without harm
    with reading(talk.desk.archive.catalogue.engine) as connection:
        root = log_root(connection, talk.side.log)
    assert root == merkle.root([entry.leaf for entry in talk.side.entries])


def test_a_gap_takes_nothing_of_the_batch(talk: Talk) -> None:
    seal_many(talk.side, 3)
    first, _, third = talk.side.entries
    with pytest.raises(GapError) as caught:
        mirror(talk.desk, first, third)
    assert caught.value.size == 1
    assert log_size(talk.desk, talk.side.log) == 0
    assert talk.desk.archive.catalogue.records(None, 10) == []


def test_a_fork_takes_nothing_and_keeps_the_other_entry_in_an_alarm(talk: Talk) -> None:
    records = seal_many(talk.side, 2)
    mirror(talk.desk, *talk.side.entries)
    forked = fact(talk.side.log, 1, "sealed", record_id("other"), {"x": 1})
    for _ in range(3):
        with pytest.raises(ForkError):
            mirror(talk.desk, talk.side.entries[0], forked, fact(talk.side.log, 2, "docked"))
    assert log_size(talk.desk, talk.side.log) == 2
    assert talk.desk.archive.catalogue.records(None, 10) == records[::-1]
    alarms = talk.desk.archive.catalogue.alarms("st-01")
    assert [(alarm.code, alarm.where) for alarm in alarms] == [("fork", talk.side.log)]
    with reading(talk.desk.archive.catalogue.engine) as connection:
        assert connection.execute(text("SELECT evidence FROM alarms")).scalars().all() == [forked.envelope_bytes]


def test_a_record_belongs_to_the_station_that_sealed_it_first(make_desk: MakeDesk, side: StationSide) -> None:
    other = StationSide("aa-00", "zzzzzzzz")
    desk = make_desk(side, other)
    footage = Footage(record_id("one"), b"one")
    side.sealed(footage)
    side.say("labelled", footage.record, label_body("某市监罚〔2026〕1号"))
    other.sealed(Footage(footage.record, b"another"))
    other.say("labelled", footage.record, label_body("某市监罚〔2026〕2号"))
    mirror(desk, *side.entries)
    mirror(desk, *other.entries)
    catalogue = desk.archive.catalogue
    assert catalogue.owner(footage.record) == "st-01"
    assert [entry.envelope.log for entry in catalogue.facts_of(footage.record)] == [side.log] * 2
    assert catalogue.records_of_case("某市监罚/2026/1") == [footage.record]
    assert catalogue.records_of_case("某市监罚/2026/2") == []
    assert catalogue.records("aa-00", 10) == []
    assert log_size(desk, other.log) == 2  # the log is kept as it is
    assert {alarm.code for alarm in catalogue.alarms("aa-00")} == {"another-station"}
    assert catalogue.alarms("st-01") == []


def test_facts_come_seal_first_then_later_generations_then_ours(talk: Talk) -> None:
    footage = Footage(record_id("one"), b"one")
    talk.side.sealed(footage)
    later = StationSide("st-01", "2aaaaaaa")
    later.say("confirmed", footage.record, at="2026-11-25T08:00:00.000Z")
    mirror(talk.desk, *talk.side.entries)
    mirror(talk.desk, *later.entries)
    talk.desk.archive.ledger.append(
        "stored", record=footage.record, place="centre", by=talk.side.entries[0].envelope.by, body={}
    )
    found = talk.desk.archive.catalogue.facts_of(footage.record)
    assert [entry.envelope.kind for entry in found] == ["sealed", "confirmed", "stored"]
    assert talk.desk.archive.catalogue.logs_of("st-01") == [talk.side.log, later.log]


def test_pages_of_records_are_whole_and_in_order(make_desk: MakeDesk, side: StationSide) -> None:
    other = StationSide("st-02")
    desk = make_desk(side, other)
    mine, theirs = seal_many(side, 7), seal_many(other, 5)
    for one, two in zip(side.entries, [*other.entries, None, None], strict=True):
        mirror(desk, *([one] if two is None else [one, two]))
    catalogue = desk.archive.catalogue
    everything = catalogue.records(None, 100)
    assert sorted(everything) == sorted(mine + theirs)
    paged: list[str] = []
    while page := catalogue.records(None, 5, paged[-1] if paged else None):
        paged += page
    assert paged == everything
    assert catalogue.records("st-01", 3) == mine[:-4:-1]
    assert catalogue.records("st-01", 100, mine[3]) == mine[2::-1]
    assert catalogue.records(None, 100, record_id("nobody's")) == []
    assert catalogue.records("st-0", 100) == catalogue.records("st_01", 100) == catalogue.records("%", 100) == []


def test_a_page_costs_the_same_however_many_records_there_are(talk: Talk) -> None:
    with reading(talk.desk.archive.catalogue.engine) as connection:
        plan = connection.execute(
            text("EXPLAIN QUERY PLAN SELECT record FROM records WHERE number < (SELECT number FROM records "
                 "WHERE record = 'x') ORDER BY number DESC LIMIT 5")
        ).all()  # fmt: skip
    assert not [row for row in plan if "TEMP B-TREE" in str(row) or str(row[-1]) == "SCAN records"]


def test_the_newest_label_says_which_case_a_record_belongs_to(talk: Talk) -> None:
    record = seal_many(talk.side, 1)[0]
    catalogue = talk.desk.archive.catalogue
    first, second = "某市监罚/2026/1", "某市监罚/2026/2"

    def say(body: object, **more: object) -> tuple[list[str], list[str]]:
        talk.side.say("labelled", record, body, **more)  # type: ignore[arg-type]  # a body
        mirror(talk.desk, talk.side.entries[-1])
        return catalogue.records_of_case(first), catalogue.records_of_case(second)

    mirror(talk.desk, *talk.side.entries)
    assert say(label_body("某市监罚（2026）第001号")) == ([record], [])
    assert say(label_body("某市监罚字〔2026〕2号"), outcome="failed") == ([], [record])
    assert say(label_body("某市监罚〔2026〕1号"), withheld=True) == ([], [])
    assert say(label_body("某市监罚〔2026〕1号")) == ([record], [])
    assert say(label_body("某市监罚〔2026〕1号"), outcome="void") == ([], [])
    liar = {**label_body("某市监罚〔2026〕9号")}
    liar["case"] = {"text": "某市监罚〔2026〕9号", "normal": "某市监罚〔2026〕1号", "key": first}
    assert say(liar) == ([], [])
    for malformed in ({"case": 1}, {}, {"case": None}):
        assert say(malformed) == ([], [])


def test_projections_are_made_anew_where_they_are_missing(talk: Talk) -> None:
    records = seal_many(talk.side, 3)
    talk.side.say("labelled", records[1], label_body())
    mirror(talk.desk, *talk.side.entries)
    engine, files = talk.desk.archive.catalogue.engine, talk.desk.archive.files
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE records"))
        connection.execute(text("DROP TABLE labels"))
    again = Catalogue(engine, files, "centre")
    assert again.records(None, 10) == records[::-1]
    assert again.records_of_case("某市监罚/2026/1") == [records[1]]


def attention(talk: Talk) -> dict[str, object]:
    (found,) = station_states(talk.desk.archive, talk.desk.hearing)
    return dict(found["attention"])


def test_what_the_logs_say_that_needs_a_person_is_counted_by_the_latest_fact(talk: Talk) -> None:
    calm = {"generations": 1, "upload_stuck_since": None} | dict.fromkeys(
        ("quarantined", "findings", "not_confirmed", "backup_failed", "drill_failed"), 0
    )
    one, two = seal_many(talk.side, 2)
    mirror(talk.desk, *talk.side.entries)
    assert attention(talk) == calm
    for record in (one, two):
        talk.side.say("backed-up", record, outcome="failed", place="off-site")
        talk.side.say("drilled", record, outcome="failed", place="off-site")
    talk.side.say("confirmed", one, outcome="failed", place="station")
    talk.side.say("quarantined", record_id("item"), place="station")
    talk.side.say("finding", two, withheld=True)
    mirror(talk.desk, *talk.side.entries)
    assert attention(talk) == calm | {
        "quarantined": 1, "findings": 1, "not_confirmed": 1, "backup_failed": 2, "drill_failed": 2
    }  # fmt: skip
    talk.side.say("backed-up", one, place="off-site")
    talk.side.say("drilled", one, outcome="void", place="off-site")
    later = StationSide("st-01", "2aaaaaaa")
    later.say("restored")
    mirror(talk.desk, *talk.side.entries)
    mirror(talk.desk, *later.entries)
    found = attention(talk)
    assert (found["backup_failed"], found["drill_failed"], found["generations"]) == (1, 1, 2)


def test_an_upload_that_is_stuck_is_told_with_its_oldest_record_but_no_secret_one(talk: Talk) -> None:
    side, desk = talk.side, talk.desk
    footages = [Footage(record_id(f"waits {number}"), b"%d" % number) for number in range(3)]
    seals = [
        side.sealed(footage, sealed_at=f"2026-11-24T0{number}:00:00.000Z") for number, footage in enumerate(footages)
    ]
    side.say("labelled", footages[0].record, label_body(), withheld=True)  # it is secret
    side.say("stored", footages[1].record, {}, place="centre")  # a station's word for it is none
    mirror(desk, *side.entries)
    desk.time.wall = "2026-11-24T12:59:00.000Z"
    assert attention(talk)["upload_stuck_since"] is None
    desk.time.wall = "2026-11-24T15:00:00.000Z"
    assert attention(talk)["upload_stuck_since"] == "2026-11-24T01:00:00.000Z"
    talk.upload(footages[1], seals[1])
    assert attention(talk)["upload_stuck_since"] == "2026-11-24T02:00:00.000Z"
    talk.upload(footages[2], seals[2])
    assert attention(talk)["upload_stuck_since"] is None


def test_a_flood_of_one_alarm_hides_no_other(talk: Talk) -> None:
    catalogue = talk.desk.archive.catalogue
    for number in range(MOST_ALARMS + 5):
        catalogue.alarm("st-01", "another-station", "what", f"record {number}", T0)
    catalogue.alarm("st-01", "fork", "what", "log", T0)
    assert [alarm.code for alarm in catalogue.alarms("st-01")].count("fork") == 1


def test_alarms_are_kept_once_and_bounded(talk: Talk) -> None:
    catalogue = talk.desk.archive.catalogue
    for number in range(MOST_ALARMS + 10):
        for _ in range(2):
            catalogue.alarm("st-01", "fork", "what", f"log {number}", T0, b"evidence")
    assert len(catalogue.alarms("st-01")) == MOST_ALARMS
    assert catalogue.alarms("st-02") == []


def test_a_name_keeps_its_key_and_a_key_its_name(talk: Talk) -> None:
    catalogue = talk.desk.archive.catalogue
    catalogue.enrol(talk.side.key.verifier, T0)
    with pytest.raises(ServiceError) as caught:
        catalogue.enrol(
            StationSide("st-02").key.verifier.__class__("st-01", StationSide("st-02").key.verifier.public), T0
        )
    assert caught.value.code == "name-taken"
    with pytest.raises(ServiceError) as caught:
        catalogue.enrol(talk.side.key.verifier.__class__("st-02", talk.side.key.verifier.public), T0)
    assert caught.value.code == "key-taken"
    assert list(catalogue.station_keys()) == ["st-01"]


KINDS = st.sampled_from(["sealed", "labelled", "docked", "previewed"])
STEPS = st.lists(
    st.tuples(st.booleans(), KINDS, st.integers(0, 3), st.sampled_from(["done", "failed", "void"])), max_size=25
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.integers(1, 6))
def test_whatever_two_stations_say_each_record_has_one_owner(
    make_desk: MakeDesk, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, str, int, str]], size: int
) -> None:
    sides = StationSide("st-01"), StationSide("st-02")
    desk = make_desk(*sides, root=tmp_path_factory.mktemp("centre"))
    first: dict[str, str] = {}
    for which, kind, number, outcome in steps:
        record, side = record_id(str(number)), sides[which]
        side.say(kind, record, sealed_body(side.seal(Footage(record, b"x"))), outcome=outcome)  # type: ignore[arg-type]  # one of them
        mirror(desk, *side.entries[-size:])
        if (kind, outcome) == ("sealed", "done"):
            first.setdefault(record, side.name)
    catalogue = desk.archive.catalogue
    assert {record: catalogue.owner(record) for record in catalogue.records(None, 100)} == first
    for record in {record_id(str(number)) for number in range(4)}:
        speakers = {entry.envelope.log.partition(".")[0] for entry in catalogue.facts_of(record)}
        assert speakers <= {first.get(record)}
    desk.close()
