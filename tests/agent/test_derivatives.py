"""Derivatives can be made again: where a preview is lost its fact is void, and the stage makes another."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent.cards import Room, folder_device, make_card

from dockwarden.agent import derivatives, vault
from dockwarden.agent.derivatives import media_stages
from dockwarden.agent.pipeline import Pipeline
from dockwarden.simulators import footage

SHEET = "sheet.jpg"


def said_of(room: Room, record: str) -> list[tuple[str, str]]:
    """Kind and outcome of what was said of a record's preview and fingerprint, in order."""
    entries = [entry.envelope for entry in room.stores.ledger.facts_of(record)]
    return [(e.kind, e.outcome) for e in entries if e.kind in ("previewed", "fingerprinted")]


def media(room: Room, lost_s: float = 600.0) -> Pipeline:
    """The media pipeline of a station that has just started."""
    stages = [replace(stage, lost_s=lost_s) for stage in media_stages(room.stores, lambda: False)]
    return Pipeline(room.stores, stages)


def previewed(tmp_path: Path, room: Room) -> str:
    """The one record of a card, with its preview."""
    photo = footage.make(footage.Clip("photo"), Path("build/footage")).read_bytes()
    assert room.visit(folder_device(make_card(tmp_path / "card", {"a.jpg": photo}))).state == "safe"
    media(room).run_due()
    (record,) = vault.records(room.stores.folders.vault)
    assert said_of(room, record) == [("previewed", "done"), ("fingerprinted", "done")]
    return record


LOST: dict[str, Callable[[Path], object]] = {
    "a part": lambda home: (home / SHEET).unlink(),
    "the folder": shutil.rmtree,
    "the end of a part": lambda home: os.truncate(home / SHEET, 100),
}


@pytest.mark.system
@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("start", [True, False], ids=["at the next start", "while it runs"])
def test_a_lost_preview_is_void_and_made_again(tmp_path: Path, room: Room, lost: str, start: bool) -> None:
    record = previewed(tmp_path, room)
    home = derivatives.folder(room.stores, record)
    before = (home / SHEET).read_bytes()
    pipeline = media(room, lost_s=0.0)
    pipeline.run_due()
    LOST[lost](home)
    (media(room) if start else pipeline).run_due()
    assert said_of(room, record)[2:] == [("previewed", "void"), ("previewed", "done")]
    assert (home / SHEET).read_bytes() == before
    pipeline.run_due()
    media(room).run_due()
    assert len(said_of(room, record)) == 4


@pytest.mark.system
def test_a_lost_preview_of_a_record_that_the_vault_has_not_is_let_be(tmp_path: Path, room: Room) -> None:
    record = previewed(tmp_path, room)
    shutil.rmtree(derivatives.folder(room.stores, record))
    vault.folder(room.stores.folders.vault, record).rename(tmp_path / "lost")
    media(room).run_due()
    assert len(said_of(room, record)) == 2
