"""What identifies footage beyond its bytes: a hash of each encoded stream, and picture hashes.

A stream hash is SHA-256 over the packets as the container delivers them, so it survives being moved into
another container of the same packet form (MP4, MOV, MKV); the picture hashes survive re-encoding.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dockwarden.evidence.canonical import Object
from dockwarden.media.decoding import INPUT, failure, opening, run_tool, work_limits
from dockwarden.media.probe import MAX_STREAMS, Probe
from dockwarden.media.sandbox import run_forever

_LINE = re.compile(r"(\d{1,5}),([a-z]),SHA256=([0-9a-f]{64})")
_LETTERS = {"v": "video", "a": "audio", "s": "subtitle", "d": "data", "t": "attachment"}


@dataclass(frozen=True)
class StreamHash:
    """SHA-256 (hex) of the packets of one stream; `index` is its place in the original."""

    index: int
    type: str
    sha256: str

    def to_body(self) -> Object:
        """`{index, type, sha256}`."""
        return {"index": self.index, "type": self.type, "sha256": self.sha256}


def hash_streams(
    original: Path, probed: Probe, stop: Callable[[], bool] = run_forever
) -> tuple[tuple[StreamHash, ...], bool]:
    """Hash every stream in one pass without decoding, MAX_STREAMS at most.

    Returns the hashes, and whether the file was read without a complaint: of a damaged file they cover what
    could be read. Raises MediaError broken, timeout, too-big, stopped, …
    """
    everything = [stream.index for stream in probed.streams if stream.type != "unknown"]
    shown = [stream.index for stream in probed.streams if stream.type in ("video", "audio")]
    limits = work_limits(original, probed.duration_ms, pace=1)
    for chosen in [everything] if everything == shown else [everything, shown]:
        done = run_tool(arguments(chosen), original, step="fingerprint", limits=limits, stop=stop)
        found = _parse(done.stdout.decode("ascii", "replace"), chosen)
        if found:
            return found, done.returncode == 0 and not done.stderr_tail.strip()
    raise failure(done, "fingerprint")


def arguments(indexes: list[int]) -> list[str]:
    """The ffmpeg command that prints a hash for each of these streams of INPUT."""
    options = [word for key, value in opening().items() for word in (f"-{key}", str(value))]
    maps = [word for index in indexes for word in ("-map", f"0:{index}")]
    # copyinkf: packets before the first keyframe count as well
    tail = ["-c", "copy", "-copyinkf", "-copy_unknown", "-f", "streamhash", "-hash", "sha256", "pipe:1"]
    return ["ffmpeg", "-nostdin", "-hide_banner", "-v", "error", *options, "-i", INPUT, *maps, *tail]


def _parse(printed: str, indexes: list[int]) -> tuple[StreamHash, ...]:
    """Lines such as `0,v,SHA256=…`; their number is the place among the mapped streams."""
    found = []
    for line in printed.splitlines()[:MAX_STREAMS]:
        match = _LINE.fullmatch(line)
        if match and int(match[1]) < len(indexes):
            found.append(StreamHash(indexes[int(match[1])], _LETTERS.get(match[2], "unknown"), match[3]))
    return tuple(found)
