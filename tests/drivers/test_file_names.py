"""What names say: hints, typed, and never a crash."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.agent.drivers.profiles import Profile, load, read
from dockwarden.agent.drivers.source import decode_name
from dockwarden.agent.metadata.filenames import NameFacts, facts_of, take_apart

PROFILES = {profile.name: profile for profile in load().profiles}
DCAM, RECORDER, GENERIC = PROFILES["dcam"], PROFILES["recorder"], PROFILES["generic"]


def wall(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[arg-type, misc]


def facts(name: str, profile: Profile) -> NameFacts:
    return facts_of(decode_name(name.encode()), profile)


def test_a_camera_name_tells_camera_officer_start_and_the_important_mark() -> None:
    found = facts("DCIM/20261124/DCAM_ZB2041_650113_20261124_091507_IMP.mp4", DCAM)
    assert found == NameFacts("ZB2041", "650113", wall(2026, 11, 24, 9, 15, 7), 1, None, True)


def test_the_position_file_of_a_recording_tells_the_same() -> None:
    stem = "DCAM_ZB2041_650113_20261124_091507"
    assert facts(f"GPS/{stem}.txt", DCAM) == facts(f"DCIM/20261124/{stem}.mp4", DCAM)


def test_a_name_with_a_number_tells_it() -> None:
    found = facts("VIDEO/20261124/ZB2041_650113_20261124091507_0042.MP4", DCAM)
    assert (found.started_local, found.sequence) == (wall(2026, 11, 24, 9, 15, 7), 42)


def test_a_recorder_name_is_true_to_the_minute() -> None:
    found = facts("REC_FILE/FOLDER01/261124_0915_02.wav", RECORDER)
    assert found == NameFacts(None, None, wall(2026, 11, 24, 9, 15), 60, 2, False)


def test_a_pattern_with_a_folder_is_for_that_folder_alone() -> None:
    assert facts("OTHER/261124_0915.wav", RECORDER) == NameFacts()


@pytest.mark.parametrize("folder", ["DCIM/IMP", "imp", "DCIM/重点/20261124"])
def test_an_important_folder_marks_what_is_in_it(folder: str) -> None:
    assert facts(f"{folder}/anything.bin", DCAM).important
    assert not facts("anything/IMP", DCAM).important


@pytest.mark.parametrize(
    "name",
    [
        "DCAM_ZB2041_650113_00000000_000000.mp4",
        "DCAM_ZB2041_650113_20261332_091507.mp4",
        "DCAM_ZB2041_650113_20261124_246199.mp4",
        "DCAM_ZB2041_650113_20260229_000000.mp4",
    ],
)
def test_a_name_with_an_impossible_time_tells_the_rest(name: str) -> None:
    found = facts(name, DCAM)
    assert (found.camera, found.officer_id, found.started_local) == ("ZB2041", "650113", None)


def test_the_generic_profile_believes_nothing() -> None:
    assert facts("DCIM/20261124/DCAM_ZB2041_650113_20261124_091507_IMP.mp4", GENERIC) == NameFacts()


def test_months_by_name_and_event_marks_are_data_too(tmp_path: Path) -> None:
    path = tmp_path / "dash.toml"
    path.write_text(
        'name = "dash"\nfamily = "mass-storage"\nkind = "camera"\n'
        "[[names]]\n"
        "name = '(?P<date>[A-Z][a-z]{2}\\.[0-9]{2}\\.[0-9]{4})_(?P<time>[0-9]{6})(?P<important>[#*])?\\+?\\.avi'\n"
        'when = "%b.%d.%Y %H%M%S"\n',
        "utf-8",
    )
    found = facts("DATA/Nov.24.2026_091507#+.avi", read(path))
    assert (found.started_local, found.important) == (wall(2026, 11, 24, 9, 15, 7), True)


MONTHS, DATA, DCF = PROFILES["month-folders"], PROFILES["data-local"], PROFILES["dcf"]


def test_a_day_in_the_folder_and_a_time_in_the_name_are_one_start() -> None:
    found = facts("VIDEO/Nov.24.2026/091507#+.avi", MONTHS)
    assert (found.started_local, found.important, found.continues) == (wall(2026, 11, 24, 9, 15, 7), True, True)
    plain = facts("Feb.29.2024/235959.mp4", MONTHS)
    assert (plain.started_local, plain.important, plain.continues) == (wall(2024, 2, 29, 23, 59, 59), False, False)


def test_utc_and_local_names_of_one_card_tell_the_same_wall_clock() -> None:
    utc, local = facts("DATA/2026-11-24_011507.mp4", DATA), facts("DATA/LOCAL/2026-11-24_091507.mp4", DATA)
    assert utc == local == NameFacts(started_local=wall(2026, 11, 24, 9, 15, 7))
    unknown = DATA.model_copy(update={"zone_minutes": None})
    assert facts("DATA/2026-11-24_011507.mp4", unknown).started_local is None
    assert facts("DATA/LOCAL/2026-11-24_091507.mp4", unknown) == local


def test_a_name_of_a_clock_that_was_never_set_says_so() -> None:
    assert facts("DATA/LOCAL/0000-00-00_000000.mp4", DATA) == NameFacts(no_time=True)
    assert facts("DCIM/DCAM_A_B_00000000_000000.mp4", DCAM).no_time
    assert not facts("DATA/LOCAL/2026-11-24_091507.mp4", DATA).no_time


def test_a_name_with_a_day_alone_tells_no_start() -> None:
    """Midnight would be a start that nobody has said."""
    assert facts("RECORDER/FOLDER_A/261124_0017.MP3", PROFILES["olympus"]) == NameFacts(sequence=17, precision_s=60)
    assert facts("RECORDER/FOLDER_A/000000_0017.MP3", PROFILES["olympus"]) == NameFacts(
        sequence=17, precision_s=60, no_time=True
    )
    assert facts("RECORDER/FOLDER_A/800101_0017.MP3", PROFILES["olympus"]) == NameFacts(
        sequence=17, precision_s=60, no_time=True
    )


def test_a_dcf_name_tells_its_number_and_that_of_its_folder() -> None:
    assert facts("DCIM/101MEDIA/MVI_0042.MOV", DCF) == NameFacts(sequence=42, folder_number=101)
    for name in ("DCIM/101MEDIA/MVI_0000.MOV", "DCIM/099MEDIA/MVI_0042.MOV", "OTHER/MVI_0042.MOV"):
        assert facts(name, DCF) == NameFacts(), name


@pytest.mark.parametrize(
    ("name", "profile", "stem"),
    [
        ("DCIM/20261124/DCAM_A_B_20261124_091507_IMP.mp4", DCAM, "dcam_a_b_20261124_091507"),
        ("GPS/DCAM_A_B_20261124_091507.txt", DCAM, "dcam_a_b_20261124_091507"),
        ("Nov.24.2026/091507#+.avi", MONTHS, "091507"),
        ("DCIM/100MEDIA/MVI_0042.THM", DCF, "mvi_0042"),
        (".hidden", GENERIC, ".hidden"),
        ("a.b.c", GENERIC, "a.b"),
        ("a/", GENERIC, ""),
    ],
)
def test_the_stem_is_what_the_files_of_a_recording_share(name: str, profile: Profile, stem: str) -> None:
    assert take_apart(decode_name(name.encode()), profile).stem == stem


def test_the_whole_is_what_the_parts_of_a_recording_share() -> None:
    first, second = (take_apart(decode_name(f"DATA/2026-11-24_011507_{n}.mp4".encode()), DATA) for n in (1, 2))
    assert (first.facts.part, second.facts.part) == (1, 2)
    assert first.whole == second.whole and first.stem != second.stem


@given(st.binary(min_size=1, max_size=120), st.sampled_from(list(PROFILES.values())))
def test_no_name_is_too_absurd(raw: bytes, profile: Profile) -> None:
    assert isinstance(take_apart(decode_name(raw), profile).facts, NameFacts)


@given(
    st.datetimes(datetime(1980, 1, 1), datetime(2107, 12, 31)),  # noqa: DTZ001 (a wall clock)
    st.from_regex(r"[A-Z0-9]{1,12}", fullmatch=True),
    st.from_regex(r"[A-Z0-9]{1,12}", fullmatch=True),
    st.booleans(),
)
def test_what_a_camera_writes_into_a_name_is_read_from_it(
    start: datetime, camera: str, officer: str, important: bool
) -> None:
    name = f"DCIM/{start:%Y%m%d}/DCAM_{camera}_{officer}_{start:%Y%m%d_%H%M%S}{'_IMP' if important else ''}.mp4"
    seconds = int(start.replace(microsecond=0, tzinfo=UTC).timestamp())
    unset = start.year in DCAM.unset_years
    assert facts(name, DCAM) == NameFacts(camera, officer, seconds, 1, None, important, no_time=unset)
