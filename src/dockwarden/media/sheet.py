"""One picture that shows a record at a glance: twelve moments of a video, a photo made small, a waveform.

Cheap: a video of any length is entered at twelve places and only the keyframe found there is decoded. Short
ones, whose keyframes are too few, are decoded as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from dockwarden.media import pictures
from dockwarden.media.decoding import INPUT, command, failure, opening, run_tool, work_limits
from dockwarden.media.errors import MediaError
from dockwarden.media.pictures import Pictures
from dockwarden.media.probe import Probe, Stream
from dockwarden.media.sandbox import Limits, run_forever

NAME = "sheet.jpg"
COLUMNS, ROWS = 4, 3
TILES = COLUMNS * ROWS
TILE_WIDTH = 320
PHOTO_SIDE = 1280
_SHORT_MS = 24_000
_JPEG: dict[str, str | int] = {
    "format": "mjpeg",
    "c:v": "mjpeg",
    "q:v": 5,
    "frames:v": 1,
    "flags": "+bitexact",
    "fflags": "+bitexact",
    "map_metadata": -1,
    "threads": 1,
}


@dataclass(frozen=True)
class Sheet:
    """A finished sheet; of a photo also its picture hash, and the note decode-errors where it is damaged."""

    path: Path
    pictures: Pictures | None
    notes: tuple[str, ...]


def make_sheet(original: Path, probed: Probe, folder: Path, stop: Callable[[], bool] = run_forever) -> Sheet:
    """Write `folder`/sheet.jpg; `folder` is the caller's, fresh, and published by the caller.

    Raises MediaError not-media where nothing can be shown or heard, broken, timeout, too-big, stopped, …
    """
    target = folder / NAME
    problem = MediaError("not-media", "it holds nothing to be seen or heard", "sheet")
    for argv, limits in _attempts(original, probed):
        try:
            done = run_tool(argv, original, step="sheet", limits=limits, outputs={f"/out/{NAME}": target}, stop=stop)
            if is_jpeg(target):
                # after a seek, decoders complain of sound streams as well
                damaged = probed.kind == "photo" and done.stderr_tail.strip() != ""
                notes = ("decode-errors",) if damaged else ()
                return Sheet(target, pictures.from_frames(done.stdout, still=True), notes)
            problem = failure(done, "sheet")
        except MediaError as error:
            problem = error
            if error.code not in ("broken", "timeout"):
                break
        target.unlink(missing_ok=True)
    target.unlink(missing_ok=True)
    raise problem


def is_jpeg(path: Path) -> bool:
    """True where the file begins and ends as a whole JPEG does (SOI, EOI)."""
    data = path.read_bytes()  # bounded by the sandbox's limit of an output
    return len(data) > 4 and data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")


def _attempts(original: Path, probed: Probe) -> list[tuple[list[str], Limits]]:
    video, audio = probed.first("video"), probed.first("audio")
    whole = work_limits(original, probed.duration_ms)
    waveform = [(_waveform(audio), whole)] if audio else []
    if video is None:
        return waveform
    if probed.kind == "photo":
        return [(_photo(video), whole)]
    length = probed.duration_ms
    if length is None:
        return [(_one_pass(video, None), whole), *waveform]
    if length <= _SHORT_MS:
        return [(_one_pass(video, length), whole), *waveform]
    # a few seeks, each decoding one keyframe; where the index lies, the first keyframes serve
    return [(_twelve_seeks(video, length), Limits(wall_s=120, cpu_s=240)), (_one_pass(video, None), whole), *waveform]


def _one_pass(video: Stream, length_ms: int | None) -> list[str]:
    """The first twelve keyframes, or with a known length a frame at each twelfth of it."""
    options = opening() | ({"skip_frame": "nokey"} if length_ms is None else {})
    frames = ffmpeg.input(INPUT, **options)[str(video.index)]
    if length_ms is not None:
        step = _seconds(max(length_ms // TILES, 1))
        frames = frames.filter("select", f"isnan(prev_selected_t)+gt(floor(t/{step}),floor(prev_selected_t/{step}))")
    return command(_tiled(_tile(frames, video)))


def _twelve_seeks(video: Stream, length_ms: int) -> list[str]:
    moments = [length_ms * (2 * n + 1) // (2 * TILES) for n in range(TILES)]
    tiles = []
    for moment in moments:
        source = ffmpeg.input(
            INPUT, ss=_seconds(moment), noaccurate_seek=None, skip_frame="nokey", **opening(threads=1)
        )
        tiles.append(_tile(source[str(video.index)].filter("trim", end_frame=1), video))
    return command(_tiled(ffmpeg.concat(*tiles, v=1, a=0)))


def _tile(frames: Any, video: Stream) -> Any:
    height = TILE_WIDTH * (video.height or 1) // (video.width or 1)
    height = min(max(height, TILE_WIDTH // 2), TILE_WIDTH) // 2 * 2
    return (
        frames.filter("scale", TILE_WIDTH, height, force_original_aspect_ratio="decrease")
        .filter("pad", TILE_WIDTH, height, "(ow-iw)/2", "(oh-ih)/2")
        .filter("setsar", 1)
        .filter("format", "yuvj420p")
    )


def _tiled(frames: Any) -> Any:
    return frames.filter("tile", f"{COLUMNS}x{ROWS}").output(f"/out/{NAME}", fps_mode="passthrough", **_JPEG)


def _photo(video: Stream) -> list[str]:
    halves = ffmpeg.input(INPUT, **opening())[str(video.index)].filter_multi_output("split")
    small = halves[0].filter(
        "scale", f"min({PHOTO_SIDE},iw)", f"min({PHOTO_SIDE},ih)", force_original_aspect_ratio="decrease"
    )
    shown = small.filter("format", "yuvj420p").output(f"/out/{NAME}", **_JPEG)
    return command(shown, pictures.hash_output(halves[1], still=True))


def _waveform(audio: Stream) -> list[str]:
    sound = ffmpeg.input(INPUT, **opening())[str(audio.index)]
    # the drawing filter keeps all samples until the end: few of them, in one channel, for a day's recording
    few = sound.filter("aresample", 2000).filter("aformat", channel_layouts="mono")
    few = few.filter("apad", whole_len=2 * PHOTO_SIDE)  # it draws nothing at all of less than a sample a column
    drawn = few.filter("showwavespic", size=f"{PHOTO_SIDE}x320", colors="0x2f6f9f").filter("format", "yuvj420p")
    return command(drawn.output(f"/out/{NAME}", **_JPEG))


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
