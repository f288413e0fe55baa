"""Tears FAT and exFAT volumes: seeded damage and malice in boot sector, table of clusters and directories.

A volume is torn in place and mended again, so that thousands can be tried with one image.
"""

import mmap
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dockwarden.simulators.mutating import ODD, Chance, odd_number
from dockwarden.simulators.vm.images import System
from dockwarden.simulators.vm.layouts import (
    FOLDER,
    LONG_NAME,
    SLOT,
    Entry,
    Layout,
    boot_checksum,
    layout_of,
    table_entry,
    walk,
)

_SECTOR = 512
_FAT_FIELDS = (
    *((11, 2), (13, 1), (14, 2), (16, 1), (17, 2), (19, 2), (21, 1), (22, 2), (24, 2), (26, 2), (28, 4), (32, 4)),
    *((36, 4), (40, 2), (42, 2), (44, 4), (48, 2), (50, 2), (65, 1), (510, 2), (0, 1), (3, 8), (488, 4), (492, 4)),
)
_EXFAT_FIELDS = (
    *((64, 8), (72, 8), (80, 4), (84, 4), (88, 4), (92, 4), (96, 4), (100, 4), (104, 2), (106, 2), (108, 1)),
    *((109, 1), (110, 1), (112, 1), (510, 2), (3, 8), (11, 8)),
)
_FAT_SLOT = ((0, 1), (0, 8), (8, 3), (11, 1), (12, 1), (13, 1), (14, 4), (20, 2), (22, 4), (26, 2), (28, 4))
_EXFAT_SLOT = ((0, 1), (1, 1), (2, 2), (3, 1), (4, 2), (8, 8), (8, 4), (12, 4), (20, 4), (20, 8), (24, 8))
_IN_NAMES = (b"/", b"\\", b"..", b"\0", b"\0\0", b"\xff\xfe", b"\x05", b"\x3d\xd8", b"\x00\xdc", b"*?")
_DEPTH = 60
"""How many folders deep a tree is made of clusters that lead to one another."""


class Torn:
    """A whole volume, in a buffer that can be changed. `mend` puts back all that was written since; `boot_torn` is
    whether any of that was in the boot region."""

    def __init__(self, volume: bytearray | mmap.mmap, system: System) -> None:
        self.volume = volume
        self.layout: Layout = layout_of(memoryview(volume), system)
        self.slots, self.entries = walk(memoryview(volume), self.layout)
        self.boot_torn = False
        self._before: list[tuple[int, bytes]] = []

    def read(self, at: int, length: int) -> bytes:
        """Bytes of the volume as they are now."""
        return bytes(self.volume[at : at + length])

    def write(self, at: int, data: bytes) -> None:
        """Overwrite; what lies behind the volume's end is left out."""
        data = data[: max(0, len(self.volume) - at)]
        self.boot_torn |= at < 11 * _SECTOR
        self._before.append((at, self.read(at, len(data))))
        self.volume[at : at + len(data)] = data

    def mend(self) -> None:
        """Put everything back."""
        self.boot_torn = False
        while self._before:
            at, data = self._before.pop()
            self.volume[at : at + len(data)] = data


@dataclass(frozen=True)
class Way:
    """A way to tear, and how often it is chosen beside the others."""

    name: str
    tear: Callable[[Torn, Chance], None]
    weight: int


def tear(torn: Torn, chance: Chance, only: str | None = None) -> str:
    """Tear a volume in one to three ways, or in the one way of that name; returns their names."""
    chosen = chance.choices(WAYS, [way.weight for way in WAYS], k=chance.choice([1, 1, 2, 3]))
    if only is not None:
        chosen = [way for way in WAYS if way.name == only]
    for way in chosen:
        way.tear(torn, chance)
    if torn.layout.is_exfat and torn.boot_torn and chance.random() < 0.9:  # else no kernel reads any further
        torn.write(11 * _SECTOR, boot_checksum(memoryview(torn.volume)))
    return "+".join(way.name for way in chosen)


def _boot(torn: Torn, chance: Chance) -> None:
    """A field of the boot sector is another."""
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        at, length = chance.choice(_EXFAT_FIELDS if torn.layout.is_exfat else _FAT_FIELDS)
        torn.write(at, odd_number(chance, length * 8).to_bytes(length, "little"))


def _bits(torn: Torn, chance: Chance) -> None:
    """Bits flip in one place of those that count."""
    layout = torn.layout
    table = layout.table, max(layout.clusters * layout.width // 8, 1)
    slot = chance.choice(torn.slots)
    start, length = chance.choice([(0, 2 * _SECTOR), table, (slot, SLOT), (0, len(torn.volume))])
    for _ in range(chance.randint(1, 16)):
        at = start + chance.randrange(length)
        torn.write(at, bytes([torn.volume[at] ^ 1 << chance.randrange(8)]))


def _chains(torn: Torn, chance: Chance) -> None:
    """Entries of the table lead elsewhere: in circles, into other files, nowhere."""
    for _ in range(chance.randint(1, 8)):
        cluster = _used(torn, chance)
        link(torn, cluster, chance.choice([cluster, _elsewhere(torn, chance)]))


def _slot_field(torn: Torn, chance: Chance) -> None:
    """A field of a directory's slot is another."""
    for _ in range(chance.randint(1, 4)):
        at, length = chance.choice(_EXFAT_SLOT if torn.layout.is_exfat else _FAT_SLOT)
        torn.write(chance.choice(torn.slots) + at, odd_number(chance, length * 8).to_bytes(length, "little"))


def _first_cluster(torn: Torn, chance: Chance) -> None:
    """A file or folder begins where another one does, in the root, or nowhere."""
    for _ in range(chance.randint(1, 3)):
        point(torn, chance.choice(torn.entries), chance.choice([torn.layout.root, _elsewhere(torn, chance)]))


def _size(torn: Torn, chance: Chance) -> None:
    """A file claims another size."""
    for _ in range(chance.randint(1, 3)):
        claim(torn, chance.choice(torn.entries), odd_number(chance, 64 if torn.layout.is_exfat else 32))


def _name(torn: Torn, chance: Chance) -> None:
    """Bytes that no name has."""
    for _ in range(chance.randint(1, 4)):
        torn.write(chance.choice(torn.slots) + chance.randrange(SLOT), chance.choice(_IN_NAMES))


def _copies(torn: Torn, chance: Chance) -> None:
    """Slots stand where others were, or again and again."""
    length = SLOT * chance.choice([1, 1, 2, 3])
    piece = torn.read(chance.choice(torn.slots), length)
    torn.write(chance.choice(torn.slots), piece * chance.choice([1, 1, 2, 16, torn.layout.cluster // length]))


def _kind(torn: Torn, chance: Chance) -> None:
    """A file is a folder, or the other way round."""
    entry = chance.choice(torn.entries)
    at = entry.slot - SLOT + 4 if torn.layout.is_exfat else entry.slot + 11
    torn.write(at, bytes([torn.volume[at] ^ FOLDER]))


def _garbage(torn: Torn, chance: Chance) -> None:
    """A sector holds something else: noise, nothing, or another sector."""
    sectors = len(torn.volume) // _SECTOR
    near = [torn.layout.table // _SECTOR, chance.choice(torn.slots) // _SECTOR, chance.randrange(sectors)]
    other = torn.read(chance.randrange(sectors) * _SECTOR, _SECTOR)
    torn.write(chance.choice(near) * _SECTOR, chance.choice([chance.randbytes(_SECTOR), bytes(_SECTOR), other]))


def _endless_file(torn: Torn, chance: Chance) -> None:
    """A file claims as much as it can, and its clusters lead in a circle."""
    files = [entry for entry in torn.entries if not entry.folder] or torn.entries
    for entry in chance.sample(files, min(len(files), chance.randint(1, 8))):
        claim(torn, entry, chance.choice([(1 << 32) - 1, (1 << 40) + 1, 1 << 62]))
        link(torn, entry.first, entry.first)


def _endless_folder(torn: Torn, chance: Chance) -> None:
    """A folder's clusters lead in a circle, and each is full."""
    entry = _folder(torn, chance)
    claim(torn, entry, chance.choice([1 << 20, 1 << 28, 1 << 40]))
    link(torn, entry.first, entry.first)
    start, size = torn.layout.place(entry.first), torn.layout.cluster
    piece = torn.read(chance.choice(torn.slots), SLOT * 3)
    if chance.random() < 0.5:
        for number in range(size // SLOT):
            torn.write(start + number * SLOT, _named(torn, piece, number))
    else:
        torn.write(start, (piece * (size // len(piece) + 1))[:size])


def _doubling(torn: Torn, chance: Chance) -> None:
    """A tree whose every folder holds folders that begin in one and the same next cluster: it has more paths than
    there are stars."""
    entry, layout = _folder(torn, chance), torn.layout
    clusters = range(3, min(layout.clusters, 4096))
    free = [cluster for cluster in clusters if not any(torn.read(layout.place(cluster), 4))]
    levels = [entry.first, *free[-_DEPTH:]]
    claim(torn, entry, layout.cluster)
    circle = chance.random() < 0.5
    for level, cluster in enumerate(levels):
        link(torn, cluster, (1 << layout.width) - 1)
        target = levels[(level + 1) % len(levels)] if circle or level + 1 < len(levels) else cluster
        slots = b"".join(_folder_slots(layout, b"ABCDEFGH"[number : number + 1], target) for number in range(4))
        torn.write(layout.place(cluster), slots.ljust(layout.cluster, b"\0"))


WAYS: Sequence[Way] = (
    Way("boot", _boot, 4),
    Way("bits", _bits, 4),
    Way("chains", _chains, 4),
    Way("slot", _slot_field, 4),
    Way("first-cluster", _first_cluster, 3),
    Way("size", _size, 3),
    Way("name", _name, 2),
    Way("copies", _copies, 3),
    Way("kind", _kind, 2),
    Way("garbage", _garbage, 2),
    Way("endless-file", _endless_file, 1),
    Way("endless-folder", _endless_folder, 1),
    Way("doubling", _doubling, 1),
)


def link(torn: Torn, cluster: int, following: int) -> None:
    """Have the table say what comes after a cluster."""
    at, length = table_entry(torn.layout, cluster)
    if torn.layout.width == 12:
        before = int.from_bytes(torn.read(at, 2), "little")
        following = (following & 0xFFF) << 4 | before & 0xF if cluster % 2 else before & 0xF000 | following & 0xFFF
    torn.write(at, (following % (1 << 8 * length)).to_bytes(length, "little"))


def point(torn: Torn, entry: Entry, cluster: int) -> None:
    """Have a file or folder begin in a cluster."""
    raw = (cluster % (1 << 32)).to_bytes(4, "little")
    if torn.layout.is_exfat:
        torn.write(entry.slot + 20, raw)
    else:
        torn.write(entry.slot + 26, raw[:2])
        torn.write(entry.slot + 20, raw[2:])


def claim(torn: Torn, entry: Entry, size: int) -> None:
    """Have a file claim a size; on exFAT its clusters are looked up in the table from now on."""
    if torn.layout.is_exfat:
        raw = struct.pack("<Q", size % (1 << 64))
        torn.write(entry.slot + 8, raw)
        torn.write(entry.slot + 24, raw)
        torn.write(entry.slot + 1, b"\x01")
    else:
        torn.write(entry.slot + 28, struct.pack("<I", min(size, (1 << 32) - 1)))


def _used(torn: Torn, chance: Chance) -> int:
    """A cluster that is likely to be in use."""
    return chance.choice([chance.choice(torn.entries).first, chance.randint(2, min(torn.layout.clusters + 1, 400))])


def _elsewhere(torn: Torn, chance: Chance) -> int:
    """A cluster that is likely to be in use, or one that there is not."""
    end = torn.layout.clusters + chance.randint(-2, 4)
    odd = chance.choice([*ODD, end, 0xFF7, 0xFFF7, 0x0FFFFFF7, 0xFFFFFFF7, (1 << 32) - 1])
    return chance.choice([_used(torn, chance), _used(torn, chance), odd])


def _folder(torn: Torn, chance: Chance) -> Entry:
    folders = [entry for entry in torn.entries if entry.folder and entry.first >= 2]
    return chance.choice(folders or torn.entries)


def _folder_slots(layout: Layout, name: bytes, cluster: int) -> bytes:
    """What a directory has of a folder with a name of one letter."""
    if not layout.is_exfat:
        raw = struct.pack("<I", cluster)
        return name.ljust(11) + bytes([FOLDER]) + bytes(8) + raw[2:] + bytes(4) + raw[:2] + bytes(4)
    raw = name.decode("ascii").encode("utf-16-le")
    spelled = 0
    for each in raw:
        spelled = ((spelled << 15 | spelled >> 1) + each) & 0xFFFF
    file = struct.pack("<BBHH", 0x85, 2, 0, FOLDER).ljust(SLOT, b"\0")
    stream = struct.pack("<BBBBHHQIIQ", 0xC0, 1, 0, 1, spelled, 0, layout.cluster, 0, cluster, layout.cluster)
    named = (b"\xc1\0" + raw).ljust(SLOT, b"\0")
    slots = bytearray(file + stream + named)
    total = 0
    for at, each in enumerate(slots):
        if at not in (2, 3):
            total = ((total << 15 | total >> 1) + each) & 0xFFFF
    slots[2:4] = struct.pack("<H", total)
    return bytes(slots)


def _named(torn: Torn, piece: bytes, number: int) -> bytes:
    """One slot of a folder that is full: short names that differ, or on exFAT whatever comes."""
    if torn.layout.is_exfat:
        return piece[number % 3 * SLOT :][:SLOT]
    slot = b"%08X" % number + b"TXT" + piece[11:SLOT]
    return slot if slot[11] != LONG_NAME else slot[:11] + b" " + slot[12:]
