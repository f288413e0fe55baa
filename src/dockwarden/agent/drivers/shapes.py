"""The shapes of names: figures, letters and what stands between, and where in them a time or a number may be."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

Shape: TypeAlias = tuple[str, ...]

_TOKEN = re.compile("[0-9]+|[A-Za-z]+|[^\x00-\x7f]+|[\x00-\x7f]")
_WORD = re.compile(
    "AUD|AUDIO|CLIP|DATA|DCAM|DCIM|DSC|DSCF|DSCN|EMERGENCY|EVENT|FILE|FOLDER|GOPR|GPS|IMAGE|IMG|IMP|IMPORTANT|LOCAL|"
    "LOGS?|MEDIA|MISC|MOV|MVI|NORMAL|PARKING|PHOTO|PICT|REC|RECORD|RECORDER|SD|SND|SOUND|TRACK|VID|VIDEO|VOICE"
)
_YEARS = range(1970, 2100)
_DAYS = (([14], "%Y%m%d%H%M%S"), ([8], "%Y%m%d"), ([4, 0, 2, 0, 2], "%Y-%m-%d"), ([6], "%y%m%d"))
"""How many figures each piece of a date has (0: a sign), and its form. Six figures alone are no date."""

_TIMES = (([6], "%H%M%S"), ([2, 0, 2, 0, 2], "%H-%M-%S"), ([4], "%H%M"))

MOST_TRIED = 1000
"""How many names of one shape are looked at."""


@dataclass(frozen=True)
class Token:
    """A piece of a name: `figures`, `letters` that could be anybody's, a `word` that devices use, a `sign`, or
    `foreign` (not ASCII)."""

    kind: Literal["figures", "letters", "word", "sign", "foreign"]
    text: str

    @property
    def shape(self) -> str:
        """The pattern of all pieces of its kind; letters and words are meant in either case."""
        if self.kind == "figures":
            return f"[0-9]{{{len(self.text)}}}"
        if self.kind == "letters":
            return "[A-Z]+"
        if self.kind == "foreign":
            return f".{{{len(self.text)}}}"
        return re.escape(self.text.upper())


def shape_of(name: str) -> tuple[Token, ...]:
    """A name cut into pieces; together they are the name."""
    return tuple(_token(piece) for piece in _TOKEN.findall(name))


def spelled(tokens: Sequence[Token]) -> str:
    """A pattern that fits the name as a whole."""
    return "(?i)" + "".join(token.shape for token in tokens)


def dated(names: Sequence[tuple[Token, ...]]) -> tuple[str, str | None]:
    """A pattern (meant in either case) for names of one shape, and the form of the time in it (None: there is none).

    Groups `date` and `time` are where all the names could have a time, `seq` is the last figures that are neither and
    stand behind them. That is a guess.
    """
    shape = [token.shape for token in names[0]]
    figures = [len(token.text) if token.kind == "figures" else 0 for token in names[0]]
    found = _find_time(names[:MOST_TRIED], figures)
    end = 0
    form = None
    if found is not None:
        start, middle, end, (day, time) = found
        form = f"{day} {time}".strip()
        if middle == start + 1 and end == middle and figures[start] == 14:
            shape[start] = "(?P<date>[0-9]{8})(?P<time>[0-9]{6})"
        else:
            _enclose(shape, "date", start, middle)
            if time:
                _enclose(shape, "time", end - _tokens_of(time), end)
    numbers = [index for index in range(end, len(shape)) if 2 <= figures[index] <= 6]
    if numbers and (form is not None or numbers[-1] == len(shape) - 1):
        _enclose(shape, "seq", numbers[-1], numbers[-1] + 1)
    return "".join(shape), form


_Found: TypeAlias = tuple[int, int, int, tuple[str, str]]
"""Where a date begins, where it ends, where the time behind it ends, and the forms of both."""


def _find_time(names: Sequence[tuple[Token, ...]], figures: Sequence[int]) -> _Found | None:
    for lengths, day in _DAYS:
        for start in range(len(figures)):
            middle = start + len(lengths)
            if list(figures[start:middle]) != lengths:
                continue
            form = _with_signs(day, names[0][start:middle])
            if form is None or not _all_are(names, start, middle, form):
                continue
            if lengths == [14]:
                return start, middle, middle, ("%Y%m%d", "%H%M%S")
            behind = _find_time_of_day(names, figures, middle)
            if behind is not None:
                return start, middle, behind[0], (form, behind[1])
            if lengths != [6]:
                return start, middle, middle, (form, "")
    return None


def _find_time_of_day(
    names: Sequence[tuple[Token, ...]], figures: Sequence[int], middle: int
) -> tuple[int, str] | None:
    """A time of day behind one sign; where it ends, and its form."""
    start = middle + 1
    if names[0][middle : middle + 1] and names[0][middle].kind in ("sign", "word", "letters"):
        for lengths, time in _TIMES:
            end = start + len(lengths)
            form = _with_signs(time, names[0][start:end])
            if list(figures[start:end]) == lengths and form is not None and _all_are(names, start, end, form):
                return end, form
    return None


def _with_signs(form: str, tokens: Sequence[Token]) -> str | None:
    """The form with the signs that stand between its parts; None where they are not signs."""
    between = [token for token in tokens if token.kind != "figures"]
    if any(token.kind != "sign" or token.text == "%" or not token.text.isprintable() for token in between):
        return None
    signs = [*(token.text for token in between), ""]
    return "".join(part + sign for part, sign in zip(form.split("-"), signs, strict=False))


def _all_are(names: Sequence[tuple[Token, ...]], start: int, end: int, form: str) -> bool:
    """Whether all names have such a time there; nothing but zeros is a clock that was never set."""
    texts = {"".join(token.text for token in tokens[start:end]) for tokens in names}
    times = [_time(text, form) for text in texts if re.search("[1-9]", text)]
    return bool(times) and all(time is not None for time in times)


def _time(text: str, form: str) -> datetime | None:
    try:
        found = datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if found.year in _YEARS or "y" not in form.lower() else None


def _tokens_of(form: str) -> int:
    return 1 if re.fullmatch("(%[A-Za-z])+", form) else 5


def _enclose(shape: list[str], group: str, start: int, end: int) -> None:
    shape[start] = f"(?P<{group}>{shape[start]}"
    shape[end - 1] += ")"


def _token(piece: str) -> Token:
    if piece.isascii() and piece.isdigit():
        return Token("figures", piece)
    if piece.isascii() and piece.isalpha():
        return Token("word" if _WORD.fullmatch(piece.upper()) else "letters", piece)
    return Token("sign" if piece.isascii() else "foreign", piece)
