"""Device profiles: what a family of devices looks like and how it names its files. Data, one TOML file a family.

How to write one: docs/operating/profiles.md.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from dockwarden.agent.drivers.descriptors import CLASS_NAMES
from dockwarden.agent.drivers.naming import MOST_ENTRIES, CameraLog, Data, NamePattern, Pattern, SidecarKind
from dockwarden.agent.drivers.source import Kind
from dockwarden.agent.drivers.toml_lines import line_of, lines_of
from dockwarden.service.errors import ServiceError

BUILT_IN = Path(__file__).with_name("profiles")

MAX_NAME_BYTES = 4096
"""Longest path below a volume's root that is taken: Linux's own limit."""

MOST_BYTES = 64 << 10
"""Longest profile that is read."""

MOST_LINE = 500
"""Longest line of a profile, in characters. A key of dots alone costs a reader of TOML the square of its length."""

INTERFACES = {"still image": 0x06, "vendor": 0xFF}
"""What a device may offer beside its disk where a profile says so, and its USB class. Nothing that can type, listen
or be a network is here, and no profile can bring it in."""

_SIDECARS: Mapping[SidecarKind, Pattern] = {
    "position": Pattern(r"(?i).*\.(gpx|nmea)"),
    "subtitle": Pattern(r"(?i).*\.(srt|ass)"),
    "thumbnail": Pattern(r"(?i).*\.thm"),
}
_ONE_ID = re.compile("[0-9a-f]{4}:[0-9a-f]{4}")
_CHECK_THE_FILE = "Correct the file; until then devices of this family are taken by another profile."


class ProfileError(ServiceError):
    """A profile that is not taken (`bad-profile`), or a device that no profile, or more than one, fits."""


class Match(Data):
    """All that is given must fit as a whole: USB ids (`4255:0001`), vendor, product, volume label, a folder's path.
    No folder's path may fit `without`."""

    usb: Pattern | None = None
    vendor: Pattern | None = None
    product: Pattern | None = None
    label: Pattern | None = None
    folder: Pattern | None = None
    without: Pattern | None = None
    _at: str = PrivateAttr(default="")

    @field_validator("usb")
    @classmethod
    def _lower_case(cls, pattern: Pattern | None) -> Pattern | None:
        if pattern is not None and pattern.pattern != pattern.pattern.lower():
            raise ValueError("ids are written in lower case, as in 4255:0001")
        return pattern

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set - {"without"}:
            raise ValueError("fits every device: say usb, vendor, product, label or folder")
        return self

    @property
    def at(self) -> str:
        """File and line, such as `dcam.toml:10`; empty where it was read from no file."""
        return self._at

    def fits(self, seen: "Seen") -> int:
        """How well the device looks like this: 0 not at all, 1 by a folder, 2 by what it says of itself.

        What a device says of itself is stronger: anybody can make a folder on it.
        """
        said = (self.usb, self.vendor, self.product, self.label)
        if not (self._fits_said(seen) and _fits_one(self.label, {seen.label})):
            return 0
        if not _fits_one(self.folder, seen.folders) or (self.without and _fits_one(self.without, seen.folders)):
            return 0
        return 2 if any(pattern is not None for pattern in said) else 1

    def admits(self, seen: "Seen") -> bool:
        """Whether the device is this one for all that can be known before it is let in: ids, vendor and product."""
        by_more = any(pattern is not None for pattern in (self.label, self.folder, self.without))
        return self.usb is not None and not by_more and self._fits_said(seen)

    def _fits_said(self, seen: "Seen") -> bool:
        pairs = ((self.usb, seen.usb), (self.vendor, seen.vendor), (self.product, seen.product))
        return all(_fits_one(pattern, {text}) for pattern, text in pairs)


class Usb(Data):
    """What a device may offer besides its disk (names of INTERFACES)."""

    allow: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @field_validator("allow")
    @classmethod
    def _harmless(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in INTERFACES:
                known = name in CLASS_NAMES.values()
                reason = "can never be allowed" if known else "is no kind of interface that could be allowed"
                raise ValueError(f"{name} {reason}; only {' and '.join(INTERFACES)} may")
        return names


class Important(Data):
    """How a device marks what its wearer called important, beside a name pattern's group of that name."""

    folders: Annotated[tuple[str, ...], Field(strict=False)] = ()
    read_only: bool = False


class Limits(Data):
    """How much of a volume is looked at; what lies beyond is said to be unlisted."""

    depth: int = Field(default=24, ge=1, le=100)
    files: int = Field(default=100_000, ge=1, le=5_000_000)
    name_bytes: int = Field(default=MAX_NAME_BYTES, ge=16, le=MAX_NAME_BYTES)


class Profile(Data):
    """A family of devices. A profile without `match` is the fallback that fits where no other does.

    `zone_minutes` is what the device's wall clock is ahead of UTC, None where nobody can know. `unset_years` are
    the years that its clock shows when it was never set. `layout` says what a folder at the top holds. `sidecars` are
    patterns of paths, beside those that hold for every family. Files that follow one another within
    `segments_within_s` seconds are one recording; None: never by time alone.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    family: Literal["mass-storage"]
    kind: Kind
    zone_minutes: int | None = Field(default=None, ge=-720, le=840)
    unset_years: Annotated[tuple[int, ...], Field(strict=False)] = (1970, 1980, 2000)
    match: Annotated[tuple[Match, ...], Field(strict=False, max_length=MOST_ENTRIES)] = ()
    usb: Usb = Usb()
    layout: dict[str, Literal["media", "log", "position"]] = Field(default_factory=dict)
    names: Annotated[tuple[NamePattern, ...], Field(strict=False, max_length=MOST_ENTRIES)] = ()
    segments_within_s: int | None = Field(default=None, ge=0, le=60)
    sidecars: dict[SidecarKind, Pattern] = Field(default_factory=dict)
    log: CameraLog | None = None
    important: Important = Important()
    limits: Limits = Limits()
    _at: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _lets_in_by_ids(self) -> Self:
        ids = [match.usb.pattern for match in self.match if match.usb is not None]
        if self.usb.allow and not (ids and all(_ONE_ID.fullmatch(text) for text in ids)):
            raise ValueError("usb.allow: needs a match with usb, and ids that are spelled out, as in 4255:0001")
        return self

    @property
    def at(self) -> str:
        """File and line of its name; empty where it was read from no file."""
        return self._at

    def sidecar_kind(self, path: str) -> SidecarKind | None:
        """What the file at `path` is beside a recording; None where it is a file of its own."""
        for patterns in (self.sidecars, _SIDECARS):
            for kind, pattern in patterns.items():
                if pattern.fits(path):
                    return kind
        held = self.layout.get(path.partition("/")[0])
        return held if held in ("position", "log") else None


@dataclass(frozen=True)
class Seen:
    """What can be seen of a device before any profile is chosen. `folders` are paths, two levels deep; `usb` are the
    ids of vendor and product, as in `4255:0001`."""

    vendor: str | None = None
    product: str | None = None
    label: str | None = None
    folders: frozenset[str] = frozenset()
    usb: str | None = None


@dataclass(frozen=True)
class Loaded:
    """The profiles that are good, and an error for each file that is not."""

    profiles: tuple[Profile, ...]
    refused: tuple[ProfileError, ...]


def load(folders: Iterable[Path] = (BUILT_IN,)) -> Loaded:
    """Read every `*.toml` of the folders, in order. A wrong file is refused by itself; the others go on."""
    profiles: dict[str, Profile] = {}
    refused: list[ProfileError] = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.toml"))):
        try:
            profile = read(path)
            twin = _twin(profile, profiles.values())
            if twin is not None:
                key = "name" if profile.match else "match"
                raise _bad(path, profile.at, f"{key}: is the same as in {twin.at}")
            profiles[profile.name] = profile
        except ProfileError as error:
            refused.append(error)
    return Loaded(tuple(profiles.values()), tuple(refused))


def read(path: Path) -> Profile:
    """Read one profile; raises ProfileError that names file, line, key and reason."""
    try:
        with path.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise _bad(path, path.name, f"is longer than {MOST_BYTES} bytes")
        return parse(data.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _bad(path, f"{path.name}:{line}", "is not UTF-8 text") from error
    except OSError as error:
        raise _bad(path, path.name, error.strerror or "cannot be read") from error


def parse(text: str, path: Path) -> Profile:
    """Read a profile from its text; `path` is what errors name. Raises ProfileError as `read`."""
    text = text.replace("\r\n", "\n")
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MOST_LINE:
            raise _bad(path, f"{path.name}:{number}", f"a line is longer than {MOST_LINE} characters")
    try:
        values = tomllib.loads(text)
        lines = lines_of(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search("at line ([0-9]+)", str(error))
        at = int(found.group(1)) if found else text.count("\n") + 1
        raise _bad(path, f"{path.name}:{at}", f"is not TOML: {error}") from error
    except (RecursionError, ValueError) as error:  # brackets without end; figures without end
        raise _bad(path, path.name, f"cannot be read as TOML: {type(error).__name__}") from error
    try:
        profile = Profile.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = first["msg"].removeprefix("Value error, ")
        key = first["loc"] or tuple(reason.partition(":")[0].split("."))  # of the whole: it names the key itself
        said = reason if not first["loc"] else f"{'.'.join(map(str, key))}: {reason}"
        raise _bad(path, f"{path.name}:{line_of(lines, key)}", said) from error
    profile._at = f"{path.name}:{line_of(lines, ('name',))}"
    for number, match in enumerate(profile.match):
        match._at = f"{path.name}:{line_of(lines, ('match', number))}"
    return profile


def choose(profiles: Iterable[Profile], seen: Seen) -> Profile:
    """Return the profile that fits best; the fallback where none does.

    Raises ProfileError `ambiguous-profile` that names all that fit equally well, with file and line of the entries
    that do, or `no-profile`.
    """
    fallback: Profile | None = None
    marks: list[tuple[int, Match, Profile]] = []
    for profile in profiles:
        if not profile.match:
            fallback = profile
            continue
        match = max(profile.match, key=lambda each: each.fits(seen))
        if mark := match.fits(seen):
            marks.append((mark, match, profile))
    best = max((mark for mark, _, _ in marks), default=0)
    fitting = [(match, profile) for mark, match, profile in marks if mark == best]
    if len(fitting) > 1:
        names = " and ".join(profile.name for _, profile in fitting)
        entries = ", ".join(match.at for match, _ in fitting)
        do = "Make the match of one of them narrower."
        raise ProfileError("ambiguous-profile", f"the profiles {names} fit this device equally: {entries}", names, do)
    found = fitting[0][1] if fitting else fallback
    if found is None:
        raise ProfileError("no-profile", "no profile fits this device", "profiles", "Add a profile for it.")
    return found


def allowed_interfaces(profiles: Iterable[Profile], seen: Seen) -> frozenset[int]:
    """USB classes that a device may offer beside its disk, by the profiles that know its ids."""
    fitting = (profile for profile in profiles if any(match.admits(seen) for match in profile.match))
    return frozenset(INTERFACES[name] for profile in fitting for name in profile.usb.allow)


def _fits_one(pattern: Pattern | None, texts: Collection[str | None]) -> bool:
    """Whether a pattern fits one of the texts as a whole; one that is not given fits anything."""
    return pattern is None or any(pattern.fits(text or "") for text in texts)


def _twin(profile: Profile, profiles: Iterable[Profile]) -> Profile | None:
    """A profile that has the same name, or is a fallback too."""
    for other in profiles:
        if other.name == profile.name or not (other.match or profile.match):
            return other
    return None


def _bad(path: Path, at: str, reason: str) -> ProfileError:
    return ProfileError("bad-profile", f"{at}: {reason}", str(path), _CHECK_THE_FILE)
