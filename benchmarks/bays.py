"""1, 8 and 24 bays at once on one station: its rate as a share of what the disk itself gives, and its memory.

    python -m benchmarks.bays          BENCH_MB sets the size of all cards of a run together (1536)

The cards lie on the station's own disk, and so every byte passes it four times: first reading, writing, reading back,
second reading. What the disk gives is measured in the same run: `dd` writing in sequence, the same four passes by
`dd` without any hash, and `rclone copy` + `check` of the same cards.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.measuring import Run, make_files, measure, medians, run, write_result
from dockwarden.agent import setup
from dockwarden.agent.settings import Settings
from dockwarden.agent.station import Station
from dockwarden.durable.files import OsFiles
from dockwarden.simulators.bus import DirectoryBus, plug

MB = 1_000_000
BAYS = (1, 8, 24)
BLOCK = 4 << 20
LONGEST_S = 900.0


def main() -> None:
    """Compare and write build/bench/bays.json."""
    total = int(os.environ.get("BENCH_MB", "1536")) * MB
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd() / "build"))
    try:
        sizes = {count: _make_cards(folder / f"cards{count}", count, total) for count in BAYS}
        found = medians(
            {
                **{f"ours, {count} bays": _ours(folder, count, sizes[count]) for count in BAYS},
                "dd, writing": lambda: measure(lambda: _dd_write(folder / "written", total), total),
                "dd, the same four passes": lambda: measure(lambda: _four_passes(folder), sizes[1]),
                "rclone copy + check": lambda: measure(lambda: _rclone(folder), sizes[8]),
            }
        )
    finally:
        shutil.rmtree(folder)
    ours = {name: each for name, each in found.items() if name.startswith("ours")}
    write_result("bays", ours, {name: each for name, each in found.items() if name not in ours}, {})


def serve(cards: Path, root: Path) -> Run:
    """A station of as many bays as there are cards, all plugged in at once; from the first plug to the last verdict.

    Raises RuntimeError where a bay is not safe in the end.
    """
    names = sorted(card.name for card in cards.iterdir())
    settings = Settings(station="st-01", root=root / "st", bays=names, release="keep", media=False, panel=None)
    setup.make_keys(settings, OsFiles())
    station = Station(settings, DirectoryBus(root / "bus"))
    station.start()

    def take() -> float:
        for name in names:
            plug(root / "bus", name, cards / name, serial=name)
        _await_verdicts(station)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    size = sum(path.stat().st_size for path in cards.glob("*/*"))
    try:
        return measure(take, size)
    finally:
        station.stop()


def _await_verdicts(station: Station) -> None:
    ends = time.monotonic() + LONGEST_S
    while any(bay["state"] != "safe" for bay in station.bays.snapshot()):
        wrong = [bay for bay in station.bays.snapshot() if bay["state"] in ("copied", "incomplete", "refused")]
        if wrong or time.monotonic() > ends:
            raise RuntimeError(f"not safe: {wrong or station.bays.snapshot()}")
        time.sleep(0.02)


def _make_cards(cards: Path, count: int, total: int) -> int:
    """As many cards of as many bytes together: half of each in one file, and four smaller ones."""
    cards.mkdir()
    size = total // count
    return sum(
        make_files(cards / f"b{number}", [size // 2, *[size // 8] * 4], seed=number) for number in range(count)
    )


def _ours(folder: Path, count: int, size: int) -> Callable[[], Run]:
    def take() -> Run:
        root = folder / "station"
        command = (sys.executable, "-m", "benchmarks.bays", str(folder / f"cards{count}"), str(root))
        ended = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        shutil.rmtree(root)
        found = Run(**json.loads(ended.stdout.splitlines()[-1]))
        assert found.size == size
        return found

    return take


def _dd_write(target: Path, size: int) -> None:
    run(*_dd("/dev/zero", target), f"count={size // BLOCK}", "oflag=direct", "conv=fdatasync")
    target.unlink()


def _four_passes(folder: Path) -> None:
    """Copy the card's files, read the copies back, read the card again; one file after the other."""
    for source in sorted((folder / "cards1" / "b0").iterdir()):
        target = folder / "passed"
        run(*_dd(source, target), "oflag=direct", "conv=fdatasync")
        run(*_dd(target, "/dev/null"), "iflag=direct")
        run(*_dd(source, "/dev/null"), "iflag=direct")
        target.unlink()


def _dd(source: Path | str, target: Path | str) -> tuple[str, ...]:
    return "dd", f"if={source}", f"of={target}", f"bs={BLOCK}", "status=none"


def _rclone(folder: Path) -> float:
    card, target = folder / "cards8", folder / "target"
    copied = run("rclone", "--config=", "copy", str(card), str(target))
    subprocess.run(["sync"], check=True)
    checked = run("rclone", "--config=", "-q", "check", str(card), str(target))
    shutil.rmtree(target)
    return max(copied, checked)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(asdict(serve(Path(sys.argv[1]), Path(sys.argv[2])))))
    else:
        main()
