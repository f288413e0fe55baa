"""Every half state that a crash can leave: start-up finishes it or says a doubt, and no fact that is not so."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Room, faulty, folder_device, kinds, make_card, shown

from dockwarden.agent import quarantine, sealing, vault
from dockwarden.agent.settling import settle
from dockwarden.durable.files import OsFiles
from dockwarden.durable.staging import Stage, find_stages
from dockwarden.simulators.faults import Fault
from dockwarden.simulators.killing_files import CountingFiles

NAME = "DCIM/a.mp4"


class Stopped(Exception):
    """Where a crash would be."""


def crash(room: Room, card: Path, monkeypatch: pytest.MonkeyPatch, module: object, call: str) -> None:
    """Take the card's one file, and stop where `call` of `module` would be called."""

    def stop(*arguments: object, **named: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(module, call, stop)
        room.visit(folder_device(card))


def only_stage(room: Room) -> Stage:
    """The one stage that there is."""
    (stage,) = find_stages(room.stores.folders.staging).stages
    return stage


HALF: dict[str, tuple[object, str]] = {
    "sealed, not in the vault": (sealing, "publish"),
    "in the vault, without its fact": (sealing, "append_sealed"),
    "with its fact, its plan left": (sealing, "drop_stage"),
}


@pytest.mark.parametrize("again", ["start-up", "docked again"])
@pytest.mark.parametrize("state", HALF)
def test_a_record_that_was_left_half_done_is_finished_once(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch, state: str, again: str
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(3 * LEAF)})
    before = shown(card)
    crash(room, card, monkeypatch, *HALF[state])
    if again == "start-up":
        assert settle(room.stores) == []
        assert kinds(room.stores).count("sealed") == 1
        assert room.wrong(before) == []
    assert room.visit(folder_device(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 1
    assert room.wrong(before) == []
    assert find_stages(room.stores.folders.staging).stages == ()
    assert settle(room.stores) == []


QUARANTINED: dict[str, tuple[object, str]] = {
    "with its reason": (quarantine, "publish"),
    "moved, without its fact": (quarantine, "_say"),
    "with its fact, its plan left": (quarantine, "drop_stage"),
}


@pytest.mark.parametrize("again", ["start-up", "docked again"])
@pytest.mark.parametrize("state", QUARANTINED)
def test_what_was_on_its_way_into_quarantine_gets_there_once_and_becomes_no_record(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch, state: str, again: str
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(3 * LEAF)})
    before = shown(card)
    module, call = QUARANTINED[state]

    def stop(*arguments: object, **named: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(module, call, stop)
        with pytest.raises(Stopped):
            room.visit(faulty(card, Fault("eof", NAME, at=2 * LEAF)))
    if again == "start-up":
        assert settle(room.stores) == []
        assert kinds(room.stores).count("quarantined") == 1
        assert room.wrong(before, planted=[NAME]) == []
    # The device is well now: a record of its own, not the one that is in quarantine.
    assert room.visit(folder_device(card)).state == "safe"
    (item,) = (path.name for path in room.stores.folders.quarantine.iterdir())
    (record,) = vault.records(room.stores.folders.vault)
    assert item != record
    assert kinds(room.stores).count("quarantined") == 1
    assert room.wrong(before, planted=[NAME]) == []
    assert find_stages(room.stores.folders.staging).stages == ()


def damage_original(home: Path) -> None:
    """Flip a bit."""
    data = bytearray((home / "original").read_bytes())
    data[LEAF + 5] ^= 1
    (home / "original").write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": damage_original,
    "a short original": lambda home: os.truncate(home / "original", LEAF),
    "no original": lambda home: (home / "original").unlink(),
    "no seal": lambda home: (home / "seal.note").unlink(),
    "another seal": lambda home: (home / "seal.note").write_bytes(b"dockwarden/seal/1\n{}\n\n"),
    "no leaf list": lambda home: (home / "leaves").unlink(),
    "a short leaf list": lambda home: os.truncate(home / "leaves", 32),
    "another leaf list": lambda home: (home / "leaves").write_bytes(bytes(32) * 3),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_without_its_fact_is_a_doubt_and_gets_none(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(3 * LEAF)})
    crash(room, card, monkeypatch, sealing, "append_sealed")
    (record,) = vault.records(room.stores.folders.vault)
    DAMAGE[damage](vault.folder(room.stores.folders.vault, record))
    (doubt,) = settle(room.stores)
    assert record in doubt
    assert "sealed" not in kinds(room.stores)
    # The device is docked again: its bytes are taken anew, and the damaged folder is no record.
    assert room.visit(folder_device(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 1


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_stage_with_its_seal_is_a_doubt_and_the_source_is_taken_anew(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(3 * LEAF)})
    before = shown(card)
    crash(room, card, monkeypatch, sealing, "publish")
    DAMAGE[damage](only_stage(room).folder)
    assert len(settle(room.stores)) == (0 if damage == "no seal" else 1)
    assert kinds(room.stores).count("sealed") == 0
    assert room.visit(folder_device(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 1
    assert room.wrong(before) == []


def test_halves_of_files_that_were_being_written_go_and_never_reach_the_vault(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(3 * LEAF)})
    before = shown(card)
    crash(room, card, monkeypatch, sealing, "publish")
    stage = only_stage(room)
    for folder in (stage.folder, room.stores.folders.staging, room.root):
        (folder / f".{'0' * 16}.part").write_bytes(b"half")
    assert settle(room.stores) == []
    assert room.visit(folder_device(card)).state == "safe"
    assert room.wrong(before) == []
    assert list(room.root.rglob("*.part")) == []


def test_a_sealed_record_that_is_not_in_the_vault_is_a_doubt(tmp_path: Path, room: Room) -> None:
    room.visit(folder_device(make_card(tmp_path / "card", {NAME: b"x"})))
    (record,) = vault.records(room.stores.folders.vault)
    vault.folder(room.stores.folders.vault, record).rename(tmp_path / "lost")
    (doubt,) = settle(room.stores)
    assert record in doubt


def test_strange_things_in_the_folders_stop_no_start(tmp_path: Path, room: Room) -> None:
    folders = room.stores.folders
    (folders.vault / "zz").write_bytes(b"a file where a folder should be")
    (folders.vault / "aa").mkdir()
    (folders.vault / "aa" / ("a" * 26)).write_bytes(b"a file where a record should be")
    (folders.quarantine / "nobody").mkdir()
    (folders.staging / "stranger").mkdir()
    (folders.staging / "bad.json").write_bytes(b"{")
    doubts = settle(room.stores)
    assert len(doubts) == 4
    assert kinds(room.stores) == ["key-rotated"]


def test_a_vault_folder_without_its_fact_is_synced_before_the_fact_is_said(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = make_card(tmp_path / "card", {NAME: b"x"})
    crash(room, card, monkeypatch, sealing, "append_sealed")
    counting = CountingFiles(OsFiles())
    again = room.restart(counting)
    steps = len(counting.steps)
    assert settle(again.stores) == []
    (record,) = vault.records(again.stores.folders.vault)
    done = counting.steps[steps:]
    assert done.index(f"fsync_folder {record[:2]}") < done.index("commit")
    again.stores.close()
