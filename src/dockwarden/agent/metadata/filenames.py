"""What a file's name says. It is a hint and never an identity: names repeat, lie, and are set by hand."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from dockwarden.agent.drivers.profiles import NamePattern, Profile
from dockwarden.evidence.seals import SourceName


@dataclass(frozen=True)
class NameFacts:
    """`started_local` is the start by the device's own wall clock, in seconds since 1970-01-01T00:00 of that wall
    clock (no zone, no correction), true to `precision_s` seconds. None is what the name does not say."""

    camera: str | None = None
    officer_id: str | None = None
    started_local: int | None = None
    precision_s: int = 1
    sequence: int | None = None
    important: bool = False


def facts_of(name: SourceName, profile: Profile) -> NameFacts:
    """Return what `name` says by the first of the profile's patterns that fits; never raises."""
    folder, _, base = name.text.rpartition("/")
    parts = {part.casefold() for part in folder.split("/")}
    in_folder = any(marked.casefold() in parts for marked in profile.important.folders)
    for pattern in profile.names:
        found = pattern.name.fullmatch(base)
        if found and (pattern.folder is None or pattern.folder.fullmatch(folder)):
            return _facts(found, pattern, in_folder)
    return NameFacts(important=in_folder)


def _facts(found: re.Match[str], pattern: NamePattern, in_folder: bool) -> NameFacts:
    groups = {key: value for key, value in found.groupdict().items() if value}
    started = None
    if pattern.when is not None:
        text = " ".join(groups[key] for key in ("date", "time") if key in groups)
        started = _wall_seconds(text, pattern.when)
    sequence = groups.get("seq", "")
    return NameFacts(
        camera=groups.get("cam"),
        officer_id=groups.get("officer"),
        started_local=started,
        precision_s=1 if pattern.when is None or "%S" in pattern.when else 60,
        sequence=int(sequence) if sequence.isascii() and sequence.isdigit() else None,
        important=in_folder or "important" in groups,
    )


def _wall_seconds(text: str, form: str) -> int | None:
    """A wall clock's seconds; None for what is no date, such as 0000-00-00."""
    try:
        return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None
