"""Sources that fail: kept with the reason, said in words, the bay amber, and everything else on the card is taken."""

import os
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Room, codes, faulty, kinds, make_card, shown

from dockwarden.agent.drivers.source import Reader, SourceInfo
from dockwarden.agent.status import StatusView, quarantined
from dockwarden.durable.leaflist import read_leaf_list
from dockwarden.evidence import canonical
from dockwarden.rules.deadlines import Policy
from dockwarden.simulators import hostile
from dockwarden.simulators.camera import at
from dockwarden.simulators.faults import Fault

BAD, SMALL, LARGE = "DCIM/bad.mp4", 2 * LEAF - 3, 20 * LEAF + 5

FAULTS = {
    "grows": (Fault("grow", BAD, at=LEAF, length=10), "grew"),
    "shrinks": (Fault("shrink", BAD, at=LEAF, length=100), "shrank"),
    "is altered": (Fault("alter", BAD, at=LEAF), "changed"),
    "vanishes": (Fault("vanish", BAD, at=LEAF), "vanished"),
    "cannot be read at all": (Fault("unreadable", BAD, length=1 << 40), "unreadable"),
    "ends without an error": (Fault("eof", BAD, at=LEAF + 4096), "source-ended"),
    "is listed too long": (Fault("wrong-size", BAD, length=4096), "shrank"),
    "is listed too short": (Fault("wrong-size", BAD, length=-4096), "grew"),
}


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_fails_while_it_is_read_is_quarantined_and_the_others_are_sealed(
    tmp_path: Path, room: Room, name: str, size: int
) -> None:
    fault, code = FAULTS[name]
    good = {"DCIM/a.mp4": os.urandom(LEAF + 1), "DCIM/z.mp4": os.urandom(10), "LOG/x.txt": b""}
    card = make_card(tmp_path / "card", {**good, BAD: os.urandom(size)})
    before = shown(card)
    progress = room.visit(faulty(card, fault))
    assert progress.state == "incomplete"
    assert {code, "not-all"} - codes(progress) <= ({"not-all"} if code == "vanished" else set())
    (found,) = quarantined(StatusView(room.stores, Policy(), list))
    assert isinstance(found, dict)
    assert found["source_name"] == BAD
    assert isinstance(found["reason"], dict)
    assert found["reason"]["code"] == code
    assert set(found) == {"item", "at", "device", "source_name", "reason", "path"}
    if found["path"] is not None:
        assert (room.stores.folders.root / str(found["path"]) / "reason.json").exists()
    assert room.wrong(before, planted=[BAD]) == []
    assert kinds(room.stores).count("sealed") == len(good)
    # Nothing is half done, and start-up has nothing to say.
    assert list(room.stores.folders.staging.glob("*.json")) == []


def test_what_was_read_of_a_failing_file_is_kept_with_the_reason(tmp_path: Path, room: Room) -> None:
    data = os.urandom(SMALL)
    card = make_card(tmp_path / "card", {BAD: data})
    room.visit(faulty(card, Fault("eof", BAD, at=LEAF + 5)))
    (home,) = room.stores.folders.quarantine.iterdir()
    assert canonical.decode_object((home / "reason.json").read_bytes(), "reason")["kept"] is True
    assert (home / "original").read_bytes() == data[: LEAF + 5]


def test_of_a_large_failing_file_the_kept_leaf_list_says_which_bytes_are_the_devices(
    tmp_path: Path, room: Room, small_groups: int
) -> None:
    data = os.urandom(LARGE)
    card = make_card(tmp_path / "card", {BAD: data})
    whole = 3 * small_groups + LEAF
    room.visit(faulty(card, Fault("eof", BAD, at=whole + 1)))
    (home,) = room.stores.folders.quarantine.iterdir()
    kept, leaves = (home / "original").read_bytes(), read_leaf_list(home / "leaves")
    assert len(leaves) * LEAF == whole
    assert kept[:whole] == data[:whole]


def test_a_card_of_absurd_names_is_taken_whole_and_its_tricks_are_shown(tmp_path: Path, room: Room) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("not of this card")
    card = tmp_path / "card"
    names = hostile.build(card, Path("build/footage"))
    before = shown(card)
    progress = room.visit(faulty(card))
    assert (progress.state, codes(progress)) == ("safe", {"empty-file"})
    assert room.wrong(before) == []
    assert kinds(room.stores).count("sealed") == len(names)
    tricks = hostile.tricks(card, outside)
    progress = room.visit(faulty(card))
    assert (progress.state, codes(progress)) == ("incomplete", {"empty-file", "unlisted", "not-all"})
    assert kinds(room.stores).count("sealed") == len(names)
    found = quarantined(StatusView(room.stores, Policy(), list))
    assert len(found) == len(tricks) + 1  # what lies too deep
    assert room.wrong(before, planted=[*tricks, *(raw for raw in _raws(room) if b"d/d/d" in raw)]) == []


def test_every_absurd_name_can_have_a_fault(tmp_path: Path, room: Room) -> None:
    card = tmp_path / "card"
    card.mkdir()
    for raw in hostile.NAMES:
        hostile.write(card, raw, b"contents of " + raw)
    before = shown(card)
    progress = room.visit(faulty(card, Fault("unreadable", at=1, length=1)))
    assert progress.state == "incomplete"
    assert kinds(room.stores).count("quarantined") == len(hostile.NAMES)
    assert room.wrong(before, planted=hostile.NAMES) == []


def test_a_file_that_changes_between_the_two_readings_is_never_safe(tmp_path: Path, room: Room) -> None:
    for number, data in enumerate((b"longer than before" * 50, b"x" * 100)):
        card = make_card(tmp_path / f"card{number}", {BAD: b"y" * 100, "z": b"z"})
        device = faulty(card, serial=f"CAM{number}")
        taken = device.open

        def change(source, uncached, card=card, data=data, taken=taken):  # type: ignore[no-untyped-def]
            if uncached and source.name.text == BAD:
                at(card, BAD.encode()).write_bytes(data)
            return taken(source, uncached)

        device.open = change  # type: ignore[method-assign]
        progress = room.visit(device)
        assert progress.state == "incomplete"
        assert "internal" not in codes(progress)
        assert room.visit(faulty(card, serial=f"CAM{number}")).state == "safe"
        assert room.wrong(shown(card, f"CAM{number}")) == []


def test_a_file_that_grew_between_listing_again_and_the_second_reading_is_told(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {"a": b"a" * 600_000, "b": b"b"})
    device = faulty(card)
    listings = 0
    listed = device.sources

    def grow():  # type: ignore[no-untyped-def]
        nonlocal listings
        listings += 1
        if listings == 3:  # before the second readings
            (card / "a").write_bytes(b"a" * 1_600_000)
        return listed()

    device.sources = grow  # type: ignore[method-assign]
    progress = room.visit(device)
    assert progress.state == "incomplete"
    assert codes(progress) == {"changed", "not-all"}
    assert kinds(room.stores).count("confirmed") == 1
    assert room.visit(faulty(card)).state == "safe"
    assert room.wrong(shown(card)) == []


def test_a_file_that_appears_while_others_are_read_is_taken_too(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {"a": b"a", "z": b"z"})
    device = faulty(card)
    taken = device.open

    def appear(source: SourceInfo, uncached: bool) -> Reader:
        if not (card / "late").exists():
            (card / "late").write_bytes(b"recorded meanwhile")
        return taken(source, uncached)

    device.open = appear  # type: ignore[method-assign]
    assert room.visit(device).state == "safe"
    assert kinds(room.stores).count("sealed") == 3
    assert room.wrong(shown(card)) == []


@pytest.mark.parametrize("listing", [3, 4])
def test_files_that_come_or_go_after_all_was_read_keep_the_bay_amber(
    tmp_path: Path, room: Room, listing: int
) -> None:
    for name, code in (("come", "not-all"), ("go", "vanished")):
        card = make_card(tmp_path / name, {"a": b"a", "z": name.encode()})
        device = faulty(card, serial=name)
        listings, listed = 0, device.sources

        def change(name=name, card=card, listed=listed):  # type: ignore[no-untyped-def]
            nonlocal listings
            listings += 1
            if listings == listing:
                (card / "late").write_bytes(b"late") if name == "come" else (card / "a").unlink()
            return listed()

        device.sources = change  # type: ignore[method-assign]
        progress = room.visit(device)
        assert (progress.state, codes(progress)) == ("incomplete", {code})


def _raws(room: Room) -> list[bytes]:
    """Raw names of everything in quarantine."""
    found = []
    for entry in room.stores.ledger.entries(limit=100_000):
        if entry.envelope.kind == "quarantined" and entry.body is not None:
            name = entry.body["source"]["name"]  # type: ignore[call-overload, index]
            found.append(bytes.fromhex(str(name["raw"])))
    return found
