"""A probe believes of a file only what has the form of a fact, and says plainly what is no media."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.media.media_samples import ffmpeg

from dockwarden.evidence import canonical
from dockwarden.evidence.canonical import MalformedError
from dockwarden.media.errors import MediaError
from dockwarden.media.probe import MAX_STREAMS, Stream, from_body, parse, probe


def code_of(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert set(caught.value.to_object()) == {"code", "what", "where", "do"}
    assert str(path.parent) not in str(caught.value)
    return caught.value.code


@pytest.mark.system
def test_a_video_is_described_in_whole_numbers_and_text(footage: Path) -> None:
    found = probe(footage / "clip.mp4")
    assert (found.kind, found.container) == ("video", "mov,mp4,m4a,3gp,3g2,mj2")
    assert found.duration_ms == 3000
    assert found.creation_time == "2026-11-24T08:00:00.000000Z"
    assert found.stream_count == 2
    assert found.first("video") == Stream(0, "video", "h264", width=320, height=240, fps="25/1")
    assert found.first("audio") == Stream(1, "audio", "aac", sample_rate=44100, channels=1)


@pytest.mark.system
def test_sound_and_photo_are_told_from_video(footage: Path) -> None:
    voice, photo = probe(footage / "voice.wav"), probe(footage / "photo.jpg")
    assert (voice.kind, voice.duration_ms, voice.first("video")) == ("audio", 3000, None)
    assert (photo.kind, photo.duration_ms) == ("photo", None)
    assert photo.first("video") == Stream(0, "video", "mjpeg", width=320, height=240)


@pytest.mark.system
def test_a_cover_does_not_make_a_song_a_video(footage: Path, tmp_path: Path) -> None:
    song = tmp_path / "song.mp3"
    cover = ("-map", "0", "-map", "1", "-disposition:v", "attached_pic")
    ffmpeg("-i", footage / "voice.wav", "-i", footage / "photo.jpg", *cover, song)
    found = probe(song)
    assert (found.kind, found.first("video")) == ("audio", None)


NOT_MEDIA = {
    "zero bytes": b"",
    "one byte": b"\0",
    "zeros": bytes(100_000),
    "text": "出警记录\n".encode() * 500,
    "json": b'{"a": 1}\n',
    "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nhi\n",
    "program": b"\x7fELF" + bytes(5000),
    "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile '/etc/passwd'\nduration 5\n",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n",
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>/etc/passwd</BaseURL></MPD>',
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
}


@pytest.mark.system
@pytest.mark.parametrize("content", NOT_MEDIA.values(), ids=NOT_MEDIA)
def test_what_is_no_media_is_called_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    assert code_of(tmp_path / "x.mp4") == "not-media"


@pytest.mark.system
@pytest.mark.parametrize("size", [100, 3000, 100_000, 1_000_000])
def test_random_bytes_are_not_media(size: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(os.urandom(size))
    assert code_of(tmp_path / "x") == "not-media"


@pytest.mark.system
def test_a_recording_cut_off_before_its_index_is_broken_and_says_why(footage: Path, tmp_path: Path) -> None:
    whole = (footage / "clip.mp4").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: whole.rindex(b"moov") - 4])
    with pytest.raises(MediaError, match="index") as caught:
        probe(tmp_path / "cut")
    assert (caught.value.code, caught.value.permanent) == ("broken", True)


@pytest.mark.system
def test_a_file_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    assert code_of(tmp_path / "absent") == "unreadable"
    assert code_of(tmp_path) == "unreadable"


def printed(streams: list[object], **container: object) -> bytes:
    described = {"format_name": "wav", "probe_score": 100, "duration": "1.5"} | container
    return json.dumps({"streams": streams, "format": described}).encode()


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1.5", 1500),
        ("0.0004", None),
        ("3.0005", 3000),
        ("N/A", None),
        ("-1.0", None),
        ("1e300", None),
        ("inf", None),
        ("nan", None),
        ("٣.٠", None),
        ("999999999999", None),
        (1.5, None),
    ],
)
def test_a_duration_is_whole_milliseconds_or_nothing(text: object, milliseconds: int | None) -> None:
    assert parse(printed([], duration=text)).duration_ms == milliseconds


@pytest.mark.parametrize("rate", ["0/0", "25", "-25/1", "1/0", "25/1\n", "9999999999/1", 25])
def test_a_strange_rate_is_left_out(rate: object) -> None:
    stream = {"index": 0, "codec_type": "video", "codec_name": "h264", "avg_frame_rate": rate}
    assert parse(printed([stream])).streams[0].fps is None


@pytest.mark.parametrize("time", ["yesterday", "2026-11-24T08:00:00Z\n", "<script>", "2026-11-24" * 9, 5, "２０２６"])
def test_a_strange_creation_time_is_left_out(time: object) -> None:
    assert parse(printed([], tags={"creation_time": time})).creation_time is None


def test_a_container_that_ffmpeg_only_guesses_is_not_media() -> None:
    with pytest.raises(MediaError) as caught:
        parse(printed([], probe_score=25))
    assert caught.value.code == "not-media"


def test_of_a_thousand_streams_the_first_are_kept_and_all_are_counted() -> None:
    found = parse(printed([{"codec_type": "audio"}] * 1000))
    assert (len(found.streams), found.stream_count) == (MAX_STREAMS, 1000)


@pytest.mark.parametrize("index", [True, -1, 1.0, "x", None, 10**6, 10**30])
def test_a_strange_stream_number_gives_way_to_its_place(index: object) -> None:
    streams = parse(printed([{"index": 0}, {"index": index}])).streams
    assert [stream.index for stream in streams] == [0, 1]
    assert not [stream for stream in streams if isinstance(stream.index, bool)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["streams", "format", "index", "codec_type", "width", "tags", "probe_score", "duration"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@given(JSON, JSON, st.booleans())
def test_whatever_a_hijacked_ffprobe_prints_gives_a_fact_or_a_clear_error(
    streams: object, container: object, sure: bool
) -> None:
    described = dict(container) if isinstance(container, dict) else {}
    described |= {"probe_score": 100} if sure else {}
    try:
        found = parse(json.dumps({"streams": streams, "format": described}).encode())
    except MediaError as error:
        assert error.code in ("not-media", "broken")
    else:
        body = found.to_body()
        assert canonical.decode(canonical.encode(body)) == body
        assert from_body(body) == found


@given(st.binary(max_size=200))
def test_bytes_that_are_no_json_are_a_clear_error(data: bytes) -> None:
    with pytest.raises(MediaError):
        parse(data)


def test_deeply_nested_json_is_a_clear_error() -> None:
    with pytest.raises(MediaError):
        parse(b"[" * 100_000)


@pytest.mark.parametrize(
    ("key", "value"),
    [("kind", "film"), ("duration_ms", 1.5), ("duration_ms", -1), ("streams", [1]), ("container", "")],
)
def test_a_body_that_is_not_ours_is_refused_by_field(key: str, value: object) -> None:
    body: dict[str, object] = dict(parse(printed([])).to_body())
    with pytest.raises(MalformedError):
        from_body(body | {key: value})
