"""The files of a whole volume, before it is torn."""

import random


def recording(size: int, seed: int) -> bytes:
    """Bytes like footage: no two blocks are the same."""
    return random.Random(seed).randbytes(size)


FILES = {
    "DCIM/20261124/DCAM_ZB2041_650113_20261124_091500.mp4": recording(70_001, 1),
    "DCIM/20261124/DCAM_ZB2041_650113_20261124_093000_IMP.mp4": recording(30_000, 2),
    "DCIM/20261124/DCAM_ZB2041_650113_20261124_093000_IMP.gpx": recording(900, 3),
    "DCIM/20261125/DCAM_ZB2041_650113_20261125_081500.mp4": recording(5000, 4),
    "DCIM/20261125/A.JPG": recording(1, 5),
    "LOG/20261124.txt": b"2026-11-24 09:15:00 POWER ON\r\n" * 40,
    "VIDEO/1/2/3/4/现场执法记录 第一段.mp4": recording(3000, 6),
}
