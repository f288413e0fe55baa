"""Profiles are data: good ones are taken, a wrong one says what is wrong, two that fit are an error."""

import json
import re
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.drivers.listings import wall

from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.naming import CameraLog, NamePattern
from dockwarden.agent.drivers.profiles import (
    Important,
    Limits,
    Match,
    Profile,
    ProfileError,
    Seen,
    Usb,
    allowed_interfaces,
    choose,
    load,
    parse,
    read,
)
from dockwarden.agent.drivers.source import decode_name
from dockwarden.agent.drivers.toml_lines import line_of, lines_of
from dockwarden.agent.metadata.filenames import take_apart

GOOD = """
name = "other"
family = "mass-storage"
kind = "camera"
[[match]]
folder = "OTHER"
"""


def folder_of(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text, "utf-8")
    return tmp_path


def test_the_built_in_profiles_are_good_and_have_one_fallback() -> None:
    loaded = load()
    assert loaded.refused == ()
    names = "data-local dcam dcf generic month-folders olympus panasonic recorder sony-voice"
    assert [profile.name for profile in loaded.profiles] == names.split()
    assert [profile.name for profile in loaded.profiles if not profile.match] == ["generic"]


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        (Seen(folders=frozenset({"DCIM", "DCIM/20261124"})), "dcam"),
        (Seen(product="DCAM X3"), "dcam"),
        (Seen(folders=frozenset({"REC_FILE", "REC_FILE/FOLDER01"})), "recorder"),
        (Seen(product="DCAM-X3", folders=frozenset({"REC_FILE"})), "dcam"),
        (Seen(folders=frozenset({"DCIM", "DCIM/100MEDIA"})), "dcf"),
        (Seen(folders=frozenset({"DCIM", "DCIM/100_1124", "DCIM/999CANON"})), "dcf"),
        (Seen(folders=frozenset({"DCIM", "DCIM/100MEDIA", "DCIM/20261124"})), "dcam"),
        (Seen(folders=frozenset({"DCIM", "DCIM/00000000"})), "dcam"),
        (Seen(folders=frozenset({"DCIM", "DCIM/099MEDIA", "DCIM/100media", "DCIM/100MEDIAX"})), "generic"),
        (Seen(folders=frozenset({"RECORDER", "RECORDER/FOLDER_A"})), "olympus"),
        (Seen(folders=frozenset({"SD_VOICE"})), "panasonic"),
        (Seen(folders=frozenset({"VOICE"})), "sony-voice"),
        (Seen(folders=frozenset({"VOICE", "REC_FILE"})), "recorder"),
        (Seen(folders=frozenset({"Nov.24.2026"})), "month-folders"),
        (Seen(folders=frozenset({"VIDEO", "VIDEO/Nov.24.2026"})), "month-folders"),
        (Seen(folders=frozenset({"DATA", "DATA/LOCAL"})), "data-local"),
        (Seen(folders=frozenset({"DATA"})), "generic"),
        (Seen(), "generic"),
    ],
)
def test_a_device_gets_the_profile_that_fits(seen: Seen, name: str) -> None:
    assert choose(load().profiles, seen).name == name


def test_two_profiles_that_fit_are_an_error_that_names_both() -> None:
    seen = Seen(folders=frozenset({"REC_FILE", "DCIM/20261124"}))
    with pytest.raises(ProfileError, match="dcam and recorder") as caught:
        choose(load().profiles, seen)
    assert caught.value.code == "ambiguous-profile"


def test_two_entries_that_fit_equally_are_named_with_file_and_line(tmp_path: Path) -> None:
    first = GOOD + "[[match]]\nproduct = 'X[0-9]'\n"
    second = GOOD.replace("other", "second") + "\n[[match]]\nusb = '4255:0001'\n"
    loaded = load([folder_of(tmp_path, first=first, second=second)])
    assert choose(loaded.profiles, Seen(product="X1")).name == "other"
    assert choose(loaded.profiles, Seen(usb="4255:0001")).name == "second"
    with pytest.raises(ProfileError, match=r"other and second fit .* equally: first\.toml:7, second\.toml:8"):
        choose(loaded.profiles, Seen(product="X1", usb="4255:0001"))


def test_a_folder_that_must_not_be_there_keeps_a_profile_away() -> None:
    profile = parse(GOOD + 'without = "OTHER/.*"\n', Path("other.toml"))
    assert choose([profile], Seen(folders=frozenset({"OTHER"}))) == profile
    with pytest.raises(ProfileError, match="no profile fits"):
        choose([profile], Seen(folders=frozenset({"OTHER", "OTHER/x"})))


ALLOWS = GOOD.replace('folder = "OTHER"', "usb = '4255:0001'\nproduct = 'X.*'") + "[usb]\nallow = ['vendor']\n"


@pytest.mark.parametrize(
    ("text", "seen", "classes"),
    [
        (ALLOWS, Seen(usb="4255:0001", product="X3"), {0xFF}),
        (ALLOWS, Seen(usb="4255:0001", product="Y"), set()),
        (ALLOWS, Seen(usb="4255:00010", product="X3"), set()),
        (ALLOWS, Seen(product="X3"), set()),
        (ALLOWS.replace("product = 'X.*'", "folder = 'DCIM'"), Seen(usb="4255:0001", product="X3"), set()),
        (ALLOWS.replace("product = 'X.*'", "label = 'X'"), Seen(usb="4255:0001", label="X"), set()),
        (ALLOWS.replace("product = 'X.*'", "without = 'X'"), Seen(usb="4255:0001"), set()),
        (GOOD, Seen(usb="4255:0001"), set()),
    ],
)
def test_a_profile_lets_in_more_than_a_disk_by_what_is_known_before_that(
    text: str, seen: Seen, classes: set[int]
) -> None:
    assert allowed_interfaces([parse(text, Path("other.toml"))], seen) == classes


def test_without_a_fallback_an_unknown_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        choose(load([folder_of(tmp_path, other=GOOD)]).profiles, Seen())
    assert caught.value.code == "no-profile"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("name =", 1, "is not TOML"),
        (GOOD.replace('"mass-storage"', '"mtp"'), 3, "family: Input should be 'mass-storage'"),
        (GOOD.replace('kind = "camera"', ""), 1, "kind: Field required"),
        (GOOD.replace('"other"', '"Other One"'), 2, "name: String should match pattern"),
        (
            GOOD.replace('folder = "OTHER"', 'folder = "("'),
            6,
            "match.0.folder: is no regular expression: missing )",
        ),
        (GOOD.replace('"OTHER"', "'[[a]'"), 6, "match.0.folder: is no regular expression: Possible nested set"),
        (GOOD.replace('"OTHER"', "'a{99999999999}'"), 6, "match.0.folder: is no regular expression: the repetition"),
        (GOOD.replace('"OTHER"', "7"), 6, "match.0.folder: Input should be a valid"),
        (GOOD.replace('folder = "OTHER"', ""), 5, "match.0: fits every device"),
        (GOOD.replace('folder = "OTHER"', 'colour = "red"'), 6, "match.0.colour: Extra inputs are not permitted"),
        (GOOD + "[[names]]\nname = '(?P<who>x)'\n", 8, "names.0.name: has a group who"),
        (GOOD + "[[names]]\nname = '(?P<date>x)'\n", 7, "names.0: a group date and the key when go together"),
        (GOOD + "[[names]]\nname = '(?P<date>x)'\nwhen = '%Q'\n", 9, "names.0.when: may hold"),
        (GOOD + "[[names]]\nname = '(?P<date>x)'\nwhen = '%Y%'\n", 9, "names.0.when: may hold"),
        (GOOD + "[limits]\nfiles = 0\n", 8, "limits.files: Input should be greater"),
        (GOOD + "[limits]\nname_bytes = 50000\n", 8, "limits.name_bytes: Input should be less"),
        (
            GOOD + "\n[[match]]\nusb = '4255:0001'\n[[match]]\nusb = '4255:000A'\n",
            11,
            "match.2.usb: ids are written in lower",
        ),
        (GOOD.replace('folder = "OTHER"', 'without = "OTHER"'), 5, "match.0: fits every device"),
        (
            GOOD + "usb = '4255:0001'\n[usb]\nallow = ['keyboard or mouse']\n",
            9,
            "usb.allow: keyboard or mouse can never",
        ),
        (GOOD + "usb = '4255:0001'\n[usb]\nallow = ['communications']\n", 9, "usb.allow: communications can never"),
        (GOOD + "usb = '4255:0001'\n[usb]\nallow = ['wireless']\n", 9, "usb.allow: wireless can never be allowed"),
        (GOOD + "usb = '4255:0001'\n[usb]\nallow = ['network']\n", 9, "usb.allow: network is no kind of interface"),
        (GOOD + "[usb]\nallow = ['vendor']\n", 8, "usb.allow: needs a match with usb"),
        (GOOD + "usb = '4255:.*'\n[usb]\nallow = ['vendor']\n", 9, "usb.allow: needs a match with usb, and ids that"),
        (GOOD + "\n[[names]]\nname = '(?P<seq>1)'\nfolder = '(?P<seq>1)'\n", 8, "names.0: the group seq is both in"),
        (GOOD + "\n[[names]]\nname = '1'\ncounts = 'volume'\n", 8, "names.0: counts is said of a group seq"),
        (
            GOOD + "[log]\nfiles = 'L'\nrecorded = 'R'\nwhen = '%Y%m%d'\nline = '(?P<date>)'\n",
            11,
            "log.line: lacks a group event",
        ),
        (
            GOOD + "[log]\nfiles = 'L'\nrecorded = 'R'\nwhen = '%Y%m%d'\nline = '(?P<event>)'\n",
            7,
            "log: the group date is",
        ),
        (GOOD + "[[names]]\nname = '(?P<date>x)'\nwhen = '%d %H'\n", 9, "names.0.when: lacks year"),
        (GOOD + "[sidecars]\nposition = 'GPS/.*'\npicture = 'x'\n", 9, "sidecars.picture"),
        (GOOD + "names = [\n  # one\n  { name = 'a' },\n  { name = '(' },\n]\n", 7, "match.0.names: Extra"),
        (GOOD + 'name = "twice"\n[[match', 8, "is not TOML"),
        (
            GOOD.replace("[[match]]", "zone_minutes = '480'\n[[match]]"),
            5,
            "zone_minutes: Input should be a valid integer",
        ),
    ],
)
def test_a_wrong_profile_is_refused_with_file_line_key_and_reason_and_the_others_go_on(
    tmp_path: Path, text: str, line: int, reason: str
) -> None:
    loaded = load([folder_of(tmp_path, bad=text), profiles.BUILT_IN])
    assert loaded.profiles == load().profiles
    (error,) = loaded.refused
    assert error.code == "bad-profile"
    assert error.what.startswith(f"bad.toml:{line}: {reason}")
    assert error.where == str(tmp_path / "bad.toml")


def test_two_profiles_of_one_name_or_two_fallbacks_are_refused(tmp_path: Path) -> None:
    twin = GOOD.replace("OTHER", "TWIN")
    fallback = 'name = "all"\nfamily = "mass-storage"\nkind = "camera"\n'
    folder = folder_of(tmp_path, a=GOOD, b=twin, c=fallback, d=fallback.replace("all", "every"))
    loaded = load([folder])
    assert [profile.name for profile in loaded.profiles] == ["other", "all"]
    assert [error.what for error in loaded.refused] == [
        "b.toml:2: name: is the same as in a.toml:2",
        "d.toml:1: match: is the same as in c.toml:1",
    ]


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").symlink_to("nowhere")
    (tmp_path / "bytes.toml").write_bytes(b"# one\nname = '\xff'")
    (tmp_path / "deep.toml").write_text("x = " + "[" * 20_000)
    (tmp_path / "figure.toml").write_text("x = " + "9" * 20_000)
    (tmp_path / "long.toml").write_text("#\n" * 40_000)
    assert [error.code for error in load([tmp_path]).refused] == ["bad-profile"] * 5
    with pytest.raises(ProfileError, match=r"bytes\.toml:2: is not UTF-8"):
        read(tmp_path / "bytes.toml")


def test_a_statement_without_end_in_sight_costs_no_time(tmp_path: Path) -> None:
    """Its lines are looked for one by one; that must not grow with the square of a file's length."""
    long = "unset_years = [\n" + "1970,\n" * 9000 + "]\n" + GOOD.replace("OTHER", "(")
    folder_of(tmp_path, long=long)
    with pytest.raises(ProfileError, match=r"match\.0\.folder: is no regular expression"):
        read(tmp_path / "long.toml")


def test_lines_are_found_through_comments_strings_of_many_lines_and_inline_tables() -> None:
    text = (
        '# a = 1\n\na = """\nb = 2\n"""\nb = [\n  1, # [t]\n]\n[t] # x\n"c.d" = {e = 1}\nf.g = 2\n'
        "[[l]]\n[[l.m]]\n[[l]]\n[[l.m]]\n[[l.m]]\nz = '''[[l]]'''"
    )
    lines = lines_of(text)
    assert {(path, line) for path, line in lines.items() if len(path) == 1} == {(("a",), 3), (("b",), 6), (("t",), 9)}
    assert (lines[("t", "c.d", "e")], lines[("t", "f", "g")]) == (10, 11)
    assert (lines[("l", 0)], lines[("l", 0, "m", 0)], lines[("l", 1)]) == (12, 13, 14)
    assert lines[("l", 1, "m", 1, "z")] == 17
    assert (line_of(lines, ("l", 1, "m", 1, "y")), line_of(lines, ("t", "f", "h")), line_of(lines, ("q",))) == (
        16,
        11,
        1,
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["name", "family", "kind", "zone_minutes", "match", "names", "important", "limits", "x"])


@given(st.dictionaries(KEYS, VALUES))
def test_no_values_raise_anything_but_a_profile_error(values: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "any.toml")
        path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items()), "utf-8")
        with suppress(ProfileError):
            assert read(path).name == values["name"]


def test_every_name_pattern_of_the_built_in_profiles_has_an_example_here() -> None:
    examples = {
        "dcam": [
            "DCIM/20261124/DCAM_ZB2041_650113_20261124_091500_IMP.mp4",
            "VIDEO/ZB2041_650113_20261124091500_0007.MP4",
        ],
        "recorder": ["REC_FILE/FOLDER01/261124_0915.wav"],
        "dcf": ["DCIM/100MEDIA/DSCF0001.JPG"],
        "olympus": ["RECORDER/FOLDER_A/191003_0017.MP3", "RECORDER/FOLDER_B/DS300017.DS2"],
        "month-folders": ["Nov.24.2026/091507#+.avi"],
        "data-local": ["DATA/2026-11-24_011507.mp4", "DATA/LOCAL/0000-00-00_000000.mp4"],
    }
    for profile in load().profiles:
        fitting = [take_apart(decode_name(path.encode()), profile).pattern for path in examples.get(profile.name, [])]
        assert fitting == list(profile.names), profile.name


PAGE = Path(__file__).parents[2] / "docs" / "operating" / "profiles.md"


def test_the_example_of_the_manual_is_a_good_profile_with_every_key_in_it() -> None:
    (text,) = re.findall("```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    profile = parse(text, Path("acme-3.toml"))
    assert choose([*load().profiles, profile], Seen(usb="1234:abcd", product="Body-Cam 3")) == profile
    name = "FILES/20261124/ZB2041_091507_0042_IMP.MP4"
    found = take_apart(decode_name(name.encode()), profile).facts
    assert (found.camera, found.sequence, found.important) == ("ZB2041", 42, True)
    assert found.started_local == wall("2026-11-24 09:15:07")
    assert set(Profile.model_fields) == profile.model_fields_set


@pytest.mark.parametrize("model", [Profile, Match, Usb, NamePattern, CameraLog, Important, Limits])
def test_every_key_of_a_profile_stands_in_the_manual(model: type[BaseModel]) -> None:
    _, _, keys = PAGE.read_text("utf-8").partition("## Keys")
    assert [
        name
        for name in model.model_fields
        if f"`{name}`" not in keys and f"`[{name}]`" not in keys and f"`[[{name}]]`" not in keys
    ] == []


@pytest.mark.parametrize("profile", load().profiles, ids=lambda profile: profile.name)
def test_every_profile_that_comes_along_stands_in_the_manual(profile: Profile) -> None:
    assert f"| `{profile.name}` |" in PAGE.read_text("utf-8")


BUILT_IN_TEXTS = [path.read_text("utf-8") for path in sorted(profiles.BUILT_IN.glob("*.toml"))]


@given(st.sampled_from(BUILT_IN_TEXTS), st.data())
def test_a_mutated_profile_is_a_profile_or_an_error_of_ours_with_its_file(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        place, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 20))
        text = (
            text[:place]
            + data.draw(st.text(max_size=6) | st.sampled_from(["[", '"', "'", "\n", "=", "(", "\\", "{", "*"]))
            + text[place + length :]
        )
    try:
        assert parse(text, Path("any.toml")).name
    except ProfileError as error:
        assert re.match(r"any\.toml(:[0-9]+)?: ", error.what)
