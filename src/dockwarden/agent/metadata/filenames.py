"""What a file's name says. It is a hint and never an identity: names repeat, lie, and are set by hand."""

from dataclasses import dataclass
from datetime import UTC, datetime

from dockwarden.agent.drivers.naming import NamePattern
from dockwarden.agent.drivers.patterns import Fit
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.evidence.seals import SourceName

_MARKS = ("important", "continued")
_LEAST_PRECISE_S = 60


@dataclass(frozen=True, slots=True)
class NameFacts:
    """`started_local` is the start by the device's own wall clock, in seconds since 1970-01-01T00:00 of that wall
    clock (no zone, no correction), true to `precision_s` seconds. None is what the name does not say.

    `part` is the number of a file within its recording, `folder_number` that of the numbered folder it lies in.
    `continues` says that the file goes on where the one before it ends. `no_time` says that the name has a place for
    a time, and what stands there was given by no clock that was set: none, as in 0000-00-00, or one of an unset year.
    A name that has no more than a day tells no start: midnight would be one that nobody has said.
    """

    camera: str | None = None
    officer_id: str | None = None
    started_local: int | None = None
    precision_s: int = 1
    sequence: int | None = None
    important: bool = False
    part: int | None = None
    folder_number: int | None = None
    continues: bool = False
    no_time: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A name taken apart: what it says, the pattern that fits (None: none does), and what it shares with others.

    `stem` is the same for all that belongs to one file: the name without folder, ending, and the marks of the groups
    `important` and `continued`, which a sidecar may lack; upper and lower case are one, as on FAT. `whole` is the
    same for all parts of one recording that are told apart by the group `part`.
    """

    facts: NameFacts
    pattern: NamePattern | None
    stem: str
    whole: str


def facts_of(name: SourceName, profile: Profile) -> NameFacts:
    """Return what `name` says by the first of the profile's patterns that fits; never raises."""
    return take_apart(name, profile).facts


def take_apart(name: SourceName, profile: Profile) -> Named:
    """Return what `name` says, which pattern said it, and its stem; never raises."""
    folder, _, base = name.text.rpartition("/")
    in_folder = _is_marked(folder, profile)
    for pattern in profile.names:
        found = pattern.name.fit(base)
        place = pattern.folder.fit(folder) if found and pattern.folder else None
        if found and (pattern.folder is None or place):
            facts = _facts(found, place, pattern, in_folder, profile)
            stem, whole = _without(base, found, _MARKS), _without(base, found, (*_MARKS, "part"))
            return Named(facts, pattern, stem, whole)
    stem = base[: _ending(base)].casefold()
    return Named(NameFacts(important=in_folder), None, stem, stem)


def wall_seconds(text: str, form: str) -> int | None:
    """A wall clock's seconds since 1970-01-01T00:00 of that clock; None for what is no date, such as 0000-00-00."""
    try:
        return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def _is_marked(folder: str, profile: Profile) -> bool:
    """Whether one of the folders on the way says that what is in it is important."""
    if not profile.important.folders:
        return False
    parts = {part.casefold() for part in folder.split("/")}
    return any(marked.casefold() in parts for marked in profile.important.folders)


def _facts(found: Fit, place: Fit | None, pattern: NamePattern, in_folder: bool, profile: Profile) -> NameFacts:
    both = {**found.groups, **(place.groups if place is not None else {})}
    groups = {key: value for key, value in both.items() if value}
    started, dated = None, pattern.when is not None and "date" in groups
    if pattern.when is not None and dated:
        started = wall_seconds(" ".join(groups[key] for key in ("date", "time") if key in groups), pattern.when)
    no_time = dated and (started is None or datetime.fromtimestamp(started, UTC).year in profile.unset_years)
    precision = _precision_s(pattern.when)
    if precision > _LEAST_PRECISE_S or (pattern.utc and profile.zone_minutes is None):
        started = None
    elif pattern.utc and started is not None:
        started += (profile.zone_minutes or 0) * 60
    return NameFacts(
        camera=groups.get("cam"),
        officer_id=groups.get("officer"),
        started_local=started,
        precision_s=min(precision, _LEAST_PRECISE_S),
        sequence=_number(groups.get("seq")),
        important=in_folder or "important" in groups,
        part=_number(groups.get("part")),
        folder_number=_number(groups.get("dir")),
        continues="continued" in groups,
        no_time=no_time,
    )


def _precision_s(form: str | None) -> int:
    if form is None or "%S" in form:
        return 1
    return 60 if "%M" in form else 86_400


def _number(digits: str | None) -> int | None:
    return int(digits) if digits and digits.isascii() and digits.isdigit() and len(digits) <= 18 else None


def _ending(base: str) -> int:
    """Where the ending of a file's name begins, its point included."""
    point = base.rfind(".")
    return point if point > 0 else len(base)


def _without(base: str, found: Fit, groups: tuple[str, ...]) -> str:
    """A file's name without its ending and without what these groups took of it."""
    kept = list(base)
    for group in groups:
        start, end = found.spans.get(group, (0, 0))
        kept[start:end] = [""] * (end - start)
    return "".join(kept[: _ending(base)]).casefold()
