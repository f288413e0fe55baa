"""Absurd cards: names and contents that no driver, log, page, path or shell may stumble over."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

from dockwarden.simulators import footage
from dockwarden.simulators.camera import at, names_in
from dockwarden.simulators.footage import Clip

NAMES: tuple[bytes, ...] = (
    b"DCIM/line\nbreak\r.mp4",
    b"DCIM/..\\..\\windows.mp4",
    b"DCIM/...mp4",
    b"DCIM/.. /up.mp4",
    b"DCIM/..%2f..%2fetc%2fpasswd",
    b"-rf",
    b"--output=x.mp4",
    b"DCIM/" + "笔".encode("gbk") * 125 + b"x.mp4",  # 255 bytes
    b"DCIM/" + "证".encode("gbk") + b".mp4",  # GBK that is UTF-8 too
    b"DCIM/" + "现场笔录".encode("gbk") + b".mp4",
    "DCIM/证据📹🚨.mp4".encode(),
    b"DCIM/\xff\xfe\x80.mp4",
    b"DCIM/half\xe8\xaf.jpg",
    b"DCIM/\x80",
    b"DCIM/100MEDIA/SAME.MP4",
    b"DCIM/101MEDIA/SAME.MP4",
    b"DCIM/100MEDIA/same.mp4",
    "DCIM/e\u0301.mp4".encode(),
    "DCIM/\u00e9.mp4".encode(),
    "DCIM/\u202egpj.exe".encode(),
    b"DCIM/\x1b[2Jscreen.mp4",
    b"DCIM/bell\x07tab\t.mp4",
    b"DCIM/ leading and trailing ",
    b"DCIM/'; DROP TABLE entries; --.mp4",
    b"DCIM/<script>alert(1)</script>.mp4",
    b"DCIM/$(touch owned) `id` %s {0}.mp4",
    b"DCIM/a+b#c?d=e&f*.mp4",
    b"DCIM/original",
    b"DCIM/seal.note",
    b"DCIM/CON",
    b".hidden/.x",
    b"/".join([b"deep"] * 10) + b"/x.mp4",
)
"""Paths below a card's root, each with contents of its own."""

EMPTY: tuple[bytes, ...] = (b"DCIM/zero.mp4", b"DCIM/100MEDIA/.empty")


def build(root: Path, cache: Path, seed: int = 1) -> list[bytes]:
    """Fill the new folder `root` with all of them and return the raw names of its files.

    Besides NAMES and EMPTY: the same photo twice, a recording without its index (the power went away), media that is
    none, and files of a leaf, a byte less and a byte more.
    """
    root.mkdir(parents=True)
    chance = random.Random(seed)
    for raw in NAMES:
        write(root, raw, chance.randbytes(chance.randrange(1, 4096)))
    for raw in EMPTY:
        write(root, raw, b"")
    photo = footage.make(Clip("photo", seed=seed), cache).read_bytes()
    write(root, b"DCIM/photo.jpg", photo)
    write(root, b"DCIM/photo copy.jpg", photo)
    video = footage.make(Clip("video", 4, seed), cache).read_bytes()
    write(root, b"DCIM/torn.mp4", video[: len(video) // 2])
    write(root, b"DCIM/no media.mp4", b"\0" * 5000)
    for size in (524_287, 524_288, 524_289):
        write(root, b"DCIM/leaf-%d.bin" % size, chance.randbytes(size))
    return names_in(root)


def many(root: Path, count: int, seed: int = 1) -> list[bytes]:
    """Fill the new folder `root` with `count` small files, a hundred in a folder; returns their raw names."""
    chance = random.Random(seed)
    for index in range(count):
        write(root, b"DCIM/%03dMEDIA/IMG_%06d.JPG" % (100 + index // 100, index), chance.randbytes(64))
    return names_in(root)


def tricks(root: Path, outside: Path) -> list[bytes]:
    """Add what is no file to a card: links (one to `outside`), a pipe, and a file that lies too deep.

    Returns the raw names of the links and the pipe.
    """
    made = list(_links(root, outside))
    os.mkfifo(at(root, b"pipe.mp4"))
    write(root, b"/".join([b"d"] * 40) + b"/too-deep.mp4", b"deep")
    return sorted([*made, b"pipe.mp4"])


def write(root: Path, raw: bytes, data: bytes) -> Path:
    """Write the new file `raw` below `root`."""
    place = at(root, raw)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as file:
        file.write(data)
    return place


def _links(root: Path, outside: Path) -> Iterator[bytes]:
    targets = {b"link.mp4": outside, b"dangling.mp4": Path("nowhere"), b"loop": Path(), b"up": Path("..")}
    for raw, target in targets.items():
        at(root, raw).symlink_to(target)
        yield raw
