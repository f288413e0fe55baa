"""The words on the screens: one JSON file a language and a side, the same keys in each; zh is the default."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockwarden.service.shown import Shown, isolate

LANGUAGES = ("zh", "en")
Catalogues = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Words:
    """One language's catalogue, ready to speak."""

    language: str
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: Any) -> Shown:
        """The text of ``key``; values are isolated, so that a name's writing direction stays its own affair.

        With ``n`` given and equal to one, ``key.one`` is taken where it exists. Raises KeyError for an
        unknown key: a page with a hole in it is a fault to be found by a test.
        """
        if values.get("n") == 1 and f"{key}.one" in self.texts:
            key = f"{key}.one"
        return Shown(self.texts[key].format_map({name: isolate(value) for name, value in values.items()}))

    def known(self, key: str) -> bool:
        """Whether the catalogue has ``key``."""
        return key in self.texts

    def duration(self, seconds: float | int | None) -> Shown:
        """A length of time in the two largest units that matter; a dash when it is not known."""
        if seconds is None or not 0 <= seconds < 10_000_000:
            return Shown("—")
        whole = round(seconds)
        days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
        if days:
            return self("duration.days", d=days, h=hours)
        if hours:
            return self("duration.hours", h=hours, m=minutes)
        if minutes:
            return self("duration.minutes", m=minutes, s=whole % 60)
        return self("duration.seconds", s=whole)


def load_catalogues(folders: Sequence[Path]) -> Catalogues:
    """Read ``zh.json`` and ``en.json`` of each folder; a key is defined once. Raises ValueError otherwise."""
    catalogues: dict[str, dict[str, str]] = {language: {} for language in LANGUAGES}
    for folder in folders:
        for language, texts in catalogues.items():
            path = folder / f"{language}.json"
            for key, text in json.loads(path.read_text(encoding="utf-8")).items():
                if key in texts:
                    raise ValueError(f"{path}: {key} is defined twice")
                texts[key] = text
    odd = set.symmetric_difference(*(set(texts) for texts in catalogues.values()))
    if odd:
        raise ValueError(f"{folders[-1]}: not in every language: {', '.join(sorted(odd))}")
    return catalogues


def choose_language(asked: str | None, remembered: str | None, accepted: str) -> str:
    """``?lang=``, then the cookie, then Accept-Language (RFC 9110 §12.5.4), then zh."""
    for wish in (asked, remembered):
        if wish in LANGUAGES:
            return wish
    wishes: list[tuple[float, str]] = []
    for part in accepted[:200].split(","):
        found = re.fullmatch(
            r"\s*([a-z]{2,3})(?:-[a-z0-9-]+)?\s*(?:;\s*q=(0(?:\.\d{1,3})?|1(?:\.0{1,3})?))?\s*", part.lower()
        )
        if found and found[1] in LANGUAGES:
            wishes.append((float(found[2] or 1), found[1]))
    wishes.sort(key=lambda wish: -wish[0])
    return wishes[0][1] if wishes and wishes[0][0] > 0 else LANGUAGES[0]
