"""The documents are true: what there is stands in them."""

import re
from pathlib import Path

import pytest
import typer.main

from dockwarden.agent import cli as agent_cli
from dockwarden.agent.settings import Offsite, Panel
from dockwarden.agent.settings import Settings as AgentSettings
from dockwarden.centre import cli as centre_cli
from dockwarden.centre.settings import Broker, Web
from dockwarden.centre.settings import Settings as CentreSettings
from dockwarden.evidence.facts import KINDS
from dockwarden.simulators import cli as sim_cli

ROOT = Path(__file__).parent.parent
COMMANDS = [
    (program, name)
    for program, app in (("agent", agent_cli.app), ("centre", centre_cli.app), ("sim", sim_cli.app))
    for name in getattr(typer.main.get_command(app), "commands", {})
]
SETTINGS = [
    (model.__name__, name)
    for model in (AgentSettings, Offsite, Panel, CentreSettings, Broker, Web)
    for name in model.model_fields
]


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_every_command_stands_in_the_list_of_commands(program: str, name: str) -> None:
    text = (ROOT / "docs/formats/cli.md").read_text("utf-8")
    _, _, section = text.partition(f"## dockwarden-{program}")
    assert re.search(rf"`{name}\b", section.partition("\n## ")[0])


@pytest.mark.parametrize(("model", "name"), SETTINGS)
def test_every_setting_stands_in_the_operating_manual(model: str, name: str) -> None:
    text = (ROOT / "docs/operating/README.md").read_text("utf-8")
    assert f"`{name}`" in text or f"`[{name}]`" in text, model


def test_the_operating_manual_installs_every_file_for_systemd_and_none_that_is_not_there() -> None:
    text = (ROOT / "docs/operating/README.md").read_text("utf-8")
    words = re.findall(r"(?<!/)\bsystemd/[\w@.*-]+", text)
    assert [word for word in words if not list(ROOT.glob(word))] == []
    assert {path for word in words for path in ROOT.glob(word)} == set((ROOT / "systemd").iterdir())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_fact_is_described(kind: str) -> None:
    assert f"`{kind}`" in (ROOT / "docs/formats/facts.md").read_text("utf-8")


@pytest.mark.parametrize("document", [*sorted(ROOT.rglob("docs/**/*.md")), ROOT / "README.md"])
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
        assert (document.parent / target).exists(), target
