"""A body camera's card in the common Chinese layout, with real recordings; or the card that holds given files.

The camera's clock shows official time (UTC+8). As on FAT, a file's last-modified time is that wall clock in steps of
two seconds, without a zone: the card's times look like UTC and are eight hours ahead of it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dockwarden.simulators import footage
from dockwarden.simulators.footage import Clip

WALL = timedelta(hours=8)
_FIRST_MIN = 190
_EVERY_MIN = 45


@dataclass(frozen=True)
class Body:
    """Who a camera is. `behind_s` is how many seconds its clock is behind the true time."""

    camera: str = "ZB2041"
    officer: str = "650113"
    seed: int = 1
    behind_s: int = 0


@dataclass(frozen=True)
class _Take:
    """A recording or a photo: `start` by the camera's clock, seconds of each of its files."""

    start: datetime
    lengths: tuple[int, ...]
    important: bool = False
    photo: bool = False


def build(root: Path, now: datetime, cache: Path, body: Body | None = None, recordings: int = 4) -> list[bytes]:
    """Fill the new folder `root` with a camera's card and return the raw names of its files.

    Holds `recordings` (3 to 5) recordings of the hours before `now` (aware), the second of two files without a gap,
    the third marked 重点, a photo, the camera's logs, and a position file beside the marked recording. `cache` keeps
    the media for the next time.
    """
    if not 3 <= recordings <= 5:
        raise ValueError("a camera has 3 to 5 recordings")
    body = body or Body()
    wall = now.astimezone(UTC).replace(microsecond=0) + WALL - timedelta(seconds=body.behind_s)
    root.mkdir(parents=True)
    log: list[tuple[datetime, str]] = [(wall - timedelta(minutes=_FIRST_MIN + 5), "开机 POWER ON 电量 97%")]
    number = body.seed * 100
    for take in _takes(wall, recordings):
        start = take.start
        for length in take.lengths:
            number += 1
            name = _name(body, start, take)
            place = root / "DCIM" / f"{start:%Y%m%d}" / name
            text = f"{body.camera} {body.officer} {number}"
            clip = Clip("photo", 1, number, text) if take.photo else Clip("video", length, number, text)
            _put(place, footage.make(clip, cache), start + timedelta(seconds=length))
            log.append((start, f"{'PHOTO' if take.photo else 'REC START'} {name}"))
            start += timedelta(seconds=length)
        if take.important:
            position = root / "GPS" / f"{_name(body, take.start, take).removesuffix('.mp4')}.txt"
            position.parent.mkdir(exist_ok=True)
            position.write_text("".join(_nmea(take.start - WALL, sum(take.lengths))), "ascii")
            _stamp(position, start)
        if not take.photo:
            log.append((start, "REC STOP"))
    log.append((wall, "USB 已连接"))
    _write_logs(root / "LOG", log)
    return names_in(root)


def from_folder(source: Path, root: Path) -> list[bytes]:
    """Fill the new folder `root` with copies of exactly the regular files below `source`; returns their raw names.

    Names are kept byte for byte. Copies and not links: the card's times are wall-clock times, and what a scenario
    does to a card must never happen to the footage. Links, pipes and devices are no files and are not taken.
    """
    root.mkdir(parents=True)
    names = names_in(source)
    for raw in names:
        place, original = at(root, raw), at(source, raw)
        place.parent.mkdir(parents=True, exist_ok=True)
        footage.copy(original, place)
        status = original.stat()
        wall_ns = status.st_mtime_ns + int(WALL.total_seconds()) * 1_000_000_000
        os.utime(place, ns=(wall_ns, wall_ns))
    return names


def names_in(root: Path) -> list[bytes]:
    """Raw names, below `root`, of all regular files there, in order."""
    return sorted(_walk(os.fsencode(root), b""))


def at(root: Path, raw: bytes) -> Path:
    """The path of the file `raw` below `root`."""
    return root / os.fsdecode(raw)


def _walk(root: bytes, folder: bytes) -> Iterator[bytes]:
    with os.scandir(root + b"/" + folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, folder + entry.name + b"/")
            elif entry.is_file(follow_symlinks=False):
                yield folder + entry.name


def _takes(wall: datetime, recordings: int) -> list[_Take]:
    takes = []
    for index in range(recordings):
        start = wall - timedelta(minutes=_FIRST_MIN - index * _EVERY_MIN, seconds=index * 7)
        takes.append(_Take(start, (5, 4) if index == 1 else (6 - index % 3,), important=index == 2))
    photo = _Take(wall - timedelta(minutes=_FIRST_MIN - 2 * _EVERY_MIN - 10), (0,), photo=True)
    return sorted([*takes, photo], key=lambda take: take.start)


def _name(body: Body, start: datetime, take: _Take) -> str:
    mark = "_IMP" if take.important else ""
    return f"DCAM_{body.camera}_{body.officer}_{start:%Y%m%d_%H%M%S}{mark}.{'jpg' if take.photo else 'mp4'}"


def _put(place: Path, made: Path, end: datetime) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    footage.copy(made, place)
    _stamp(place, end)


def _stamp(place: Path, wall: datetime) -> None:
    """Set the last-modified time as FAT would: the wall clock, rounded up to two seconds."""
    seconds = -(-int(wall.timestamp()) // 2) * 2
    os.utime(place, (seconds, seconds))


def _write_logs(folder: Path, log: list[tuple[datetime, str]]) -> None:
    folder.mkdir()
    for day in sorted({f"{when:%Y%m%d}" for when, _ in log}):
        lines = [(when, what) for when, what in log if f"{when:%Y%m%d}" == day]
        text = "".join(f"{when:%Y-%m-%d %H:%M:%S} {what}\r\n" for when, what in lines)
        place = folder / f"{day}.txt"
        place.write_bytes(text.encode("gb18030"))
        _stamp(place, lines[-1][0])


def _nmea(start: datetime, seconds: int) -> Iterator[str]:
    """A walk of one position a second (NMEA 0183, RMC), in UTC."""
    for second in range(seconds):
        moment = start + timedelta(seconds=second)
        body = f"GPRMC,{moment:%H%M%S}.00,A,4418.{second:04d},N,08602.{second * 3:04d},E,2.1,71.0,{moment:%d%m%y},,,A"
        check = 0
        for letter in body.encode():
            check ^= letter
        yield f"${body}*{check:02X}\r\n"
