"""What the demo found, and whether every record is proven at all places."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockwarden.service.errors import ServiceError
from dockwarden.simulators.world import World, outcomes

NEEDED = ("sealed", "confirmed", "labelled", "probed", "received", "backed-up", "drilled")
"""What every record must have when the journey is done."""


@dataclass
class Report:
    """What the demo found; `ok` is decided at the end."""

    sources: int = 0
    status_answers: list[dict[str, Any]] = field(default_factory=list)
    backup: dict[str, Any] = field(default_factory=dict)
    drill: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    package: str = ""
    trust: str = ""
    verified: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def brief(answer: dict[str, Any]) -> dict[str, Any]:
    """What the report keeps of an answer to the centre's question."""
    keys = ("answered_by", "as_of", "state", "since", "question", "records", "bays")
    return {key: answer[key] for key in keys if key in answer}


def judge(world: World, report: Report) -> bool:
    """Gather records and quarantine, and decide whether every record is proven at all places."""
    centre: dict[str, Any] = {}
    with suppress(ServiceError):
        centre = {record["record"]: record for record in world.centre_records()}
        for record in world.records():
            report.records.append(_record_line(world, record, centre.get(record["record"], {})))
        found = world.station.call("quarantined")["quarantined"]
        report.quarantined = [{**item, "planted": False} for item in found]  # the demo breaks nothing
    for record in report.records:
        lacking = [kind for kind in NEEDED if kind not in record["facts"]]
        if lacking:
            report.problems.append(f"record {record['record']} lacks {', '.join(lacking)}")
    taken = len(report.records) + sum(1 for item in report.quarantined if item["planted"])
    if taken != report.sources:
        report.problems.append(f"{report.sources} sources, but {taken} records and planted quarantines")
    anchored = report.verified.get("anchored") is True and report.verified.get("consistent") is True
    if not anchored and not any("verify" in problem for problem in report.problems):
        report.problems.append("the package was not verified as anchored")
    return not report.problems


def _record_line(world: World, record: dict[str, Any], centre: dict[str, Any]) -> dict[str, Any]:
    keys = ("record", "source_name", "bytes", "sha256", "sm3", "seal_sha256")
    path = centre.get("centre_path")
    return {
        **{key: record[key] for key in keys},
        "facts": sorted(outcomes(record)),
        "outcomes": outcomes(record),
        "vault_path": str(world.station_root / record["vault_path"]),
        "centre_path": str(world.centre_root / path) if path else None,
    }


def write_report(root: Path, report: Report, ok: bool) -> None:
    """Write `report.json` below the demo's folder (docs/formats/cli.md)."""
    backup = {
        "snapshot": report.backup.get("snapshot"),
        "repository": report.backup.get("repository"),
        "repository_path": str(root / "offsite" / "st-01"),
        "password_file": str(root / "offsite.password"),
    }
    text = json.dumps(
        {
            "ok": ok,
            "records": report.records,
            "quarantined": report.quarantined,
            "status_answers": report.status_answers,
            "backup": backup,
            "drill": report.drill,
            "package": report.package,
            "trust": report.trust,
            "verified": report.verified,
            "problems": report.problems,
            "timings_s": report.timings,
        },
        ensure_ascii=False,
        indent=1,
    )
    (root / "report.json").write_text(text + "\n", "utf-8")
