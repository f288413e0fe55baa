"""Nothing on a device goes unnoticed: what a listing and a camera's own log show."""

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.drivers.listings import PROFILES, source, wall
from tests.drivers.test_recordings import SOURCES, clip

from dockwarden.agent import panel
from dockwarden.agent.drivers.naming import CameraLog
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.drivers.source import SourceInfo, decode_name
from dockwarden.agent.metadata.camera_logs import Event, log_files, read_log, without_file
from dockwarden.agent.metadata.listing import read_listing
from dockwarden.agent.metadata.noticing import Code, Noticed, notice

DCAM, DCF, MONTHS, DATA = (PROFILES[name] for name in ("dcam", "dcf", "month-folders", "data-local"))
LOG = source("LOG/20261124.txt")
LINES = (
    "2026-11-24 09:10:00 开机 POWER ON 电量 97%\r\n"
    "2026-11-24 09:15:00 REC START DCAM_A_B_20261124_091500.mp4\r\n"
    "2026-11-24 09:16:00 REC STOP\r\n"
    "2026-11-24 09:20:00 PHOTO DCAM_A_B_20261124_092000.jpg\r\n"
    "2026-11-24 09:30:00 REC START\r\n"
    "a line of another form\r\n"
    "2026-11-24 10:00:00 USB 已连接\r\n"
)


def codes(found: list[Noticed]) -> dict[str, list[str]]:
    return {each.code: [name.text.rpartition("/")[2] for name in each.names] for each in found}


def test_a_listing_with_nothing_to_say_gives_no_finding() -> None:
    assert notice([], DCAM) == []
    assert notice([clip("091500"), source("GPS/DCAM_A_B_20261124_091500.txt"), LOG], DCAM) == []


def test_missing_numbers_are_told_with_the_files_on_both_sides() -> None:
    (found,) = notice([source(f"DCIM/100MEDIA/MVI_{number:04d}.MOV") for number in (1, 3, 4, 8)], DCF)
    assert found.code == "missing-numbers"
    assert found.what == "numbers are missing in the sequence of files: 2, 5 to 7 (4 in all)"
    assert [name.text[-8:] for name in found.names] == ["0001.MOV", "0003.MOV", "0004.MOV", "0008.MOV"]


def test_a_jump_is_told_apart_from_missing_numbers() -> None:
    (found,) = notice([source(f"DCIM/100MEDIA/MVI_{number:04d}.MOV") for number in (1, 900)], DCF)
    assert (found.code, found.what) == (
        "number-jump",
        "the numbers of the files jump; not here are 2 to 899 (898 in all)",
    )


@pytest.mark.parametrize(
    ("sources", "profile", "code", "names"),
    [
        ([clip("091500", size=0)], DCAM, "empty-file", ["DCAM_A_B_20261124_091500.mp4"]),
        ([clip("091500", mark="_IMP")], DCAM, "marked-important", ["DCAM_A_B_20261124_091500_IMP.mp4"]),
        ([source("DCIM/100MEDIA/MVI_0001.MOV", marks=["important"])], DCF, "marked-important", ["MVI_0001.MOV"]),
        ([source("Nov.24.2026/091500#.avi")], MONTHS, "marked-important", ["091500#.avi"]),
        ([source("DATA/0000-00-00_000000.mp4")], DATA, "name-without-time", ["0000-00-00_000000.mp4"]),
        ([source("any/0000-00-00_000000.mp4")], PROFILES["generic"], "name-without-time", ["0000-00-00_000000.mp4"]),
        ([source("DATA/2000-01-01_000107.mp4")], DATA, "name-without-time", ["2000-01-01_000107.mp4"]),
        ([source("VIDEO/A_B_19800101000000_0001.MP4")], DCAM, "name-without-time", ["A_B_19800101000000_0001.MP4"]),
        ([source("GPS/DCAM_A_B_20261124_091500.txt")], DCAM, "sidecar-alone", ["DCAM_A_B_20261124_091500.txt"]),
        ([source("DCIM/100MEDIA/MVI_0001.THM")], DCF, "sidecar-alone", ["MVI_0001.THM"]),
        ([source("Nov.24.2026/091500+.avi")], MONTHS, "no-beginning", ["091500+.avi"]),
        (
            [source(f"DATA/2026-11-24_011507_{part}.mp4") for part in (1, 2, 4)],
            DATA,
            "missing-parts",
            ["2026-11-24_011507_2.mp4", "2026-11-24_011507_4.mp4"],
        ),
    ],
)
def test_what_a_listing_shows_is_found(
    sources: list[SourceInfo], profile: Profile, code: str, names: list[str]
) -> None:
    assert codes(notice(sources, profile)) == {code: names}


def test_a_track_of_its_own_lies_beside_nothing() -> None:
    assert notice([source("GPS/track.gpx"), source("GPS/20261124.txt")], DCAM) == []


def test_a_log_is_read_by_the_form_of_its_profile() -> None:
    assert DCAM.log is not None
    assert log_files([clip("091500"), LOG], DCAM.log) == [LOG]
    events = read_log(LINES.encode("gbk"), DCAM.log, "LOG/20261124.txt")
    assert [(each.what, each.recorded) for each in events] == [
        ("POWER ON", False),
        ("REC START", True),
        ("REC STOP", False),
        ("PHOTO", True),
        ("REC START", True),
    ]
    assert events[1].at_local == wall("2026-11-24 09:15:00")
    assert [each.file and each.file.text for each in events[1:4]] == [
        "DCAM_A_B_20261124_091500.mp4",
        None,
        "DCAM_A_B_20261124_092000.jpg",
    ]


def test_a_log_may_bear_its_day_in_its_name() -> None:
    form = CameraLog.model_validate(
        {
            "files": ("LOG/(?P<date>[0-9]{8}).txt"),
            "line": ("(?P<time>[0-9:]{8}) (?P<event>.*)"),
            "recorded": "START",
            "when": "%Y%m%d %H:%M:%S",
        }
    )
    (event,) = read_log(b"09:15:07 START\r\n", form, "LOG/20261124.txt")
    assert event == Event(wall("2026-11-24 09:15:07"), "START", None, True)


def test_a_recording_that_the_log_tells_of_and_that_is_not_there_is_found() -> None:
    logs = {LOG: LINES.encode("gbk")}
    here = [clip("091500", mark="_IMP"), clip("092000", ending="jpg"), clip("093001"), LOG]
    assert codes(notice(here, DCAM, logs)) == {"marked-important": ["DCAM_A_B_20261124_091500_IMP.mp4"]}
    for lost, names in ((0, ["DCAM_A_B_20261124_091500.mp4"]), (1, ["DCAM_A_B_20261124_092000.jpg"]), (2, [])):
        found = notice(here[:lost] + here[lost + 1 :], DCAM, logs)
        (log,) = [each for each in found if each.code == "log-without-file"]
        assert log.what == "the camera's log tells of recordings whose files are not here: 1"
        assert [name.text for name in log.names] == names


def test_a_sidecar_alone_is_no_recording_for_the_log() -> None:
    found = notice([source("GPS/DCAM_A_B_20261124_091500.txt"), LOG], DCAM, {LOG: LINES.split("\r\n")[1].encode()})
    assert [each.code for each in found] == ["log-without-file", "sidecar-alone"]


def test_what_the_station_took_before_is_not_missing_from_the_log() -> None:
    known = ["DCAM_A_B_20261124_091500_IMP.mp4", "DCAM_A_B_20261124_092000.jpg"]
    logs = {LOG: LINES.encode("gbk")}
    assert codes(notice([clip("093000"), LOG], DCAM, logs, known)) == {}
    assert list(codes(notice([clip("093000"), LOG], DCAM, logs))) == ["log-without-file"]


def test_no_sentence_has_a_name_in_it() -> None:
    who = "ZHANGSAN"
    sources = [
        source(f"DCIM/20261124/DCAM_X_{who}_20261124_091500_IMP.mp4", size=0),
        source(f"VIDEO/X_{who}_20261124091500_0001.MP4"),
        source(f"VIDEO/X_{who}_20261124091500_0003.MP4"),
        source(f"VIDEO/X_{who}_00000000000000_0005.MP4"),
        source(f"GPS/DCAM_X_{who}_20261124_081500.txt"),
        LOG,
    ]
    found = notice(sources, DCAM, {LOG: f"2026-11-24 09:15:00 REC START DCAM_X_{who}_20261124_071500.mp4".encode()})
    assert {each.code for each in found} == {
        "missing-numbers",
        "log-without-file",
        "sidecar-alone",
        "empty-file",
        "marked-important",
        "name-without-time",
    }
    assert not [each.what for each in found if who in each.what or "DCAM" in each.what]


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("code", get_args(Code))
def test_a_bay_has_words_for_every_finding(code: str, language: str) -> None:
    path = Path(panel.__file__).parent / "locales" / f"{language}.json"
    assert json.loads(path.read_text("utf-8"))[f"finding.{code}"]


@given(SOURCES, st.sampled_from(list(PROFILES.values())), st.binary(max_size=300))
def test_any_listing_gives_findings_or_none(sources: list[SourceInfo], profile: Profile, noise: bytes) -> None:
    shown = {each.name for each in sources}
    for found in notice(sources, profile, {LOG: noise}):
        assert found.what and (found.code == "log-without-file" or set(found.names) <= shown)


@given(st.binary(max_size=400), st.integers(0, len(LINES.encode("gbk"))), st.binary(max_size=3))
def test_no_log_is_too_absurd(noise: bytes, place: int, change: bytes) -> None:
    assert DCAM.log is not None
    whole = LINES.encode("gbk")
    for data in (noise, whole[:place] + change + whole[place + len(change) :], whole + noise):
        events = read_log(data, DCAM.log, "LOG/20261124.txt")
        assert all(decode_name(each.file.raw).raw == each.file.raw for each in events if each.file is not None)
        assert set(without_file(events, read_listing([], DCAM), DCAM)) <= set(events)


def test_a_log_of_great_length_is_read_in_part_and_in_its_encoding() -> None:
    assert DCAM.log is not None
    line = "2026-11-24 09:10:00 开机 POWER ON\n".encode("gbk")
    events = read_log(line * (6_000_000 // len(line)), DCAM.log, "LOG/20261124.txt")
    assert {each.what for each in events} == {"POWER ON"}
    assert len(events) == (4 << 20) // len(line)
    assert read_log(b"x" * 6_000_000, DCAM.log, "LOG/20261124.txt") == []
