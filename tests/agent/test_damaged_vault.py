"""A vault that was damaged after it had been sealed: nothing that rests on it is called safe."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Room, codes, faulty, folder_device, kinds, make_card
from tests.agent.test_half_states import DAMAGE

from dockwarden.agent import vault
from dockwarden.agent.metadata.completion import Labelling, is_secret, label_record
from dockwarden.agent.metadata.registry import Registry
from dockwarden.agent.pipeline import Pipeline, Stage
from dockwarden.agent.status import StatusView, records, status
from dockwarden.durable.files import OsFiles
from dockwarden.durable.queries import Work
from dockwarden.rules.deadlines import Policy


def homes(room: Room) -> list[Path]:
    """The folders of all records."""
    return [vault.folder(room.stores.folders.vault, record) for record in vault.records(room.stores.folders.vault)]


def first_leaf(home: Path) -> None:
    """Flip a bit where every probe looks."""
    data = bytearray((home / "original").read_bytes())
    data[5] ^= 1
    (home / "original").write_bytes(data)


LATER: dict[str, Callable[[Path], object]] = {
    **{name: damage for name, damage in DAMAGE.items() if name != "a flipped bit"},
    "a flipped bit in the first leaf": first_leaf,
    "no folder": lambda home: home.rename(home.parent.parent.parent / "lost"),
}


@pytest.mark.parametrize("damage", LATER)
def test_a_known_file_whose_record_is_damaged_is_taken_anew_and_a_person_is_told(
    tmp_path: Path, room: Room, damage: str
) -> None:
    card = make_card(tmp_path / "card", {"a": os.urandom(3 * LEAF), "b": b"b"})
    assert room.visit(folder_device(card)).state == "safe"
    home = next(home for home in homes(room) if (home / "original").stat().st_size > 1)
    LATER[damage](home)
    progress = room.visit(folder_device(card))
    assert progress.state == "safe"
    assert kinds(room.stores).count("sealed") == 3
    view = StatusView(room.stores, Policy(), list)
    findings = status(view)["findings"]
    assert isinstance(findings, list)
    assert [home.name in str(finding) for finding in findings] == [True]
    assert len(records(view)) == 3
    # The next time the new record is the one that is known.
    assert room.visit(folder_device(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 3


@pytest.mark.parametrize("damage", LATER)
def test_a_record_that_is_damaged_before_it_is_confirmed_keeps_the_bay_amber(
    tmp_path: Path, room: Room, damage: str
) -> None:
    card = make_card(tmp_path / "card", {"a": os.urandom(3 * LEAF), "b": b"b"})
    device = faulty(card)
    listings, listed = 0, device.sources

    def listing():  # type: ignore[no-untyped-def]
        nonlocal listings
        listings += 1
        if listings == 3:  # all is sealed, the second reading comes next
            LATER[damage](next(home for home in homes(room) if (home / "original").stat().st_size > 1))
        return listed()

    device.sources = listing  # type: ignore[method-assign]
    progress = room.visit(device)
    if damage == "a flipped bit in the first leaf":  # seen by nobody who does not read the original: see `check`
        return
    assert (progress.state, codes(progress)) == ("incomplete", {"vault-damaged", "not-all"})
    assert kinds(room.stores).count("confirmed") == 1
    assert room.visit(folder_device(card)).state == "safe"


@pytest.mark.parametrize("damage", LATER)
def test_a_record_that_is_damaged_before_the_verdict_keeps_the_bay_amber(
    tmp_path: Path, room: Room, damage: str
) -> None:
    card = make_card(tmp_path / "card", {"a": os.urandom(3 * LEAF)})
    device = faulty(card)
    listings, listed = 0, device.sources

    def listing():  # type: ignore[no-untyped-def]
        nonlocal listings
        listings += 1
        if listings == 4:  # all is confirmed, the verdict comes next
            LATER[damage](homes(room)[0])
        return listed()

    device.sources = listing  # type: ignore[method-assign]
    progress = room.visit(device)
    if damage != "a flipped bit in the first leaf":
        assert (progress.state, codes(progress)) == ("incomplete", {"vault-damaged", "not-all"})


def test_a_record_is_labelled_though_the_vault_has_lost_it(tmp_path: Path, room: Room) -> None:
    room.visit(folder_device(make_card(tmp_path / "card", {"a": b"a", "b": b"b"})))
    for home in homes(room):
        (home / "seal.note").unlink()
    registry = Registry(room.stores.folders.registry, OsFiles())
    labelling = Labelling(room.stores, registry, dict(room.desk.profiles))
    pipeline = Pipeline(
        room.stores, [Stage(Work("labelled", ("sealed",)), lambda record: label_record(labelling, record))]
    )
    assert pipeline.run_due() == 2
    assert {is_secret(room.stores, home.name) for home in homes(room)} == {False}
    registry.close()
