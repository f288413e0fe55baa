"""The whole kill table: every durable step of intake and upload, killed or failed, before or after it is done.

`python -m tests.long.kill_table [--only SCENARIO] [--into FILE]` writes docs/measured/kill-table.json: {commit, seed,
rows, died, violations, seconds, scenarios: {name: {rows, died, violations}}, missed: [row…], wrong: [sentence…]}.
`seed` is null: no row is drawn. `missed` are the rows of intake whose kill never came: the run had fewer steps than
the one that was learnt from (two records whose drawn ids share a folder of the vault save a step). Exit 1 on any
violation.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.agent import test_failed_steps as failed_steps
from tests.system import killing, killing_uploads
from tests.system.forking import Forker

from dockwarden.simulators.world import running_world

ROOT = Path(__file__).resolve().parents[2]
INTO = ROOT / "docs" / "measured" / "kill-table.json"
UPLOAD, IN_PROCESS = "upload", "failed steps"
EVERY = 50


def intake_rows(folder: Path, scenario: str, missed: list[str]) -> Iterator[tuple[bool, list[str]]]:
    """Play all rows of a scenario of intake; gives whether the station died, and what is wrong. Rows whose kill never
    came go into `missed`."""
    with Forker() as forker:
        ready, rows = killing.table(forker, folder, scenario)
        for number, row in enumerate(rows):
            played = killing.play(forker, ready, folder / f"row{number}", row)
            if row.plant == "kill" and not played.died:
                missed.append(str(row))
            yield played.died, [f"{row}: {what}" for what in played.wrong]


def upload_rows(folder: Path) -> Iterator[tuple[bool, list[str]]]:
    """The same of uploads, over one running bureau."""
    with running_world(folder / "world", bays=["1"], settings=killing_uploads.SETTINGS) as world:
        table = killing_uploads.Table(world)
        for row in table.rows():
            played = table.play(row)
            yield played.died, [f"{row}: {what}" for what in played.wrong]


def failed_rows(folder: Path) -> Iterator[tuple[bool, list[str]]]:
    """The steps that fail once, in this process: docked again without a restart, and after one."""
    for scenario in failed_steps.SCENARIOS:
        rows = failed_steps.table(folder / f"learn {scenario}", scenario)
        for again in ("docked again", "restart"):
            for row in rows:
                yield False, failed_steps.play(folder / "row", row, again)


def play(name: str) -> dict[str, Any]:
    """Play all rows of a scenario."""
    found: dict[str, Any] = {"rows": 0, "died": 0, "violations": 0, "missed": [], "wrong": []}
    with tempfile.TemporaryDirectory(prefix="kill-table-") as place:
        folder = Path(place)
        if name == UPLOAD:
            rows = upload_rows(folder)
        else:
            rows = failed_rows(folder) if name == IN_PROCESS else intake_rows(folder, name, found["missed"])
        for died, wrong in rows:
            found["rows"] += 1
            found["died"] += died
            found["violations"] += bool(wrong)
            found["wrong"] += wrong
            if wrong or found["rows"] % EVERY == 0:
                print(name, found["rows"], *wrong, sep="\n  " if wrong else " ", flush=True)
    return found


def main() -> int:
    """Play the table and write what came of it."""
    names = [*killing.SCENARIOS, UPLOAD, IN_PROCESS]
    parser = argparse.ArgumentParser(description="the whole kill table")
    parser.add_argument("--only", action="append", choices=names)
    parser.add_argument("--into", type=Path, default=INTO)
    given = parser.parse_args()
    began, played, report = time.monotonic(), {}, {}
    for name in given.only or names:
        played[name] = play(name)
        report = write(given.into, played, time.monotonic() - began)
    print(f"{report['rows']} rows, {report['died']} deaths, {report['violations']} violations: {given.into}")
    return 1 if report["violations"] else 0


def write(into: Path, played: dict[str, dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Write what has been played so far; returns it."""
    report = {
        "commit": subprocess.run(
            ["git", "-c", "safe.directory=*", "rev-parse", "HEAD"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip(),
        "seed": None,
        **{key: sum(one[key] for one in played.values()) for key in ("rows", "died", "violations")},
        "seconds": round(seconds),
        "scenarios": {
            name: {key: one[key] for key in ("rows", "died", "violations")} for name, one in played.items()
        },
        "missed": [row for one in played.values() for row in one["missed"]],
        "wrong": [what for one in played.values() for what in one["wrong"]],
    }
    into.parent.mkdir(parents=True, exist_ok=True)
    into.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return report


if __name__ == "__main__":
    sys.exit(main())
