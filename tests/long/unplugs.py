"""Cameras that are pulled out at 20 random bytes and docked again, and a whole dock of 24 at once, on a real kernel.

`python -m tests.long.unplugs [--count N] [--seed N] [--into FILE]` writes docs/measured/unplugs.json: {commit, seed,
unplugs, healed, bays_at_once, safe_at_once, violations, seconds, places: [byte…], wrong: [sentence…]}. A violation is
a bay that is not safe once its camera is docked again, or a file that is missing or taken twice; a byte that was
written ends the run. A run that was broken off goes on behind what FILE holds of the same commit and seed. Exit 1 on
any violation.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.vm.vm_samples import camera_card
from tests.vm.whole_station import BAYS, SIMULATED, Docked, digests, pull_out_and_dock_again, running_station

from dockwarden.simulators.vm.machine import machine

ROOT = Path(__file__).resolve().parents[2]
INTO = ROOT / "docs" / "measured" / "unplugs.json"
SEED = 20_261_124
TOGETHER = 5
READ = 3_000_000
SMALL = 100_000


def main() -> int:
    """Play what is left and write what came of all."""
    parser = argparse.ArgumentParser(description="unplugs at random bytes, and a full dock")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--into", type=Path, default=INTO)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    places = [chance.randrange(READ) for _ in range(given.count)]
    report = known(given.into, {"commit": commit(), "seed": given.seed})
    began, before = time.monotonic(), report["seconds"]
    with tempfile.TemporaryDirectory(prefix="unplugs-") as folder, machine() as vm, running_station(vm) as docked:
        docked.go_on()
        if report["bays_at_once"] == 0:
            full_dock(docked, Path(folder), report)
        while report["unplugs"] < given.count:
            first = report["unplugs"]
            unplug(docked, Path(folder), places[first : first + TOGETHER], report)
            report["seconds"] = before + round(time.monotonic() - began)
            write(given.into, report)
            print(f"{report['unplugs']} unplugs, {report['healed']} healed", *report["wrong"], flush=True)
    return 1 if report["violations"] else 0


def full_dock(docked: Docked, folder: Path, report: dict[str, Any]) -> None:
    """A card in each of the 24 bays, at once."""
    made = {bay: camera_card(folder, f"full{bay}.img", 1000 + int(bay), SMALL) for bay in BAYS}
    docked.plug_hubs()
    plugged = docked.dock({bay: card for bay, (card, _) in made.items()})
    said = {bay: docked.verdict(bay) for bay in BAYS}
    docked.undock(plugged)
    docked.vm.unplug_all()
    records = docked.newest()["records"]
    wrong = [f"bay {bay} says {state}" for bay, state in said.items() if state != "safe"]
    wrong += [f"bay {bay} lacks a file" for bay in BAYS if not digests(made[bay][1]) <= set(records)]
    report["bays_at_once"], report["safe_at_once"] = len(BAYS), sum(state == "safe" for state in said.values())
    tell(report, wrong)
    print(f"{report['bays_at_once']} bays at once, {report['safe_at_once']} safe", *wrong, flush=True)


def unplug(docked: Docked, folder: Path, places: list[int], report: dict[str, Any]) -> None:
    """Some cards at once, each pulled out at its place, then docked again."""
    bays = sorted(SIMULATED, key=int)[: len(places)]
    first = report["unplugs"]
    made = {bay: camera_card(folder, f"{bay}.img", 2000 + 10 * (first + n)) for n, bay in enumerate(bays)}
    cards = {bay: card for bay, (card, _) in made.items()}
    said = pull_out_and_dock_again(docked, cards, dict(zip(bays, places, strict=True)))
    records = docked.newest()["records"]
    for bay, state, place in zip(bays, said, places, strict=True):
        films = {name: data for name, data in made[bay][1].items() if name.endswith(".mp4")}
        counts = [records.count(digest) for digest in digests(films)]
        wrong = [f"pulled out at {place}: {state}, files taken {counts} times"]
        right = state == "safe" and counts == [1] * len(films)
        report["healed"] += right
        report["places"].append(place)
        tell(report, [] if right else wrong)
    report["unplugs"] += len(places)


def tell(report: dict[str, Any], wrong: list[str]) -> None:
    report["wrong"] += wrong
    report["violations"] += len(wrong)


def known(path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """What a run of the same commit and seed has written; else an empty report."""
    counts = ("unplugs", "healed", "bays_at_once", "safe_at_once", "violations", "seconds")
    empty = {**head, **dict.fromkeys(counts, 0), "places": [], "wrong": []}
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return empty
    return found if found.keys() == empty.keys() and head.items() <= found.items() else empty


def write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def commit() -> str:
    command = ["git", "-c", "safe.directory=*", "rev-parse", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
