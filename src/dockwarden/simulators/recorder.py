"""A voice recorder's disk: names give the start to the minute only."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dockwarden.simulators import footage
from dockwarden.simulators.camera import WALL, names_in
from dockwarden.simulators.footage import Clip


def build(root: Path, now: datetime, cache: Path, seed: int = 1, recordings: int = 2) -> list[bytes]:
    """Fill the new folder `root` with a recorder's files of the hours before `now` (aware).

    Returns the raw names of all files.
    """
    wall = now.astimezone(UTC).replace(microsecond=0) + WALL
    folder = root / "REC_FILE" / "FOLDER01"
    folder.mkdir(parents=True)
    (root / "REC_FILE" / "FOLDER02").mkdir()
    for index in range(recordings):
        start, length = wall - timedelta(minutes=30 * (recordings - index), seconds=11), 5 + index
        made = footage.make(Clip("wave", length, seed * 100 + index), cache)
        place = folder / f"{start:%y%m%d_%H%M}.wav"
        footage.copy(made, place)
        end = int((start + timedelta(seconds=length)).timestamp())
        os.utime(place, (end, end))
    settings = root / ".recorder.ini"  # hidden, and taken like everything else
    settings.write_bytes(b"[recorder]\r\nquality=high\r\n")
    stamp = int((wall - timedelta(days=40)).timestamp())
    os.utime(settings, (stamp, stamp))
    return names_in(root)
