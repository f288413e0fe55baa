"""docs/formats/ tells all there is: every kind of fact, every field, every code, every golden file."""

import re
from pathlib import Path
from typing import get_args

import pytest

from dockwarden.evidence import facts, packages, statements
from evidence import make_golden, verifier, world

DOCS = Path(__file__).resolve().parents[2] / "docs" / "formats"


def told(name: str) -> str:
    """A page."""
    return (DOCS / f"{name}.md").read_text("utf-8")


def words(name: str) -> set[str]:
    """What a page sets in the type of code, taken apart at spaces and marks."""
    return set(re.findall(r"[\w./-]+", " ".join(re.findall(r"`([^`]+)`", told(name).replace("```", "`")))))


def test_every_kind_of_fact_is_told_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (?:station|centre)", told("facts"), re.MULTILINE)
    assert set(rows) == facts.KINDS
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        ("facts", set(world.build(b"").station.entries[1].envelope.at.to_object()) | {"envelope", "body"}),
        ("facts", {"v", "log", "seq", "at", "kind", "outcome", "by", "body_sha256", "record", "place"}),
        ("seal", set(world.a_seal(world.record_id("1"), b"").to_object())),
        (
            "receipt",
            {"v", "record", "seal_sha256", "place", "generation", "witness", "method", "at", "nonce", "head"},
        ),
        ("package", set(packages.Manifest("centre", world.MADE_AT, (), (), ()).to_object())),
        ("package", {packages.MANIFEST, packages.KEYS, packages.REPORT}),
        ("package", set(verifier.load().ZH)),
        ("package", set(verifier.load().Report().to_object())),
    ],
)
def test_every_field_and_code_is_told(page: str, fields: set[str]) -> None:
    assert fields - words(page) == set()


def test_every_golden_file_and_type_of_statement_is_told() -> None:
    everything = "".join(page.read_text("utf-8") for page in DOCS.glob("*.md"))
    for path in [*make_golden.build(), "package/"]:
        assert f"`{path}`" in everything or f"`{path.partition('/')[0]}/`" in everything, path
    for kind in get_args(statements.Type):
        assert f"`{kind}`" in told("notes")


def test_links_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            if target not in ("wire.md", "cli.md"):
                assert (DOCS / target).exists(), (page.name, target)
