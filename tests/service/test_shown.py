"""Values from outside become text that hides nothing."""

import unicodedata
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.service import shown
from dockwarden.service.shown import Shown, isolate, moment, percent, size, visible, zone_name


@given(st.text())
def test_nothing_hidden_is_left_and_the_rest_is_kept(text: str) -> None:
    seen = visible(text)
    assert not [letter for letter in seen if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(seen) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufeff")
    seen.encode()
    plain = "".join(letter for letter in text if unicodedata.category(letter)[0] in "LNPS")
    assert all(letter in seen for letter in plain)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\nb", "a⟨LF⟩b"),
        ("\u202egpj.exe", "⟨U+202E⟩gpj.exe"),
        ("x\udc81", "x⟨81⟩"),
        ("执法 👮🏽\u200d♀️ ئۇ", "执法 👮🏽\u200d♀️ ئۇ"),
    ],
)
def test_hidden_characters_are_named(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_text_is_made_visible_once_and_isolated_inside_sentences() -> None:
    inside = isolate("مە\u202e")
    assert inside == "\u2068مە⟨U+202E⟩\u2069"
    assert shown.finish(inside) is inside
    assert isolate("plain") == "plain"
    assert isolate(Shown("x\u2068")) == "x\u2068"
    assert isolate(3) == 3


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (18_730_000_000, "18.7 GB"), (999_600, "1.00 MB"),
     (10**15, "1000 TB"), (None, "—"), (-1, "—"), ("7", "—"), (True, "—"), (float("nan"), "—")],
)  # fmt: skip
def test_sizes(count: object, text: str) -> None:
    assert size(count).replace("\u00a0", " ") == text


def test_a_percentage_never_says_all_before_it_is_all() -> None:
    assert percent(999, 1000) == 99
    assert percent(1000, 1000) == 100
    assert percent(5, 0) == percent(None, 3) == 0
    assert percent(7, 3) == 100


def test_moments_are_wall_clock_of_the_zone_that_is_named() -> None:
    utc = "2026-12-31T20:30:00.250Z"
    assert moment(utc, shown.BEIJING) == moment({"utc": utc}, shown.BEIJING) == "2027-01-01 04:30:00"
    assert moment(utc, timezone(timedelta(hours=-3, minutes=-30))) == "2026-12-31 17:00:00"
    strange: list[object] = [None, "", "yesterday", "2026-13-01T00:00:00Z", 5, {}]
    assert [moment(value, shown.BEIJING) for value in strange] == ["—"] * 6
    assert zone_name(shown.BEIJING) == "UTC+8"
    assert zone_name(timezone(timedelta(hours=-3, minutes=-30))) == "UTC-3:30"
