"""A profile to start from: it loads, fits the device that it was made of, and holds nobody's name."""

from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.drivers.listings import PROFILES, wall

from dockwarden.agent.drivers.profiles import Profile, Seen, choose, load, parse
from dockwarden.agent.drivers.source import decode_name
from dockwarden.agent.drivers.suggesting import suggest
from dockwarden.agent.metadata.filenames import take_apart


def suggested(seen: Seen, names: list[str]) -> Profile:
    return parse(suggest(seen, names), Path("new.toml"))


def facts(profile: Profile, name: str) -> tuple[int | None, int | None]:
    found = take_apart(decode_name(name.encode()), profile)
    assert found.pattern is not None, name
    return found.facts.started_local, found.facts.sequence


def test_a_camera_of_another_make() -> None:
    seen = Seen("Acme", "Body-Cam 3", "NO NAME", frozenset({"FILES", "LOG", "FILES/20261124"}), "1234:abcd")
    names = [f"FILES/20261124/REC_A7_{day}_091507_000{n}.MP4" for n, day in enumerate(("20261124", "20261125"))]
    profile = suggested(seen, [*names, "LOG/20261124.txt", "readme"])
    assert (profile.name, profile.kind, profile.layout) == ("new-body-cam-3", "camera", {"LOG": "log"})
    assert choose([*PROFILES.values(), profile], seen) == profile
    other = Seen("Acme", "Body-Cam 3", None, seen.folders, "1234:abce")
    assert choose([*PROFILES.values(), profile], other).name == "generic"
    assert [facts(profile, name) for name in names] == [
        (wall("2026-11-24 09:15:07"), 0),
        (wall("2026-11-25 09:15:07"), 1),
    ]


@pytest.mark.parametrize(
    ("name", "start", "number"),
    [
        ("20261124_091507.mp4", "2026-11-24 09:15:07", None),
        ("A_20261124091507_0042.mp4", "2026-11-24 09:15:07", 42),
        ("2026-11-24_09-15-07.mp4", "2026-11-24 09:15:07", None),
        ("2026.11.24 09.15.07.mp4", "2026-11-24 09:15:07", None),
        ("261124_0915.wav", "2026-11-24 09:15:00", None),
        ("261124_0915_02.wav", "2026-11-24 09:15:00", 2),
        ("20261124T091507.mp4", "2026-11-24 09:15:07", None),
        ("VID20261124-12.mp4", None, 12),
        ("650113_20261124_091507.mp4", "2026-11-24 09:15:07", None),
        ("MVI_0042.MOV", None, 42),
        ("A123_B4.MOV", None, None),
    ],
)
def test_times_and_numbers_are_guessed_where_they_can_be(name: str, start: str | None, number: int | None) -> None:
    profile = suggested(Seen(product="X"), [f"V/{name}"])
    assert facts(profile, f"V/{name}") == (None if start is None else wall(start), number)


def test_what_is_no_time_in_one_name_of_a_shape_is_none_in_all() -> None:
    names = ["V/A_20261124_091507.mp4", "V/A_12345678_091507.mp4"]
    assert facts(suggested(Seen(product="X"), names), names[0]) == (None, 91507)


def test_a_clock_that_was_never_set_does_not_hinder_the_guess() -> None:
    names = ["V/2026-11-24_091507.mp4", "V/0000-00-00_000000.mp4"]
    profile = suggested(Seen(product="X"), names)
    assert [facts(profile, name)[0] for name in names] == [wall("2026-11-24 09:15:07"), None]
    assert take_apart(decode_name(names[1].encode()), profile).facts.no_time


def test_a_recorder_is_told_by_its_files() -> None:
    assert suggested(Seen(product="X"), ["A/1.mp3", "A/2.wav", "A/3.mp4"]).kind == "recorder"


def test_nothing_that_a_person_could_have_set_is_in_it() -> None:
    seen = Seen("Acme", "Cam", "ZHANGSAN", frozenset({"ZHANGSAN", "张三", "DCIM", "DCIM/ZHANGSAN"}))
    names = ["ZHANGSAN/zhangsan_001.mp4", "张三/张三.mp4", "DCIM/ZHANGSAN/DCAM_ZhangSan_650113_20261124_091507.zhang"]
    names += ["650113/a.zhan"]
    for each in (seen, Seen(label="ZHANGSAN"), Seen(folders=seen.folders)):
        text = suggest(each, names)
        assert not [word for word in ("zhan", "张", "650113", "20261124") if word in text.lower()], text
        assert choose([*PROFILES.values(), parse(text, Path("new.toml"))], each).name.startswith("new-")


def test_a_device_that_says_nothing_and_is_empty() -> None:
    profile = suggested(Seen(), [])
    assert choose([*PROFILES.values(), profile], Seen()) == profile


def test_what_is_suggested_for_a_known_device_reads_what_its_own_profile_reads() -> None:
    names = [f"DCIM/20261124/DCAM_ZB2041_650113_20261124_0915{second:02d}.mp4" for second in range(3)]
    profile = suggested(Seen(usb="4255:0001"), names)
    for name in names:
        own = take_apart(decode_name(name.encode()), PROFILES["dcam"]).facts
        assert facts(profile, name)[0] == own.started_local


TEXT = st.one_of(
    st.none(), st.text(max_size=20), st.sampled_from(["'", '"', "\\", "\x7f\r\n", "]]", "a#b", "K", "\U0001f6a8"])
)
PATHS = st.one_of(
    st.text(min_size=1, max_size=30),
    st.from_regex(r"[A-Za-z]{0,4}[_-]?[0-9]{0,14}[_ .-][0-9]{2,8}[_T-][0-9]{1,6}\.[a-z0-9]{0,5}", fullmatch=True),
    st.from_regex(r"(DCIM|LOG|gps|.)/[0-9]{4}-[0-9]{2}[-_][0-9]{2}_[0-9]{6}(_IMP)?\.mp4", fullmatch=True),
)


@given(
    st.builds(
        Seen,
        TEXT,
        TEXT,
        TEXT,
        st.frozensets(PATHS, max_size=4),
        st.one_of(st.none(), st.from_regex("[0-9a-f]{4}:[0-9a-f]{4}", fullmatch=True)),
    ),
    st.lists(PATHS, max_size=20),
)
@example(Seen("'", "\x7f", "K", frozenset({"\x85"})), ["%Y/20261124%091507.mp4", "a\n20261124\n101010"])
def test_whatever_a_device_is_the_suggestion_loads_beside_the_others_and_fits_it(
    tmp_path_factory: pytest.TempPathFactory, seen: Seen, names: list[str]
) -> None:
    built_in = load()
    assume(choose(built_in.profiles, seen).name == "generic")
    folder = tmp_path_factory.mktemp("new")
    (folder / "new.toml").write_text(suggest(seen, names), "utf-8")
    loaded = load([Path(str(folder))])
    assert loaded.refused == ()
    assert choose([*built_in.profiles, *loaded.profiles], seen) == loaded.profiles[0]
    if len(names) <= 8:
        for name in names:
            assert take_apart(decode_name(name.encode()), loaded.profiles[0]).pattern is not None
