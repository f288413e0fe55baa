"""Words: the same keys and the same gaps in every language; the visitor's language is found."""

import json
import re
from pathlib import Path

import pytest

import dockwarden
from dockwarden.service.words import Words, choose_language, load_catalogues

HOUSE = Path(dockwarden.__file__).parent
SHARED = HOUSE / "service" / "locales"
SIDES = [HOUSE / "agent" / "panel", HOUSE / "centre" / "web"]


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_every_language_has_the_same_keys_and_the_same_gaps(side: Path) -> None:
    catalogues = load_catalogues([SHARED, side / "locales"])
    for key, text in catalogues["zh"].items():
        other = catalogues["en"][key]
        assert text.strip() and other.strip(), key
        assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", other)), key


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_every_key_that_a_template_names_is_in_the_catalogue(side: Path) -> None:
    keys = set(load_catalogues([SHARED, side / "locales"])["zh"])
    for path in [*(HOUSE / "service" / "templates").glob("*.html"), *(side / "templates").glob("*.html")]:
        text = path.read_text(encoding="utf-8")
        for key in re.findall(r"""\bt\(["']([\w.-]+)["'][,)]""", text):
            assert key in keys, f"{path.name}: {key}"
        for start in re.findall(r"""\bt\(["']([\w.-]+)["'] ~""", text):
            assert any(key.startswith(start) for key in keys), f"{path.name}: {start}…"


def test_keys_that_differ_or_double_are_refused(tmp_path: Path) -> None:
    for language in ("zh", "en"):
        (tmp_path / f"{language}.json").write_text(json.dumps({f"only.{language}": "x"}))
    with pytest.raises(ValueError, match="not in every language"):
        load_catalogues([tmp_path])
    with pytest.raises(ValueError, match="defined twice"):
        load_catalogues([SHARED, SHARED])


def test_words_count_and_measure() -> None:
    words = Words("en", {**load_catalogues([SHARED])["en"], "n": "{n} files", "n.one": "{n} file"})
    assert [words("n", n=1), words("n", n=2)] == ["1 file", "2 files"]
    assert [words.duration(s) for s in (0, 95, 3700, 90_000)] == ["0 s", "1 min 35 s", "1 h 1 min", "1 d 1 h"]
    assert [words.duration(s) for s in (None, -1, float("nan"), 10**9)] == ["—"] * 4
    with pytest.raises(KeyError):
        words("no such key")


@pytest.mark.parametrize(
    ("asked", "remembered", "accepted", "language"),
    [
        (None, None, "", "zh"),
        ("en", "zh", "zh", "en"),
        ("xx", "en", "zh", "en"),
        (None, None, "en-US,en;q=0.9,zh-CN;q=0.8", "en"),
        (None, None, "fr, en;q=0.3, zh-Hans-CN;q=0.8", "zh"),
        (None, None, "de-DE", "zh"),
        (None, None, "en;q=0", "zh"),
        (None, None, "en;q=7,;;q=,\u00ff", "zh"),
    ],
)
def test_the_language_is_what_was_asked_remembered_or_accepted(
    asked: str | None, remembered: str | None, accepted: str, language: str
) -> None:
    assert choose_language(asked, remembered, accepted) == language
