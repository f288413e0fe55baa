"""Torn volumes on a real kernel: makes the whole ones, and plays cases in the machine (`guest_hostile.py`)."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.hostile.watching import LIMIT_S, Case, Played
from tests.vm.hostile_files import FILES
from tests.vm.vm_samples import HERE

from dockwarden.simulators.vm.images import Volume, make_volume
from dockwarden.simulators.vm.machine import Machine

VOLUMES = (
    Volume("fat12", 2, files=FILES),
    Volume("fat16", 17, files=FILES),
    Volume("fat32", 16, cluster=8),  # clusters of a size that real cards have; mtools wants more of them
    Volume("exfat", 4),
)
CHUNK = 200


def make_volumes(vm: Machine, folder: Path, name: str) -> Path:
    """Make a volume of each kind in `folder`; returns where the guest has them."""
    folder.mkdir()
    for volume in VOLUMES:
        make_volume(folder / f"{volume.system}.img", volume)
    return vm.put(folder, name)


def play(vm: Machine, there: Path, seed: int, cases: Sequence[Case]) -> tuple[list[Played], bool]:
    """Play cases (numbers, or such as `doubling:2`: the third kind of volume, torn in one way); returns what came of
    them, and whether the machine can go on."""
    words = ["env", f"PYTHONPATH={HERE.parents[1]}", sys.executable, HERE / "guest_hostile.py", there, str(seed)]
    ended = vm.run([*words, *map(str, cases)], timeout_s=60 + 2 * LIMIT_S * len(cases))
    played = [Played(**json.loads(line)) for line in ended.out.splitlines()]
    if ended.code not in (0, 3):
        raise RuntimeError(f"guest_hostile.py ended with {ended.code}: {ended.err[-2000:]}")
    return played, ended.code == 0
