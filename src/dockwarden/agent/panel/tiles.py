"""What the bay page may know: figures and states picked out of the status, one by one.

Nothing is passed through. A text of a finding can quote a file's name and a file's name can be a party's, so
findings are told by their code in words of our own (design.md §7: no party, case or picture at a bay).
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dockwarden.service.shown import percent

State = Literal[
    "empty", "waiting", "reading", "confirming", "safe", "copied", "incomplete", "releasing", "refused", "unknown"
]
STATES: tuple[State, ...] = (
    "empty",
    "waiting",
    "reading",
    "confirming",
    "safe",
    "copied",
    "incomplete",
    "releasing",
    "refused",
    "unknown",
)
KINDS = ("camera", "recorder", "device")
_CODE = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+){0,5}")
_BAY = re.compile(r"[0-9A-Za-z][0-9A-Za-z.:_-]{0,31}")
_COUNTED = re.compile(r"(\d{1,7}) of (\d{1,7}) are not here")
_LOW_DISK = 0.1
NOT_ALL, PULLED_OUT = "not-all", "pulled-out"


@dataclass(frozen=True)
class Tile:
    """One bay; sizes in bytes, ``rate`` in bytes a second, ``left`` in seconds. Of an incomplete bay ``lacking``
    are (n, m): n of m files are not here; None where the station has not counted them."""

    bay: str
    state: State
    kind: str | None
    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int
    rate: float | None
    left: float | None
    lacking: tuple[int, int] | None
    pulled_out: bool
    findings: tuple[tuple[str, int], ...]

    @property
    def percent(self) -> int:
        """0 to 100 of the bytes."""
        return percent(self.bytes_done, self.bytes_total)

    @property
    def working(self) -> bool:
        """Whether figures of progress say anything."""
        return self.state in ("reading", "confirming", "releasing")


@dataclass(frozen=True)
class Summary:
    """The station in figures; None where the status does not tell. ``disk_free`` and ``disk_total`` in bytes;
    ``doubts`` counts what the station's start-up could not finish."""

    disk_free: int | None
    disk_total: int | None
    records: int | None
    unlabelled: int | None
    late: int | None
    waiting_upload: int | None
    waiting_backup: int | None
    ledger: int | None
    doubts: int

    @property
    def disk_percent(self) -> int:
        """How much of the disk is free."""
        return percent(self.disk_free, self.disk_total)

    @property
    def disk_low(self) -> bool:
        """Less than a tenth is free."""
        return (
            self.disk_free is not None
            and self.disk_total is not None
            and self.disk_free < self.disk_total * _LOW_DISK
        )


def tiles(status: Mapping[str, Any]) -> tuple[Tile, ...]:
    """The bays of a status (design.md §9) in its order."""
    bays = status.get("bays")
    return tuple(_tile(bay) for bay in _objects(bays))


def summary(status: Mapping[str, Any]) -> Summary:
    """The figures of a status (design.md §9)."""
    doubts = status.get("findings")
    records, disk, ledger = (_part(status, key) for key in ("records", "disk", "ledger"))
    return Summary(
        disk_free=_whole(disk.get("free")),
        disk_total=_whole(disk.get("total")),
        records=_whole(records.get("total")),
        unlabelled=_whole(records.get("unlabelled")),
        late=_whole(records.get("late")),
        waiting_upload=_whole(records.get("waiting_upload")),
        waiting_backup=_whole(records.get("waiting_backup")),
        ledger=_whole(ledger.get("size")),
        doubts=len(doubts) if isinstance(doubts, list) else 0,
    )


def _tile(bay: Mapping[str, Any]) -> Tile:
    state = _state(bay)
    return Tile(
        bay=_bay(bay.get("bay")),
        state=state,
        kind=None if state == "empty" else _kind(bay.get("device")),
        files_done=_whole(bay.get("files_done")) or 0,
        files_total=_whole(bay.get("files_total")) or 0,
        bytes_done=_whole(bay.get("bytes_done")) or 0,
        bytes_total=_whole(bay.get("bytes_total")) or 0,
        rate=_figure(bay.get("rate")),
        left=_figure(bay.get("eta_s")),
        lacking=_lacking(bay.get("findings")) if state == "incomplete" else None,
        pulled_out=any(finding.get("code") == PULLED_OUT for finding in _objects(bay.get("findings"))),
        findings=_findings(bay.get("findings")),
    )


def _state(bay: Mapping[str, Any]) -> State:
    """The bay's state; green is shown only where the state and ``safe`` both say so."""
    told = bay.get("state")
    state: State = next((known for known in STATES if known == told), "unknown")
    return "unknown" if state == "safe" and bay.get("safe") is not True else state


def _kind(device: Any) -> str | None:
    told = device.get("kind") if isinstance(device, Mapping) else device
    return None if told is None else told if told in KINDS else "device"


def _bay(told: Any) -> str:
    text = str(told) if isinstance(told, str | int) else ""
    return text if _BAY.fullmatch(text) else "?"


def _findings(told: Any) -> tuple[tuple[str, int], ...]:
    """Codes and how often each; what the bay's sentence says already is not said twice."""
    codes = (finding.get("code") for finding in _objects(told))
    known = (code if isinstance(code, str) and _CODE.fullmatch(code) else "unknown" for code in codes)
    return tuple((code, times) for code, times in Counter(known).most_common() if code not in (NOT_ALL, PULLED_OUT))


def _lacking(told: Any) -> tuple[int, int] | None:
    """The two figures of the sentence that design.md §5.5 words; nothing but digits is taken from it."""
    for finding in _objects(told):
        found = _COUNTED.match(str(finding.get("what"))) if finding.get("code") == NOT_ALL else None
        if found:
            return int(found[1]), int(found[2])
    return None


def _objects(told: Any) -> list[Mapping[str, Any]]:
    return [each for each in told if isinstance(each, Mapping)] if isinstance(told, list) else []


def _part(status: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = status.get(key)
    return found if isinstance(found, Mapping) else {}


def _figure(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _whole(value: Any) -> int | None:
    figure = _figure(value)
    return None if figure is None else int(figure)
