"""Cards: a camera, a recorder, a folder's files and the absurd, with real media."""

import json
import os
import re
import subprocess
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from tests.simulators.sim_samples import CACHE, NOW

from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.drivers.profiles import load
from dockwarden.agent.metadata.filenames import facts_of
from dockwarden.simulators import camera, footage, hostile, recorder
from dockwarden.simulators.camera import Body
from dockwarden.simulators.footage import Clip

PROFILES = {profile.name: profile for profile in load().profiles}

pytestmark = pytest.mark.system


def probe(path: Path) -> tuple[set[str], float]:
    """Codecs and seconds of a media file."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    return {stream["codec_name"] for stream in found["streams"]}, float(found["format"].get("duration", 0))


def test_a_clip_is_real_media_made_once_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    clip = Clip("video", 4, seed=3, text="ZB2041 证据")
    first = footage.make(clip, CACHE)
    assert probe(first) == ({"h264", "aac"}, pytest.approx(4, abs=0.2))
    stamp = first.stat().st_mtime_ns
    assert footage.make(clip, CACHE) == first
    assert first.stat().st_mtime_ns == stamp
    again = footage.make(clip, tmp_path)
    assert again.read_bytes() == first.read_bytes()
    assert footage.make(Clip("video", 4, seed=4, text="ZB2041 证据"), CACHE).read_bytes() != first.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [again.name]


@pytest.mark.parametrize(
    ("clip", "codecs"), [(Clip("photo"), {"mjpeg"}), (Clip("sound", 4), {"aac"}), (Clip("wave", 4), {"pcm_s16le"})]
)
def test_photos_sound_and_waves_are_real_too(clip: Clip, codecs: set[str]) -> None:
    assert probe(footage.make(clip, CACHE))[0] == codecs


def test_a_text_that_would_be_a_filter_is_burnt_in_as_text(tmp_path: Path) -> None:
    assert probe(footage.make(Clip("photo", text="a':x=1,b;[c]%{d}\\"), tmp_path))[0] == {"mjpeg"}


def test_bulk_footage_is_one_long_real_video_of_at_least_the_size(tmp_path: Path) -> None:
    path = footage.make_bulk(Clip("video", 4, seed=3), 5_000_000, tmp_path)
    codecs, seconds = probe(path)
    assert path.stat().st_size >= 5_000_000
    assert codecs == {"h264", "aac"} and seconds > 30


def test_a_camera_holds_recordings_a_photo_logs_and_a_position_file_in_the_chinese_layout(tmp_path: Path) -> None:
    root = tmp_path / "card"
    names = [raw.decode() for raw in camera.build(root, NOW, CACHE)]
    videos = [name for name in names if name.endswith(".mp4")]
    pattern = r"DCIM/20261124/DCAM_ZB2041_650113_20261124_\d{6}(_IMP)?\.mp4"
    assert len(videos) == 5 and all(re.fullmatch(pattern, name) for name in videos)
    assert len([name for name in names if name.endswith("_IMP.mp4")]) == 1
    assert len([name for name in names if name.endswith(".jpg")]) == 1
    assert "LOG/20261124.txt" in names
    position = next(name for name in names if name.startswith("GPS/"))
    assert f"DCIM/20261124/{Path(position).stem}.mp4" in videos
    assert set(names) == set(videos) | {name for name in names if name.startswith(("GPS/", "LOG/"))} | {
        name for name in names if name.endswith(".jpg")
    }


def test_names_tell_the_start_and_last_modified_times_the_end_by_the_cameras_clock(tmp_path: Path) -> None:
    root = tmp_path / "card"
    camera.build(root, NOW, CACHE, Body(behind_s=90))
    wall = int((NOW + timedelta(hours=8) - timedelta(seconds=90)).timestamp())
    device = recognise(root, tuple(PROFILES.values()), model="X3", serial="Z", volume="v")
    videos = [source for source in device.sources() if source.name.text.endswith(".mp4")]
    device.close()
    for source in videos:
        facts = facts_of(source.name, PROFILES["dcam"])
        assert facts.started_local is not None
        assert wall - 4 * 3600 < facts.started_local < source.modified_raw <= wall
        assert source.modified_raw % 2 == 0
        _, seconds = probe(root / source.name.text)
        assert source.modified_raw - facts.started_local == pytest.approx(seconds, abs=2)


def test_the_files_of_one_recording_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    root = tmp_path / "card"
    names = [raw.decode() for raw in camera.build(root, NOW, CACHE)]
    starts = [int(found[1]) for name in names if (found := re.search(r"_\d{8}_(\d{6})\.mp4$", name))]
    assert any(later - earlier == 5 for earlier, later in pairwise(starts))


def test_the_position_file_is_nmea_with_right_checksums(tmp_path: Path) -> None:
    root = tmp_path / "card"
    camera.build(root, NOW, CACHE)
    (path,) = (root / "GPS").iterdir()
    for line in path.read_text("ascii").splitlines():
        body, _, check = line.removeprefix("$").partition("*")
        total = 0
        for letter in body.encode():
            total ^= letter
        assert total == int(check, 16)


def test_a_day_that_turns_while_the_camera_is_worn_has_two_folders_and_two_logs(tmp_path: Path) -> None:
    names = camera.build(tmp_path / "card", NOW.replace(hour=18), CACHE)  # 02:00 by its clock
    assert {name.split(b"/")[1] for name in names if name.startswith(b"DCIM")} == {b"20261124", b"20261125"}
    assert {name for name in names if name.startswith(b"LOG")} == {b"LOG/20261124.txt", b"LOG/20261125.txt"}


@pytest.mark.parametrize("recordings", [3, 4, 5])
def test_a_camera_holds_as_many_recordings_as_asked(tmp_path: Path, recordings: int) -> None:
    names = camera.build(tmp_path / "card", NOW, CACHE, recordings=recordings)
    assert len([name for name in names if name.endswith(b".mp4")]) == recordings + 1
    with pytest.raises(ValueError, match="3 to 5"):
        camera.build(tmp_path / "other", NOW, CACHE, recordings=9)


def test_two_cameras_of_one_seed_hold_the_same_photo_and_of_two_seeds_no_same_file(tmp_path: Path) -> None:
    contents = []
    for index, body in enumerate((Body(), Body(), Body(seed=2))):
        root = tmp_path / str(index)
        names = camera.build(root, NOW, CACHE, body)
        contents.append({camera.at(root, raw).read_bytes() for raw in names if raw.startswith(b"DCIM")})
    assert contents[0] == contents[1]
    assert not contents[0] & contents[2]


def test_a_recorder_shows_its_files_also_the_hidden_one(tmp_path: Path) -> None:
    root = tmp_path / "card"
    names = recorder.build(root, NOW, CACHE)
    assert names[0] == b".recorder.ini"
    assert all(re.fullmatch(rb"REC_FILE/FOLDER01/261124_\d{4}\.wav", raw) for raw in names[1:]) and len(names) == 3
    device = recognise(root, tuple(PROFILES.values()), model="VR-10", serial="Z", volume="v")
    assert (device.info.profile, device.info.kind) == ("recorder", "recorder")
    device.close()


def test_a_card_from_a_folder_holds_exactly_its_files_under_their_raw_names(tmp_path: Path) -> None:
    source, root = tmp_path / "footage", tmp_path / "card"
    hostile.build(source, CACHE)
    hostile.tricks(source, tmp_path / "outside")
    before = {
        raw: (camera.at(source, raw).read_bytes(), camera.at(source, raw).stat()) for raw in camera.names_in(source)
    }
    assert camera.from_folder(source, root) == sorted(before)
    for raw, (data, status) in before.items():
        place = camera.at(root, raw)
        assert place.read_bytes() == data
        assert place.stat().st_mtime_ns - status.st_mtime_ns == 8 * 3600 * 10**9
        assert place.stat().st_ino != status.st_ino
        assert camera.at(source, raw).stat() == status


def test_hostile_names_are_all_on_the_card(tmp_path: Path) -> None:
    root = tmp_path / "card"
    names = hostile.build(root, CACHE)
    assert set(hostile.NAMES) | set(hostile.EMPTY) < set(names)
    assert max(len(raw.rpartition(b"/")[2]) for raw in names) == 255
    assert (root / "DCIM" / "photo.jpg").read_bytes() == (root / "DCIM" / "photo copy.jpg").read_bytes()
    torn = subprocess.run(
        ["ffprobe", "-v", "error", str(root / "DCIM" / "torn.mp4")], check=False, capture_output=True
    )
    assert torn.returncode
    again = tmp_path / "again"
    hostile.build(again, CACHE)
    assert all(camera.at(root, raw).read_bytes() == camera.at(again, raw).read_bytes() for raw in names)


def test_many_small_files_are_as_many_as_asked(tmp_path: Path) -> None:
    assert len(hostile.many(tmp_path / "card", 350)) == 350
    assert len(list((tmp_path / "card" / "DCIM").iterdir())) == 4


def test_copies_of_any_size_are_whole(tmp_path: Path) -> None:
    for size in (0, 1, 3_000_000):
        data = os.urandom(size)
        (tmp_path / "a").write_bytes(data)
        footage.copy(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == data
        (tmp_path / "b").unlink()
