"""Disk images of cameras, made on the host without mounting anything: FAT by mtools, exFAT filled in the machine.

mkfs.fat and mkfs.exfat come from dosfstools and exfatprogs. FAT keeps local wall-clock times without a zone in steps
of two seconds; images are made with TZ=UTC, so a file's time on the host is the camera's wall clock.
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

from dockwarden.simulators.vm.devices import StorageDevice, disk_appears
from dockwarden.simulators.vm.errors import VmError
from dockwarden.simulators.vm.faults import SECTOR
from dockwarden.simulators.vm.machine import Machine

System: TypeAlias = Literal["fat12", "fat16", "fat32", "exfat"]

MIB = 1 << 20
_FIRST = MIB  # where the first partition begins
_TYPES: Mapping[System, int] = {"fat12": 0x01, "fat16": 0x0E, "fat32": 0x0C, "exfat": 0x07}
# Numbers of clusters that make a volume this kind (FAT: General Overview, page 14), with a margin for its tables.
_CLUSTERS: Mapping[System, tuple[int, int]] = {
    "fat12": (1, 4000),
    "fat16": (4200, 65_000),
    "fat32": (66_600, 1 << 28),
}
_SHORT = 11  # bytes of a short name: eight and three, padded with spaces


@dataclass(frozen=True)
class Volume:
    """A file system to make: its kind, size in MiB, label, serial number and files by path below its root.

    The serial number (32 bits) is that of a FAT volume; exFAT draws its own. `cluster` is the number of sectors a
    cluster of a FAT volume, None the most that its kind allows; Linux takes any.
    """

    system: System = "fat32"
    mib: int = 64
    label: str = "BODYCAM"
    number: int = 0x1234ABCD
    files: Mapping[str, bytes] = field(default_factory=dict)
    cluster: int | None = None


def make_volume(image: Path, volume: Volume) -> Path:
    """Write a new image that is the volume, without a partition table. Raises VmError `no-image`.

    exFAT comes out empty: see `fill`.
    """
    with image.open("xb") as file:
        file.truncate(volume.mib * MIB)
    if volume.system == "exfat":
        _do("mkfs.exfat", "--volume-label", volume.label, image)
        return image
    width = volume.system.removeprefix("fat")
    cluster = str(volume.cluster or _cluster(volume.system, volume.mib * MIB // SECTOR))
    _do("mkfs.fat", "-F", width, "-s", cluster, "-n", volume.label, "-i", f"{volume.number:08x}", image)
    with TemporaryDirectory(prefix="dockwarden-volume-") as folder:
        tree = Path(folder)
        write_files(tree, volume.files)
        copy_into_fat(image, tree)
    return image


def write_files(tree: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder."""
    for name, data in files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def copy_into_fat(image: Path, tree: Path) -> None:
    """Copy all that is in a folder into a FAT image's root, times included. Raises VmError `no-image`."""
    entries = sorted(tree.iterdir())
    if entries:
        _do("mcopy", "-i", image, "-s", "-m", "-Q", *entries, "::/")


def rename_short(image: Path, old: str, new: bytes) -> None:
    """Give an entry of a FAT image another short name, byte for byte, as a camera of another code page writes it.

    `old` and `new` are names of at most eight characters and three, with the point. Raises VmError `no-image` unless
    there is exactly one such entry.
    """
    data = image.read_bytes()
    raw = _padded(old.encode("ascii"))
    if data.count(raw) != 1:
        raise VmError("no-image", f"{data.count(raw)} entries are named {old}", str(image))
    image.write_bytes(data.replace(raw, _padded(new)))


def with_table(image: Path, parts: Sequence[tuple[System, Path]]) -> Path:
    """Write a new image: an MBR partition table and the volumes of `parts` (one to four), each in its partition."""
    if not 1 <= len(parts) <= 4:
        raise VmError("no-image", f"a partition table holds 1 to 4 partitions, not {len(parts)}", str(image))
    table, start = bytearray(SECTOR), _FIRST
    with image.open("xb") as whole:
        for index, (system, part) in enumerate(parts):
            size = part.stat().st_size
            # Inactive, no cylinders, heads and sectors (FE FF FF), kind, first sector, number of sectors.
            place = _sectors(start, size)
            entry = struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", _TYPES[system], b"\xfe\xff\xff", *place)
            table[446 + 16 * index : 462 + 16 * index] = entry
            whole.seek(start)
            with part.open("rb") as reading:
                shutil.copyfileobj(reading, whole, MIB)
            start += -(-size // MIB) * MIB
        table[510:] = b"\x55\xaa"
        whole.seek(0)
        whole.write(table)
        whole.truncate(start)
    return image


def fill(machine: Machine, image: Path, files: Mapping[str, bytes], port: str = "15") -> None:
    """Write files into an image of any file system by plugging it into a port of the machine."""
    with TemporaryDirectory(prefix="dockwarden-fill-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        write_files(tree, files)
        there = machine.put(tree, f"fill-{os.urandom(4).hex()}")
    device, since = StorageDevice(image, port), machine.now()
    with machine.with_plugged(device):
        node = machine.wait_for(since, disk_appears(device))["DEVNAME"]
        point = Path("/mnt/fill")
        machine.check(["mkdir", "-p", point])
        machine.check(["mount", node, point])
        machine.check(["cp", "-r", f"{there}/.", point])
        machine.check(["umount", point])


def _cluster(system: System, sectors: int) -> int:
    """Sectors a cluster: the most (a power of two, at most 64) that keep the kind's count of clusters."""
    fewest, most = _CLUSTERS[system]
    for size in (64, 32, 16, 8, 4, 2, 1):
        if fewest <= sectors // size <= most:
            return size
    raise VmError("no-image", f"{sectors // 2048} MiB are too few or too many for {system}", "volume")


def _sectors(start: int, size: int) -> tuple[int, int]:
    return start // SECTOR, -(-size // SECTOR)


def _padded(name: bytes) -> bytes:
    stem, _, suffix = name.partition(b".")
    raw = stem.ljust(8) + suffix.ljust(3)
    if len(raw) != _SHORT:
        raise VmError("no-image", f"no short name: {name!r}", "image")
    return raw


def _do(*command: str | Path) -> None:
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1"}
    environment["PATH"] = f"{environment.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    except FileNotFoundError as error:
        raise VmError("no-image", f"{command[0]} is not installed", str(command[-1])) from error
    except subprocess.CalledProcessError as error:
        raise VmError("no-image", f"{command[0]}: {error.stderr.strip()[-300:]}", str(command[-1])) from error
