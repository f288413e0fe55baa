"""What a device's listing shows that a person should know: nothing on a device goes unnoticed. Pure.

A sentence names no file and no person; the names that it is about are kept beside it, for the caller to put where
they may be.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.drivers.source import SourceInfo
from dockwarden.agent.metadata.camera_logs import log_files, read_log, without_file
from dockwarden.agent.metadata.listing import Listed, read_listing
from dockwarden.agent.metadata.numbering import Hole, holes
from dockwarden.agent.metadata.recordings import Grouped, group
from dockwarden.evidence.seals import SourceName

Code: TypeAlias = Literal[
    "missing-numbers",
    "number-jump",
    "missing-parts",
    "no-beginning",
    "log-without-file",
    "sidecar-alone",
    "empty-file",
    "marked-important",
    "name-without-time",
]

MOST_RANGES = 20
"""How many holes a sentence spells out."""

_NO_TIME = re.compile("(?<![0-9])0000-?00-?00(?![0-9])|(?<![0-9])0{14}(?![0-9])")


@dataclass(frozen=True)
class Noticed:
    """A finding of a listing. `names` are what it is about: of a log without a file the names that the log has, of a
    hole the files on both sides of it."""

    code: Code
    what: str
    names: tuple[SourceName, ...]


def notice(
    sources: Iterable[SourceInfo],
    profile: Profile,
    logs: Mapping[SourceInfo, bytes] | None = None,
    known: Collection[str] = (),
) -> list[Noticed]:
    """Everything that a listing shows; never raises.

    `logs` are the bytes of the sources that `camera_logs.log_files` tells, as far as the caller has them. `known` are
    names of files, without folder, that the station took from this device at earlier dockings: what was cleared since
    is not missing from its log.
    """
    listing = read_listing(sources, profile)
    grouped = group(listing, profile)
    found = [*_numbers(holes(listing)), *_parts(grouped), *_beginnings(listing, grouped)]
    found += _logged(listing, profile, logs or {}, known)
    alone = [each for each in grouped.alone if each.named.pattern is not None]
    found += _files("sidecar-alone", "files lie beside recordings that are not here", alone)
    empty = [each for each in listing if each.source.size == 0]
    found += _files("empty-file", "files are empty by their directory entry, and may have data on the card", empty)
    marked = [each for each in listing if "important" in each.source.marks or each.facts.important]
    found += _files("marked-important", "files are marked important on the device", marked)
    unset = [each for each in listing if each.facts.no_time or _NO_TIME.search(each.source.name.text)]
    return found + _files("name-without-time", "names bear no time of a clock that was set", unset)


def _files(code: Code, sentence: str, listed: Sequence[Listed]) -> list[Noticed]:
    """One finding over all files that it is about; none where there are none."""
    if not listed:
        return []
    return [Noticed(code, f"{sentence}: {len(listed)}", tuple(each.source.name for each in listed))]


def _numbers(found: Sequence[Hole]) -> list[Noticed]:
    missing, jumps = [hole for hole in found if not hole.is_jump], [hole for hole in found if hole.is_jump]
    noticed = []
    if missing:
        what = f"numbers are missing in the sequence of files: {_spelled(missing)}"
        noticed.append(Noticed("missing-numbers", what, _around(missing)))
    if jumps:
        what = f"the numbers of the files jump; not here are {_spelled(jumps)}"
        noticed.append(Noticed("number-jump", what, _around(jumps)))
    return noticed


def _spelled(found: Sequence[Hole]) -> str:
    ranges = [f"{hole.first}" if hole.count == 1 else f"{hole.first} to {hole.last}" for hole in found[:MOST_RANGES]]
    more = ", …" if len(found) > MOST_RANGES else ""
    return f"{', '.join(ranges)}{more} ({sum(hole.count for hole in found)} in all)"


def _around(found: Sequence[Hole]) -> tuple[SourceName, ...]:
    """The files on both sides of holes, each once."""
    return tuple(dict.fromkeys(name for hole in found for name in (hole.before.name, hole.after.name)))


def _parts(grouped: Grouped) -> list[Noticed]:
    """Parts are numbered within a recording: one that lacks a number between two that are there lacks footage."""
    names: list[SourceName] = []
    for recording in grouped.recordings:
        for before, after in pairwise(recording.segments):
            here, there = before.named.facts.part, after.named.facts.part
            if here is not None and there is not None and there > here + 1:
                names += [before.files[0].name, after.files[0].name]
    if not names:
        return []
    return [Noticed("missing-parts", f"parts of recordings are missing, places: {len(names) // 2}", tuple(names))]


def _beginnings(listing: Sequence[Listed], grouped: Grouped) -> list[Noticed]:
    first = {recording.segments[0].files[0] for recording in grouped.recordings}
    lost = [each for each in listing if each.facts.continues and each.kind is None and each.source in first]
    return _files("no-beginning", "files continue a recording whose beginning is not here", lost)


def _logged(
    listing: Sequence[Listed], profile: Profile, logs: Mapping[SourceInfo, bytes], known: Collection[str]
) -> list[Noticed]:
    form = profile.log
    if form is None:
        return []
    events = [event for source in log_files(logs, form) for event in read_log(logs[source], form, source.name.text)]
    lost = without_file(events, listing, profile, known)
    if not lost:
        return []
    what = f"the camera's log tells of recordings whose files are not here: {len(lost)}"
    return [Noticed("log-without-file", what, tuple(event.file for event in lost if event.file is not None))]
