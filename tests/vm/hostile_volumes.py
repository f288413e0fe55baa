"""Torn volumes on a real kernel: makes the whole ones, and plays cases in the machine (`guest_hostile.py`)."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.hostile.watching import LIMIT_S, Played
from tests.vm.vm_samples import HERE, recording

from dockwarden.simulators.vm.images import Volume, fill, make_volume
from dockwarden.simulators.vm.machine import Machine

FILES = {
    "DCIM/20261124/DCAM_ZB2041_650113_20261124_091500.mp4": recording(70_001),
    "DCIM/20261124/DCAM_ZB2041_650113_20261124_093000_IMP.mp4": recording(30_000, 2),
    "DCIM/20261124/DCAM_ZB2041_650113_20261124_093000_IMP.gpx": recording(900, 3),
    "DCIM/20261125/DCAM_ZB2041_650113_20261125_081500.mp4": recording(5000, 4),
    "DCIM/20261125/A.JPG": recording(1, 5),
    "LOG/20261124.txt": b"2026-11-24 09:15:00 POWER ON\r\n" * 40,
    "VIDEO/1/2/3/4/现场执法记录 第一段.mp4": recording(3000, 6),
}
VOLUMES = (
    Volume("fat12", 2, files=FILES),
    Volume("fat16", 17, files=FILES),
    Volume("fat32", 16, cluster=8),  # clusters of a size that real cards have; mtools wants more of them
    Volume("exfat", 4),
)
CHUNK = 200


def make_volumes(vm: Machine, folder: Path, name: str) -> Path:
    """Make whole volumes of each kind in `folder`; returns where the guest has them."""
    folder.mkdir()
    for volume in VOLUMES:
        image = make_volume(folder / f"{volume.system}.img", volume)
        if not volume.files:
            fill(vm, image, FILES)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    (folder / "digests.json").write_text(json.dumps(digests), "utf-8")
    return vm.put(folder, name)


def play(vm: Machine, there: Path, seed: int, cases: Sequence[int]) -> tuple[list[Played], bool]:
    """Play cases; returns what came of them, and whether the machine can go on."""
    words = ["env", f"PYTHONPATH={HERE.parents[1]}", sys.executable, HERE / "guest_hostile.py", there, str(seed)]
    ended = vm.run([*words, *map(str, cases)], timeout_s=60 + 2 * LIMIT_S * len(cases))
    played = [Played(**json.loads(line)) for line in ended.out.splitlines()]
    if ended.code not in (0, 3):
        raise RuntimeError(f"guest_hostile.py ended with {ended.code}: {ended.err[-2000:]}")
    return played, ended.code == 0
