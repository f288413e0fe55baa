"""What the pages need of the centre, and how its JSON becomes what a template prints."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from dockwarden.service.shown import name_of

Part = Literal["original", "preview", "sheet"]
PLACES = ("station", "centre", "off-site")
RECORD = re.compile(r"[a-z2-7]{26}")
STATION = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class OfficeView(Protocol):
    """The centre as its pages see it. Called from worker threads; may raise `ServiceError`."""

    def stations(self) -> list[dict[str, Any]]:
        """``{station, state: online|offline|unknown, since, as_of, status|None, head: {size, root}|None}``;
        ``status`` is the station's status (design.md §9), as it was at ``as_of``."""

    def records(self, station: str | None, limit: int, before: str | None) -> list[dict[str, Any]]:
        """The newest ``limit`` records first, or those after the record ``before`` in that order.

        Each as the agent's ``records`` (design.md §9), and ``station, stored, has_preview, has_sheet``.
        """

    def record(self, record: str) -> dict[str, Any] | None:
        """One record as in `records`, and ``facts: [{seq, log, at, kind, outcome, by, place, body|None}]``."""

    def file(self, record: str, part: Part) -> Path | None:
        """Where the bytes of a part are on this machine; None where they are not here (or are withheld)."""


@dataclass(frozen=True)
class Label:
    """A record's label; empty texts where nothing is known. ``missing`` names case, party, officer."""

    case: str
    party: str
    officer: str
    activity: str
    important: bool
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A record, ready to print. ``name`` is the source's name as the device showed it; moments are as received."""

    record: str
    station: str
    name: str
    kind: str
    start: Any
    end: Any
    bytes: Any
    label: Label
    deadline: str
    due: Any
    mode: str
    copies: dict[str, Mapping[str, Any]]
    stored: bool
    has_preview: bool
    has_sheet: bool
    secret: bool
    missing: int
    digests: tuple[tuple[str, str], ...]


def row(record: Mapping[str, Any]) -> Row:
    """Read a record's JSON; what is missing or strange becomes "not known", never an error page."""
    captured, deadline = part_of(record, "captured"), part_of(record, "deadline")
    copies = record.get("copies")
    return Row(
        record=text_of(record, "record"),
        station=text_of(record, "station"),
        name=name_of(record.get("source_name")),
        kind=_kind(record.get("device")),
        start=captured.get("start", record.get("captured")),
        end=captured.get("end"),
        bytes=record.get("bytes"),
        label=_label(part_of(record, "label")),
        deadline=text_of(deadline, "state") or "unknown",
        due=deadline.get("due"),
        mode=text_of(deadline, "mode"),
        copies={
            text_of(copy, "place"): copy
            for copy in (copies if isinstance(copies, list) else [])
            if isinstance(copy, Mapping)
        },
        stored=record.get("stored") is True,
        has_preview=record.get("has_preview") is True,
        has_sheet=record.get("has_sheet") is True,
        secret=record.get("secret") is True,
        missing=_missing(record.get("holes")),
        digests=tuple(
            (key, text_of(record, key)) for key in ("sha256", "sm3", "leaves_root", "seal_sha256") if record.get(key)
        ),
    )


def _missing(holes: object) -> int:
    """Bytes that the device did not give."""
    lengths = (part.get("length") for part in holes if isinstance(part, Mapping)) if isinstance(holes, list) else ()
    return sum(length for length in lengths if isinstance(length, int))


def text_of(source: Mapping[str, Any], key: str) -> str:
    """Field ``key`` where it is text, else empty."""
    found = source.get(key)
    return found if isinstance(found, str) else ""


def part_of(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Field ``key`` where it is an object, else an empty one."""
    found = source.get(key)
    return found if isinstance(found, Mapping) else {}


def _label(label: Mapping[str, Any]) -> Label:
    case, officer = part_of(label, "case"), part_of(label, "officer")
    missing = label.get("missing")
    return Label(
        case=text_of(case, "normal") or text_of(case, "text") or text_of(label, "case"),
        party=text_of(label, "party"),
        officer=text_of(officer, "name") or text_of(officer, "id") or text_of(label, "officer"),
        activity=text_of(label, "activity"),
        important=label.get("important") is True,
        missing=tuple(str(name) for name in missing)
        if isinstance(missing, list)
        else ()
        if label
        else ("case", "party", "officer"),
    )


def _kind(device: Any) -> str:
    told = device.get("kind") if isinstance(device, Mapping) else device
    return told if told in ("camera", "recorder") else "device"
