"""Recordings: which files of a listing are one press of the button, what lies beside them, and what lies between.

A recording is one file or several that follow one another (segments); to each belong the files of the same stem
(a sound track, DCF: one object) and its sidecars: positions, subtitles, thumbnails, logs. Pure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from dockwarden.agent.drivers.naming import SidecarKind
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.drivers.source import SourceInfo
from dockwarden.agent.metadata.filenames import Named
from dockwarden.agent.metadata.listing import Listed

FAT_STEP_S = 2
MOST_OF_A_DAY = 20
"""How many files of a whole day belong to its recordings: with more, all of them would be a list without measure."""

LONGEST_S = 24 * 3600
"""A last-modified time later than that after the start is no end: somebody has touched the file."""

_PHOTOS = frozenset({"jpg", "jpeg", "png", "bmp", "heic", "dng"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Segment:
    """Files of one stem. `started_local` in seconds by the device's clock; None where the name does not say."""

    files: tuple[SourceInfo, ...]
    named: Named
    started_local: int | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class Recording:
    """Segments in their order, and the sidecars.

    `gaps_s` has an entry between each segment and the next: seconds without footage, negative where they overlap,
    None where a start or a duration is not known. It is true to the seconds of the names, no better.
    """

    segments: tuple[Segment, ...]
    sidecars: tuple[tuple[SidecarKind, SourceInfo], ...] = ()
    gaps_s: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Grouped:
    """All recordings of a listing, and the sidecars that belong to none of them."""

    recordings: tuple[Recording, ...]
    alone: tuple[Listed, ...]


def group(
    listing: Iterable[Listed], profile: Profile, durations_ms: Mapping[SourceInfo, int] | None = None
) -> Grouped:
    """Group a listing into recordings; never raises.

    Segments are one recording where their names differ in the group `part` alone, where the next carries the mark
    `continued`, or, with `segments_within_s`, where one begins when the one before it ends: by its duration
    (`durations_ms`, as far as they are known), else by its last-modified time. A log or position file of a whole day
    belongs to every recording of that day.
    """
    files, beside = list[Listed](), list[Listed]()
    for each in listing:
        (files if each.kind is None else beside).append(each)
    return _with_sidecars(_joined(files, profile, durations_ms or {}), beside)


def _joined(
    listing: Iterable[Listed], profile: Profile, durations_ms: Mapping[SourceInfo, int]
) -> list[tuple[Segment, ...]]:
    """The segments of each recording, in the order of the names."""
    files: dict[tuple[str, str, str], list[Listed]] = defaultdict(list)
    for each in listing:
        files[each.source.volume, _folder(each.source), each.named.stem].append(each)
    chains: dict[tuple[object, ...], list[tuple[Listed, Segment]]] = defaultdict(list)
    for together in files.values():
        held = sorted(together, key=lambda each: -each.source.size)  # the footage before what is beside it
        first = held[0]
        segment = _segment(held, durations_ms)
        facts = first.facts
        chains[first.source.volume, facts.camera, facts.officer_id, first.ending].append((first, segment))
    joined = [run for chain in chains.values() for run in _join(chain, profile)]
    joined.sort(key=lambda run: (run[0].files[0].volume, run[0].files[0].name.raw))
    return joined


def _segment(held: list[Listed], durations_ms: Mapping[SourceInfo, int]) -> Segment:
    files = tuple(each.source for each in held)
    known = [durations_ms[source] for source in files if source in durations_ms]
    return Segment(files, held[0].named, held[0].facts.started_local, max(known, default=None))


def _join(chain: list[tuple[Listed, Segment]], profile: Profile) -> list[tuple[Segment, ...]]:
    """Cut a chain of files of one camera and one kind into recordings."""
    wholes: dict[tuple[str, str], list[Segment]] = defaultdict(list)
    singles: list[tuple[Listed, Segment]] = []
    for first, segment in chain:
        if first.facts.part is not None:
            wholes[_folder(first.source), first.named.whole].append(segment)
        else:
            singles.append((first, segment))
    found = [tuple(sorted(parts, key=lambda each: each.named.facts.part or 0)) for parts in wholes.values()]
    runs: list[list[Segment]] = []
    for first, segment in sorted(singles, key=_order):
        if runs and (first.facts.continues or _follows(runs[-1][-1], first, segment, profile)):
            runs[-1].append(segment)
        else:
            runs.append([segment])
    return found + [tuple(run) for run in runs]


def _order(single: tuple[Listed, Segment]) -> tuple[int, bool, bytes]:
    first, segment = single
    started = segment.started_local
    return first.source.modified_raw if started is None else started, first.facts.continues, first.source.name.raw


def _follows(before: Segment, first: Listed, segment: Segment, profile: Profile) -> bool:
    """Whether a file begins when the one before it ends."""
    within = profile.segments_within_s
    precise = first.facts.precision_s == 1
    if within is None or not precise or first.ending in _PHOTOS:
        return False
    if segment.started_local is None or before.started_local is None:
        return False
    gap = _gap_s(before, segment)
    if gap is not None:
        return abs(gap) <= within
    end = before.files[0].modified_raw
    if not before.started_local <= end <= before.started_local + LONGEST_S:
        return False
    return -within - FAT_STEP_S <= segment.started_local - end <= within


def _gap_s(before: Segment, after: Segment) -> float | None:
    """Seconds between the end of one and the start of the next. Parts that all bear the recording's own start tell
    nothing of theirs."""
    start, following = before.started_local, after.started_local
    if start is None or following is None or before.duration_ms is None or following == start:
        return None
    return following - start - before.duration_ms / 1000


@dataclass(frozen=True)
class _Places:
    """Where recordings (by their number) are, for what lies beside them; None: more than one has the stem."""

    by_place: dict[tuple[str, str, str], int] = field(default_factory=dict)
    by_stem: dict[tuple[str, str], int | None] = field(default_factory=dict)
    by_day: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    of_day: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, number: int, segments: tuple[Segment, ...]) -> None:
        """Remember a recording under each of its stems and under its day."""
        volume = segments[0].files[0].volume
        for segment in segments:
            stem = segment.named.stem
            self.by_place[volume, _folder(segment.files[0]), stem] = number
            self.by_stem[volume, stem] = number if self.by_stem.get((volume, stem), number) == number else None
        day = _day(segments[0].started_local)
        if day is not None:
            self.by_day[volume, day].append(number)

    def owners(self, beside: Listed) -> list[int]:
        """The recordings that a sidecar belongs to: by its stem, in its folder before others; a day's by its day."""
        volume, stem = beside.source.volume, beside.named.stem
        place = self.by_place.get((volume, _folder(beside.source), stem))
        if place is not None:
            return [place]
        if (volume, stem) in self.by_stem:
            only = self.by_stem[volume, stem]
            return [] if only is None else [only]
        if beside.kind not in ("log", "position") or (volume, stem) not in self.by_day:
            return []
        self.of_day[volume, stem] += 1
        return self.by_day[volume, stem] if self.of_day[volume, stem] <= MOST_OF_A_DAY else []


def _with_sidecars(joined: list[tuple[Segment, ...]], beside: list[Listed]) -> Grouped:
    places = _Places()
    for number, segments in enumerate(joined):
        places.add(number, segments)
    held: dict[int, list[tuple[SidecarKind, SourceInfo]]] = defaultdict(list)
    alone = []
    for each in beside:
        owners = places.owners(each)
        if each.kind is None:
            continue
        pair = each.kind, each.source
        for owner in owners:
            held[owner].append(pair)
        if not owners:
            alone.append(each)
    recordings = tuple(
        Recording(segments, tuple(held[number]), tuple(_gap_s(*pair) for pair in pairwise(segments)))
        for number, segments in enumerate(joined)
    )
    return Grouped(recordings, tuple(alone))


def _folder(source: SourceInfo) -> str:
    """The path of its folder as FAT compares it."""
    return source.name.text.rpartition("/")[0].casefold()


def _day(started_local: int | None) -> str | None:
    """The day as a log file bears it in its name, such as 20261124."""
    if started_local is None:
        return None
    try:
        return f"{_EPOCH + timedelta(seconds=started_local):%Y%m%d}"
    except OverflowError:
        return None
