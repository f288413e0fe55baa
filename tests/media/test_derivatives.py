"""Previews, sheets and fingerprints of real footage: whole, damaged and hostile."""

import json
import os
import struct
import threading
import zlib
from pathlib import Path

import pytest
from tests.media.media_samples import as_ordinary_user, ffmpeg

from dockwarden.evidence import canonical
from dockwarden.media import sandbox
from dockwarden.media.derive import fingerprint, make_previews, probe_file
from dockwarden.media.errors import MediaError
from dockwarden.media.pictures import Pictures, distance
from dockwarden.media.preview import hash_pictures, make_preview
from dockwarden.media.probe import probe
from dockwarden.media.sheet import make_sheet

pytestmark = pytest.mark.system


def derive(original: Path, out: Path) -> tuple[dict[str, bytes], Pictures | None, tuple[str, ...]]:
    made = make_previews(original, probe_file(original), out)
    assert sorted(path.name for path in out.iterdir()) == sorted(made.parts)
    return {name: path.read_bytes() for name, path in made.parts.items()}, made.pictures, made.notes


def size_of(path: Path) -> tuple[int | None, int | None]:
    video = probe(path).first("video")
    assert video is not None
    return video.width, video.height


def test_a_video_gets_a_sheet_and_a_preview_that_starts_before_it_is_whole(footage: Path, out: Path) -> None:
    parts, pictures, notes = derive(footage / "clip.mp4", out)
    assert sorted(parts) == ["preview.mp4", "sheet.jpg"]
    assert notes == ()
    shown = probe(out / "preview.mp4")
    assert [stream.codec for stream in shown.streams] == ["h264", "aac"]
    assert abs((shown.duration_ms or 0) - 3000) < 200
    assert parts["preview.mp4"].index(b"moov") < parts["preview.mp4"].index(b"mdat")
    assert size_of(out / "sheet.jpg") == (1280, 720)
    assert pictures is not None
    assert (pictures.fps, len(pictures.hashes)) == ("2", 6)


def test_nothing_that_the_device_wrote_beside_the_pictures_is_in_a_derivative(footage: Path, out: Path) -> None:
    assert b"secret-place" in (footage / "clip.mp4").read_bytes()
    parts, _, _ = derive(footage / "clip.mp4", out)
    assert not [name for name, data in parts.items() if b"secret-place" in data or b"2026" in data]


def test_the_same_original_gives_the_same_derivatives(footage: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(derive(footage / "clip.mp4", tmp_path / name))
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("size", "shown"), [("1280x720", (854, 480)), ("720x1280", (480, 854)), ("161x121", (160, 120)), ("2x2", (2, 2))]
)
def test_the_short_side_of_a_preview_is_480_lines_at_most_and_even(
    size: str, shown: tuple[int, int], tmp_path: Path, out: Path
) -> None:
    original = tmp_path / "original.avi"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=5:d=1", "-c:v", "ffv1", "-pix_fmt", "yuv444p", original)
    make_preview(original, probe(original), out)
    assert size_of(out / "preview.mp4") == shown


def test_sound_gets_a_waveform_and_a_preview_without_pictures(footage: Path, out: Path) -> None:
    parts, pictures, notes = derive(footage / "voice.wav", out)
    assert (sorted(parts), pictures, notes) == (["preview.mp4", "sheet.jpg"], None, ())
    assert [stream.codec for stream in probe(out / "preview.mp4").streams] == ["aac"]
    assert size_of(out / "sheet.jpg") == (1280, 320)


def test_the_shortest_sound_has_a_waveform_too(footage: Path, tmp_path: Path, out: Path) -> None:
    ffmpeg("-t", "0.1", "-i", footage / "voice.wav", tmp_path / "short.wav")
    parts, _, notes = derive(tmp_path / "short.wav", out)
    assert (sorted(parts), notes) == (["preview.mp4", "sheet.jpg"], ())


def test_a_photo_gets_a_small_picture_and_one_hash(tmp_path: Path, out: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=2000x1000", "-frames:v", "1", tmp_path / "photo.jpg")
    parts, pictures, notes = derive(tmp_path / "photo.jpg", out)
    assert (sorted(parts), notes) == (["sheet.jpg"], ())
    assert size_of(out / "sheet.jpg") == (1280, 640)
    assert pictures is not None
    assert (pictures.fps, len(pictures.hashes)) == ("0", 1)


def test_a_longer_video_is_entered_at_twelve_places(footage: Path, tmp_path: Path, out: Path) -> None:
    original = footage / "long.mp4"
    made = make_sheet(original, probe(original), out)
    tiles = [tile(made.path, column, row, tmp_path) for row in range(3) for column in range(4)]
    assert len(set(tiles)) == 12


def tile(sheet: Path, column: int, row: int, folder: Path) -> bytes:
    target = folder / f"{column}{row}.gray"
    crop = f"crop=320:240:{320 * column}:{240 * row},scale=32:24,format=gray"
    ffmpeg("-i", sheet, "-vf", crop, "-f", "rawvideo", target)
    return target.read_bytes()


def test_a_stream_without_an_index_or_length_is_shown_all_the_same(footage: Path, tmp_path: Path, out: Path) -> None:
    raw = tmp_path / "raw.h264"
    ffmpeg("-i", footage / "clip.mp4", "-c", "copy", "-an", raw)
    parts, pictures, _ = derive(raw, out)
    assert probe(raw).duration_ms is None
    assert sorted(parts) == ["preview.mp4", "sheet.jpg"]
    assert pictures is not None
    assert len(pictures.hashes) == 6


def test_of_a_video_that_was_cut_off_what_is_there_is_kept(footage: Path, tmp_path: Path, out: Path) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    ffmpeg("-i", footage / "clip.mp4", "-c", "copy", "-movflags", "+faststart", whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 4 // 10])
    parts, pictures, notes = derive(cut, out)
    assert sorted(parts) == ["preview.mp4", "sheet.jpg"]
    assert notes == ("decode-errors", "shorter-than-original")
    assert pictures is not None
    body = fingerprint(cut, probe_file(cut), pictures)
    assert body["notes"] == ["incomplete-streams"]
    assert len(streams_of(body)) == 2


def test_a_photo_that_was_cut_off_is_shown_and_noted(footage: Path, tmp_path: Path, out: Path) -> None:
    whole = (footage / "photo.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    parts, _, notes = derive(tmp_path / "cut.jpg", out)
    assert (sorted(parts), notes) == (["sheet.jpg"], ("decode-errors",))


@pytest.mark.parametrize(
    ("codec", "note", "left"),
    [(b"A_AAC", "sound-left-out", "h264"), (b"V_MPEG4/ISO/AVC", "pictures-left-out", "aac")],
)
def test_a_stream_that_nobody_can_decode_is_left_out_and_noted(
    codec: bytes, note: str, left: str, footage: Path, tmp_path: Path, out: Path
) -> None:
    original = tmp_path / "original.mkv"
    ffmpeg("-i", footage / "clip.mp4", "-c", "copy", original)
    data = original.read_bytes()
    assert data.count(codec) == 1
    original.write_bytes(data.replace(codec, codec[:-2] + b"ZZ"))
    parts, _, notes = derive(original, out)
    assert note in notes
    assert [stream.codec for stream in probe(out / "preview.mp4").streams] == [left]
    assert "sheet.jpg" in parts  # the pictures, or the sound as a waveform


def test_a_picture_too_large_to_decode_is_called_too_big(tmp_path: Path, out: Path) -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    framed = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + framed)
    with pytest.raises(MediaError) as caught:
        derive(tmp_path / "bomb.png", out)
    assert caught.value.code == "too-big"
    assert list(out.iterdir()) == []


def test_a_video_of_garbage_leaves_an_error_and_no_file(footage: Path, tmp_path: Path, out: Path) -> None:
    data = bytearray((footage / "other.mp4").read_bytes())
    start = data.index(b"mdat") + 4
    end = data.rindex(b"moov") - 4
    data[start:end] = os.urandom(end - start)
    (tmp_path / "garbage.mp4").write_bytes(data)
    with pytest.raises(MediaError) as caught:
        derive(tmp_path / "garbage.mp4", out)
    assert caught.value.code == "broken"
    assert list(out.iterdir()) == []


def test_an_agent_that_stops_is_obeyed_at_once_and_keeps_nothing(footage: Path, out: Path) -> None:
    stopping = threading.Event()
    known = probe_file(footage / "long.mp4")
    stopping.set()
    with pytest.raises(MediaError) as caught:
        make_previews(footage / "long.mp4", known, out, stopping.is_set)
    assert (caught.value.code, caught.value.permanent) == ("stopped", False)
    assert list(out.iterdir()) == []


def test_a_machine_that_cannot_confine_makes_no_partial_result(
    footage: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = probe_file(footage / "clip.mp4")
    monkeypatch.setattr(sandbox, "_tool", lambda name: None if name == "bwrap" else f"/usr/bin/{name}")
    for work in (lambda: make_previews(footage / "clip.mp4", known, out), lambda: probe_file(footage / "clip.mp4")):
        with pytest.raises(MediaError) as caught:
            work()
        assert caught.value.code == "no-sandbox"


def test_an_ordinary_user_gets_the_same_probe(footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes((footage / "clip.mp4").read_bytes())
    expected = probe_file(copy)
    for folder in (copy, *copy.parents):
        if "pytest" in folder.as_posix():
            folder.chmod(0o755)
    as_ordinary_user(monkeypatch)
    assert probe_file(copy) == expected


def streams_of(body: canonical.Object) -> list[dict[str, object]]:
    streams = json.loads(canonical.encode(body))["streams"]
    assert isinstance(streams, list)
    return streams


def test_the_same_file_has_the_same_fingerprint_with_and_without_its_preview(footage: Path, out: Path) -> None:
    original = footage / "clip.mp4"
    known = probe_file(original)
    _, pictures, _ = derive(original, out)
    alone, beside = fingerprint(original, known), fingerprint(original, known, pictures)
    assert alone == beside
    assert canonical.decode(canonical.encode(alone)) == alone
    assert [stream["type"] for stream in streams_of(alone)] == ["video", "audio"]


def test_another_container_of_the_same_streams_has_the_same_stream_hashes(footage: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.mkv"
    ffmpeg("-i", footage / "clip.mp4", "-c", "copy", moved)
    one, two = (fingerprint(path, probe_file(path)) for path in (footage / "clip.mp4", moved))
    assert streams_of(one) == streams_of(two)


def test_a_re_encoded_copy_has_other_streams_and_near_pictures(footage: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    ffmpeg("-i", footage / "clip.mp4", "-vf", "scale=160:120", "-c:v", "mpeg4", "-q:v", "8", "-c:a", "mp3", copy)
    paths = (footage / "clip.mp4", copy, footage / "other.mp4")
    original, near, far = (hash_pictures(path, probe(path)) for path in paths)
    assert original and near and far
    assert mean_distance(original, near) < 6
    assert mean_distance(original, far) > 16
    hashes = [{s["sha256"] for s in streams_of(fingerprint(p, probe_file(p), original))} for p in paths[:2]]
    assert not hashes[0] & hashes[1]


def mean_distance(one: Pictures, other: Pictures) -> float:
    pairs = list(zip(one.hashes, other.hashes, strict=True))
    return sum(distance(a, b) for a, b in pairs) / len(pairs)


def test_sound_alone_has_stream_hashes_and_no_pictures(footage: Path) -> None:
    body = fingerprint(footage / "voice.wav", probe_file(footage / "voice.wav"))
    assert (body["pictures"], body["notes"], len(streams_of(body))) == (None, [], 1)
