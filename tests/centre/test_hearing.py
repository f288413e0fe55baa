"""Who is there, by the monotonic clock, and never more certain than our own line allows."""

from tests.centre.desk import Time

from dockwarden.centre.catalogue import KnownPresence
from dockwarden.centre.hearing import SILENT_S, Hearing

SINCE, SAID = "2026-11-24T09:00:00.000Z", "2026-11-24T09:59:00.000Z"


def known(state: str, time: Time) -> KnownPresence:
    return KnownPresence(state, "s", SINCE, SAID, time.wall)


def test_nothing_is_known_of_a_station_that_never_spoke() -> None:
    hearing = Hearing()
    hearing.link(True)
    assert hearing.state("st-01", None) == ("unknown", None)


def test_a_station_that_speaks_is_online_until_it_is_silent() -> None:
    time = Time()
    hearing = Hearing(time.monotonic)
    hearing.link(True)
    hearing.heard("st-01", time.wall)
    said, heard_at = known("online", time), time.wall
    assert hearing.state("st-01", said) == ("online", SINCE)
    time.go(SILENT_S)
    assert hearing.state("st-01", said) == ("online", SINCE)
    time.go(0.001)
    assert hearing.state("st-01", said) == ("offline", heard_at)


def test_a_farewell_or_a_will_counts_at_once() -> None:
    time = Time()
    hearing = Hearing(time.monotonic)
    hearing.link(True)
    hearing.heard("st-01", time.wall)
    hearing.gone("st-01")
    assert hearing.state("st-01", known("offline", time)) == ("offline", time.wall)
    assert not hearing.is_live("st-01")


def test_while_our_line_is_down_nothing_is_known_of_anybody() -> None:
    time = Time()
    hearing = Hearing(time.monotonic)
    hearing.link(True)
    hearing.heard("st-01", time.wall)
    said, heard_at = known("online", time), time.wall
    hearing.link(False)
    time.go(5)
    assert hearing.state("st-01", said) == ("unknown", heard_at)
    assert hearing.state("st-01", known("offline", time))[0] == "unknown"


def test_when_our_line_is_back_a_station_has_time_to_speak() -> None:
    time = Time()
    hearing = Hearing(time.monotonic)
    said = known("online", time)
    hearing.link(True)
    assert hearing.state("st-01", said)[0] == "unknown"
    time.go(SILENT_S + 1)
    assert hearing.state("st-01", said)[0] == "offline"
    hearing.link(False)
    hearing.link(True)
    assert hearing.state("st-01", said)[0] == "unknown"
    hearing.heard("st-01", time.wall)
    assert hearing.state("st-01", said) == ("online", SINCE)
