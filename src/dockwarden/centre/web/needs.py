"""What of a station needs a person: picked out of what the centre knows of it, the gravest first.

Texts of the station's own are not shown: each need is told in words of ours, with how many and since when.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dockwarden.centre.web.view import part_of, text_of

ALARMS = ("fork", "set-back", "another-station", "not-as-sealed", "over-share", "disk-full", "damaged")
"""The alarms for which there are words; any other is told by its code."""

_LOW_DISK = 0.1
_LOGGED = (
    ("backup-failed", "backup_failed", "bad"),
    ("drill-failed", "drill_failed", "bad"),
    ("not-confirmed", "not_confirmed", "warn"),
    ("quarantined", "quarantined", "warn"),
    ("finding", "findings", "warn"),
)


@dataclass(frozen=True)
class Need:
    """One thing. `word` names what is said of it (`need.<word>`); `n` is how many, `at` since when, where that is
    known; `name` is the code of an alarm that has no words."""

    word: str
    tone: Literal["bad", "warn"]
    n: int = 1
    at: Any = None
    name: str = ""


def needs(station: Mapping[str, Any]) -> tuple[Need, ...]:
    """What is to be done about a station (docs/formats/cli.md, `centre stations`); never raises."""
    found = [*_alarms(station), *_logged(part_of(station, "attention")), *_status(part_of(station, "status"))]
    if station.get("state") == "offline":
        found.append(Need("away", "warn", at=station.get("since")))
    return tuple(sorted(found, key=lambda need: need.tone != "bad"))


def _alarms(station: Mapping[str, Any]) -> list[Need]:
    """One for each code: how often, and since when."""
    alarms = station.get("alarms")
    by_code: dict[str, list[Mapping[str, Any]]] = {}
    for alarm in alarms if isinstance(alarms, list) else []:
        if isinstance(alarm, Mapping):
            by_code.setdefault(text_of(alarm, "code"), []).append(alarm)
    return [
        Need(f"alarm.{code}" if code in ALARMS else "alarm", "bad", len(same), same[0].get("at"), code)
        for code, same in by_code.items()
    ]


def _logged(attention: Mapping[str, Any]) -> list[Need]:
    """What the mirrored logs say."""
    found = [
        Need(code, "bad" if tone == "bad" else "warn", count)
        for code, key, tone in _LOGGED
        if (count := _count(attention, key))
    ]
    if attention.get("upload_stuck_since") is not None:
        found.append(Need("stuck", "bad", at=attention["upload_stuck_since"]))
    if _count(attention, "generations") > 1:
        found.append(Need("restored", "warn", _count(attention, "generations")))
    return found


def _status(status: Mapping[str, Any]) -> list[Need]:
    """What the station last said of itself."""
    figures, disk, findings = part_of(status, "records"), part_of(status, "disk"), status.get("findings")
    found = []
    if late := _count(figures, "late"):
        found.append(Need("late", "bad", late))
    if unlabelled := _count(figures, "unlabelled"):
        found.append(Need("unlabelled", "warn", unlabelled))
    if isinstance(findings, list) and findings:
        found.append(Need("doubts", "warn", len(findings)))
    bays = status.get("bays")
    states = [bay.get("state") for bay in bays if isinstance(bay, Mapping)] if isinstance(bays, list) else []
    for state in ("incomplete", "refused"):
        if state in states:
            found.append(Need(f"bay-{state}", "warn", states.count(state)))
    if _count(disk, "total") > 0 and _count(disk, "free") < _count(disk, "total") * _LOW_DISK:
        found.append(Need("disk-low", "warn"))
    return found


def _count(source: Mapping[str, Any], key: str) -> int:
    value = source.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
