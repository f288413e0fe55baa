"""A small copy for the screen: 480 lines of H.264 with AAC in MP4, or the sound alone.

Its one decode of the original gives the picture hashes as well. What cannot be decoded is left out: first the
sound, then the pictures; what was left out is noted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from dockwarden.media import pictures
from dockwarden.media.decoding import INPUT, THREADS, command, failure, opening, run_tool, work_limits
from dockwarden.media.errors import MediaError
from dockwarden.media.pictures import Pictures
from dockwarden.media.probe import Probe, Stream, probe
from dockwarden.media.sandbox import Finished, run_forever

NAME = "preview.mp4"
_BYTES_A_SECOND = 250_000  # above maxrate and sound together: a preview that grows faster is not one
_UNKNOWN_LENGTH_S = 4 * 3600
_BASE_SIZE = 64 << 20
_SLACK_MS = 1000

# veryfast: 5 % slower than superfast for half of its bytes (docs: measured, 480p proxies)
_VIDEO: dict[str, str | int] = {
    "c:v": "libx264",
    "preset": "veryfast",
    "crf": 27,
    "maxrate": "1500k",
    "bufsize": "3000k",
    "pix_fmt": "yuv420p",
    "g": 60,
    "threads": THREADS,
    "fps_mode": "vfr",
    "flags:v": "+bitexact",
}
_AUDIO: dict[str, str | int] = {"c:a": "aac", "b:a": "64k", "flags:a": "+bitexact"}
# bitexact and without metadata: the same original gives the same bytes, and no place or name slips through
_FILE: dict[str, str | int] = {
    "format": "mp4",
    "movflags": "+faststart",
    "fflags": "+bitexact",
    "map_metadata": -1,
    "map_chapters": -1,
    "max_muxing_queue_size": 4096,
}


@dataclass(frozen=True)
class Preview:
    """A finished preview, the hashes of its decode, and notes: what is missing in it, as codes."""

    path: Path
    pictures: Pictures | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Tracks:
    """What a preview is made of, and the note that says what is left out of it."""

    video: Stream | None
    audio: Stream | None
    note: str = ""


def make_preview(original: Path, probed: Probe, folder: Path, stop: Callable[[], bool] = run_forever) -> Preview:
    """Write `folder`/preview.mp4; `folder` is the caller's, fresh, and published by the caller.

    Notes: sound-left-out, pictures-left-out, decode-errors, shorter-than-original.
    Raises MediaError not-media where nothing can be shown or heard, broken, timeout, too-big, stopped, …
    """
    target = folder / NAME
    problem = MediaError("not-media", "it holds nothing to be seen or heard", "preview")
    for tracks in _attempts(probed):
        try:
            made, done = _attempt(original, probed, target, tracks, stop)
        except MediaError as error:
            target.unlink(missing_ok=True)
            if error.code != "broken":
                raise
            problem = error
            continue
        return Preview(target, pictures.from_frames(done.stdout), _notes(tracks, made, done, probed))
    raise problem


def _attempts(probed: Probe) -> Iterator[Tracks]:
    video = probed.first("video") if probed.kind == "video" else None
    audio = probed.first("audio")
    if video and audio:
        yield Tracks(video, audio)
        yield Tracks(video, None, "sound-left-out")
        yield Tracks(None, audio, "pictures-left-out")
    elif video or audio:
        yield Tracks(video, audio)


def _attempt(
    original: Path, probed: Probe, target: Path, tracks: Tracks, stop: Callable[[], bool]
) -> tuple[Probe, Finished]:
    seconds = probed.duration_ms // 1000 if probed.duration_ms else _UNKNOWN_LENGTH_S
    limits = work_limits(
        original,
        probed.duration_ms,
        file_size=_BASE_SIZE + seconds * _BYTES_A_SECOND,
        stdout=pictures.LONGEST_FRAMES * pictures.FRAME_BYTES,
    )
    outputs = {f"/out/{NAME}": target}
    done = run_tool(arguments(tracks), original, step="preview", limits=limits, outputs=outputs, stop=stop)
    try:
        made = probe(target, stop)
    except MediaError as error:
        if error.code in ("not-media", "broken"):
            raise failure(done, "preview") from error
        raise
    if (tracks.video and not made.first("video")) or (tracks.audio and not made.first("audio")):
        raise failure(done, "preview")
    return made, done


def _notes(tracks: Tracks, made: Probe, done: Finished, probed: Probe) -> tuple[str, ...]:
    shorter = (made.duration_ms or 0) + _SLACK_MS < (probed.duration_ms or 0) * 9 // 10
    noted = (
        (tracks.note, tracks.note != ""),
        ("decode-errors", done.returncode != 0 or done.stderr_tail.strip() != ""),
        ("shorter-than-original", shorter),
    )
    return tuple(note for note, holds in noted if holds)


def arguments(tracks: Tracks) -> list[str]:
    """The ffmpeg command for one preview of these streams of INPUT, picture hashes on standard output."""
    source = ffmpeg.input(INPUT, **opening())
    options = dict(_FILE)
    shown: list[Any] = []
    outputs: list[Any] = []
    if tracks.video:
        halves = source[str(tracks.video.index)].filter_multi_output("split")
        # the short side 480 at most, both even; a picture that is smaller stays as it is
        small = halves[0].filter("scale", "if(gt(iw,ih),-2,min(480,iw))", "if(gt(iw,ih),min(480,ih),-2)")
        shown.append(small.filter("crop", "trunc(iw/2)*2", "trunc(ih/2)*2"))
        outputs.append(pictures.hash_output(halves[1]))
        options |= _VIDEO
    if tracks.audio:
        shown.append(source[str(tracks.audio.index)])
        options |= _AUDIO | {"ac": min(tracks.audio.channels or 1, 2)}
    outputs.insert(0, ffmpeg.output(*shown, f"/out/{NAME}", **options))
    return command(*outputs)


def hash_pictures(original: Path, probed: Probe, stop: Callable[[], bool] = run_forever) -> Pictures | None:
    """The hashes alone, for a recording whose preview exists already or failed. None where it has no pictures.

    Raises MediaError broken, timeout, too-big, stopped, …
    """
    video = probed.first("video")
    if video is None:
        return None
    still = probed.kind == "photo"
    source = ffmpeg.input(INPUT, **opening())
    argv = command(pictures.hash_output(source[str(video.index)], still))
    limits = work_limits(original, probed.duration_ms, stdout=pictures.LONGEST_FRAMES * pictures.FRAME_BYTES)
    done = run_tool(argv, original, step="picture hashes", limits=limits, stop=stop)
    found = pictures.from_frames(done.stdout, still)
    if found is None:
        raise failure(done, "picture hashes")
    return found
