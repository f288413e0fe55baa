"""The two-day clock of article 15: stored and labelled within two days of the recording's end."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from dockwarden.evidence.canonical import MalformedError, Object

State: TypeAlias = Literal["in-time", "due", "late", "met", "met-late", "unknown"]

UTC_FORM = "%Y-%m-%dT%H:%M:%S.%f"


@dataclass(frozen=True)
class Policy:
    """How the period is counted. `strict`: `hours` from the recording's end, to the millisecond; `warn_hours`
    before the end the state becomes `due`. Source: article 15 (2日内); office policy valid from its date."""

    mode: Literal["strict"] = "strict"
    hours: int = 48
    warn_hours: int = 24


@dataclass(frozen=True)
class Deadline:
    """When a record is due, counted from what, and how it stands."""

    mode: str
    starts: str | None
    due: str | None
    state: State

    def to_object(self) -> Object:
        """The deadline as queries show it."""
        return {"due": self.due, "mode": self.mode, "starts": self.starts, "state": self.state}


def deadline(policy: Policy, ended: str | None, met_at: str | None, now: str) -> Deadline:
    """Judge a record.

    `ended` is the end of the recording (or the docking time where the device's clock is unknown), `met_at` when
    it was both stored and labelled, `now` the present; all UTC `YYYY-MM-DDThh:mm:ss.mmmZ`, None where unknown.
    Raises MalformedError for any other form.
    """
    if ended is None:
        return Deadline(policy.mode, None, None, "unknown")
    try:
        due = parse_utc(ended) + timedelta(hours=policy.hours)
    except OverflowError:  # a clock at the end of time
        return Deadline(policy.mode, ended, None, "unknown")
    if met_at is not None:
        state: State = "met" if parse_utc(met_at) <= due else "met-late"
    elif parse_utc(now) > due:
        state = "late"
    else:
        state = "due" if due - parse_utc(now) < timedelta(hours=policy.warn_hours) else "in-time"
    return Deadline(policy.mode, ended, format_utc(due), state)


def parse_utc(text: str) -> datetime:
    """Read our form of UTC; raises MalformedError for anything that does not print back identically."""
    try:
        moment = datetime.strptime(text[:64], f"{UTC_FORM}Z").replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedError("utc", "is not YYYY-MM-DDThh:mm:ss.mmmZ") from error
    if format_utc(moment) != text:
        raise MalformedError("utc", "is not YYYY-MM-DDThh:mm:ss.mmmZ")
    return moment


def format_utc(moment: datetime) -> str:
    """Print an aware moment in our form of UTC, milliseconds cut."""
    return moment.astimezone(UTC).strftime(UTC_FORM)[:-3] + "Z"
