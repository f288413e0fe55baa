"""Device profiles: what a family of devices looks like and how it names its files. Data, one TOML file a family."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dockwarden.agent.drivers.source import Kind
from dockwarden.service.errors import ServiceError

BUILT_IN = Path(__file__).with_name("profiles")
GROUPS = frozenset({"cam", "officer", "date", "time", "seq", "important"})
"""Named groups that a name pattern may have."""

MAX_NAME_BYTES = 4096
"""Longest path below a volume's root that is taken: Linux's own limit."""

_DIRECTIVES = frozenset("%" + letter for letter in "YymdHMSb")
_CHECK_THE_FILE = "Correct the file; until then devices of this family are taken by another profile."


class ProfileError(ServiceError):
    """A profile that is not taken (`bad-profile`), or a device that no profile, or more than one, fits."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Match(_Data):
    """All that is given must fit as a whole: USB vendor, product or volume label, or a folder's path."""

    vendor: re.Pattern[str] | None = None
    product: re.Pattern[str] | None = None
    label: re.Pattern[str] | None = None
    folder: re.Pattern[str] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("fits every device: say vendor, product, label or folder")
        return self

    def fits(self, seen: "Seen") -> int:
        """How well the device looks like this: 0 not at all, 1 by a folder, 2 by what it says of itself.

        What a device says of itself is stronger: anybody can make a folder on it.
        """
        pairs = ((self.vendor, seen.vendor), (self.product, seen.product), (self.label, seen.label))
        said = all(pattern is None or pattern.fullmatch(text or "") for pattern, text in pairs)
        if not said or not (self.folder is None or any(self.folder.fullmatch(folder) for folder in seen.folders)):
            return 0
        return 2 if any(pattern is not None for pattern, _ in pairs) else 1


class NamePattern(_Data):
    """How files are named. `folder` must fit the folder's path where it is given; `name` the file's name.

    `when` is the form (strptime) of the groups `date` and `time`, joined by a space where there are both.
    """

    name: re.Pattern[str]
    folder: re.Pattern[str] | None = None
    when: str | None = None

    @field_validator("name", "folder")
    @classmethod
    def _known_groups(cls, pattern: re.Pattern[str] | None) -> re.Pattern[str] | None:
        unknown = set(pattern.groupindex) - GROUPS if pattern is not None else set()
        if unknown:
            raise ValueError(f"has a group {min(unknown)}; only {', '.join(sorted(GROUPS))} are known")
        return pattern

    @field_validator("when")
    @classmethod
    def _known_form(cls, form: str | None) -> str | None:
        if form is not None and not _DIRECTIVES.issuperset(re.findall("%.?", form)):
            raise ValueError(f"may hold {' '.join(sorted(_DIRECTIVES))} only")
        if form is not None:
            sample = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC).strftime(form)
            datetime.strptime(sample, form).replace(tzinfo=UTC)
        return form

    @model_validator(mode="after")
    def _dated_both_or_neither(self) -> Self:
        if ("date" in self.name.groupindex) != (self.when is not None):
            raise ValueError("a group date and the key when go together")
        return self


class Important(_Data):
    """How a device marks what its wearer called important, beside a name pattern's group of that name."""

    folders: Annotated[tuple[str, ...], Field(strict=False)] = ()
    read_only: bool = False


class Limits(_Data):
    """How much of a volume is looked at; what lies beyond is said to be unlisted."""

    depth: int = Field(default=24, ge=1, le=100)
    files: int = Field(default=200_000, ge=1, le=5_000_000)
    name_bytes: int = Field(default=MAX_NAME_BYTES, ge=16, le=MAX_NAME_BYTES)


class Profile(_Data):
    """A family of devices. A profile without `match` is the fallback that fits where no other does.

    `zone_minutes` is what the device's wall clock is ahead of UTC, None where nobody can know. `unset_years` are
    the years that its clock shows when it was never set. `layout` says what a folder at the top holds.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    family: Literal["mass-storage"]
    kind: Kind
    zone_minutes: int | None = Field(default=None, ge=-720, le=840)
    unset_years: Annotated[tuple[int, ...], Field(strict=False)] = (1970, 1980, 2000)
    match: Annotated[tuple[Match, ...], Field(strict=False)] = ()
    layout: dict[str, Literal["media", "log", "position"]] = {}
    names: Annotated[tuple[NamePattern, ...], Field(strict=False)] = ()
    important: Important = Important()
    limits: Limits = Limits()


@dataclass(frozen=True)
class Seen:
    """What can be seen of a device before any profile is chosen. `folders` are paths, two levels deep."""

    vendor: str | None = None
    product: str | None = None
    label: str | None = None
    folders: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Loaded:
    """The profiles that are good, and an error for each file that is not."""

    profiles: tuple[Profile, ...]
    refused: tuple[ProfileError, ...]


def load(folders: Iterable[Path] = (BUILT_IN,)) -> Loaded:
    """Read every `*.toml` of the folders, in order. A wrong file is refused by itself; the others go on."""
    profiles: dict[str, tuple[Profile, Path]] = {}
    refused: list[ProfileError] = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.toml"))):
        try:
            profile = read(path)
            twin = _twin(profile, profiles)
            if twin is not None:
                raise _bad(path, "name" if profile.match else "match", f"is the same as in {twin.name}")
            profiles[profile.name] = (profile, path)
        except ProfileError as error:
            refused.append(error)
    return Loaded(tuple(profile for profile, _ in profiles.values()), tuple(refused))


def read(path: Path) -> Profile:
    """Read one profile; raises ProfileError that names file, key and reason."""
    try:
        return Profile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _bad(path, "-", f"is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "-"
        raise _bad(path, key, first["msg"].removeprefix("Value error, ")) from error
    except OSError as error:
        raise _bad(path, "-", error.strerror or "cannot be read") from error


def choose(profiles: Iterable[Profile], seen: Seen) -> Profile:
    """Return the profile that fits best; the fallback where none does.

    Raises ProfileError `ambiguous-profile` that names all that fit equally well, or `no-profile`.
    """
    fallback: Profile | None = None
    marks: list[tuple[int, Profile]] = []
    for profile in profiles:
        if not profile.match:
            fallback = profile
        elif mark := max(match.fits(seen) for match in profile.match):
            marks.append((mark, profile))
    best = max((mark for mark, _ in marks), default=0)
    fitting = [profile for mark, profile in marks if mark == best]
    if len(fitting) > 1:
        names = " and ".join(profile.name for profile in fitting)
        do = "Make the match of one of them narrower."
        raise ProfileError("ambiguous-profile", f"the profiles {names} both fit this device", names, do)
    found = fitting[0] if fitting else fallback
    if found is None:
        raise ProfileError("no-profile", "no profile fits this device", "profiles", "Add a profile for it.")
    return found


def _twin(profile: Profile, profiles: dict[str, tuple[Profile, Path]]) -> Path | None:
    """The file of a profile that has the same name, or is a fallback too."""
    for other, path in profiles.values():
        if other.name == profile.name or not (other.match or profile.match):
            return path
    return None


def _bad(path: Path, key: str, reason: str) -> ProfileError:
    return ProfileError("bad-profile", f"{key}: {reason}", f"{path.name}, key {key}", _CHECK_THE_FILE)
