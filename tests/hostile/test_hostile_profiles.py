"""Profiles that are damaged or absurd: refused by file and line, or taken; none keeps the station busy."""

from functools import partial
from pathlib import Path

import pytest
from tests.hostile import toml
from tests.hostile.watching import watched

from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.profiles import ProfileError

SEED = 1
SAMPLE = 300


def test_a_sample_of_mutated_profiles_is_taken_or_refused_with_file_and_line() -> None:
    played = list(watched(partial(toml.play, SEED), range(SAMPLE)))
    assert [each for each in played if each.wrong] == []
    assert {each.outcome for each in played} == {"taken", "refused"}


@pytest.mark.parametrize(
    "pattern", ["(([A-Z]+)+)+!", "(.*)*x", "(a|a|.)*b", "(?i)((((((.*)*)*)*)*)*)*x", ".*" * 200 + "x"]
)
def test_no_pattern_can_be_kept_busy_by_a_name(pattern: str) -> None:
    """With an engine that tries every way each of these would go on for longer than anybody lives."""
    text = toml.GOOD.replace('"GOOD"', f"'{pattern}'") + f"[[names]]\nname = '{pattern}'\n"
    played = watched(lambda _: str(toml.use(profiles.parse(text, Path("x.toml")))), [0])
    assert [each.wrong for each in played] == [None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (".".join("a" * 30_000) + " = 1\n", "a line is longer"),
        ("".join(".".join("a" * 240) + f".b{number} = 1\n" for number in range(130)), "Extra inputs"),
        ("unset_years = [\n" + ("1," * 240 + "\n") * 130 + "]\n", None),
        ("unset_years = [\n" + "1970,\n" * 9000 + "]\n", None),
        (toml.GOOD + "[[names]]\nname = '.{200}'\n" * 2000, "at most 100 items"),
        (toml.GOOD + "[[names]]\nname = '((.{0,8}){0,8})x'\n" * 100, None),
    ],
    ids=["one long key", "long keys", "long lines", "many lines", "many patterns", "large patterns"],
)
def test_an_absurd_profile_costs_neither_time_nor_memory(text: str, said: str | None) -> None:
    whole = text if text.startswith(toml.GOOD) else text + toml.GOOD
    assert len(whole) < profiles.MOST_BYTES

    def load(_: int) -> str:
        try:
            toml.use(profiles.parse(whole, Path("x.toml")))
        except ProfileError as error:
            return error.what
        return "taken"

    (played,) = watched(load, [0])
    assert played.wrong is None
    assert said in played.outcome if said else played.outcome == "taken"


@pytest.mark.parametrize("form", ["%Y%Y%m%d", "%Y%m%d%H%H", "%Y%y%m%d%b"])
def test_a_form_of_a_time_that_says_something_twice_is_refused_with_its_line(form: str) -> None:
    text = toml.GOOD + f"[[names]]\nname = '(?P<date>x)'\nwhen = '{form}'\n"
    with pytest.raises(ProfileError, match=r"x\.toml:8: names\.0\.when: "):
        profiles.parse(text, Path("x.toml"))
