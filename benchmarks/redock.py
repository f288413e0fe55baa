"""A camera that is docked again with 2,000 known files, one of which has changed in the middle.

    python -m benchmarks.redock          BENCH_FILES sets their number (2000), BENCH_KB the size of each (64)

`recognised` is when the bay says how many are known: the card is listed and the first look at each file is done. A
known file is read in full before the bay is green, and that must find the changed one, whose name, size and time are
the same. The peer compares the same card with a copy of it, also byte by byte: `rsync --checksum`.
"""

import json
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import RESULTS, ROUNDS, busy, drop_caches, machine, run
from dockwarden.agent.bays import Progress, Stay
from dockwarden.agent.docking import dock, undock
from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.sessions import Desk
from dockwarden.agent.stores import Stores, open_stores
from dockwarden.durable.files import OsFiles
from dockwarden.evidence.notes import SigningKey


@dataclass(frozen=True)
class Docked:
    """What came of a docking: seconds from its beginning, CPU seconds of the machine, files that were new."""

    recognised: float
    safe: float
    cpu_s: float
    new: int


def main() -> None:
    """Measure and write build/bench/redock.json."""
    files, size = int(os.environ.get("BENCH_FILES", "2000")), int(os.environ.get("BENCH_KB", "64")) * 1024
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd() / "build"))
    chance = random.Random(1)
    try:
        card = folder / "card"
        names = _make_card(card, files, size, chance)
        shutil.copytree(card, folder / "copy")
        stores = open_stores(folder / "station", "st-01", SigningKey.generate("st-01"), OsFiles())
        first = _dock(stores, card)
        again, peer = [], []
        for number in range(ROUNDS):
            _flip(card / chance.choice(names), size // 2)
            again.append(_dock(stores, card))
            peer.append(_rsync(card, folder / "copy"))
            print(f"  round {number + 1} recognised {again[-1].recognised:.1f} s, rsync {peer[-1]:.1f} s", flush=True)
        stores.close()
    finally:
        shutil.rmtree(folder)
    if first.new != files or any(each.new != 1 for each in again):
        raise RuntimeError(f"a changed file was missed, or a known one taken anew: {again}")
    _write(files, size, first, again, statistics.median(peer))


def _write(files: int, size: int, first: Docked, again: list[Docked], peer: float) -> None:
    recognised = statistics.median(each.recognised for each in again)
    safe = statistics.median(each.safe for each in again)
    result = {
        "name": "redock",
        "ours": {
            "files": files,
            "bytes of each": size,
            "recognised, s": round(recognised, 2),
            "safe, s": round(safe, 2),
            "changed files found": sum(each.new for each in again),
            "changed files": len(again),
            "first docking, s": round(first.safe, 2),
        },
        "peers": {"rsync --checksum, s": round(peer, 2)},
        "ratios": {"safe / rsync --checksum": round(safe / peer, 2)},
        "cpu_s_per_gb": {"ours": round(statistics.median(each.cpu_s for each in again) / files / size * 1e9, 1)},
        "rss_mb": {"the benchmark": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)},
        "machine": machine(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "redock.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    json.dump(result, sys.stdout, indent=1)
    print()


def _make_card(card: Path, files: int, size: int, chance: random.Random) -> list[str]:
    """A camera's card, a hundred files a day."""
    names = [
        f"DCIM/202601{1 + number // 100:02}/DCAM_ZB2041_650113_202601{1 + number // 100:02}_"
        f"{number % 24:02}{number % 60:02}{number % 59:02}_{number:05}.mp4"
        for number in range(files)
    ]
    for name in names:
        (card / name).parent.mkdir(parents=True, exist_ok=True)
        (card / name).write_bytes(chance.randbytes(size))
    os.sync()
    return names


def _flip(path: Path, place: int) -> None:
    """Change one bit; name, size and time stay."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[place] ^= 1
    with path.open("r+b") as file:
        file.write(data)
        os.fsync(file.fileno())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _dock(stores: Stores, card: Path) -> Docked:
    """Dock the card until its bay is green. Raises RuntimeError where it is something else."""
    known = profiles.load().profiles
    progress, done = Progress("1"), threading.Event()
    before, size = busy(), stores.ledger.size()

    def stay() -> None:
        device = recognise(card, known, model="BENCH", serial="1", volume="bench")
        undock(dock(Desk(stores, {profile.name: profile for profile in known}), "1", device, progress, Stay()))
        device.close()
        done.set()

    drop_caches()
    began = time.monotonic()
    threading.Thread(target=stay).start()
    while progress.files_known is None and not done.wait(0.01):
        pass
    recognised = time.monotonic() - began
    done.wait()
    safe = time.monotonic() - began
    if progress.state != "safe":
        raise RuntimeError(f"the bay says {progress.state}: {progress.findings}")
    said = stores.ledger.entries(size, limit=1 << 20)
    return Docked(recognised, safe, busy() - before, sum(entry.envelope.kind == "sealed" for entry in said))


def _rsync(card: Path, copy: Path) -> float:
    drop_caches()
    began = time.monotonic()
    run("rsync", "-a", "--checksum", "--dry-run", f"{card}/", f"{copy}/")
    return time.monotonic() - began


if __name__ == "__main__":
    main()
