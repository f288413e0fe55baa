"""Real media, made with ffmpeg: small, seeded, the same bytes for the same ffmpeg, and made once."""

import hashlib
import math
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from dockwarden.service.errors import ServiceError

Kind: TypeAlias = Literal["video", "photo", "sound", "wave"]

_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSansCJK*.ttc", "DejaVuSans.ttf", "*.ttf")
_SUFFIX: dict[Kind, str] = {"video": ".mp4", "photo": ".jpg", "sound": ".m4a", "wave": ".wav"}
_QUIET = ("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y")
_EXACT = ("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
_LIMIT_S = 600


@dataclass(frozen=True)
class Clip:
    """One piece of media. `seed` changes picture and sound, `text` is burnt in where the machine has a font."""

    kind: Kind = "video"
    seconds: int = 6
    seed: int = 1
    text: str = ""
    width: int = 640
    height: int = 360
    rate: int = 25


def make(clip: Clip, folder: Path) -> Path:
    """Return the file of `clip` in the cache `folder`, made if it is not there. Raises ServiceError.

    Several processes may make the same clip at once; a file that has its name is whole. Copy it, never change it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arguments = _arguments(clip)
    digest = hashlib.sha256("\0".join((_version(), *arguments)).encode()).hexdigest()[:20]
    return _once(folder / f"{clip.kind}-{digest}{_SUFFIX[clip.kind]}", list(arguments))


def make_bulk(clip: Clip, size: int, folder: Path) -> Path:
    """Return a real, long video of at least `size` bytes: the clip repeated without encoding again."""
    part = make(clip, folder)
    loops = math.ceil(size * 1.01 / part.stat().st_size)
    arguments = ["-stream_loop", str(loops), "-i", str(part), "-c", "copy", *_EXACT]
    return _once(folder / f"{part.stem}-x{loops + 1}{part.suffix}", arguments)


def _once(path: Path, arguments: list[str]) -> Path:
    if path.exists():
        return path
    part = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        _run([*_QUIET, *arguments, str(part)])
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _run(command: list[str]) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError("ffmpeg", f"ffmpeg did not run: {error}", "footage", "Install ffmpeg.") from error
    if ran.returncode:
        what = f"ffmpeg failed: {ran.stderr.strip()[-300:]}"
        raise ServiceError("ffmpeg", what, "footage", "Install ffmpeg with libx264 and aac, as Debian has it.")
    return ran.stdout


@cache
def _version() -> str:
    return _run(["ffmpeg", "-version"]).partition("\n")[0]


def _arguments(clip: Clip) -> tuple[str, ...]:
    return tuple({"video": _video, "photo": _photo, "sound": _sound, "wave": _wave}[clip.kind](clip))


def _video(clip: Clip) -> Iterator[str]:
    yield from _picture(clip, f"testsrc2=size={clip.width}x{clip.height}:rate={clip.rate}:duration={clip.seconds}")
    yield from _tone(clip)
    yield from ("-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-pix_fmt", "yuv420p", "-threads", "1")
    yield from ("-g", str(clip.rate * 2), "-c:a", "aac", "-b:a", "48k", "-shortest", *_EXACT)


def _photo(clip: Clip) -> Iterator[str]:
    yield from _picture(clip, f"testsrc2=size={clip.width}x{clip.height}:rate=1:duration=1")
    yield from ("-frames:v", "1", "-q:v", "4", "-pix_fmt", "yuvj420p", *_EXACT)


def _sound(clip: Clip) -> Iterator[str]:
    yield from _tone(clip)
    yield from ("-c:a", "aac", "-b:a", "48k", *_EXACT)


def _wave(clip: Clip) -> Iterator[str]:
    yield from _tone(clip)
    yield from ("-ar", "16000", "-c:a", "pcm_s16le", *_EXACT)


def _picture(clip: Clip, source: str) -> Iterator[str]:
    # A box that only this seed has keeps one recording's pictures from looking like another's.
    hue = clip.seed * 47 % 360
    place = f"x=(iw-w)*{clip.seed * 29 % 97}/97:y=(ih-h)*{clip.seed * 43 % 89}/89"
    box = f"drawbox={place}:w=iw/4:h=ih/4:color=white@0.8:t=fill"
    yield from ("-f", "lavfi", "-i", ",".join((source, f"hue=h={hue}", box, *_burnt_in(clip))))


def _burnt_in(clip: Clip) -> Iterator[str]:
    font = _font()
    if font is None:
        return
    text = "".join(letter for letter in clip.text if letter.isalnum() or letter in " -_.")
    for line, content in enumerate((text, r"%{pts\:hms}")):
        if content:
            place = f"x=8:y=h-{28 + line * 24}:fontsize=18:fontcolor=white:box=1:boxcolor=black@0.5"
            yield f"drawtext=fontfile='{font}':text='{content}':{place}"


def _tone(clip: Clip) -> Iterator[str]:
    pitch = 220 + clip.seed * 37 % 660
    yield from (
        "-f",
        "lavfi",
        "-i",
        f"sine=frequency={pitch}:beep_factor=3:sample_rate=48000:duration={clip.seconds}",
    )


@cache
def _font() -> str | None:
    for folder in (Path("/usr/share/fonts"), Path("/usr/local/share/fonts")):
        for pattern in _FONTS:
            for path in sorted(folder.rglob(pattern)):
                if not set("'\\:,;[]%") & set(str(path)):
                    return str(path)
    return None


def copy(source: Path, target: Path) -> None:
    """Copy a file's bytes to a new file, sharing blocks where the file system can (FICLONE, copy_file_range)."""
    with source.open("rb") as reading, target.open("xb") as writing:
        try:
            while os.copy_file_range(reading.fileno(), writing.fileno(), 1 << 30):
                pass
        except OSError:
            reading.seek(0)
            writing.seek(0)
            shutil.copyfileobj(reading, writing, 1 << 20)
