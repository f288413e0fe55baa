"""What a file claims to be: container, duration and streams, read by a confined ffprobe, believed narrowly.

Everything here comes from the file, which may be hostile: each value is checked against its form and range,
and one that fails becomes None or "unknown". No floats: facts have none.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeVar, cast

from dockwarden.evidence import fields
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.media.decoding import FORMATS, INPUT, PHOTO_FORMATS, failure, opening, run_tool
from dockwarden.media.errors import MediaError
from dockwarden.media.sandbox import Limits, run_forever

Kind = Literal["video", "audio", "photo", "other"]
_Word = TypeVar("_Word", bound=str)
StreamType = Literal["video", "audio", "subtitle", "data", "attachment", "unknown"]
KINDS: tuple[Kind, ...] = ("video", "audio", "photo", "other")
STREAM_TYPES: tuple[StreamType, ...] = ("video", "audio", "subtitle", "data", "attachment", "unknown")

MAX_STREAMS = 32
LONGEST_MS = 1000 * 24 * 3600 * 1000
_PROBE_LIMITS = Limits(wall_s=45, cpu_s=60)
_DOUBTFUL_SCORE = 25  # AVPROBE_SCORE_RETRY: at or below it ffmpeg itself says "misdetection possible"
_ENTRIES = (
    "format=format_name,duration,bit_rate,probe_score:format_tags=creation_time"
    ":stream=index,codec_type,codec_name,width,height,avg_frame_rate,r_frame_rate,sample_rate,channels"
    ":stream_disposition=attached_pic"
)
_WORD = re.compile(r"[a-z0-9][a-z0-9_.,+-]{0,63}")
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,12})?")
_RATE = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,8})")
_COUNT = re.compile(r"\d{1,15}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?")
_DEMUXER_SPOKE = re.compile(r"^\[([a-z0-9_,]+) @ 0x", re.MULTILINE)


@dataclass(frozen=True)
class Stream:
    """One stream as the file claims it. `fps` is a rate such as "30000/1001"; `cover` marks album art."""

    index: int
    type: StreamType
    codec: str
    width: int | None = None
    height: int | None = None
    fps: str | None = None
    sample_rate: int | None = None
    channels: int | None = None
    cover: bool = False


@dataclass(frozen=True)
class Probe:
    """A file as it claims to be. Times in ms, `bit_rate` in bit/s, `creation_time` as the device wrote it.

    `streams` holds at most MAX_STREAMS, `stream_count` says how many there are.
    """

    kind: Kind
    container: str
    duration_ms: int | None
    bit_rate: int | None
    creation_time: str | None
    stream_count: int
    streams: tuple[Stream, ...]

    def first(self, wanted: Literal["video", "audio"]) -> Stream | None:
        """The first stream of a type that can be shown or heard; covers do not count."""
        return next((s for s in self.streams if s.type == wanted and not s.cover), None)

    def to_body(self) -> Object:
        """The body of a `probed` fact (without its `v`)."""
        body = cast(Object, asdict(self))
        body["streams"] = [asdict(stream) for stream in self.streams]
        return body


def probe(original: Path, stop: Callable[[], bool] = run_forever) -> Probe:
    """Read what `original` claims to be.

    Raises MediaError not-media (nothing that ffmpeg recognises with confidence), broken (a known container
    that cannot be read), unreadable, timeout, too-big, stopped, no-sandbox, no-decoder.
    """
    if original.is_file() and original.stat().st_size == 0:
        raise MediaError("not-media", "the file is empty", "probe")
    options = [word for key, value in opening().items() for word in (f"-{key}", str(value))]
    # warnings too: one says that a container was only guessed
    argv = ["ffprobe", "-hide_banner", "-v", "warning", *options]
    argv += ["-print_format", "json=compact=1", "-show_entries", _ENTRIES, "-i", INPUT]
    done = run_tool(argv, original, step="probe", limits=_PROBE_LIMITS, stop=stop)
    if done.returncode != 0:
        raise failure(done, "probe") if _recognised(done.stderr_tail) else _not_media()
    return parse(done.stdout)


def parse(printed: bytes) -> Probe:
    """Read ffprobe's JSON. Raises MediaError not-media, or broken where it is not what ffprobe prints."""
    try:
        found = json.loads(printed, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise MediaError("broken", "the probe printed no JSON", "probe") from error
    if not isinstance(found, dict):
        raise MediaError("broken", "the probe printed no object", "probe")
    container = _mapping(found.get("format"))
    score = container.get("probe_score")
    if not isinstance(score, int) or score <= _DOUBTFUL_SCORE:
        raise _not_media()
    listed = found.get("streams")
    raw = listed if isinstance(listed, list) else []
    name = _word(container.get("format_name"))
    moving = name not in PHOTO_FORMATS  # of a photo ffprobe invents 25 frames a second
    streams = tuple(_stream(n, _mapping(item), moving) for n, item in enumerate(raw[:MAX_STREAMS]))
    return Probe(
        kind=_kind(name, streams),
        container=name,
        duration_ms=_milliseconds(container.get("duration")),
        bit_rate=_count(container.get("bit_rate")),
        creation_time=_matching(_mapping(container.get("tags")).get("creation_time"), _TIME),
        stream_count=len(raw),
        streams=streams,
    )


def from_body(body: Mapping[str, object]) -> Probe:
    """Read what `Probe.to_body` wrote; raises MalformedError naming the field."""
    return Probe(
        kind=_one_of(body, "kind", KINDS),
        container=fields.matching(body, "container", _WORD),
        duration_ms=fields.optional_integer(body, "duration_ms"),
        bit_rate=fields.optional_integer(body, "bit_rate"),
        creation_time=fields.optional_text(body, "creation_time", 64),
        stream_count=fields.integer(body, "stream_count"),
        streams=tuple(_stream_from(_mapping(item)) for item in fields.array(body, "streams", MAX_STREAMS)),
    )


def _recognised(stderr: str) -> bool:
    """True where a known demuxer took the file for its own with confidence and then failed."""
    spoke = any(set(names.split(",")) & set(FORMATS) for names in _DEMUXER_SPOKE.findall(stderr))
    return spoke and "detected only with low score" not in stderr


def _not_media() -> MediaError:
    return MediaError("not-media", "no known kind of picture, video or sound", "probe")


def _stream(position: int, raw: Mapping[str, object], moving: bool) -> Stream:
    rate = _matching(raw.get("avg_frame_rate"), _RATE) or _matching(raw.get("r_frame_rate"), _RATE)
    kind = raw.get("codec_type")
    index = _count(raw.get("index"))
    return Stream(
        index=position if index is None or index >= 100_000 else index,
        type=next((known for known in STREAM_TYPES if known == kind), "unknown"),
        codec=_word(raw.get("codec_name")),
        width=_count(raw.get("width")) or None,
        height=_count(raw.get("height")) or None,
        fps=rate if moving else None,
        sample_rate=_count(raw.get("sample_rate")) or None,
        channels=_count(raw.get("channels")) or None,
        cover=_mapping(raw.get("disposition")).get("attached_pic") == 1,
    )


def _stream_from(body: Mapping[str, object]) -> Stream:
    return Stream(
        index=fields.integer(body, "index"),
        type=_one_of(body, "type", STREAM_TYPES),
        codec=fields.matching(body, "codec", _WORD),
        width=fields.optional_integer(body, "width"),
        height=fields.optional_integer(body, "height"),
        fps=None if body.get("fps") is None else fields.matching(body, "fps", _RATE),
        sample_rate=fields.optional_integer(body, "sample_rate"),
        channels=fields.optional_integer(body, "channels"),
        cover=fields.boolean(body, "cover"),
    )


def _kind(container: str, streams: tuple[Stream, ...]) -> Kind:
    types = {stream.type for stream in streams if not stream.cover}
    if "video" in types:
        return "photo" if container in PHOTO_FORMATS else "video"
    return "audio" if "audio" in types else "other"


def _one_of(body: Mapping[str, object], key: str, known: tuple[_Word, ...]) -> _Word:
    value = fields.text(body, key, 64)
    for word in known:
        if word == value:
            return word
    raise MalformedError(key, "is none of the known words")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _matching(value: object, pattern: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) and value.isascii() else None


def _word(value: object) -> str:
    return _matching(value, _WORD) or "unknown"


def _count(value: object) -> int | None:
    """A count that ffprobe prints as a number or as text."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if text.isascii() and _COUNT.fullmatch(text) else None


def _milliseconds(value: object) -> int | None:
    text = _matching(value, _SECONDS)
    if text is None:
        return None
    found = int((Decimal(text) * 1000).to_integral_value())
    return found if 0 < found <= LONGEST_MS else None
