"""What people and the office enter: rosters and labels, read strictly. Every error names the field.

A key that nobody knows is refused: it is a word that somebody meant and that would otherwise count for nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias, TypeVar, get_args

from dockwarden.evidence import fields
from dockwarden.evidence.canonical import MalformedError
from dockwarden.rules.labels import CaseNumber, parse_activity, parse_case_number, parse_text

Marked: TypeAlias = Literal["device", "bay", "case"]
MARKED: tuple[Marked, ...] = get_args(Marked)

MOST = 10_000
"""Entries of one kind in a roster."""

_KEY = re.compile(r"[A-Za-z0-9_-]{1,32}")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Binding:
    """A device issued to an officer (article 4: devices are issued and returned). `secret` marks all that it
    records with secrecy (article 14)."""

    device: str
    officer_id: str
    officer_name: str
    secret: bool = False


@dataclass(frozen=True)
class Task:
    """What an officer is doing from `start` to `end` (UTC): the case or pre-case reference, party, activity."""

    officer_id: str
    start: str
    end: str
    case: str
    party: str
    activity: str


@dataclass(frozen=True)
class Mark:
    """Secrecy (article 14) for all that comes from a device (its key) or a bay, or is labelled with a case.

    `secret` false lifts the mark for what comes later; a record that has been marked stays so.
    """

    of: Marked
    name: str
    secret: bool = True

    @property
    def key(self) -> str:
        """What the mark is known by: a case by its key, however it was typed. Raises MalformedError."""
        return parse_case_number(self.name).key if self.of == "case" else self.name


@dataclass(frozen=True)
class Roster:
    """Bindings, tasks and marks that belong together: all of them count or none."""

    bindings: tuple[Binding, ...] = ()
    tasks: tuple[Task, ...] = ()
    marks: tuple[Mark, ...] = ()

    def to_object(self) -> dict[str, object]:
        """The roster as it is entered (docs/formats/cli.md)."""
        return {
            "bindings": [asdict(binding) for binding in self.bindings],
            "marks": [asdict(mark) for mark in self.marks],
            "tasks": [asdict(task) for task in self.tasks],
        }


@dataclass(frozen=True)
class Given:
    """What a person says of a record; None is what they do not speak of. `secret` can only be set."""

    case: CaseNumber | None = None
    party: str | None = None
    officer_name: str | None = None
    officer_id: str | None = None
    activity: str | None = None
    secret: bool = False


def parse_roster(source: Mapping[str, object], bays: Set[str] | None = None) -> Roster:
    """Read a roster; raises MalformedError naming the field, such as `tasks[2].start`.

    With `bays`, the station's, a mark of any other bay is refused: a slip would leave secret footage unmarked. So is
    a device that is bound in two ways at once.
    """
    only(source, {"bindings", "tasks", "marks"})
    roster = Roster(
        _list(source, "bindings", parse_binding),
        _list(source, "tasks", parse_task),
        _list(source, "marks", parse_mark),
    )
    bound: dict[str, Binding] = {}
    for number, binding in enumerate(roster.bindings):
        if bound.setdefault(binding.device, binding) != binding:
            raise MalformedError(f"bindings[{number}].device", "is bound in two ways at once")
    for number, mark in enumerate(roster.marks):
        if bays is not None and mark.of == "bay" and mark.name not in bays:
            raise MalformedError(f"marks[{number}].name", "is no bay of this station")
    return roster


def parse_binding(source: Mapping[str, object]) -> Binding:
    """Read a binding; raises MalformedError."""
    only(source, {"device", "officer_id", "officer_name", "secret"})
    secret = fields.boolean(source, "secret") if "secret" in source else False
    return Binding(_plain(source, "device"), _plain(source, "officer_id"), _line(source, "officer_name"), secret)


def parse_task(source: Mapping[str, object]) -> Task:
    """Read a task; raises MalformedError."""
    only(source, {"officer_id", "start", "end", "case", "party", "activity"})
    start, end = fields.utc(source, "start"), fields.utc(source, "end")
    if end < start:
        raise MalformedError("end", "is before its start")
    case, activity = fields.text(source, "case"), fields.text(source, "activity")
    parse_case_number(case)
    parse_activity(activity)
    return Task(_plain(source, "officer_id"), start, end, case, _line(source, "party"), activity)


def parse_mark(source: Mapping[str, object]) -> Mark:
    """Read a mark; raises MalformedError."""
    only(source, {"of", "name", "secret"})
    of = fields.text(source, "of", 32)
    if of not in MARKED:
        raise MalformedError("of", f"is none of {' '.join(MARKED)}")
    secret = fields.boolean(source, "secret") if "secret" in source else True
    mark = Mark(of, _plain(source, "name"), secret)
    with within("", "name"):
        _ = mark.key
    return mark


def parse_given(source: Mapping[str, object]) -> Given:
    """Read what a person says of a record; raises MalformedError."""
    only(source, {"case", "party", "officer", "officer_id", "activity", "secret"})
    if "secret" in source and not fields.boolean(source, "secret"):
        raise MalformedError("secret", "can only be set: a mark is not taken back here")
    return Given(
        case=parse_case_number(fields.text(source, "case")) if "case" in source else None,
        party=_line(source, "party") if "party" in source else None,
        officer_name=_line(source, "officer") if "officer" in source else None,
        officer_id=_plain(source, "officer_id") if "officer_id" in source else None,
        activity=parse_activity(fields.text(source, "activity")) if "activity" in source else None,
        secret="secret" in source,
    )


def only(source: Mapping[str, object], known: Set[str]) -> None:
    """Raises MalformedError naming keys that are not known, as far as they are plain words: a name that somebody has
    put in a key's place must not come into a log."""
    strange = sorted(str(key) for key in source if key not in known)
    if strange:
        named = " ".join(key if _KEY.fullmatch(key) else "(unprintable)" for key in strange[:5])
        raise MalformedError(named, f"is not known here; known are {' '.join(sorted(known))}")


@contextmanager
def within(where: str, name: str | None = None) -> Iterator[None]:
    """Errors inside name the field after `where` it is in, and as `name` where it is called otherwise there."""
    try:
        yield
    except MalformedError as error:
        raise MalformedError(f"{where}{name or error.where}", error.what) from error


def _list(source: Mapping[str, object], key: str, parse: Callable[[Mapping[str, object]], _T]) -> tuple[_T, ...]:
    found: list[_T] = []
    for number, item in enumerate(fields.array(source, key, MOST) if key in source else []):
        if not isinstance(item, dict):
            raise MalformedError(f"{key}[{number}]", "is not an object")
        with within(f"{key}[{number}]."):
            found.append(parse(item))
    return tuple(found)


def _line(source: Mapping[str, object], key: str) -> str:
    return parse_text(key, fields.text(source, key))


def _plain(source: Mapping[str, object], key: str) -> str:
    """A text that must be just what another program shows: nothing is trimmed off it."""
    value = fields.text(source, key)
    if parse_text(key, value) != value:
        raise MalformedError(key, "has spaces at an end")
    return value
