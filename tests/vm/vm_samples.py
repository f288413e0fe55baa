"""What the tests in the machine share: devices with their disks, mounts, and reading there."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dockwarden.simulators.vm.devices import Simulated, StorageDevice, disk_appears
from dockwarden.simulators.vm.images import MIB, Volume, make_volume
from dockwarden.simulators.vm.machine import Machine, Plugged, Result

HERE = Path(__file__).parent
# As a station mounts a camera: nothing is replayed, run or written, and names come as UTF-8.
OPTIONS = "ro,nosuid,nodev,noexec"
FAT_OPTIONS = f"{OPTIONS},codepage=936,iocharset=utf8,tz=UTC"


def recording(size: int = 3 * MIB // 2, seed: int = 1) -> bytes:
    """Bytes like footage: no two blocks are the same."""
    return random.Random(seed).randbytes(size)


def camera_card(
    folder: Path, name: str = "card.img", seed: int = 1, size: int = 3 * MIB // 2
) -> tuple[Path, dict[str, bytes]]:
    """An image of a camera's card, and its files, the largest of `size` bytes."""
    files = {
        "DCIM/20261124/DCAM_ZB2041_650113_20261124_091500.mp4": recording(size, seed),
        "DCIM/20261124/DCAM_ZB2041_650113_20261124_093000_IMP.mp4": recording(70_001, seed + 1),
        "LOG/20261124.txt": "开机 POWER ON".encode("gb18030"),
    }
    return make_volume(folder / name, Volume("fat16", 16, number=0x10000000 + seed, files=files)), files


@contextmanager
def disk(vm: Machine, device: StorageDevice | Simulated, lun: int = 0) -> Iterator[tuple[Plugged, str]]:
    """A device that is plugged in for a block, and the node of one of its disks."""
    since = vm.now()
    with vm.with_plugged(device) as plugged:
        yield plugged, vm.wait_for(since, disk_appears(device, lun))["DEVNAME"]


@contextmanager
def mounted(vm: Machine, node: str, options: str = FAT_OPTIONS, point: str = "/mnt/bay") -> Iterator[Path]:
    """A disk, set read-only, mounted as a station does."""
    vm.check(["mkdir", "-p", point])
    if "ro" in options.split(","):
        vm.check(["blockdev", "--setro", node])
    vm.check(["mount", "-o", options, node, point])
    try:
        yield Path(point)
    finally:
        vm.check(["umount", point])


def sha256(vm: Machine, path: Path) -> str:
    """The digest of a file as the guest reads it from the device, past its cache."""
    ended = vm.run(["sh", "-c", 'dd if="$0" iflag=direct bs=64K status=none | sha256sum', path])
    assert ended.err == ""
    return ended.out.split()[0]


def python(vm: Machine, script: str, *words: str | Path) -> Result:
    """Run a script of this folder in the guest, with this interpreter and its packages."""
    return vm.run([sys.executable, HERE / script, *words])


def place_of(image: Path, data: bytes) -> int:
    """Where in an image the first block of a file lies."""
    at = image.read_bytes().find(data[:4096])
    assert at >= 0
    return at
