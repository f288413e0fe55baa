"""Patterns of names, as profiles write them: regular expressions that are matched in time linear in the text.

Names are given by whoever had the device. Python's own engine tries every way to fit and can be kept busy for years
by one name, with the interpreter's lock held, so that all bays stand still. RE2 cannot; it knows no lookaround and no
references back. Its syntax: https://github.com/google/re2/wiki/Syntax.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import re2

MOST_MEMORY = 64 << 10
"""Bytes that one pattern may take, with what is kept of its matching."""


@dataclass(frozen=True)
class Fit:
    """How a text fits: the text of each group that took part, and where in the whole it stands."""

    groups: Mapping[str, str]
    spans: Mapping[str, tuple[int, int]]


class Pattern:
    """A pattern. Raises ValueError where its text is none to RE2 or to Python: what only one of them takes, or would
    read in another way (`a{99999999999}` is text to RE2), is not what its writer meant. Also for one too large."""

    def __init__(self, pattern: str) -> None:
        _check_by_python(pattern)
        options = re2.Options()
        options.max_mem = MOST_MEMORY
        options.log_errors = False  # what the pattern says belongs into the error alone
        try:
            self._compiled = re2.compile(pattern, options)
        except re2.error as error:
            raise ValueError(f"is no regular expression: {_text(error)}") from error
        self.pattern = pattern
        self._groups: dict[str, int] = self._compiled.groupindex
        self.groups = frozenset(self._groups)

    def fit(self, text: str) -> Fit | None:
        """How the text fits as a whole; None where it does not."""
        try:
            found = self._compiled.fullmatch(text)
        except UnicodeEncodeError:  # a lone surrogate: no text
            return None
        if found is None:
            return None
        took_part = {name: index for name, index in self._groups.items() if found.span(index) != (-1, -1)}
        return Fit(
            {name: found.group(index) for name, index in took_part.items()},
            {name: found.span(index) for name, index in took_part.items()},
        )

    def fits(self, text: str) -> bool:
        """Whether the text fits as a whole."""
        return self.fit(text) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.pattern == self.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __repr__(self) -> str:
        return f"Pattern({self.pattern!r})"


def _check_by_python(pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError, Warning) as error:
            raise ValueError(f"is no regular expression: {error}") from error


def _text(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
