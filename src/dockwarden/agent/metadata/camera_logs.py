"""What a camera's own log says was recorded. Pure: bytes of a log file in, events out; a profile has its form.

All of it is hostile input: it is decoded as a name is, cut to a length, and a line of another form is left out.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dockwarden.agent.drivers.naming import CameraLog
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.drivers.source import SourceInfo, decode_name
from dockwarden.agent.metadata.filenames import take_apart, wall_seconds
from dockwarden.agent.metadata.listing import Listed
from dockwarden.evidence.seals import SourceName

MOST_BYTES = 4 << 20
"""How much of a log file is looked at."""

MOST_LINE = 500
WITHIN_S = 2
"""How far a file's start may lie from the line that tells of it: a camera writes a name a moment after the press."""


@dataclass(frozen=True)
class Event:
    """A line of a log: when by the device's clock (seconds as in `NameFacts`; None: no time), what happened, the file
    that it names, and whether there must be a file after it."""

    at_local: int | None
    what: str
    file: SourceName | None
    recorded: bool


def log_files(sources: Iterable[SourceInfo], form: CameraLog | None) -> list[SourceInfo]:
    """The sources that are logs by the profile."""
    return [source for source in sources if form is not None and form.files.fits(source.name.text)]


def read_log(data: bytes, form: CameraLog, path: str) -> list[Event]:
    """The events of a log file, in its order; `path` is that of the file, which may hold the day. Never raises."""
    place = form.files.fit(path)
    day = place.groups if place is not None else {}
    whole = data if len(data) <= MOST_BYTES else data[:MOST_BYTES].rpartition(b"\n")[0]
    decoded = decode_name(whole)
    events = []
    for line in decoded.text.splitlines():
        found = form.line.fit(line.strip()) if len(line) <= MOST_LINE else None
        if found is None:
            continue
        groups = {key: value for key, value in {**day, **found.groups}.items() if value}
        time = " ".join(groups[key] for key in ("date", "time") if key in groups)
        event, file = groups.get("event", ""), groups.get("file")
        named = None if file is None else SourceName(file, file.encode(decoded.decoded_as), decoded.decoded_as)
        events.append(Event(wall_seconds(time, form.when), event, named, form.recorded.fits(event)))
    return events


def without_file(
    events: Iterable[Event], listing: Iterable[Listed], profile: Profile, known: Collection[str] = ()
) -> list[Event]:
    """The events after which there must be a file, and none is in the listing.

    A file that was marked important since, and renamed for it, is there. `known` are names of files, without folder,
    that the station took from this device before: what was cleared from it since is not missing. An event without
    name and time says too little to be missed.
    """
    files = [each for each in listing if each.kind is None]
    stems = {each.named.stem for each in files} | {_stem(name, profile) for name in known}
    starts = {each.facts.started_local for each in files if each.facts.started_local is not None}
    return [event for event in events if event.recorded and not _is_there(event, profile, stems, starts)]


def _is_there(event: Event, profile: Profile, stems: Collection[str], starts: Collection[int]) -> bool:
    if event.file is not None:
        return _stem(event.file.text, profile) in stems
    at = event.at_local
    return at is None or any(at + offset in starts for offset in range(-WITHIN_S, WITHIN_S + 1))


def _stem(name: str, profile: Profile) -> str:
    """The stem of a file's name; a log may write paths, with either slash."""
    path = name.replace("\\", "/")
    return take_apart(SourceName(path, b"", "utf-8"), profile).stem
