"""What waits for the office is bounded, fair, and in each station's order."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from dockwarden.centre.inbox import STATION_MESSAGES, Inbox
from dockwarden.wire.topics import up

ONE, TWO = up("st-01", "offer"), up("st-02", "offer")


def drain(inbox: Inbox) -> list[tuple[str, bytes]]:
    found = []
    while not inbox.empty:
        taken = inbox.take(0.0)
        assert isinstance(taken, tuple)
        found.append((taken[0].station, taken[1]))
    return found


def test_stations_have_their_turn_and_keep_their_order() -> None:
    inbox = Inbox()
    for number in range(3):
        assert inbox.put(ONE, b"%d" % number)
    assert inbox.put(TWO, b"a")
    assert drain(inbox) == [("st-01", b"0"), ("st-02", b"a"), ("st-01", b"1"), ("st-01", b"2")]


def test_a_station_that_floods_loses_its_own_messages_alone() -> None:
    inbox = Inbox(station_bytes=100)
    assert inbox.put(ONE, bytes(60))
    assert not inbox.put(ONE, bytes(60))
    assert inbox.put(TWO, bytes(60))
    drain(inbox)
    assert inbox.put(ONE, bytes(100))


def test_empty_messages_are_bounded_too() -> None:
    inbox = Inbox()
    assert all(inbox.put(ONE, b"") for _ in range(STATION_MESSAGES))
    assert not inbox.put(ONE, b"")
    assert inbox.put(TWO, b"")


def test_all_stations_together_are_bounded() -> None:
    inbox = Inbox(station_bytes=100, all_bytes=150)
    assert inbox.put(ONE, bytes(100))
    assert not inbox.put(TWO, bytes(51))
    assert inbox.put(TWO, bytes(50))


def test_our_own_calls_come_first_and_are_never_refused() -> None:
    inbox = Inbox(station_bytes=1, all_bytes=1)
    inbox.put(ONE, b"x")
    done: list[int] = []
    for number in range(10):
        inbox.call(lambda number=number: done.append(number))  # type: ignore[misc]  # mypy infers no lambda here
    for _ in range(10):
        call = inbox.take(0.0)
        assert callable(call)
        call()
    assert done == list(range(10))
    assert drain(inbox) == [("st-01", b"x")]


def test_closing_wakes_who_waits() -> None:
    inbox = Inbox()
    taken: list[object] = []
    waiting = threading.Thread(target=lambda: taken.append(inbox.take(60.0)))
    waiting.start()
    inbox.close()
    waiting.join()
    assert taken == [None]
    assert inbox.take(60.0) is None


@given(st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.binary(max_size=8), st.booleans()), max_size=60))
def test_the_count_of_bytes_stays_true(steps: list[tuple[object, bytes, bool]]) -> None:
    inbox, inside = Inbox(station_bytes=40, all_bytes=60), {"st-01": 0, "st-02": 0}
    for topic, payload, takes in steps:
        station = topic.station  # type: ignore[attr-defined]  # a topic
        fits = inside[station] + len(payload) <= 40 and sum(inside.values()) + len(payload) <= 60
        assert inbox.put(topic, payload) == fits  # type: ignore[arg-type]  # a topic
        inside[station] += len(payload) if fits else 0
        if takes and not inbox.empty:
            taken = inbox.take(0.0)
            assert isinstance(taken, tuple)
            inside[taken[0].station] -= len(taken[1])
    for station, payload in drain(inbox):
        inside[station] -= len(payload)
    assert inside == {"st-01": 0, "st-02": 0}
