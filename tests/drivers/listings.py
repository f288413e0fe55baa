"""Listings for tests: sources by their names."""

from collections.abc import Iterable
from datetime import UTC, datetime

from dockwarden.agent.drivers.profiles import load
from dockwarden.agent.drivers.source import Mark, SourceInfo, decode_name

PROFILES = {profile.name: profile for profile in load().profiles}


def wall(text: str) -> int:
    """A wall clock's seconds, from `2026-11-24 09:15:00`."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def source(
    name: str,
    modified: str = "2026-11-24 10:00:00",
    size: int = 1000,
    volume: str = "card",
    marks: Iterable[Mark] = (),
) -> SourceInfo:
    """A source as a driver lists it."""
    return SourceInfo(volume, decode_name(name.encode()), size, wall(modified), frozenset(marks))
