"""Profiles are data: good ones are taken, a wrong one says what is wrong, two that fit are an error."""

import json
import re
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.profiles import ProfileError, Seen, choose, load, read

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
    assert {profile.name for profile in loaded.profiles} == {"dcam", "recorder", "generic"}
    assert [profile.name for profile in loaded.profiles if not profile.match] == ["generic"]


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        (Seen(folders=frozenset({"DCIM", "DCIM/20261124"})), "dcam"),
        (Seen(product="DCAM X3"), "dcam"),
        (Seen(folders=frozenset({"REC_FILE", "REC_FILE/FOLDER01"})), "recorder"),
        (Seen(product="DCAM-X3", folders=frozenset({"REC_FILE"})), "dcam"),
        (Seen(folders=frozenset({"DCIM", "DCIM/100MEDIA"})), "generic"),
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


def test_without_a_fallback_an_unknown_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        choose(load([folder_of(tmp_path, other=GOOD)]).profiles, Seen())
    assert caught.value.code == "no-profile"


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("name =", "-", "is not TOML"),
        (GOOD.replace('"mass-storage"', '"mtp"'), "family", "mass-storage"),
        (GOOD.replace('kind = "camera"', ""), "kind", "required"),
        (GOOD.replace('"other"', '"Other One"'), "name", "pattern"),
        (GOOD.replace('folder = "OTHER"', 'folder = "("'), "match.0.folder", "regular expression"),
        (GOOD.replace('folder = "OTHER"', ""), "match.0", "fits every device"),
        (GOOD.replace('folder = "OTHER"', 'colour = "red"'), "match.0.colour", "not permitted"),
        (GOOD + "[[names]]\nname = '(?P<who>x)'\n", "names.0.name", "has a group who"),
        (GOOD + "[[names]]\nname = '(?P<date>x)'\n", "names.0", "go together"),
        (GOOD + "[[names]]\nname = '(?P<date>x)'\nwhen = '%Q'\n", "names.0.when", "may hold"),
        (GOOD + "[[names]]\nname = '(?P<date>x)'\nwhen = '%Y%'\n", "names.0.when", "may hold"),
        (GOOD + "[limits]\nfiles = 0\n", "limits.files", "greater"),
        (GOOD + "[limits]\nname_bytes = 50000\n", "limits.name_bytes", "less"),
        (GOOD.replace("[[match]]", "zone_minutes = '480'\n[[match]]"), "zone_minutes", "integer"),
    ],
)
def test_a_wrong_profile_is_refused_with_file_key_and_reason_and_the_others_go_on(
    tmp_path: Path, text: str, key: str, reason: str
) -> None:
    loaded = load([folder_of(tmp_path, bad=text), profiles.BUILT_IN])
    assert len(loaded.profiles) == 3
    (error,) = loaded.refused
    assert error.code == "bad-profile"
    assert error.where == f"bad.toml, key {key}"
    assert reason in error.what


def test_two_profiles_of_one_name_or_two_fallbacks_are_refused(tmp_path: Path) -> None:
    twin = GOOD.replace("OTHER", "TWIN")
    fallback = 'name = "all"\nfamily = "mass-storage"\nkind = "camera"\n'
    folder = folder_of(tmp_path, a=GOOD, b=twin, c=fallback, d=fallback.replace("all", "every"))
    loaded = load([folder])
    assert [profile.name for profile in loaded.profiles] == ["other", "all"]
    assert [error.where for error in loaded.refused] == ["b.toml, key name", "d.toml, key match"]
    assert "a.toml" in loaded.refused[0].what


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").symlink_to("nowhere")
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    assert len(load([tmp_path]).refused) == 2


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
    examples = [
        "DCAM_ZB2041_650113_20261124_091500_IMP.mp4",
        "ZB2041_650113_20261124091500_0007.MP4",
        "261124_0915.wav",
    ]
    patterns = [pattern.name for profile in load().profiles for pattern in profile.names]
    assert all(any(re.fullmatch(pattern, example) for example in examples) for pattern in patterns)
