"""The second reading and the third: what two of three say is right, and nothing else is ever called safe."""

import os
import tempfile
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Room, codes, faulty, kinds, make_card, shown

from dockwarden.agent import recognising
from dockwarden.simulators.faults import Fault

SIZE = 40 * LEAF + 9


def confirmations(room: Room) -> list[tuple[str, dict[str, object]]]:
    """Outcome and body of each `confirmed` fact."""
    entries = room.stores.ledger.entries(limit=100_000)
    return [(e.envelope.outcome, dict(e.body or {})) for e in entries if e.envelope.kind == "confirmed"]


@pytest.mark.parametrize("place", [0, 17 * LEAF + 3, SIZE - 1])
def test_a_bit_that_flips_in_the_first_reading_only_is_found_and_never_safe(
    tmp_path: Path, room: Room, place: int
) -> None:
    card = make_card(tmp_path / "card", {"a.mp4": os.urandom(SIZE), "b.mp4": b"b"})
    before = shown(card)
    progress = room.visit(faulty(card, Fault("flip", "a.mp4", at=place, reading=1)))
    assert progress.state == "incomplete"
    assert {"not-confirmed", "not-all"} <= codes(progress)
    _, body = next(item for item in confirmations(room) if item[0] == "failed")
    assert body["denied"] == [place // LEAF]
    # The device is well: docked again, its true bytes become a record of their own.
    assert room.visit(faulty(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 3
    assert room.wrong(before) == []


@pytest.mark.parametrize("place", [0, 17 * LEAF + 3, SIZE - 1])
def test_a_bit_that_flips_in_the_second_reading_only_is_decided_by_the_third(
    tmp_path: Path, room: Room, place: int
) -> None:
    card = make_card(tmp_path / "card", {"a.mp4": os.urandom(SIZE)})
    before = shown(card)
    progress = room.visit(faulty(card, Fault("flip", "a.mp4", at=place, reading=2)))
    assert (progress.state, codes(progress)) == ("safe", {"readings-differ"})
    ((outcome, body),) = confirmations(room)
    assert (outcome, body["differing"], body["denied"]) == ("done", [place // LEAF], [])
    assert room.wrong(before) == []


def test_a_bit_that_flips_in_both_later_readings_is_never_safe(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {"a.mp4": os.urandom(SIZE)})
    before = shown(card)
    flips = [Fault("flip", "a.mp4", at=5 * LEAF, reading=number) for number in (2, 3)]
    progress = room.visit(faulty(card, *flips))
    assert progress.state == "incomplete"
    assert "not-confirmed" in codes(progress)
    # The first reading was right after all: no second record of the same bytes.
    assert room.visit(faulty(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 1
    assert room.wrong(before) == []


def test_a_bit_that_always_flips_is_what_the_device_holds(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {"a.mp4": os.urandom(SIZE)})
    assert room.visit(faulty(card, Fault("flip", "a.mp4", at=5 * LEAF))).state == "safe"


@pytest.mark.parametrize("kind", ["unreadable", "eof"])
def test_a_second_reading_that_fails_once_is_decided_by_a_third(tmp_path: Path, room: Room, kind: str) -> None:
    card = make_card(tmp_path / "card", {"a.mp4": os.urandom(SIZE), "b.mp4": b"b"})
    before = shown(card)
    fault = Fault(kind, "a.mp4", at=20 * LEAF, length=512, reading=2)  # type: ignore[arg-type]
    progress = room.visit(faulty(card, fault))
    assert (progress.state, codes(progress)) == ("safe", {"readings-differ"})
    assert room.wrong(before) == []


def test_a_second_reading_that_keeps_failing_is_told_and_the_others_are_confirmed(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {"a.mp4": os.urandom(SIZE), "b.mp4": b"b"})
    before = shown(card)
    device = faulty(card)
    taken = device.open
    # From the second reading on, nothing of the first file can be read.
    broken = faulty(card, Fault("unreadable", "a.mp4", at=0, length=SIZE))
    device.open = lambda source, uncached: (broken.open if uncached else taken)(source, uncached)  # type: ignore[method-assign]
    broken.sources()
    progress = room.visit(device)
    broken.close()
    assert progress.state == "incomplete"
    assert {"unreadable", "not-all"} == codes(progress)
    assert [outcome for outcome, _ in confirmations(room)] == ["failed", "done"]
    assert room.visit(faulty(card)).state == "safe"
    assert room.wrong(before) == []


def test_a_bay_that_saw_a_denial_is_not_safe_by_another_device_that_looks_the_same(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognising, "PROBES", 0)
    data = bytearray(os.urandom(SIZE))
    first = make_card(tmp_path / "first", {"a.mp4": bytes(data)})
    data[17 * LEAF] ^= 1
    second = make_card(tmp_path / "second", {"a.mp4": bytes(data)})
    stamp = (first / "a.mp4").stat()
    os.utime(second / "a.mp4", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    # Taken, then pulled out before it was confirmed.
    progress = room.visit(faulty(first, Fault("unplug", at=SIZE + LEAF)))
    assert progress.state == "incomplete"
    device = faulty(second)
    listings = 0
    listed = device.sources

    def meanwhile():  # type: ignore[no-untyped-def]
        nonlocal listings
        listings += 1
        if listings == 4:  # the second card has been denied; now the first is confirmed in another bay
            assert room.visit(faulty(first), "2").state == "safe"
        return listed()

    device.sources = meanwhile  # type: ignore[method-assign]
    progress = room.visit(device)
    assert kinds(room.stores).count("sealed") == 1
    assert progress.state == "incomplete"


def test_a_station_that_reads_once_says_copied_and_never_safe(tmp_path: Path) -> None:
    once = Room(tmp_path / "station", readings=1)
    card = make_card(tmp_path / "card", {"a.mp4": os.urandom(LEAF), "b.mp4": b""})
    progress = once.visit(faulty(card))
    assert progress.state == "copied"
    assert progress.snapshot()["safe"] is False
    assert "confirmed" not in kinds(once.stores)
    assert once.wrong(shown(card)) == []
    once.stores.close()


def test_a_card_that_cannot_be_read_past_the_cache_is_never_safe(tmp_path: Path, room: Room) -> None:
    device = faulty(make_card(tmp_path / "card", {"a.mp4": os.urandom(LEAF)}))
    taken = device.open
    device.open = lambda source, uncached: taken(source, False)  # type: ignore[method-assign]
    progress = room.visit(device)
    assert progress.state == "incomplete"
    assert "no-read-back" in codes(progress)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no tmpfs here")
@pytest.mark.parametrize("readings", [1, 2])
def test_a_vault_that_cannot_be_read_back_from_a_disk_is_never_safe(tmp_path: Path, readings: int) -> None:
    card = make_card(tmp_path / "card", {"a.mp4": os.urandom(LEAF), "b.mp4": b"b"})
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        room = Room(Path(memory) / "station", readings=readings)
        for _ in range(2):  # nor when the device is known already
            progress = room.visit(faulty(card))
            assert progress.state == "incomplete"
            assert {"no-read-back", "not-all"} == codes(progress)
        assert room.wrong(shown(card)) == []
        room.stores.close()
