"""Intake, readings 1 and 2, against `rclone copy` + `check`, cp + sync, and the same input and output without hashes.

python -m benchmarks.intake          the comparison; BENCH_MB sets the size (1024)
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import Run, make_files, measure, medians, run, write_result
from dockwarden.agent.bays import Progress, Stay
from dockwarden.agent.docking import Desk, dock
from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.stores import open_stores
from dockwarden.durable.files import OsFiles
from dockwarden.evidence.notes import SigningKey

MB = 1_000_000


def take_card(card: Path, root: Path, readings: int) -> None:
    """Dock a card at a fresh station; raises where the bay's verdict is not the one that it should be."""
    stores = open_stores(root, "st-01", SigningKey.generate("st-01"), OsFiles(), readings)
    known = profiles.load().profiles
    device = recognise(card, known, model="BENCH", serial="1", volume="bench")
    progress = Progress("1")
    dock(Desk(stores, {profile.name: profile for profile in known}), "1", device, progress, Stay())
    stores.close()
    if progress.state != ("safe" if readings == 2 else "copied"):
        raise RuntimeError(f"the bay says {progress.state}: {progress.findings}")


def main() -> None:
    """Compare and write build/bench/intake.json."""
    total = int(os.environ.get("BENCH_MB", "1024")) * MB
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd() / "build"))
    try:
        card = folder / "card"
        size = make_files(card, [total // 2, *[total // 8] * 4])
        found = medians(
            {
                "ours, readings 1": lambda: _ours(card, folder / "station", 1, size),
                "ours, readings 2": lambda: _ours(card, folder / "station", 2, size),
                "rclone copy + check": lambda: _peer(folder, size, _rclone),
                "cp + sync": lambda: _peer(folder, size, _cp),
                "rsync + rsync -c": lambda: _peer(folder, size, _rsync),
            }
        )
    finally:
        shutil.rmtree(folder)
    ours = {name: run for name, run in found.items() if name.startswith("ours")}
    peers = {name: run for name, run in found.items() if name not in ours}
    write_result("intake", ours, peers, {})


def _ours(card: Path, root: Path, readings: int, size: int) -> Run:
    command = (sys.executable, "-m", "benchmarks.intake", str(card), str(root), str(readings))
    found = measure(lambda: run(*command), size)
    shutil.rmtree(root)
    return found


def _peer(folder: Path, size: int, copy: "object") -> Run:
    target = folder / "target"
    target.mkdir()
    assert callable(copy)
    found = measure(lambda: copy(folder / "card", target), size)
    shutil.rmtree(target)
    return found


def _rclone(card: Path, target: Path) -> float:
    copied = run("rclone", "--config=", "copy", str(card), str(target))
    subprocess.run(["sync"], check=True)
    return max(copied, run("rclone", "--config=", "-q", "check", str(card), str(target)))


def _cp(card: Path, target: Path) -> float:
    copied = run("cp", "-r", str(card), str(target))
    subprocess.run(["sync"], check=True)
    return copied


def _rsync(card: Path, target: Path) -> float:
    copied = run("rsync", "-a", f"{card}/", f"{target}/")
    subprocess.run(["sync"], check=True)
    return max(copied, run("rsync", "-ac", f"{card}/", f"{target}/"))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        take_card(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
