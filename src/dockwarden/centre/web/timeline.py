"""A record's life 履历 out of its facts: order, plain words, and the proof that stands behind each line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dockwarden.centre.web.view import part_of, text_of
from dockwarden.service.shown import instant, size
from dockwarden.service.words import Words

MOST_LINES = 200

# For each kind: where in the body, the word for it, and how it is printed (see `_print`).
_DETAILS: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "docked": (("bay", "bay", "text"), ("device.kind", "device", "device"), ("sources", "files", "text"),
               ("bytes", "bytes", "size")),
    "undocked": (("bay", "bay", "text"),),
    "refused": (("bay", "bay", "text"),),
    "clock-measured": (("offset_ms", "clock-offset", "offset"), ("uncertainty_ms", "uncertainty", "ms")),
    "sealed": (("size", "bytes", "size"), ("seal_sha256", "seal", "code"), ("sha256", "sha256", "code"),
               ("sm3", "sm3", "code")),
    "confirmed": (("reading", "reading", "text"), ("read", "read", "read"), ("leaves_root", "leaves_root", "code")),
    "labelled": (("case.normal", "case", "text"), ("party", "party", "text"), ("officer.name", "officer", "text"),
                 ("officer.id", "officer-id", "text"), ("activity", "activity", "text"),
                 ("missing", "missing", "missing")),
    "probed": (("container", "container", "text"), ("duration_ms", "length", "ms"),
               ("streams", "streams", "streams")),
    "previewed": (("parts", "parts", "parts"),),
    "delivered": (("parts", "parts", "parts"),),
    "backed-up": (("snapshot", "snapshot", "code"),),
    "drilled": (("snapshot", "snapshot", "code"),),
    "exported": (("package_sha256", "package", "code"),),
    "key-rotated": (("purpose", "purpose", "text"), ("vkey", "key", "code")),
}  # fmt: skip

# The road of a record, and the kinds of fact that take it a step further (any of them).
ROAD = (
    ("sealed", ("sealed",)),
    ("confirmed", ("confirmed",)),
    ("labelled", ("labelled",)),
    ("stored", ("stored", "received")),
    ("backed-up", ("backed-up",)),
    ("drilled", ("drilled",)),
)


@dataclass(frozen=True)
class Line:
    """One fact. ``details`` are (word, text, is it code); ``body`` the body's lines, None where it is not here."""

    log: str
    seq: int
    at: Any
    synchronised: bool
    kind: str
    outcome: str
    says: str
    reason: str
    details: tuple[tuple[str, str, bool], ...]
    by: Mapping[str, Any]
    place: str
    body: tuple[str, ...] | None
    cut: bool


@dataclass(frozen=True)
class Step:
    """One step of the road: ``state`` is done, failed or open."""

    name: str
    state: str
    at: Any


def ordered(facts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Facts of several logs in one line.

    Within a log ``seq`` alone decides, whatever the clock said (design.md §4). Between logs there is no order
    but the clock's: the log whose next fact is the earliest goes first.
    """
    logs: dict[str, list[Mapping[str, Any]]] = {}
    for fact in sorted(facts, key=_seq):
        logs.setdefault(text_of(fact, "log"), []).append(fact)
    line: list[Mapping[str, Any]] = []
    while logs:
        name = min(logs, key=lambda log: (_when(logs[log][0]), log))
        line.append(logs[name].pop(0))
        if not logs[name]:
            del logs[name]
    return line


def road(facts: Sequence[Mapping[str, Any]]) -> list[Step]:
    """How far a record has come; the latest fact of a kind and place counts, a void one counts as none."""
    latest = {(text_of(fact, "kind"), text_of(fact, "place")): fact for fact in facts}
    steps = []
    for name, kinds in ROAD:
        found = [fact for (kind, _), fact in latest.items() if kind in kinds]
        done = [fact for fact in found if fact.get("outcome") == "done"]
        failed = [fact for fact in found if fact.get("outcome") == "failed"]
        chosen = (done or failed or [{}])[-1]
        steps.append(Step(name, "done" if done else "failed" if failed else "open", chosen.get("at")))
    return steps


def line(fact: Mapping[str, Any], words: Words) -> Line:
    """A fact in plain words. The body is shown by what its kind is known to hold, and whole below the proof."""
    body = fact.get("body")
    known = body if isinstance(body, Mapping) else {}
    kind, outcome = text_of(fact, "kind"), text_of(fact, "outcome")
    at = fact.get("at")
    printed = json.dumps(body, ensure_ascii=False, indent=2, sort_keys=True).split("\n") if known else []
    return Line(
        log=text_of(fact, "log"),
        seq=_seq(fact),
        at=at,
        synchronised=not isinstance(at, Mapping) or at.get("synchronised") is not False,
        kind=kind,
        outcome=outcome,
        says=_says(kind, outcome, words),
        reason=_reason(known),
        details=tuple(_details(kind, known, words)),
        by=part_of(fact, "by"),
        place=text_of(fact, "place"),
        body=tuple(printed[:MOST_LINES]) if isinstance(body, Mapping) else None,
        cut=len(printed) > MOST_LINES,
    )


def _says(kind: str, outcome: str, words: Words) -> str:
    name = words(f"fact.{kind}") if words.known(f"fact.{kind}") else kind
    if outcome == "done":
        return words(f"says.{kind}") if words.known(f"says.{kind}") else name
    if outcome == "failed" and words.known(f"says.{kind}.failed"):
        return words(f"says.{kind}.failed")
    return words("says.void" if outcome == "void" else "says.failed", what=name)


def _reason(body: Mapping[str, Any]) -> str:
    reason = body.get("reason", body if "code" in body and "what" in body else None)
    if isinstance(reason, Mapping):
        return " · ".join(part for part in (text_of(reason, "what"), text_of(reason, "code")) if part)
    return reason if isinstance(reason, str) else ""


def _details(kind: str, body: Mapping[str, Any], words: Words) -> Iterable[tuple[str, str, bool]]:
    for path, word, form in _DETAILS.get(kind, ()):
        value: Any = body
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        text = _print(value, form, words)
        if text:
            yield words(f"detail.{word}"), text, form == "code"


def _print(value: Any, form: str, words: Words) -> str:
    if form == "size":
        return size(value) if isinstance(value, int) else ""
    if form == "ms":
        return _length(value, words) if isinstance(value, int) else ""
    if form == "offset":
        return _offset(value, words) if isinstance(value, int) else words("detail.clock-unknown")
    if form in ("streams", "parts", "missing"):
        each = {"streams": _stream, "parts": _part, "missing": _missing}[form]
        return words("list.comma").join(each(item, words) for item in value) if isinstance(value, list) else ""
    if form in ("device", "read") and isinstance(value, str):
        return words(f"{form}.{value}") if words.known(f"{form}.{value}") else value
    return str(value) if isinstance(value, str | int) else ""


def _length(ms: int, words: Words) -> str:
    return words("detail.ms", ms=ms) if abs(ms) < 1000 else words.duration(abs(ms) / 1000)


def _offset(ms: int, words: Words) -> str:
    """Device minus true time: a positive error means that the device's clock is ahead."""
    if ms == 0:
        return words("detail.clock-right")
    return words("detail.clock-ahead" if ms > 0 else "detail.clock-behind", by=_length(abs(ms), words))


def _stream(stream: Any, words: Words) -> str:
    del words
    if not isinstance(stream, Mapping):
        return "?"
    sides = f"{stream['width']}×{stream['height']}" if stream.get("width") and stream.get("height") else ""
    return " ".join(part for part in (text_of(stream, "type"), text_of(stream, "codec"), sides) if part)


def _part(part: Any, words: Words) -> str:
    del words
    if isinstance(part, Mapping):
        return f"{text_of(part, 'name')} ({size(part.get('size'))})"
    return part if isinstance(part, str) else "?"


def _missing(name: Any, words: Words) -> str:
    return words(f"missing.{name}") if words.known(f"missing.{name}") else str(name)


def _seq(fact: Mapping[str, Any]) -> int:
    seq = fact.get("seq")
    return seq if isinstance(seq, int) else -1


def _when(fact: Mapping[str, Any]) -> float:
    found = instant(fact.get("at"))
    return found.timestamp() if found is not None else 0.0
