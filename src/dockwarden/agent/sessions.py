"""A docking session's running account, and what all its parts ask of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dockwarden.agent.bays import Finding, Progress, Stay
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.drivers.source import SourceError, SourceInfo
from dockwarden.agent.intake import Claims, Docking
from dockwarden.agent.quarantine import Reason, Where, quarantine
from dockwarden.agent.stores import Stores, new_id
from dockwarden.durable.files import DurableError
from dockwarden.durable.staging import Stage
from dockwarden.service.errors import ServiceError

Key: TypeAlias = tuple[str, bytes]
"""What tells the sources of one device from each other: volume and raw path."""


@dataclass(frozen=True)
class Desk:
    """What every docking session of a station works with. `profiles` by name."""

    stores: Stores
    profiles: Mapping[str, Profile]
    claims: Claims = field(default_factory=Claims)


@dataclass
class Session:
    """A session's account: records taken, sources that failed in whatever way, things that are no source (raw).

    `compared` are those of which this device, in this session, has shown once more just the bytes that were sealed,
    every leaf; `sampled` those that were recognised by a sample of them, by policy. `torn` cannot be read as a whole
    and wait, with their claimed stages, until all others have been taken; `partial` says of those whose record has
    holes how many bytes are missing. `cleared` were removed from it.
    """

    desk: Desk
    docking: Docking
    progress: Progress
    stay: Stay
    taken: dict[Key, str] = field(default_factory=dict)
    failed: set[Key] = field(default_factory=set)
    compared: set[Key] = field(default_factory=set)
    sampled: set[Key] = field(default_factory=set)
    torn: dict[Key, tuple[SourceInfo, Stage]] = field(default_factory=dict)
    partial: dict[Key, int] = field(default_factory=dict)
    cleared: set[Key] = field(default_factory=set)
    unlisted: set[bytes] = field(default_factory=set)

    @property
    def stores(self) -> Stores:
        """The station's stores."""
        return self.desk.stores

    @property
    def where(self) -> Where:
        """What quarantine says of where something was seen."""
        return Where(self.docking.session, self.docking.device.info.key)

    def fail(self, source: SourceInfo, error: ServiceError | DurableError) -> None:
        """A source is not safe in this session, whatever anybody says of its record later."""
        self.failed.add(key_of(source))
        self.progress.find(told(error))


class Gone(Exception):
    """The device was pulled out or the station stops: the session ends where it is."""


def key_of(source: SourceInfo) -> Key:
    """The key of a source in its session."""
    return source.volume, source.name.raw


def told(error: ServiceError | DurableError) -> Finding:
    """An error as a bay shows it: what happened and what to do, without the place, which may be a file's name."""
    return Finding(error.code, f"{error.what}. {error.do}")


def stay_or_leave(session: Session) -> None:
    """Raise Gone where the stay is over."""
    if session.stay.ended.is_set():
        raise Gone


def end_if_over(session: Session, error: SourceError | DurableError) -> None:
    """Raise Gone where an error is just the end of the stay."""
    if session.stay.ended.is_set() or error.code in ("unplugged", "cancelled"):
        raise Gone from error


def listed(session: Session) -> list[SourceInfo]:
    """List the device anew; what is no source is said once and keeps the bay amber. Raises SourceError,
    DurableError."""
    sources = session.docking.device.sources()
    for item in session.docking.device.unlisted():
        if item.name.raw not in session.unlisted:
            session.unlisted.add(item.name.raw)
            session.progress.find(Finding("unlisted", item.reason))
            quarantine(session.stores, new_id(), session.where, item.name, Reason("unlisted", item.reason))
    return sources


def is_done(stores: Stores, record: str, kind: str) -> bool:
    """Whether the station's latest fact of a kind about a record is done."""
    found = stores.ledger.latest(record).get((kind, "station"))
    return found is not None and found.outcome == "done"
