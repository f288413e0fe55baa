"""The office's thread outlives every message, asks without leaking, and ends when it is told to."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.centre.centre_samples import T0, Footage, StationSide, label_body, record_id

from dockwarden.centre import enrol
from dockwarden.centre.office import Office
from dockwarden.centre.running import handlers, open_archive
from dockwarden.centre.settings import Broker, Settings
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.service.errors import ServiceError
from dockwarden.simulators.broker import free_port
from dockwarden.wire.link import Connection
from dockwarden.wire.messages import Answer, Presence
from dockwarden.wire.topics import UP, up

SESSION = record_id("session")


@pytest.fixture
def office(tmp_path: Path, side: StationSide) -> Iterator[Office]:
    """An office that runs, with a station, and no line to any broker."""
    chosen = Settings(root=tmp_path / "centre", web=None, broker=Broker(port=free_port()))
    enrol.setup(chosen, OsFiles(), datetime.now(UTC))
    made = Office(chosen, open_archive(chosen, OsFiles()))
    made.archive.catalogue.enrol(side.key.verifier, T0)
    made._thread.start()
    yield made
    made.stop()


def hear(office: Office, lane: Any, payload: bytes, station: str = "st-01") -> None:
    """A message comes in."""
    office._on_message(up(station, lane), payload)


def drained(office: Office) -> None:
    """Wait until the office has taken all that came."""
    done = threading.Event()
    office._inbox.call(done.set)  # our calls come first …
    assert done.wait(20)
    while not office._inbox.empty:
        time.sleep(0.005)
    done.clear()
    office._inbox.call(done.set)  # … and after the last message there is one more
    assert done.wait(20)


def online(office: Office) -> None:
    """The station says that it is there, by a line that is up."""
    office.hearing.link(True)
    hear(office, "presence", Presence("online", SESSION, T0, office.archive.clock().utc).encode())
    drained(office)


def ask(office: Office, **more: Any) -> dict[str, Any]:
    return handlers(office, None)["ask"]({"station": "st-01", "wait_s": 0, **more})


# --- any message -------------------------------------------------------------------------------------------------


def seeds() -> list[bytes]:
    """Good messages of a station, to be bent."""
    side = StationSide()
    footage = Footage(record_id("one"), b"one")
    seal = side.sealed(footage)
    return [
        side.offer(footage, seal),
        side.batch(),
        Presence("online", SESSION, T0, T0).encode(),
        Answer(record_id("x"), T0, {"a": [1]}).encode(),
        b"DWC1" + bytes(60),
    ]


BENT = st.builds(
    lambda good, place, byte, cut: good[:place] + bytes([byte]) + good[place + 1 : len(good) - cut],
    st.sampled_from(seeds()),
    st.integers(0, 400),
    st.integers(0, 255),
    st.integers(0, 3),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(UP),
            st.sampled_from(["st-01", "st-02", "centre"]),
            st.one_of(st.binary(max_size=200), BENT),
        ),
        max_size=12,
    )
)
@example([(lane, "st-01", b"") for lane in UP])
def test_the_office_outlives_any_message(office: Office, messages: list[tuple[Any, str, bytes]]) -> None:
    for lane, station, payload in messages:
        hear(office, lane, payload, station)
    drained(office)
    assert handlers(office, None)["info"]({})["centre"] == "centre"
    assert not [reason for reason in office.rejected if "defect" in reason]


def test_what_is_refused_is_counted_by_lane_and_reason(office: Office, side: StationSide) -> None:
    hear(office, "offer", b"{}")
    hear(office, "done", b"{}")
    hear(office, "fact", b"{}", "st-09")
    hear(
        office, "fact", StationSide("st-02").batch() if StationSide("st-02").entries else _batch_of_another(), "st-01"
    )
    office._link.rejected["retained"] += 1
    drained(office)
    assert handlers(office, None)["info"]({})["rejected"] == {
        "offer:MalformedError": 1,
        "done:not-spoken": 1,
        "fact:not-enrolled": 1,
        "fact:not-its-log": 1,
        "link:retained": 1,
    }


def _batch_of_another() -> bytes:
    other = StationSide("st-02")
    other.say("docked")
    return other.batch()


def test_a_defect_in_one_stations_part_is_not_the_others_business(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = StationSide("st-02")
    office.archive.catalogue.enrol(other.key.verifier, T0)
    for name in ("st-01", "st-02"):
        hear(office, "presence", Presence("online", SESSION, T0, T0).encode(), name)
    drained(office)
    turns: list[str] = []

    def broken(now: float) -> None:
        turns.append("st-01")
        raise IndexError

    monkeypatch.setattr(office._receiving["st-01"], "flush", broken)
    monkeypatch.setattr(office._receiving["st-02"], "flush", lambda now: turns.append("st-02"))
    hear(office, "presence", b"", "st-02")
    drained(office)
    while "st-02" not in turns:
        time.sleep(0.01)
    assert turns[:2] == ["st-01", "st-02"]


def test_a_flood_does_not_keep_others_from_being_flushed(office: Office) -> None:
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            hear(office, "offer", b"x" * 100)

    flushed = threading.Event()
    drained(office)
    hear(office, "presence", Presence("online", SESSION, T0, T0).encode())
    drained(office)
    office._receiving["st-01"].flush = lambda now: flushed.set()  # type: ignore[method-assign]  # only to see it
    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        assert flushed.wait(20)
    finally:
        stop.set()
        flooding.join()


def test_it_ends_while_messages_come_and_checks_run(office: Office) -> None:
    began, go_on = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait(20)

    office._check(work, lambda result: None)
    assert began.wait(20)
    for _ in range(5000):
        hear(office, "offer", b"x" * 10_000)
    ending = threading.Thread(target=office.stop)
    ending.start()
    go_on.set()
    ending.join(20)
    assert not ending.is_alive()


# --- questions ---------------------------------------------------------------------------------------------------


def test_a_station_that_is_away_is_not_waited_for(office: Office) -> None:
    office.hearing.link(True)
    hear(office, "presence", Presence("offline", SESSION, T0, T0).encode())
    drained(office)
    found = ask(office, wait_s=1000)
    assert (found["answered_by"], found["state"], found["as_of"], found["station"]) == (
        "last-known",
        "offline",
        None,
        "st-01",
    )
    again = ask(office)
    assert again["question"] == found["question"]  # a hundred questions while it is away are one


def test_without_our_own_line_nothing_is_claimed(office: Office) -> None:
    online(office)
    assert handlers(office, None)["stations"]({})["stations"][0]["state"] == "online"
    office._on_connection(Connection(False, "the broker is gone"))
    drained(office)
    found = ask(office, wait_s=1000)
    assert (found["answered_by"], found["state"]) == ("last-known", "unknown")
    assert found["since"] is not None
    assert handlers(office, None)["info"]({})["link"] is False


def test_an_answer_wakes_who_asked(office: Office) -> None:
    online(office)
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(ask(office, wait_s=60)))
    asking.start()
    while not office.questions.open("st-01"):
        time.sleep(0.005)
    question = office.questions.open("st-01")[0]
    body = {"records": {"total": 3}, "answered_by": "a liar", "as_of": "never", "question": "another"}
    hear(office, "answer", Answer(question.id, T0, body).encode())  # type: ignore[arg-type]  # an object
    asking.join()
    assert answers == [{"records": {"total": 3}, "as_of": T0, "answered_by": "station", "question": question.id}]
    assert office.question(question.id)["answered_at"] == T0


def test_the_end_lets_nobody_wait(office: Office) -> None:
    online(office)
    asking = threading.Thread(target=lambda: ask(office, wait_s=300))
    asking.start()
    while not office.questions.open("st-01"):
        time.sleep(0.005)
    office.hush()
    asking.join(20)
    assert not asking.is_alive()


@pytest.mark.parametrize(
    "asked",
    [
        {"station": "st-99"},
        {"station": 7},
        {"what": 7},
        {"what": ""},
        {"what": "Status!"},
        {"what": "a" * 5000},
        {"wait_s": "long"},
    ],
    ids=lambda asked: str(asked)[:24],
)
def test_a_question_that_nobody_could_answer_is_not_kept(office: Office, asked: dict[str, Any]) -> None:
    with pytest.raises(ServiceError):
        ask(office, **asked)
    assert office.questions.open("st-01") == []


# --- the local door ----------------------------------------------------------------------------------------------


def test_the_door_answers_what_cannot_be_with_what_to_do(office: Office, tmp_path: Path) -> None:
    door = handlers(office, None)
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("question", {}),
        ("question", {"id": "nobody's"}),
        ("records", {"limit": "all"}),
        ("records", {"station": 7}),
        ("package", {}),
        ("package", {"records": "all", "target": "/x"}),
        ("package", {"records": [7], "target": "/x"}),
        ("package", {"records": [], "target": "relative"}),
        ("package", {"records": [], "target": str(tmp_path / "x")}),
        ("package", {"records": [record_id("x")], "target": str(tmp_path / "x")}),
        ("package", {"records": [], "case": "no number", "target": str(tmp_path / "x")}),
        ("package", {"records": [], "case": "某市监罚〔2026〕1号", "target": str(tmp_path / "x")}),
        ("ask", {}),
        ("enrol", {}),
    ]
    for method, asked in wrong:
        with pytest.raises(ServiceError) as caught:
            door[method](asked)
        assert caught.value.do, (method, asked)
    assert not (tmp_path / "x").exists()


def test_records_come_in_pages(office: Office, side: StationSide) -> None:
    made = [Footage(record_id(f"{number}"), b"%d" % number) for number in range(5)]
    for footage in made:
        side.sealed(footage)
        side.say("labelled", footage.record, label_body())
    hear(office, "fact", side.batch())
    drained(office)
    door = handlers(office, None)
    newest = [footage.record for footage in made][::-1]
    first = door["records"]({"limit": 3})["records"]
    assert [record["record"] for record in first] == newest[:3]
    rest = door["records"]({"limit": 3, "before": first[-1]["record"], "station": "st-01"})["records"]
    assert [record["record"] for record in rest] == newest[3:]
    assert door["records"]({"station": "st-02"})["records"] == []
    assert (rest[0]["station"], rest[0]["stored"], rest[0]["malformed"]) == ("st-01", False, [])
    assert office.of_case("某市监罚（2026）第01号") == newest[::-1]


def test_a_package_that_cannot_be_told_of_is_not_left(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "package"

    def made(*_: object) -> str:
        target.mkdir()
        return "0" * 64

    def full(*_: object, **__: object) -> None:
        raise DurableError("disk-full", "the disk is full", "here", "Free space.")

    monkeypatch.setattr("dockwarden.centre.office.make_package", made)
    monkeypatch.setattr(office.archive.ledger, "append", full)
    with pytest.raises(ServiceError) as caught:
        handlers(office, None)["package"]({"records": [record_id("x")], "target": str(target)})
    assert caught.value.code == "disk-full"
    assert not target.exists()
