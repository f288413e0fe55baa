"""Rich sample data for the pages: every bay state, absurd names, failed and withheld facts."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dockwarden.centre.web.needs import ALARMS

PARTY = "京海市<script>alert('x')</script>便民超市"
CASE = "某州某县市监处罚〔2026〕12号"
OFFICER = "古丽娜尔·买买提"
PRIVATE_NAME = "京海便民超市_2026.MP4"
ABSURD = [
    "DCIM/100MEDIA/执法_0012345_20261124103000.MP4",
    "a\nb\r\n<script>alert(document.domain)</script>.mp4",
    "-rf ../../../etc/passwd",
    "\u202egpj.exe 反向 \u2066文件",
    "مەمۇرىي ئىجرا قىلىش خاتىرىسى.mp4",
    "👮🏽‍♀️🎥" * 12 + ".mov",
    "很长的文件名" * 42 + ".mp4",
    "lone\udc81\udcff byte.wav",
    '"><img src=x onerror=alert(1)>',
]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def record_id(number: int) -> str:
    return base64.b32encode(hashlib.sha256(b"%d" % number).digest()[:16]).decode().rstrip("=").lower()


def bay(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {
        "bay": name, "state": state, "device": None if state == "empty" else "camera", "files_done": 0,
        "files_total": 0, "bytes_done": 0, "bytes_total": 0, "rate": 0, "eta_s": None, "safe": state == "safe",
        "findings": [], **more,
    }  # fmt: skip


def bays() -> list[dict[str, Any]]:
    """Every state, and findings whose texts hold what must never be seen at a bay."""
    leak = {"what": f"{PRIVATE_NAME} of {PARTY} {CASE}", "source": {"text": PRIVATE_NAME}, "party": PARTY}
    return [
        bay("1", "reading", files_done=3, files_total=14, bytes_done=5_312_000_000, bytes_total=18_730_000_000,
            rate=141_000_000, eta_s=95),
        bay("2", "confirming", files_done=9, files_total=9, bytes_done=7_100_000_000, bytes_total=9_000_000_000,
            rate=188_000_000, eta_s=10),
        bay("3", "safe", files_done=5, files_total=5, bytes_done=1_530_000_000, bytes_total=1_530_000_000,
            device="recorder"),
        bay("4", "incomplete", files_done=8, files_total=11, bytes_done=1, bytes_total=6_400_000_000,
            findings=[{"code": "shrank", **leak}, {"code": "shrank", **leak}, {"code": PRIVATE_NAME, **leak},
                      {"code": "not-all", "what": "3 of 11 are not here: hand the device to the office"}]),
        bay("5", "refused", device={"kind": "keyboard", "model": PRIVATE_NAME},
            findings=[{"code": "keyboard", **leak}]),
        bay("6", "empty"),
        bay("7", "waiting", files_total=2),
        bay("8", "copied", files_done=2, files_total=2, bytes_total=220_000_000),
        bay("9", "releasing", files_done=2, files_total=4, bytes_done=110_000_000, bytes_total=440_000_000),
    ]  # fmt: skip


def status(of: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "station": "station-1",
        "at": "2026-11-24T11:57:03.120Z",
        "bays": bays() if of is None else of,
        "records": {"total": 12_408, "unlabelled": 7, "late": 2, "waiting_upload": 31, "waiting_backup": 118},
        "disk": {"total": 7_900_000_000_000, "free": 512_000_000_000},
        "ledger": {"size": 148_822, "root": digest("root")},
    }


def fact(log: str, seq: int, utc: str, kind: str, body: Mapping[str, Any] | None, **more: Any) -> dict[str, Any]:
    return {
        "log": log, "seq": seq, "kind": kind, "outcome": "done", "place": None,
        "body": None if body is None else dict(body),
        "at": {"utc": utc, "boot": "0" * 32, "mono": seq * 1000, "synchronised": True},
        "by": {"id": "intake", "kind": "stage", "how": "dockwarden/0.1.0"}, **more,
    }  # fmt: skip


def facts(name: str) -> list[dict[str, Any]]:
    station, centre = "station-1.abcd2345", "centre.wxyz6723"
    day = "2026-11-24T"
    off = {"utc": f"{day}02:59:00.000Z", "boot": "0" * 32, "mono": 1, "synchronised": False}
    reason = {"code": "decoder-died", "what": "the decoder ended with signal 11 <b>x</b>"}
    officer = {"id": "0012345", "name": OFFICER}
    case = {"text": CASE, "normal": CASE, "key": "k"}
    label = {"case": None, "party": None, "officer": officer, "activity": "行政处罚", "missing": ["case", "party"]}
    return [
        fact(station, 101, f"{day}03:01:00.000Z", "docked", {"bay": "1", "session": "s", "sources": 5,
             "device": {"kind": "camera", "key": "k", "family": "f", "profile": "p"}, "bytes": 1_530_000_000}),
        fact(station, 102, f"{day}03:01:01.000Z", "clock-measured", {"method": "mtp", "offset_ms": -83_500,
             "uncertainty_ms": 500}),
        fact(station, 103, f"{day}03:02:00.000Z", "sealed", {"size": 730_000_000, "seal_sha256": digest("seal"),
             "sha256": digest(name), "sm3": digest("sm3" + name)}, place="station"),
        fact(station, 104, f"{day}02:59:00.000Z", "confirmed", {"reading": 2, "read": "direct",
             "leaves_root": digest("leaves")}, place="station", at=off),
        fact(station, 105, f"{day}03:03:00.000Z", "labelled", label, outcome="failed"),
        fact(station, 106, f"{day}03:03:05.000Z", "probed", {"container": "mov,mp4", "duration_ms": 754_000,
             "streams": [{"type": "video", "codec": "h264", "width": 1920, "height": 1080},
                         {"type": "audio", "codec": "aac"}]}),
        fact(station, 107, f"{day}03:03:30.000Z", "previewed", {"reason": reason}, outcome="failed"),
        fact(station, 108, f"{day}03:04:00.000Z", "previewed", {"parts": [{"name": "preview.mp4", "size": 48_000_000},
             {"name": "sheet.jpg", "size": 210_000}]}),
        fact(station, 109, f"{day}03:05:00.000Z", "fingerprinted", {"streams": list(range(400))}),
        fact(centre, 88, f"{day}03:08:00.000Z", "stored", {"leaves_root": digest("leaves")}, place="centre",
             by={"id": "receiver", "kind": "stage", "how": "dockwarden/0.1.0"}),
        fact(station, 110, f"{day}03:08:01.000Z", "received", {"receipt": "Zm9v" * 60}, place="centre"),
        fact(station, 111, f"{day}05:20:00.000Z", "labelled", {"case": case, "party": PARTY, "officer": officer,
             "activity": "行政处罚", "missing": [], "note": name},
             by={"id": "0012345", "kind": "person", "how": "cli"}),
        fact(station, 112, f"{day}18:00:00.000Z", "backed-up", {"snapshot": digest("snap"), "repository": "r"},
             place="off-site"),
        fact(station, 113, f"{day}18:20:00.000Z", "drilled", None, place="off-site"),
        fact(station, 114, f"{day}19:20:00.000Z", "checked", {"x": 1}, outcome="void", place="off-site"),
        fact(station, 115, f"{day}19:30:00.000Z", "brand-new-kind", {"<i>k</i>": "\u202e<script>"}),
    ]  # fmt: skip


def record(number: int, name: str) -> dict[str, Any]:
    states = ["met", "in-time", "due", "late", "met-late", "unknown", "a-later-state"]
    full = number % 3 != 1
    places = ["station", "centre", "off-site"][: 3 - number % 4]
    return {
        "record": record_id(number),
        "station": "station-1" if number % 2 else "zhongxin-suo-shichangjianguan-2",
        "device": {"kind": ["camera", "recorder"][number % 2], "key": "k"},
        "source_name": {"text": name, "raw": name.encode(errors="surrogatepass").hex(), "decoded_as": "gb18030"},
        "bytes": 730_123_456 * (number + 1),
        "sha256": digest(name), "sm3": digest("sm3" + name), "leaves_root": digest("leaves"),
        "seal_sha256": digest("seal"),
        "captured": {"start": "2026-11-24T02:30:00.000Z", "end": "2026-11-24T02:42:34.000Z"},
        "label": {
            "case": {"text": CASE, "normal": CASE, "key": "k"} if full else None,
            "party": PARTY if full else None,
            "officer": {"id": "0012345", "name": OFFICER},
            "activity": "行政处罚", "important": number % 4 == 0,
            "missing": [] if full else ["case", "party"],
        },
        "deadline": {"mode": "strict", "due": "2026-11-26T02:42:34.000Z", "state": states[number % len(states)]},
        "facts": [],
        "copies": [{"place": place, "generation": "abcd2345", "at": "2026-11-24T03:02:00.000Z"} for place in places],
        "secret": number == 5,
        "stored": number % 4 <= 1,
        "has_preview": number == 0,
        "has_sheet": number in (0, 3, 6),
    }  # fmt: skip


class SampleOffice:
    """An `OfficeView` over the samples; ``media`` holds preview.mp4 and sheet.jpg."""

    def __init__(self, media: Path | None = None, extra: int = 0) -> None:
        self.media = media
        self.all = [record(number, name) for number, name in enumerate(ABSURD)]
        self.all += [record(len(ABSURD) + n, f"RECORD/{n:04}.MP4") for n in range(extra)]

    def stations(self) -> list[dict[str, Any]]:
        head = {"size": 148_822, "root": "q1Zk0o3mYb1x7nq2yqk0wq1o2mZkY9b4p6o8r0s2t4U="}
        since = "2026-11-24T08:00:00.000Z"
        alarms = [{"code": code, "what": f"w {PARTY}", "where": "<b>x</b>", "at": since} for code in ALARMS]
        alarms += [{**alarms[2], "where": "record 2"}, {"code": "<i>new</i>", "what": "", "where": "", "at": since}]
        nothing = {"total": 3, "unlabelled": 0, "late": 0, "waiting_upload": 0, "waiting_backup": 0}
        calm = {**status([bay("1", "empty")]), "records": nothing, "disk": {"total": 10, "free": 9}, "findings": []}
        return [
            {"station": "station-1", "state": "online", "since": since, "as_of": since, "status": status(),
             "head": head},
            {"station": "zhongxin-suo-shichangjianguan-2", "state": "offline", "since": since,
             "as_of": "2026-11-24T07:59:55.000Z", "status": {**status(bays()[2:6]), "findings": [PARTY, PARTY]},
             "head": head, "alarms": alarms,
             "attention": {"generations": 2, "upload_stuck_since": since, "quarantined": 3, "findings": 1,
                           "not_confirmed": 1, "backup_failed": 2, "drill_failed": 1}},
            {"station": "station-3", "state": "unknown", "since": None, "as_of": None, "status": None, "head": None},
            {"station": "station-4", "state": "online", "since": since, "as_of": since, "status": calm,
             "head": head, "alarms": [], "attention": {"generations": 1, "upload_stuck_since": None}},
        ]  # fmt: skip

    def records(self, station: str | None, limit: int, before: str | None) -> list[dict[str, Any]]:
        found = [each for each in self.all if station in (None, each["station"])]
        start = next((n + 1 for n, each in enumerate(found) if each["record"] == before), 0)
        return found[start : start + limit]

    def record(self, record: str) -> dict[str, Any] | None:
        for each in self.all:
            if each["record"] == record:
                return {**each, "facts": facts(each["source_name"]["text"])}
        return None

    def file(self, record: str, part: str) -> Path | None:
        found = self.record(record)
        if self.media is None or found is None:
            return None
        if part == "original":
            return self.media / "preview.mp4" if found["stored"] or record == record_id(0) else None
        if not found["has_preview" if part == "preview" else "has_sheet"]:
            return None
        return self.media / ("preview.mp4" if part == "preview" else "sheet.jpg")
