"""How values from outside become text that a person can trust: nothing hidden, nothing that reorders the page."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeGuard

BEIJING = timezone(timedelta(hours=8))

# C0 and C1 controls, lone surrogates, and what changes direction or has no width. The zero-width joiners
# (U+200C, U+200D) stay: emoji and Uyghur need them.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"


class Shown(str):
    """Text that has been through `visible` already (so it may hold isolates of ours)."""

    __slots__ = ()


def visible(text: str) -> Shown:
    """Text with every hidden character made visible: a newline is ⟨LF⟩, a right-to-left override ⟨U+202E⟩."""
    return text if isinstance(text, Shown) else Shown(_HIDDEN.sub(_picture, text))


_NAMED = {"\t": "TAB", "\n": "LF", "\r": "CR", "\x00": "NUL", "\x1b": "ESC"}


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no character, as Python's surrogateescape keeps it
        return f"⟨{code - 0xDC00:02X}⟩"
    return f"⟨{_NAMED.get(found[0], f'U+{code:04X}')}⟩"


def isolate(value: Any) -> Any:
    """A text to stand inside a sentence, shielded by Unicode isolates (UAX 9); other values as they are."""
    if isinstance(value, Shown) or not isinstance(value, str):
        return value
    text = visible(value)
    return text if text.isascii() else Shown(f"{_FIRST_STRONG_ISOLATE}{text}{_POP_ISOLATE}")


def finish(value: Any) -> Any:
    """jinja2's ``finalize``: every text that a template prints is made visible; markup is left alone."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def size(count: Any) -> str:
    """Bytes in decimal units, as device makers and our figures count them: ``1.53 GB``; a dash when unknown."""
    if not _is_number(count) or count < 0:
        return "—"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 999.5 or unit == "TB":
            break
        amount /= 1000
    digits = 0 if unit == "B" or amount >= 99.95 else 1 if amount >= 9.995 else 2
    return f"{amount:.{digits}f}\u00a0{unit}"


def rate(per_second: Any) -> str:
    """Bytes a second; a dash when nothing is known or nothing moves."""
    return f"{size(per_second)}/s" if _is_number(per_second) and per_second > 0 else "—"


def count(number: Any) -> str:
    """A whole number with thousands apart; a dash when unknown."""
    return f"{number:,}" if _is_number(number) else "—"


def percent(done: Any, total: Any) -> int:
    """0 to 100, rounded down: 100 means all of it. Nothing to do counts as 0."""
    if not _is_number(done) or not _is_number(total) or total <= 0:
        return 0
    return max(0, min(100, math.floor(100 * done / total)))


def instant(value: Any) -> datetime | None:
    """A moment of ours (``YYYY-MM-DDThh:mm:ss[.mmm]Z``, or an object with it as ``utc``); None when it is none."""
    text = value.get("utc") if isinstance(value, Mapping) else value
    if not isinstance(text, str) or not text.endswith("Z"):
        return None
    try:
        return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
    except ValueError:
        return None


def moment(value: Any, zone: timezone) -> str:
    """A moment as wall clock of ``zone``: ``2026-11-24 19:57:03``; a dash when unknown."""
    found = instant(value)
    return f"{found.astimezone(zone):%Y-%m-%d %H:%M:%S}" if found is not None else "—"


def zone_name(zone: timezone) -> str:
    """``UTC+8``, ``UTC-3:30``: the name that stands beside the times."""
    minutes = round(zone.utcoffset(None).total_seconds() / 60)
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours}" + (f":{rest:02}" if rest else "")


def name_of(value: Any) -> str:
    """The text of a source's name (``{text, raw, decoded_as}`` or plain text); empty when there is none."""
    text = value.get("text") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else ""


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
