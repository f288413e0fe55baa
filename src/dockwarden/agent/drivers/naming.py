"""How a family of devices names its files, as data: the parts of a profile that speak of names, logs and sidecars."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, field_validator, model_validator

from dockwarden.agent.drivers import patterns

MOST_ENTRIES = 100
"""How many entries `[[match]]` or `[[names]]` may have: each holds patterns in memory."""

GROUPS = frozenset({"cam", "officer", "date", "time", "seq", "part", "dir", "important", "continued"})
"""Named groups that a name pattern may have, in `name` or in `folder`."""

LOG_GROUPS = frozenset({"date", "time", "event", "file"})
"""Named groups that the pattern of a log's line may have."""

SidecarKind: TypeAlias = Literal["position", "subtitle", "thumbnail", "log"]
"""What lies beside a recording and belongs to it."""

_DIRECTIVES = frozenset("%" + letter for letter in "YymdHMSb")


def _compiled(value: object) -> patterns.Pattern:
    if not isinstance(value, str):
        raise ValueError("Input should be a valid pattern: a string")
    return patterns.Pattern(value)


Pattern: TypeAlias = Annotated[patterns.Pattern, PlainValidator(_compiled)]


class Data(BaseModel):
    """A part of a profile: nothing unknown in it, nothing bent into another type, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NamePattern(Data):
    """How files are named. `folder` must fit the folder's path where it is given; `name` the file's name.

    `when` is the form (strptime) of the groups `date` and `time`, joined by a space where there are both; `utc` says
    that they are UTC and not the device's wall clock. `counts` says where the group `seq` counts on: through the
    `volume`, within a `folder` (where the folder has a number, group `dir`, on into the next), or for nothing that
    could show a missing file. After `last` comes 1.
    """

    name: Pattern
    folder: Pattern | None = None
    when: str | None = None
    utc: bool = False
    counts: Literal["volume", "folder"] | None = None
    last: int = Field(default=9999, ge=9, le=999_999_999)

    @property
    def groups(self) -> frozenset[str]:
        """The named groups of both patterns."""
        return self.name.groups | (self.folder.groups if self.folder else frozenset())

    @field_validator("name", "folder")
    @classmethod
    def _known_groups(cls, pattern: Pattern | None) -> Pattern | None:
        only_known(pattern, GROUPS)
        return pattern

    @field_validator("when")
    @classmethod
    def _known_form(cls, form: str | None) -> str | None:
        known_form(form)
        return form

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        twice = self.name.groups & (self.folder.groups if self.folder else frozenset())
        if twice:
            raise ValueError(f"the group {min(twice)} is both in name and in folder")
        if ("date" in self.groups) != (self.when is not None):
            raise ValueError("a group date and the key when go together")
        if self.counts is not None and "seq" not in self.groups:
            raise ValueError("counts is said of a group seq, which is missing")
        return self


class CameraLog(Data):
    """A log that a camera keeps itself. `files` fits the path of a log file, `line` a line of it; others are left
    out. The group `date` is in one of the two.

    `recorded` fits the events (group `event`) after which there must be a file: the one that the group `file` names,
    else one that begins at the line's time. `when` is the form of the groups `date` and `time`, in the device's time.
    """

    files: Pattern
    line: Pattern
    recorded: Pattern
    when: str

    @field_validator("line")
    @classmethod
    def _known_groups(cls, pattern: Pattern) -> Pattern:
        only_known(pattern, LOG_GROUPS)
        if "event" not in pattern.groups:
            raise ValueError("lacks a group event")
        return pattern

    @field_validator("files")
    @classmethod
    def _known_group(cls, pattern: Pattern) -> Pattern:
        only_known(pattern, frozenset({"date"}))
        return pattern

    @model_validator(mode="after")
    def _dated_once(self) -> Self:
        if ("date" in self.line.groups) == ("date" in self.files.groups):
            raise ValueError("the group date is either in line or in files")
        return self

    @field_validator("when")
    @classmethod
    def _known_form(cls, form: str) -> str:
        known_form(form)
        return form


def only_known(pattern: Pattern | None, groups: frozenset[str]) -> None:
    """Raise ValueError where a pattern has a named group that nobody reads."""
    unknown = pattern.groups - groups if pattern is not None else frozenset()
    if unknown:
        raise ValueError(f"has a group {min(unknown)}; only {', '.join(sorted(groups))} are known")


def known_form(form: str | None) -> None:
    """Raise ValueError where a form of a time says no day, or cannot be read back."""
    if form is None:
        return
    if not _DIRECTIVES.issuperset(re.findall("%.?", form)):
        raise ValueError(f"may hold {' '.join(sorted(_DIRECTIVES))} only")
    said = [letter.replace("y", "Y").replace("b", "m") for letter in re.findall("%(.)", form)]
    if not {"Y", "m", "d"}.issubset(said):
        raise ValueError("lacks year, month or day")
    if len(said) > len(set(said)):
        raise ValueError("says a part of the time twice")
    sample = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC).strftime(form)
    datetime.strptime(sample, form).replace(tzinfo=UTC)
