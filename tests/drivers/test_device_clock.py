"""Clocks: the error that was measured turns a device's wall clock into UTC; what is not known is not said."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.agent.drivers.source import ClockReading
from dockwarden.agent.metadata.clock import Captured, ClockError, captured_utc, is_unset, measure
from dockwarden.agent.metadata.filenames import NameFacts

NOW_MS = 1_795_500_000_000
ZONE = 480
DAY_S = 24 * 3600
UTC_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def asked(offset_ms: int, uncertainty_ms: int | None = 1000, zone: int = ZONE) -> ClockReading:
    return ClockReading(NOW_MS + zone * 60_000 + offset_ms, NOW_MS, uncertainty_ms, "asked")


def wall(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_the_error_is_the_device_minus_the_true_time() -> None:
    assert measure(asked(2500), ZONE) == ClockError(2500, 1000, "asked", "none")
    assert measure(asked(-2500), ZONE) == ClockError(-2500, 1000, "asked", "none")


def test_an_error_of_about_two_hours_is_a_zone() -> None:
    assert measure(asked(-7_200_000 + 4000), ZONE).finding == "zone"
    assert measure(asked(7_100_000), ZONE).finding == "zone"
    assert measure(asked(-3_600_000), ZONE).finding == "none"


def test_no_reading_no_zone_or_a_lower_bound_gives_no_error() -> None:
    assert measure(None, ZONE) == ClockError(None, None, "none", "none")
    assert measure(asked(0), None).offset_ms is None
    assert measure(asked(-60_000, None), ZONE) == ClockError(None, None, "asked", "none")


def test_a_newest_file_of_the_future_is_told() -> None:
    assert measure(asked(3_600_000, None), ZONE) == ClockError(None, None, "asked", "ahead")


@pytest.mark.parametrize("year", [1970, 1980, 2000])
def test_a_clock_that_was_never_set_has_no_error(year: int) -> None:
    reading = ClockReading(wall(f"{year}-01-01T08:15:00") * 1000, NOW_MS, 1000, "asked")
    assert measure(reading, ZONE) == ClockError(None, None, "asked", "unset")


def test_a_firmware_date_is_unset_where_the_profile_says_so() -> None:
    assert not is_unset(wall("2019-01-01T00:00:00"))
    assert is_unset(wall("2019-01-01T00:00:00"), (2019,))
    assert is_unset(10**15)


def test_name_and_last_modified_time_give_start_and_end() -> None:
    facts = NameFacts(started_local=wall("2026-11-24T09:15:07"))
    found = captured_utc(facts, wall("2026-11-24T09:20:08"), ZONE, ClockError(7000, 1000, "asked"))
    assert found == Captured("2026-11-24T01:15:00.000Z", "2026-11-24T01:20:01.000Z", "name+modified")


def test_without_a_measured_clock_no_time_is_said() -> None:
    facts = NameFacts(started_local=wall("2026-11-24T09:15:07"))
    unknown = ClockError(None, None, "newest-file")
    assert captured_utc(facts, wall("2026-11-24T09:20:08"), ZONE, unknown) == Captured(None, None, "clock-unknown")
    assert captured_utc(facts, 0, None, ClockError(0, 0, "asked")).how == "clock-unknown"


def test_times_of_a_clock_that_was_never_set_are_not_said() -> None:
    right = ClockError(0, 1000, "asked")
    facts = NameFacts(started_local=wall("2000-01-01T00:03:00"))
    assert captured_utc(facts, wall("1980-01-01T00:00:00"), ZONE, right) == Captured(None, None, "clock-unset")
    unset = ClockError(None, None, "asked", "unset")
    assert captured_utc(NameFacts(), wall("2026-11-24T09:20:08"), ZONE, unset).how == "clock-unset"


def test_an_unset_start_leaves_the_end_and_an_unset_end_leaves_the_start() -> None:
    right = ClockError(0, 1000, "asked")
    start, end = wall("2026-11-24T09:15:07"), wall("2026-11-24T09:20:08")
    unset = wall("1970-01-01T00:00:00")
    assert captured_utc(NameFacts(started_local=unset), end, ZONE, right).how == "modified"
    assert captured_utc(NameFacts(started_local=start), unset, ZONE, right).how == "name"


@pytest.mark.parametrize("end", ["2026-11-24T09:15:04", "2026-11-25T09:15:08"])
def test_a_last_modified_time_that_cannot_be_the_end_is_not_taken_for_it(end: str) -> None:
    facts = NameFacts(started_local=wall("2026-11-24T09:15:07"))
    found = captured_utc(facts, wall(end), ZONE, ClockError(0, 1000, "asked"))
    assert found == Captured("2026-11-24T01:15:07.000Z", None, "name")


def test_a_last_modified_time_that_fat_has_rounded_is_the_end() -> None:
    facts = NameFacts(started_local=wall("2026-11-24T09:15:07"))
    found = captured_utc(facts, wall("2026-11-24T09:15:06"), ZONE, ClockError(0, 1000, "asked"))
    assert found.start == found.end


@given(
    st.none() | st.integers(-(2**62), 2**62),
    st.integers(-(2**62), 2**62),
    st.none() | st.integers(-720, 840),
    st.none() | st.integers(-(2**53), 2**53),
)
def test_any_numbers_give_ordered_utc_times_or_none(
    start: int | None, modified: int, zone: int | None, offset: int | None
) -> None:
    found = captured_utc(NameFacts(started_local=start), modified, zone, ClockError(offset, 0, "asked"))
    for said in (found.start, found.end):
        assert said is None or UTC_FORM.fullmatch(said)
    if found.start and found.end:
        assert found.start <= found.end


@given(
    st.integers(wall("2011-01-01T00:00:00"), wall("2099-12-31T00:00:00")),
    st.integers(0, DAY_S),
    st.sampled_from([360, 480]),
    st.integers(-30 * DAY_S * 1000, 30 * DAY_S * 1000),
)
def test_whatever_the_error_of_the_clock_the_true_times_come_out(
    true_start: int, seconds: int, zone: int, error_ms: int
) -> None:
    error_ms -= error_ms % 1000
    shift = zone * 60 + error_ms // 1000
    measured = measure(ClockReading(NOW_MS + zone * 60_000 + error_ms, NOW_MS, 500, "asked"), zone)
    found = captured_utc(NameFacts(started_local=true_start + shift), true_start + seconds + shift, zone, measured)
    for said, true in ((found.start, true_start), (found.end, true_start + seconds)):
        assert said is not None
        assert datetime.fromisoformat(said).timestamp() == true
