"""Where things are in a FAT or exFAT volume: boot sector, table, clusters, and the slots of its directories.

Of a whole volume only, to know where to tear it: nothing here is careful. FAT: General Overview (Microsoft, 2000);
exFAT file system specification (Microsoft, 2019).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dockwarden.simulators.vm.images import System

Bytes: TypeAlias = "bytes | bytearray | memoryview"
Width: TypeAlias = Literal[12, 16, 32]

SLOT = 32
FOLDER = 0x10
LONG_NAME = 0x0F
_FREE, _END = 0xE5, 0x00
_FILE, _STREAM, _NAME = 0x85, 0xC0, 0xC1
_NO_CHAIN = 0x02
_SECTOR = 512


@dataclass(frozen=True)
class Entry:
    """What a directory has of one file or folder: where the slot is that names its first cluster, whether it is a
    folder, and that cluster."""

    slot: int
    folder: bool
    first: int


@dataclass(frozen=True)
class Layout:
    """Offsets and sizes in bytes. `table` is the first table of clusters, `heap` where cluster 2 begins, `root_area`
    a root directory outside of the clusters (FAT12 and FAT16; else empty)."""

    system: System
    width: Width
    table: int
    heap: int
    cluster: int
    clusters: int
    root: int
    root_area: range

    @property
    def is_exfat(self) -> bool:
        """Whether it is exFAT."""
        return self.system == "exfat"

    def place(self, cluster: int) -> int:
        """Where a cluster begins."""
        return self.heap + (cluster - 2) * self.cluster


def layout_of(volume: Bytes, system: System) -> Layout:
    """The layout of a whole volume."""
    if system == "exfat":
        table, _, heap, clusters, root = struct.unpack_from("<IIIII", volume, 80)
        sector = 1 << volume[108]
        size = sector << volume[109]
        return Layout(system, 32, table * sector, heap * sector, size, clusters, root, range(0))
    sector, per_cluster, reserved, tables, entries, total, _, short = struct.unpack_from("<HBHBHHBH", volume, 11)
    long_total, long, _, _, root = struct.unpack_from("<IIHHI", volume, 32)
    width: Width = 12 if system == "fat12" else 16 if system == "fat16" else 32
    table, root_at = reserved * sector, (reserved + tables * (short or long)) * sector
    heap = root_at + entries * SLOT
    clusters = ((total or long_total) * sector - heap) // (per_cluster * sector)
    area = range(root_at, heap) if entries else range(0)
    return Layout(system, width, table, heap, per_cluster * sector, clusters, root if not entries else 0, area)


def table_entry(layout: Layout, cluster: int) -> tuple[int, int]:
    """Where the table's entry of a cluster begins, and its length in bytes (12 bits lie in two bytes)."""
    return layout.table + cluster * layout.width // 8, 2 if layout.width < 32 else 4


def followed_by(volume: Bytes, layout: Layout, cluster: int) -> int:
    """What the table says comes after a cluster."""
    at, length = table_entry(layout, cluster)
    value = int.from_bytes(volume[at : at + length], "little")
    if layout.width == 12:
        return value >> 4 if cluster % 2 else value & 0xFFF
    return value if layout.is_exfat else value & (1 << min(layout.width, 28)) - 1


def chain(volume: Bytes, layout: Layout, first: int) -> list[int]:
    """The clusters from `first` on."""
    found: list[int] = []
    while 2 <= first < layout.clusters + 2 and first not in found:
        found.append(first)
        first = followed_by(volume, layout, first)
    return found


def slots(volume: Bytes, layout: Layout, first: int) -> list[int]:
    """Where the used slots are of the directory that begins in cluster `first` (0: the root outside of them)."""
    if first == 0:
        places = list(layout.root_area[::SLOT])
    else:
        starts = (layout.place(cluster) for cluster in chain(volume, layout, first))
        places = [at for start in starts for at in range(start, start + layout.cluster, SLOT)]
    used = []
    for at in places:
        if volume[at] == _END:
            break
        if volume[at] != _FREE:
            used.append(at)
    return used


def entries(volume: Bytes, layout: Layout, first: int) -> Iterator[Entry]:
    """The files and folders of a directory."""
    folder = False
    for at in slots(volume, layout, first):
        if layout.is_exfat:
            if volume[at] == _FILE:
                folder = bool(volume[at + 4] & FOLDER)
            elif volume[at] == _STREAM:
                yield Entry(at, folder, int.from_bytes(volume[at + 20 : at + 24], "little"))
        elif volume[at + 11] != LONG_NAME and volume[at] != ord(".") and not volume[at + 11] & 0x08:
            low, high = volume[at + 26 : at + 28], volume[at + 20 : at + 22]
            yield Entry(at, bool(volume[at + 11] & FOLDER), int.from_bytes(bytes(low) + bytes(high), "little"))


def walk(volume: Bytes, layout: Layout) -> tuple[list[int], list[Entry]]:
    """All used slots of all directories, and all files and folders."""
    places, found, waiting = list[int](), list[Entry](), [layout.root]
    while waiting:
        first = waiting.pop()
        places += slots(volume, layout, first)
        for entry in entries(volume, layout, first):
            found.append(entry)
            if entry.folder:
                waiting.append(entry.first)
    return places, found


def boot_checksum(volume: Bytes) -> bytes:
    """The sector of checksums behind an exFAT boot region of eleven sectors; flags and the use in per cent are left
    out."""
    total = 0
    for at in range(11 * _SECTOR):
        if at not in (106, 107, 112):
            total = ((total << 31 | total >> 1) + volume[at]) & 0xFFFFFFFF
    return struct.pack("<I", total) * (_SECTOR // 4)
