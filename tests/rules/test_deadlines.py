"""The two-day clock: exact to the millisecond, and it never guesses."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence.canonical import MalformedError
from dockwarden.rules.deadlines import Policy, deadline, format_utc, parse_utc

POLICY = Policy()
ENDED, DUE = "2026-11-20T09:00:00.000Z", "2026-11-22T09:00:00.000Z"
MOMENTS = st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


def state(met: str | None, now: str, ended: str | None = ENDED, policy: Policy = POLICY) -> str:
    return deadline(policy, ended, met, now).state


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-20T09:00:00.000Z", "in-time"),
        ("2026-11-21T09:00:00.000Z", "in-time"),
        ("2026-11-21T09:00:00.001Z", "due"),
        ("2026-11-22T09:00:00.000Z", "due"),
        ("2026-11-22T09:00:00.001Z", "late"),
    ],
)
def test_strict_mode_turns_at_the_millisecond(now: str, expected: str) -> None:
    assert state(None, now) == expected


def test_met_counts_to_the_last_millisecond_and_stays_so() -> None:
    for now in (ENDED, DUE, "2099-01-01T00:00:00.000Z"):
        assert state(DUE, now) == "met"
        assert state("2026-11-22T09:00:00.001Z", now) == "met-late"
    assert state("2026-11-19T00:00:00.000Z", DUE) == "met"


def test_without_an_end_nothing_is_claimed() -> None:
    found = deadline(POLICY, None, DUE, DUE)
    assert found.to_object() == {"mode": "strict", "starts": None, "due": None, "state": "unknown"}


def test_a_clock_at_the_end_of_time_is_unknown() -> None:
    assert state(None, DUE, ended="9999-12-31T23:59:59.999Z") == "unknown"


def test_the_policy_says_how_long_and_when_to_warn() -> None:
    policy = Policy(hours=1, warn_hours=0)
    assert deadline(policy, ENDED, None, ENDED).due == "2026-11-20T10:00:00.000Z"
    assert state(None, "2026-11-20T10:00:00.000Z", policy=policy) == "in-time"
    assert state(None, "2026-11-20T10:00:00.001Z", policy=policy) == "late"


@given(MOMENTS, MOMENTS, st.one_of(st.none(), MOMENTS))
def test_the_verdict_follows_from_the_order_of_moments(end: datetime, now: datetime, met: datetime | None) -> None:
    found = deadline(POLICY, format_utc(end), format_utc(met) if met else None, format_utc(now))
    due = end + timedelta(hours=48)
    assert found.due == format_utc(due)
    if met is not None:
        assert found.state == ("met" if met <= due else "met-late")
    else:
        assert (found.state == "late") == (now > due)


@given(MOMENTS)
def test_moments_read_back(moment: datetime) -> None:
    assert parse_utc(format_utc(moment)) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-20T09:00:00Z",
        "2026-11-20T09:00:00.000",
        "2026-11-20T09:00:00.00Z",
        "2026-11-20T09:00:00.000000Z",
        "2026-11-20T09:00:00.000ZZ",
        "2026-1-20T09:00:00.000Z",
        " 2026-11-20T09:00:00.000Z",
        "2026-11-31T09:00:00.000Z",
        "2026-11-20T09:00:61.000Z",
        "2026-11-20T09:00:00.000+08:00",
        "２026-11-20T09:00:00.000Z",
        "2026-11-20T09:00:00.000Z" * 1000,
    ],
    ids=ascii,
)
def test_another_form_of_time_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError, match="utc"):
        parse_utc(text[:3000])
