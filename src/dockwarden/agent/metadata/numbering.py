"""Which numbers are missing in the sequence of a device's files. Pure: a listing in, holes out.

A number is no identity: it comes round (after 9999 comes 1, DCF), begins anew after a format, and is the same in two
folders. So nothing is concluded from the first and the last number, only from what lies between files that are there.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from dockwarden.agent.drivers.source import SourceInfo
from dockwarden.agent.metadata.listing import Listed

MOST_MISSING = 100
"""A larger hole is a jump: the counter was set anew, or the files between were made on another card."""


@dataclass(frozen=True)
class Hole:
    """The numbers from `first` to `last` (it may come round) that no file has, between two that are there."""

    first: int
    last: int
    count: int
    before: SourceInfo
    after: SourceInfo

    @property
    def is_jump(self) -> bool:
        """Whether it is too large to be files that are missing."""
        return self.count > MOST_MISSING


@dataclass(frozen=True)
class _Counter:
    """What counts by itself: up to `last`, of one camera, on one volume, and within one place (None: all of it)."""

    last: int
    volume: str
    camera: str | None
    place: str | None


_Files: TypeAlias = dict[int, SourceInfo]


def holes(listing: Iterable[Listed]) -> list[Hole]:
    """The holes in all sequences that the names show, in the order in which the files were listed.

    A hole is found as long as more numbers in a row were never used than it is long.
    """
    volumes: dict[_Counter, list[Listed]] = defaultdict(list)
    folders: dict[_Counter, dict[int, _Files]] = defaultdict(lambda: defaultdict(dict))
    for each in listing:
        pattern, facts, number = each.named.pattern, each.facts, each.facts.sequence
        if pattern is None or pattern.counts is None or number is None or not 1 <= number <= pattern.last:
            continue
        if pattern.counts == "volume":
            volumes[_Counter(pattern.last, each.source.volume, facts.camera, None)].append(each)
            continue
        place = each.folder if facts.folder_number is None else each.folder.rpartition("/")[0]
        counter = _Counter(pattern.last, each.source.volume, facts.camera, place)
        folders[counter][facts.folder_number or 0].setdefault(number, each.source)
    found = [hole for counter, files in volumes.items() for hole in _in_volume(files, counter.last)]
    found += [hole for counter, numbered in folders.items() for hole in _in_folders(numbered, counter.last)]
    return found


def numbers_missing(numbers: Collection[int], last: int) -> list[int]:
    """The numbers of 1 to `last` that are missing between those that are there; jumps are left out."""
    steps, _, _ = _around(sorted(set(numbers)), last)
    small = [(here, size) for here, _, size in steps if size <= MOST_MISSING]
    return [(here + offset - 1) % last + 1 for here, size in small for offset in range(1, size + 1)]


def _in_volume(files: Sequence[Listed], last: int) -> list[Hole]:
    """A number that is there twice, from two times, means that the counter began anew: each run is one by itself."""
    seen: dict[int, set[int | None]] = defaultdict(set)
    for each in files:
        seen[_number(each)].add(each.facts.started_local)
    if all(len(starts) == 1 for starts in seen.values()):
        return _between({_number(each): each.source for each in reversed(files)}, last)
    found: list[Hole] = []
    for run in _runs(files, last):
        found += _between(run, last)
    return found


def _runs(files: Sequence[Listed], last: int) -> list[_Files]:
    """The files in the order of time, cut where a number does not follow on the one before."""
    runs: list[_Files] = [{}]
    previous: Listed | None = None
    for each in sorted(files, key=lambda each: (_time(each), _number(each))):
        if previous is not None:
            same = (_number(previous), _time(previous)) == (_number(each), _time(each))
            if not same and not 1 <= (_number(each) - _number(previous)) % last <= MOST_MISSING + 1:
                runs.append({})
        runs[-1].setdefault(_number(each), each.source)
        previous = each
    return runs


def _time(each: Listed) -> int:
    started = each.facts.started_local
    return each.source.modified_raw if started is None else started


def _number(each: Listed) -> int:
    return each.facts.sequence or 0


def _in_folders(folders: dict[int, _Files], last: int) -> list[Hole]:
    """The holes within each numbered folder, and between one and the next.

    A folder that begins with 1 tells nothing of the one before: many cameras count anew in each.
    """
    found: list[Hole] = []
    for files in folders.values():
        found += _between(files, last)
    for here, following in pairwise(sorted(folders)):
        _, _, tail = _around(sorted(folders[here]), last)
        _, head, _ = _around(sorted(folders[following]), last)
        size = (head - tail - 1) % last
        if following == here + 1 and size and (size <= MOST_MISSING or tail < head):
            found.append(_hole(tail, head, size, last, folders[here][tail], folders[following][head]))
    return found


def _between(files: _Files, last: int) -> list[Hole]:
    steps, _, _ = _around(sorted(files), last)
    return [_hole(here, there, size, last, files[here], files[there]) for here, there, size in steps if size]


def _hole(here: int, there: int, size: int, last: int, before: SourceInfo, after: SourceInfo) -> Hole:
    return Hole(here % last + 1, (there - 2) % last + 1, size, before, after)


def _around(numbers: Sequence[int], last: int) -> tuple[list[tuple[int, int, int]], int, int]:
    """Steps from each number to the next one there is and how many lie between, once around the circle of 1 to
    `last`; without the largest, which is what was never used. Also the numbers after and before that one.
    """
    following = [*numbers[1:], *numbers[:1]]
    steps = [(here, there, (there - here - 1) % last) for here, there in zip(numbers, following, strict=True)]
    if len(steps) < 2:
        return [], numbers[0] if numbers else 0, numbers[0] if numbers else 0
    unused = max(range(len(steps)), key=lambda index: (steps[index][2], index))
    tail, head, _ = steps[unused]
    return [*steps[unused + 1 :], *steps[:unused]], head, tail
