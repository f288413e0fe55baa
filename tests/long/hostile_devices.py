"""Ten thousand hostile devices: mutated descriptors, profiles, and FAT and exFAT volumes on a real kernel.

`python -m tests.long.hostile_devices [--seed N] [--only KIND] [--into FILE]` writes
docs/measured/hostile-devices.json: {commit, seed, cases, violations, kernel, seconds, kinds: {name: {cases,
violations, seconds, slowest_s, peak_mib, outcomes: {outcome: n}}}, kernel_said: [sentence…], wrong: [sentence…]}.

A violation is a crash, no end within 10 s, more than 300 MiB, or an outcome that is none of ours. `kernel` counts
what the kernel itself did wrong; it is no violation. What was played stays in build/hostile-devices.jsonl: a run of
the same commit and seed goes on behind it. Exit 1 on any violation.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from tests.hostile import toml, usb
from tests.hostile.watching import Played, watched
from tests.vm import hostile_volumes

from dockwarden.simulators.vm.machine import machine

ROOT = Path(__file__).resolve().parents[2]
INTO = ROOT / "docs" / "measured" / "hostile-devices.json"
LOG = ROOT / "build" / "hostile-devices.jsonl"
SIZES = {"descriptors": 3000, "profiles": 3000, "images": 4000}
SEED = 20_261_124
EVERY = 200


def images(seed: int, cases: Sequence[int]) -> Iterator[Played]:
    """Torn volumes; the machine starts anew where its kernel is of no more use."""
    left = list(cases)
    while left:
        with tempfile.TemporaryDirectory(prefix="hostile-") as place, machine() as vm:
            there = hostile_volumes.make_volumes(vm, Path(place) / "volumes", "volumes")
            good = True
            while left and good:
                played, good = hostile_volumes.play(vm, there, seed, left[: hostile_volumes.CHUNK])
                left = [case for case in left if case not in {each.case for each in played}]
                yield from played


KINDS: dict[str, Callable[[int, Sequence[int]], Iterator[Played]]] = {
    "descriptors": lambda seed, cases: watched(partial(usb.play, seed), cases),
    "profiles": lambda seed, cases: watched(partial(toml.play, seed), cases),
    "images": images,
}


def main() -> int:
    """Play what is left and write what came of all."""
    parser = argparse.ArgumentParser(description="ten thousand hostile devices")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", action="append", choices=[*KINDS])
    parser.add_argument("--into", type=Path, default=INTO)
    given = parser.parse_args()
    head = {"commit": commit(), "seed": given.seed}
    done = known(head)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("a" if done is not None else "w", encoding="utf-8") as log:
        done = done if done is not None else start(log, head)
        for kind in given.only or KINDS:
            play(kind, given.seed, done.setdefault(kind, []), log)
    report = told(head, done)
    given.into.parent.mkdir(parents=True, exist_ok=True)
    given.into.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(
        f"{report['cases']} cases, {report['violations']} violations, {report['kernel']} of the kernel: {given.into}"
    )
    return 1 if report["violations"] else 0


def play(kind: str, seed: int, done: list[Played], log: TextIO) -> None:
    """Play the cases of a kind that are not done."""
    known_cases = {each.case for each in done}
    began = time.monotonic()
    for played in KINDS[kind](seed, [case for case in range(SIZES[kind]) if case not in known_cases]):
        done.append(played)
        print(json.dumps({"kind": kind, **asdict(played)}), file=log, flush=True)
        if played.wrong or len(done) % EVERY == 0:
            print(kind, len(done), f"{time.monotonic() - began:.0f} s", played.wrong or "", flush=True)


def known(head: dict[str, Any]) -> dict[str, list[Played]] | None:
    """What an earlier run of the same commit and seed has played; None where there is none."""
    lines = LOG.read_text("utf-8").splitlines() if LOG.exists() else []
    if not lines or json.loads(lines[0]) != head:
        return None
    found: dict[str, list[Played]] = {}
    for line in lines[1:]:
        told = json.loads(line)
        found.setdefault(told.pop("kind"), []).append(Played(**told))
    return found


def start(log: TextIO, head: dict[str, Any]) -> dict[str, list[Played]]:
    """Begin a log."""
    print(json.dumps(head), file=log, flush=True)
    return {}


def told(head: dict[str, Any], done: dict[str, list[Played]]) -> dict[str, Any]:
    """The report of all that was played."""
    everything = [(kind, each) for kind, played in done.items() for each in played]
    wrong = [f"{kind} {each.case} ({each.outcome}): {each.wrong}" for kind, each in everything if is_violation(each)]
    kernel = [
        f"{kind} {each.case}: {each.outcome} {each.wrong or ''}" for kind, each in everything if of_kernel(each)
    ]
    return {
        **head,
        "cases": len(everything),
        "violations": len(wrong),
        "kernel": len(kernel),
        "seconds": round(sum(each.seconds for _, each in everything)),
        "kinds": {kind: summed(played) for kind, played in done.items()},
        "kernel_said": kernel,
        "wrong": wrong,
    }


def summed(played: Sequence[Played]) -> dict[str, Any]:
    """The figures of one kind."""
    outcomes = Counter("kernel" if of_kernel(each) else shortened(each.outcome) for each in played)
    return {
        "cases": len(played),
        "violations": sum(is_violation(each) for each in played),
        "seconds": round(sum(each.seconds for each in played)),
        "slowest_s": max((each.seconds for each in played), default=0.0),
        "peak_mib": max((each.rss_bytes for each in played), default=0) >> 20,
        "outcomes": dict(sorted(outcomes.items())),
    }


def sentence(kind: str, played: Played) -> str:
    """A case that a person should look at."""
    return f"{kind} {played.case}: {played.outcome}: {played.wrong or ''}"


def shortened(outcome: str) -> str:
    """An outcome without the ways in which a volume was torn: `fat12 chains+slot amber` is `fat12 amber`."""
    words = outcome.split()
    return f"{words[0]} {words[-1]}" if len(words) > 1 else outcome


def is_violation(played: Played) -> bool:
    """Whether something of ours went wrong."""
    return played.wrong is not None and not of_kernel(played)


def of_kernel(played: Played) -> bool:
    """Whether the kernel has complained of itself, or holds a process that nothing ends."""
    return played.outcome == "stuck" or " kernel: " in played.outcome


def commit() -> str:
    """The commit that is checked out; `-dirty` behind it where files differ from it."""
    command = ["git", "-c", "safe.directory=*", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
