"""Loads verify.py from its file, as a stranger would: it is no part of what it checks."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

PATH = Path(__file__).resolve().parents[2] / "src" / "dockwarden" / "evidence" / "verify.py"


@cache
def load() -> ModuleType:
    """The verifier as a module of its own."""
    spec = importlib.util.spec_from_file_location("stranger_verify", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def check(folder: Path, trust: str | None = None) -> dict[str, Any]:
    """The verifier's report on a folder, as it prints it with --json, and its exit status."""
    module = load()
    report = module.check(folder, module.read_trust(trust))
    found: dict[str, Any] = report.to_object()
    return {**found, "exit": report.exit_status}


def codes(report: dict[str, Any]) -> set[tuple[str, str]]:
    """(code, path) of each finding."""
    return {(finding["code"], finding["path"]) for finding in report["findings"]}
