"""Recordings: what is one press of the button, what lies beside it, and what lies between its files."""

from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.drivers.listings import PROFILES, source

from dockwarden.agent.drivers.profiles import Profile, parse
from dockwarden.agent.drivers.source import SourceInfo, decode_name
from dockwarden.agent.metadata.listing import read_listing
from dockwarden.agent.metadata.recordings import MOST_OF_A_DAY, Grouped, group

DCAM, DCF, MONTHS, DATA = (PROFILES[name] for name in ("dcam", "dcf", "month-folders", "data-local"))


def clip(
    at: str, end: str | None = None, mark: str = "", ending: str = "mp4", cam: str = "A", size: int = 9
) -> SourceInfo:
    """A file of 2026-11-24, from `at` to `end` (hhmmss)."""
    end = end or at
    return source(
        f"DCIM/20261124/DCAM_{cam}_B_20261124_{at}{mark}.{ending}", f"2026-11-24 {end[:2]}:{end[2:4]}:{end[4:]}", size
    )


def grouped(sources: list[SourceInfo], profile: Profile = DCAM, **durations: int) -> Grouped:
    by_source = {
        each: durations[key] for each in sources for key in durations if key.removeprefix("at") in each.name.text
    }
    return group(read_listing(sources, profile), profile, by_source)


def shape(found: Grouped) -> list[list[str]]:
    return [
        [each.name.text.rpartition("/")[2] for segment in recording.segments for each in segment.files]
        for recording in found.recordings
    ]


def beside(found: Grouped, number: int = 0) -> list[tuple[str, str]]:
    return [(kind, each.name.text) for kind, each in found.recordings[number].sidecars]


def test_files_that_follow_by_their_last_modified_times_are_one_recording() -> None:
    first, second, third = clip("091500", "091606"), clip("091605", "091700"), clip("092000", "092100")
    found = grouped([third, second, first])
    assert [len(recording.segments) for recording in found.recordings] == [2, 1]
    assert found.recordings[0].gaps_s == (None,)
    assert found.alone == ()


def test_with_durations_the_gap_between_files_is_told_in_seconds() -> None:
    sources = [clip("091500", "091606"), clip("091605"), clip("091704")]
    found = grouped(sources, at091500=64_500, at091605=60_250, at091704=1000)
    (recording,) = found.recordings
    assert recording.gaps_s == (0.5, -1.25)


def test_a_duration_says_more_than_a_last_modified_time() -> None:
    sources = [clip("091500", "091604"), clip("091605")]
    assert len(grouped(sources).recordings) == 1
    assert len(grouped(sources, at091500=10_000).recordings) == 2


def test_cameras_kinds_volumes_and_photos_are_not_mixed() -> None:
    one = clip("091500", "091600")
    for other in (clip("091600", cam="Z"), clip("091600", ending="m4a")):
        assert len(grouped([one, other]).recordings) == 2
    photos = [clip("091500", "091501", ending="jpg"), clip("091501", "091502", ending="jpg")]
    assert len(grouped(photos).recordings) == 2
    elsewhere = SourceInfo("other card", clip("091600").name, 9, clip("091600").modified_raw)
    assert len(grouped([one, elsewhere]).recordings) == 2


def test_a_family_that_says_nothing_of_time_joins_nothing_by_it() -> None:
    quiet = DCAM.model_copy(update={"segments_within_s": None})
    assert len(grouped([clip("091500", "091600"), clip("091600")], quiet).recordings) == 2


def test_files_of_one_stem_are_one_segment_the_larger_first() -> None:
    found = grouped([source("DCIM/100MEDIA/IMG_0001.JPG"), source("DCIM/100MEDIA/IMG_0001.WAV", size=5000)], DCF)
    assert shape(found) == [["IMG_0001.WAV", "IMG_0001.JPG"]]
    assert len(found.recordings[0].segments) == 1


def test_one_stem_in_two_folders_is_two_files() -> None:
    found = grouped([source("DCIM/100MEDIA/IMG_0001.JPG"), source("DCIM/101MEDIA/IMG_0001.JPG")], DCF)
    assert len(found.recordings) == 2


def test_sidecars_are_kept_with_their_recording_also_from_another_folder() -> None:
    stem = "DCAM_A_B_20261124_091500"
    sources = [
        clip("091500", mark="_IMP"),
        source(f"GPS/{stem}.txt"),
        source(f"DCIM/20261124/{stem}_IMP.srt"),
        source(f"DCIM/20261124/{stem}.THM"),
        source(f"LOG/{stem}.log"),
    ]
    found = grouped(sources)
    assert found.alone == ()
    assert sorted(beside(found)) == [
        ("log", f"LOG/{stem}.log"),
        ("position", f"GPS/{stem}.txt"),
        ("subtitle", f"DCIM/20261124/{stem}_IMP.srt"),
        ("thumbnail", f"DCIM/20261124/{stem}.THM"),
    ]


def test_a_sidecar_belongs_to_the_file_in_its_folder_and_to_none_where_two_others_have_its_stem() -> None:
    media = [source("DCIM/100MEDIA/MVI_0001.MOV"), source("DCIM/101MEDIA/MVI_0001.MOV")]
    found = grouped([*media, source("DCIM/101MEDIA/MVI_0001.THM")], DCF)
    assert [beside(found, number) for number in (0, 1)] == [[], [("thumbnail", "DCIM/101MEDIA/MVI_0001.THM")]]
    lost = grouped([*media, source("DCIM/102MEDIA/MVI_0001.THM")], DCF)
    assert [each.source.name.text for each in lost.alone] == ["DCIM/102MEDIA/MVI_0001.THM"]


def test_a_log_of_a_day_belongs_to_all_recordings_of_that_day() -> None:
    found = grouped([clip("091500"), clip("101500"), source("LOG/20261124.txt"), source("LOG/20261123.txt")])
    assert [beside(found, number) for number in (0, 1)] == [[("log", "LOG/20261124.txt")]] * 2
    assert [each.source.name.text for each in found.alone] == ["LOG/20261123.txt"]


def test_a_card_full_of_logs_of_one_day_makes_no_list_without_measure() -> None:
    logs = [source(f"LOG/{number}/20261124.txt") for number in range(300)]
    found = grouped([clip("091500"), clip("101500"), *logs])
    assert [len(beside(found, number)) for number in (0, 1)] == [MOST_OF_A_DAY] * 2
    assert len(found.alone) == 300 - MOST_OF_A_DAY


def test_a_profile_can_say_what_is_a_sidecar() -> None:
    profile = parse(
        'name = "x"\nfamily = "mass-storage"\nkind = "camera"\n[sidecars]\nposition = "TRACK/.*"\n', Path("x.toml")
    )
    found = grouped([source("V/a.mp4"), source("TRACK/a.bin")], profile)
    assert beside(found) == [("position", "TRACK/a.bin")]


def test_a_file_marked_as_continued_goes_on_where_the_one_before_ends() -> None:
    sources = [source(f"Nov.24.2026/{name}.avi") for name in ("091500", "091500+", "092000+", "093000", "094000#+")]
    assert shape(grouped(sources, MONTHS)) == [
        ["091500.avi", "091500+.avi", "092000+.avi"],
        ["093000.avi", "094000#+.avi"],
    ]


def test_parts_of_one_recording_are_in_the_order_of_their_numbers() -> None:
    sources = [source(f"DATA/2026-11-24_011507_{part}.mp4") for part in (10, 9, 1)]
    found = grouped([*sources, source("DATA/2026-11-24_021507_2.mp4")], DATA, at011507=1000)
    assert [[each.named.facts.part for each in recording.segments] for recording in found.recordings] == [
        [1, 9, 10],
        [2],
    ]
    assert found.recordings[0].gaps_s == (None, None), (
        "parts that all bear the recording's start tell nothing of theirs"
    )


NAMES = st.one_of(
    st.binary(min_size=1, max_size=30),
    st.builds(
        "{}/{}".format,
        st.sampled_from(["DCIM/100MEDIA", "DCIM/20261124", "GPS", "Nov.24.2026", "DATA", "LOG", "REC_FILE/FOLDER01"]),
        st.sampled_from(
            [
                *(f"DCAM_A_B_20261124_0915{second:02d}{mark}" for second in range(4) for mark in ("", "_IMP")),
                *(f"MVI_{number:04d}" for number in (0, 1, 2, 9999)),
                *("091500", "091500+", "2026-11-24_011507_1", "2026-11-24_011507_3", "0000-00-00_000000", "20261124"),
            ]
        ),
    ).flatmap(
        lambda stem: (
            st.sampled_from([".mp4", ".MOV", ".avi", ".thm", ".srt", ".txt", ""]).map(stem.__add__).map(str.encode)
        )
    ),
)
SOURCES = st.lists(
    st.builds(
        lambda raw, size, modified, volume, marks: SourceInfo(volume, decode_name(raw), size, modified, marks),
        NAMES,
        st.integers(0, 1 << 40),
        st.one_of(st.integers(), st.integers(1_795_000_000, 1_797_000_000)),
        st.sampled_from(["a", "b"]),
        st.frozensets(st.sampled_from(["important", "log", "position"])),
    ),
    max_size=12,
)


@given(SOURCES, st.sampled_from(list(PROFILES.values())), st.data())
def test_every_file_is_in_a_recording_or_beside_one_or_alone(
    sources: list[SourceInfo], profile: Profile, data: st.DataObject
) -> None:
    sources = list(dict.fromkeys(sources))
    durations = data.draw(st.dictionaries(st.sampled_from(sources), st.integers(0, 1 << 50))) if sources else {}
    found = group(read_listing(sources, profile), profile, durations)
    media = [each for recording in found.recordings for segment in recording.segments for each in segment.files]
    sidecars = {each for recording in found.recordings for _, each in recording.sidecars}
    alone = [each.source for each in found.alone]
    assert len(media) == len(set(media)) and len(alone) == len(set(alone))
    assert {*media, *sidecars, *alone} == set(sources)
    assert not set(media) & sidecars and not sidecars & set(alone)
    assert all(len(recording.gaps_s) == len(recording.segments) - 1 for recording in found.recordings)


@given(st.lists(st.tuples(st.integers(1, 600), st.integers(-2, 2)), min_size=1, max_size=20))
def test_gaps_are_what_was_planted(takes: list[tuple[int, int]]) -> None:
    at, sources, durations = timedelta(hours=1), [], {}
    for seconds, gap in takes:
        name = f"DCIM/DCAM_A_B_20261124_{at.seconds // 3600:02d}{at.seconds // 60 % 60:02d}{at.seconds % 60:02d}.mp4"
        sources.append(source(name))
        durations[sources[-1]] = seconds * 1000
        at += timedelta(seconds=max(1, seconds + gap))
    found = group(read_listing(sources, DCAM), DCAM, durations)
    planted = [float(max(1, seconds + gap) - seconds) for seconds, gap in takes[:-1]]
    assert [gap for recording in found.recordings for gap in recording.gaps_s] == planted
    assert len(found.recordings) == 1
