"""The lines of a TOML document on which its keys stand: `tomllib` says where a syntax error is, but not where a value
is that breaks a rule of ours."""

import tomllib
from collections.abc import Iterator
from typing import Any, TypeAlias

MOST_TRIED = 512 << 10
"""How many characters are read in the search for the ends of statements of several lines. What comes behind is given
no lines: each try reads a statement from its beginning, which would take too long."""

KeyPath: TypeAlias = tuple[str | int, ...]
"""A key's place: the names of tables and keys, and indexes into arrays of tables, as in `("match", 0, "folder")`."""


def lines_of(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of each table and key of a document that `tomllib` takes.

    A key within an inline table or array stands on the line on which its statement begins.
    """
    found: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, statement in _statements(text):
        is_header = statement.lstrip().startswith("[")
        for names in _leaves(tomllib.loads(statement)):
            if is_header:
                table = _enter(names, statement.lstrip().startswith("[["), counts)
                found.setdefault(table, line)
            else:
                for depth in range(1, len(names) + 1):
                    found.setdefault((*table, *names[:depth]), line)
    return found


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """The line of `path`; of the nearest table that holds it where it is not there; else 1."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header and each `key = value` with the line on which it begins.

    A statement is complete as soon as it is a document of its own: until then a bracket or a quote is open.
    """
    pending: list[str] = []
    begun, tried = 1, 0
    for number, line in enumerate(text.split("\n"), 1):
        if not pending:
            begun = number
        pending.append(line)
        statement = "\n".join(pending)
        tried += len(statement) if len(pending) > 1 else 0
        if not pending[0].strip() or pending[0].lstrip().startswith("#"):
            pending = []
        elif _is_document(statement):
            pending = []
            yield begun, statement
        elif tried > MOST_TRIED:
            return


def _is_document(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names that a single statement gives, `a.b` as ("a", "b"); arrays are not looked into."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path


def _enter(names: tuple[str, ...], is_array: bool, counts: dict[KeyPath, int]) -> KeyPath:
    """The path of the table that a header opens. `counts` holds how many tables each array has so far."""
    path: KeyPath = ()
    for name in names[:-1]:
        path = (*path, name)
        if path in counts:
            path = (*path, counts[path] - 1)
    path = (*path, names[-1])
    if is_array:
        counts[path] = counts.get(path, 0) + 1
        path = (*path, counts[path] - 1)
    return path
