"""The moment that a fact is said."""

import datetime
import time

import pytest

from dockwarden.durable import instants
from dockwarden.evidence.facts import Instant


def test_an_instant_is_now_and_reads_back() -> None:
    first, second = instants.now(), instants.now()
    assert Instant.from_object(first.to_object()) == first
    assert first.boot == second.boot
    assert first.mono <= second.mono <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(first.utc)
    assert abs(age) < datetime.timedelta(minutes=1)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_764_000_000_007, "2025-11-24T16:00:00.007Z"),
        (999, "1970-01-01T00:00:00.999Z"),
    ],
)
def test_utc_has_milliseconds_and_a_z(milliseconds: int, text: str) -> None:
    assert instants.utc_text(milliseconds) == text


@pytest.mark.parametrize(
    ("result", "status", "synchronised"), [(0, 0, True), (5, 0, False), (0, 0x40, False), (-1, 0, False)]
)
def test_the_clock_is_synchronised_only_where_the_kernel_says_so(
    monkeypatch: pytest.MonkeyPatch, result: int, status: int, synchronised: bool
) -> None:
    class Kernel:
        @staticmethod
        def adjtimex(state: object) -> int:
            state._obj.status = status  # type: ignore[attr-defined]  # what ctypes.byref wraps
            return result

    monkeypatch.setattr(instants, "_LIBC", Kernel)
    assert instants.now().synchronised is synchronised
