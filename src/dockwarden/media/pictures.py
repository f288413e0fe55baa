"""Picture hashes: 64 bits for each half second of pictures, that survive re-encoding and scaling.

A difference hash: the picture is averaged down to 9 x 8 grey values; a bit says whether a value is brighter
than its right neighbour, rows from the top, left to right, first bit highest. Near pictures have near hashes
in Hamming distance.
"""

from dataclasses import dataclass
from math import gcd
from typing import Any

from dockwarden.evidence.canonical import Object

FRAME_BYTES = 72
FPS = 2
LONGEST_FRAMES = FPS * 24 * 3600
"""ffmpeg is told to stop hashing after one day: a file with wild timestamps could ask for any number."""

MOST_HASHES = 4 * 3600 * FPS
"""More than four hours are thinned out, so that a fact stays below half a megabyte."""

STILL = "0"
"""The `fps` of a single picture."""


@dataclass(frozen=True)
class Pictures:
    """Hashes of a recording: `fps` as a rate in text ("2", "2/3", "0" for a still), the first at time 0."""

    fps: str
    hashes: tuple[int, ...]

    def to_body(self) -> Object:
        """`{fps, hashes}`, the hashes as one text of 16 hexadecimal digits each."""
        return {"fps": self.fps, "hashes": "".join(f"{value:016x}" for value in self.hashes)}


def hash_output(frames: Any, still: bool = False) -> Any:
    """An ffmpeg-python output node that writes the 9 x 8 grey pictures of a video node to standard output."""
    sampled = frames if still else frames.filter("fps", fps=FPS)
    # averaged and exact: the same values on every processor
    grey = sampled.filter("scale", 9, 8, flags="area+accurate_rnd+bitexact").filter("format", "gray")
    return grey.output(
        "pipe:1",
        format="rawvideo",
        vcodec="rawvideo",
        fps_mode="passthrough",
        **{"frames:v": 1 if still else LONGEST_FRAMES},
    )


def from_frames(frames: bytes, still: bool = False) -> Pictures | None:
    """Hash what `hash_output` wrote; None where no whole picture is there."""
    count = len(frames) // FRAME_BYTES
    if count == 0:
        return None
    step = -(-count // MOST_HASHES)
    kept = range(0, count, step)
    hashes = tuple(difference_hash(frames[n * FRAME_BYTES : (n + 1) * FRAME_BYTES]) for n in kept)
    return Pictures(STILL if still else _rate(FPS, step), hashes)


def difference_hash(grey: bytes) -> int:
    """The 64 bits of one picture of 9 x 8 grey values."""
    bits = 0
    for row in range(0, FRAME_BYTES, 9):
        for left in range(row, row + 8):
            bits = bits << 1 | (grey[left] > grey[left + 1])
    return bits


def distance(one: int, other: int) -> int:
    """In how many of 64 bits two hashes differ."""
    return (one ^ other).bit_count()


def _rate(count: int, per: int) -> str:
    common = gcd(count, per)
    return str(count // common) if per == common else f"{count // common}/{per // common}"
