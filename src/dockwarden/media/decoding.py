"""What every run of ffmpeg and ffprobe shares: how a hostile file is opened, for how long, and what failed."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ffmpeg

from dockwarden.media.errors import Code, MediaError
from dockwarden.media.sandbox import Finished, Limits, run_confined, run_forever

INPUT = "/in"
"""The name of the original inside the sandbox: absolute, without extension, the same for every file."""

PHOTO_FORMATS = frozenset({"jpeg_pipe", "png_pipe", "bmp_pipe", "webp_pipe", "tiff_pipe"})

# What cameras and recorders write. Left out above all: everything that names other files or addresses
# (concat, hls, dash, sdp, image2, lavfi), text that some demuxer takes for subtitles, and AMR without its
# header (amrnb, amrwb), which any text in Chinese may be.
FORMATS = (
    *("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "dhav", "dv"),
    *("mxf", "h264", "hevc", "m4v", "mjpeg", "ivf", "obu", "gif"),
    *("wav", "w64", "mp3", "aac", "amr", "ogg", "flac", "aiff", "au", "caf", "ac3"),
    *sorted(PHOTO_FORMATS),
)

THREADS = 2
SHORTEST_WALL_S = 60
LONGEST_WALL_S = 12 * 3600
_MAX_PIXELS = 16384 * 8192

_PHRASES: tuple[tuple[str, Code, str], ...] = (
    (r"input/output error", "unreadable", "the disk could not read it"),
    (r"cannot allocate memory|malloc of size \d+ failed|bad_alloc", "too-big", "it wanted too much memory"),
    (r"picture size \d+x\d+ (is invalid|exceeds)", "too-big", "the picture is larger than 134 megapixels"),
    (r"moov atom not found", "broken", "its index (moov) is missing: the recording was cut off"),
    (r"decoder .{0,60}not found|no decoder", "broken", "its codec is not known"),
    (r"could not find codec parameters", "broken", "nothing in it can be decoded"),
    (r"invalid data found", "broken", "it holds invalid data"),
)


def opening(threads: int = THREADS) -> dict[str, str | int]:
    """Options before `-i`: only files, only known containers, no picture beyond 134 megapixels."""
    return {
        "protocol_whitelist": "file",
        "format_whitelist": ",".join(FORMATS),
        "max_pixels": _MAX_PIXELS,
        "threads": threads,
    }


def command(*outputs: Any) -> list[str]:
    """The argument list for ffmpeg-python `outputs`. Compiled only: its own `run` deadlocks on pipes."""
    node = outputs[0] if len(outputs) == 1 else ffmpeg.merge_outputs(*outputs)
    head = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-y", "-filter_complex_threads", "1"]
    return list(node.compile(cmd=head))


def work_limits(
    original: Path, duration_ms: int | None, *, pace: int = 4, file_size: int = 64 << 20, stdout: int = 1 << 20
) -> Limits:
    """Bounds for a pass over the whole file: `pace` times its duration, and 1 s for each MB of it.

    The duration is what the file claims, so neither it nor the size can ask for more than 12 hours.
    """
    size_s = original.stat().st_size // 1_000_000
    wall_s = min(SHORTEST_WALL_S + pace * (duration_ms or 0) // 1000 + size_s, LONGEST_WALL_S)
    return Limits(wall_s=wall_s, cpu_s=wall_s * THREADS, file_size=file_size, stdout=stdout)


def run_tool(
    argv: Sequence[str],
    original: Path,
    *,
    step: str,
    limits: Limits,
    outputs: Mapping[str, Path] | None = None,
    stop: Callable[[], bool] = run_forever,
) -> Finished:
    """Run ffmpeg or ffprobe over `original`, seen as INPUT.

    Raises MediaError timeout, too-big or stopped where the run was cut short, and those of `run_confined`.
    A tool that ended with a failure of its own is returned: something may have come of it.
    """
    done = run_confined(argv, inputs={INPUT: original}, outputs=outputs, limits=limits, stop=stop)
    if done.reason == "stopped":
        raise MediaError("stopped", "the agent is stopping", step)
    # 255: ffmpeg caught a signal, which here is only the one for too much processor time
    if done.reason == "timeout" or (argv[0] == "ffmpeg" and done.returncode == 255):
        raise MediaError("timeout", f"it took longer than {limits.wall_s} s", step)
    if done.reason == "output-limit":
        raise MediaError("too-big", "more came of it than its length allows", step)
    return done


def failure(done: Finished, step: str) -> MediaError:
    """What a failed run says, in our words: the tool's own may repeat what the file holds."""
    for pattern, code, words in _PHRASES:
        if re.search(pattern, done.stderr_tail, re.IGNORECASE):
            return MediaError(code, words, step)
    return MediaError("broken", f"the decoder ended with {done.returncode}", step)
