"""How wrong a device's clock is, and when a recording was made. Pure: readings in, times out.

A device knows no zone: its wall clock is turned into UTC by the profile's zone and the error that was measured at
the dock. Where the error is unknown no time of capture is said; the deadline then starts at the dock, flagged
(article 15: within two days).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from dockwarden.agent.drivers.source import ClockReading
from dockwarden.agent.metadata.filenames import NameFacts
from dockwarden.evidence.canonical import Object

Finding: TypeAlias = Literal["none", "unset", "ahead", "zone"]
How: TypeAlias = Literal["name+modified", "name", "modified", "clock-unknown", "clock-unset", "nothing"]

UNSET_YEARS = frozenset({1970, 1980, 2000})
"""Years that a clock shows which was never set; a profile may know others (a firmware's date)."""

ZONE_ERROR_MS = 7_200_000
"""Urumqi time is two hours behind official time: an error of about that is a zone, not drift."""

_ZONE_SLACK_MS = 600_000
_AHEAD_SLACK_MS = 60_000
_FAT_STEP_S = 2  # the last-modified time of FAT has steps of two seconds
_LONGEST_S = 24 * 3600  # a later last-modified time is no recording's end: somebody has touched the file
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ClockError:
    """`offset_ms` is the device's clock minus the true time, None where it is not known. `finding` is for people:
    `unset` (never set), `ahead` (a file from the future), `zone` (about two hours: set to another zone)."""

    offset_ms: int | None
    uncertainty_ms: int | None
    method: str
    finding: Finding = "none"

    def to_object(self) -> Object:
        """The measurement as it stands in the fact `clock-measured` and in a seal."""
        return {"method": self.method, "offset_ms": self.offset_ms, "uncertainty_ms": self.uncertainty_ms}


@dataclass(frozen=True)
class Captured:
    """Start and end of a recording in UTC (`YYYY-MM-DDThh:mm:ss.mmmZ`), or None, and how they are known."""

    start: str | None
    end: str | None
    how: How

    def to_object(self) -> Object:
        """The times as they stand in a seal."""
        return {"end": self.end, "how": self.how, "start": self.start}


def measure(
    reading: ClockReading | None, zone_minutes: int | None, unset_years: Collection[int] = UNSET_YEARS
) -> ClockError:
    """Return the error of the device's clock that a reading shows.

    A clock that was never set has no error that could be used: what it says of earlier recordings is arbitrary. A
    reading that is only a lower bound gives none either, but one that lies in the future is told.
    """
    if reading is None:
        return ClockError(None, None, "none")
    if is_unset(reading.device_ms // 1000, unset_years):
        return ClockError(None, None, reading.method, "unset")
    if zone_minutes is None:
        return ClockError(None, None, reading.method)
    offset = reading.device_ms - zone_minutes * 60_000 - reading.at_ms
    if reading.uncertainty_ms is None:
        return ClockError(None, None, reading.method, "ahead" if offset > _AHEAD_SLACK_MS else "none")
    zone = abs(abs(offset) - ZONE_ERROR_MS) <= _ZONE_SLACK_MS
    return ClockError(offset, reading.uncertainty_ms, reading.method, "zone" if zone else "none")


def captured_utc(
    facts: NameFacts,
    modified_raw: int,
    zone_minutes: int | None,
    clock: ClockError,
    unset_years: Collection[int] = UNSET_YEARS,
) -> Captured:
    """Return when a recording was made: its name tells the start, its last-modified time the end.

    `modified_raw` is the device's wall clock in seconds. A last-modified time before the start, or more than a day
    after it, is no end. None of the two is said where the clock's error or zone is unknown.
    """
    if clock.offset_ms is None or zone_minutes is None:
        return Captured(None, None, "clock-unset" if clock.finding == "unset" else "clock-unknown")
    start, end = facts.started_local, modified_raw
    dated = [wall for wall in (start, end) if wall is not None and not is_unset(wall, unset_years)]
    if not dated:
        return Captured(None, None, "clock-unset")
    error = zone_minutes * 60_000 + clock.offset_ms
    if start is None or start not in dated:
        said = _utc(end, error)
        return Captured(None, said, "modified" if said else "nothing")
    began = _utc(start, error)
    if began is None:
        return Captured(None, None, "nothing")
    if end not in dated or not start - _FAT_STEP_S <= end <= start + _LONGEST_S:
        return Captured(began, None, "name")
    return Captured(began, _utc(max(start, end), error), "name+modified")


def is_unset(wall_seconds: int, unset_years: Collection[int] = UNSET_YEARS) -> bool:
    """Whether a wall clock's time is one that a clock shows which was never set."""
    try:
        return (_EPOCH + timedelta(seconds=wall_seconds)).year in unset_years
    except OverflowError:
        return True


def _utc(wall_seconds: int, error_ms: int) -> str | None:
    """UTC of a wall clock that is `error_ms` ahead of it; None outside the years 1 to 9999."""
    try:
        moment = _EPOCH + timedelta(milliseconds=wall_seconds * 1000 - error_ms)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
