"""Nobody but durable/files.py renames or syncs."""

import ast
from pathlib import Path

import dockwarden

SOURCE = Path(dockwarden.__file__).parent
MAY = {SOURCE / "durable" / "files.py"}
FORBIDDEN = {"os.rename", "os.renames", "os.replace", "os.fsync", "os.fdatasync", "os.sync", "os.link", "shutil.move"}


def calls(tree: ast.AST) -> list[str]:
    """Forbidden calls in a module. `x.replace(y)` with one argument is a path's; text is replaced by two."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "shutil"}:
            found += [alias.name for alias in node.names if f"{node.module}.{alias.name}" in FORBIDDEN]
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, method = ast.unparse(node.func), node.func.attr
        of_a_path = method == "rename" or (method == "replace" and len(node.args) == 1 and not node.keywords)
        if name in FORBIDDEN or of_a_path:
            found.append(name)
    return found


def test_nothing_but_the_durable_files_renames_or_syncs() -> None:
    modules = [path for path in SOURCE.rglob("*.py") if path not in MAY and "simulators" not in path.parts]
    found = {str(path.relative_to(SOURCE)): calls(ast.parse(path.read_bytes())) for path in modules}
    assert {path: names for path, names in found.items() if names} == {}


def test_the_search_finds_what_it_looks_for() -> None:
    lines = ["import os", "from os import fsync", "os.replace(a, b)", "os.fdatasync(1)", "p.rename(q)"]
    bad = "\n".join([*lines, "p.replace(q)", "t.replace('a', 'b')"])
    assert calls(ast.parse(bad)) == ["fsync", "os.replace", "os.fdatasync", "p.rename", "p.replace"]
