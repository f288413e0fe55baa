"""Every code of an error or a finding that the program can give stands in docs/formats/cli.md, and no other."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "dockwarden"
WORD = re.compile(r"[a-z]+(-[a-z]+)*")
TABLES = {"_DO", "_CODES", "_IO_ERROR", "_DATABASE_ERRORS"}
"""Module-level tables of codes: the keys, or the first word of each row."""


@cache
def trees() -> dict[Path, ast.Module]:
    # verify.py stands alone, and its codes stand in docs/formats/package.md.
    return {path: ast.parse(path.read_bytes()) for path in SRC.rglob("*.py") if path.name != "verify.py"}


def position(names: list[str]) -> int | None:
    return names.index("code") if "code" in names else None


def of_function(node: ast.FunctionDef) -> int | None:
    return position([argument.arg for argument in node.args.args if argument.arg not in {"self", "cls"}])


def of_class(node: ast.ClassDef, known: dict[str, int]) -> int | None:
    """By its own __init__, by its fields, else by what it is derived from."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return of_function(part)
    fields = [ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)]
    if fields or not node.bases:
        return position(fields)
    return known.get(ast.unparse(node.bases[0]))


def takers() -> dict[str, int]:
    """Functions and classes that take a code, and its position among their arguments."""
    found: dict[str, int] = {}
    nodes = [node for tree in trees().values() for node in ast.walk(tree)]
    for _ in range(3):  # an error may be derived from one that is derived
        for node in nodes:
            place = None
            if isinstance(node, ast.FunctionDef) and node.name != "__init__":
                place = of_function(node)
            if isinstance(node, ast.ClassDef):
                place = of_class(node, found)
            if place is not None and isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[node.name] = place
    return found


def words(node: ast.expr) -> Iterator[str]:
    """The codes that an expression can be, as far as it says so."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if isinstance(node, ast.IfExp):
        yield from words(node.body)
        yield from words(node.orelse)


def of_table(value: ast.expr) -> Iterator[str]:
    if isinstance(value, ast.Dict):
        for key, row in zip(value.keys, value.values, strict=True):
            yield from words(row.elts[0]) if isinstance(row, ast.Tuple) else words(key) if key is not None else ()
    if isinstance(value, ast.Tuple):
        yield from words(value.elts[0])


def given() -> dict[str, str]:
    """Every code that the source can give, and a place that gives it."""
    found: dict[str, str] = {}
    known = takers()
    for path, tree in trees().items():
        for node in ast.walk(tree):
            codes: list[str] = []
            if isinstance(node, ast.Call):
                place = known.get(ast.unparse(node.func).rpartition(".")[2])
                for argument in [] if place is None else node.args[place : place + 1]:
                    codes += words(argument)
                for keyword in node.keywords:
                    codes += words(keyword.value) if keyword.arg == "code" else ()
            target = node.target if isinstance(node, ast.AnnAssign) else None
            target = node.targets[0] if isinstance(node, ast.Assign) else target
            if isinstance(target, ast.Name) and target.id in TABLES and isinstance(node, ast.Assign | ast.AnnAssign):
                codes += of_table(node.value) if node.value is not None else ()
            for code in codes:
                if WORD.fullmatch(code):
                    found.setdefault(code, f"{path.relative_to(SRC)}:{getattr(node, 'lineno', 0)}")
    return found


def told() -> set[str]:
    text = (ROOT / "docs" / "formats" / "cli.md").read_text("utf-8")
    _, _, section = text.partition("\n## Codes\n")
    rows = re.findall(r"^\| (`[^|]+) \|", section.partition("\n## ")[0], re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)}


def test_the_search_finds_codes_of_every_kind() -> None:
    found = given()
    # of a call, of one of two, by a helper, of a table, of a finding in a bay, of an alarm, by keyword
    assert {"not-set-up", "shrank", "source-ended", "io-error", "nothing-found", "set-back", "unread"} <= set(found)


def test_every_code_that_the_source_gives_is_told() -> None:
    assert {code: place for code, place in given().items() if code not in told()} == {}


def test_no_code_is_told_that_nothing_gives() -> None:
    # A finding of the clock behind `clock-`, the word for an answer without a code, and the verifier's one.
    made = {"clock-unset", "clock-ahead", "clock-zone", "unknown", "cannot-run"}
    assert told() - set(given()) - made == set()
