"""Files that cannot be read everywhere: what can be read becomes a partial record, and nothing calls it whole."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Room, codes, faulty, folder_device, kinds, make_card, shown
from tests.durable.disks import FaultyFiles, Killed

from dockwarden.agent import partial as partial_records
from dockwarden.agent.known import records_of, source_key
from dockwarden.agent.sealed import seal_of
from dockwarden.durable.rescue_map import BLOCK
from dockwarden.durable.rescuing import Patience
from dockwarden.durable.staging import find_stages
from dockwarden.evidence.seals import Hole, Seal
from dockwarden.simulators.faults import Fault

NAME, SIZE = "DCIM/torn.mp4", 12 * LEAF + 5
TORN = Fault("unreadable", NAME, at=2 * LEAF + 3 * BLOCK + 10, length=BLOCK)
HOLE = Hole(2 * LEAF + 3 * BLOCK, 2 * BLOCK, "unreadable")


def seals(room: Room) -> list[Seal]:
    """The seals of all records that the log calls sealed, in its order."""
    entries = room.stores.ledger.entries(limit=100_000)
    records = [entry.envelope.record for entry in entries if entry.envelope.kind == "sealed"]
    return [seal_of(room.stores, record)[0] for record in records if record is not None]


def original(room: Room, seal: Seal) -> bytes:
    """The bytes of a record in the vault."""
    return (room.stores.folders.vault / seal.record[:2] / seal.record / "original").read_bytes()


def with_holes(data: bytes, *holes: Hole) -> bytes:
    """What a partial record holds of a file."""
    for hole in holes:
        data = data[: hole.offset] + bytes(hole.length) + data[hole.offset + hole.length :]
    return data


@pytest.mark.parametrize("readings", [1, 2])
def test_what_can_be_read_is_sealed_with_its_holes_and_the_bay_stays_amber(tmp_path: Path, readings: int) -> None:
    room = Room(tmp_path / "station", readings=readings)
    data = os.urandom(SIZE)
    card = make_card(tmp_path / "card", {NAME: data, "DCIM/z.mp4": os.urandom(LEAF + 1)})
    before = shown(card)
    progress = room.visit(faulty(card, TORN))
    assert (progress.state, codes(progress)) == ("incomplete", {"partial", "not-all"})
    whole, partial = seals(room)  # the bad one comes last
    assert (whole.source_name.text, whole.holes) == ("DCIM/z.mp4", ())
    assert (partial.holes, partial.missing) == ((HOLE,), 2 * BLOCK)
    assert original(room, partial) == with_holes(data, HOLE)
    assert room.wrong(before, planted=[NAME]) == []
    said = [(e.envelope.kind, e.envelope.record) for e in room.stores.ledger.entries(limit=1000)]
    assert ("confirmed", partial.record) not in said
    assert "quarantined" not in kinds(room.stores)
    assert find_stages(room.stores.folders.staging).stages == ()


def test_docked_again_with_the_same_holes_it_stays_the_same_record(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE), "a": b"a"})
    before = shown(card)
    room.visit(faulty(card, TORN))
    for worse in ((), (Fault("unreadable", NAME, at=9 * LEAF, length=1),)):
        progress = room.visit(faulty(card, TORN, *worse))
        assert (progress.state, codes(progress)) == ("incomplete", {"partial", "not-all"})
        assert len(seals(room)) == 2
    assert room.wrong(before, planted=[NAME]) == []


def test_a_better_reading_is_a_new_record_that_supersedes_the_partial_ones(tmp_path: Path, room: Room) -> None:
    data = os.urandom(SIZE)
    card = make_card(tmp_path / "card", {NAME: data})
    before = shown(card)
    more = Fault("unreadable", NAME, at=7 * LEAF, length=1)
    room.visit(faulty(card, TORN, more))
    assert room.visit(faulty(card, TORN)).state == "incomplete"
    assert room.visit(folder_device(card)).state == "safe"
    worst, better, whole = seals(room)
    assert (len(worst.holes), better.holes, whole.holes) == (2, (HOLE,), ())
    assert original(room, whole) == data
    said = [e for e in room.stores.ledger.entries(limit=1000) if e.envelope.kind == "superseded"]
    told = [(e.envelope.record, e.body and e.body["by"]) for e in said]
    assert told == [(worst.record, better.record), (better.record, whole.record)]
    assert room.visit(folder_device(card)).state == "safe"
    assert len(seals(room)) == 3
    assert room.wrong(before, planted=[NAME]) == []


def test_other_bytes_under_the_same_name_are_a_record_of_their_own(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    room.visit(faulty(card, TORN))
    stamp = (card / NAME).stat().st_mtime_ns
    (card / NAME).write_bytes(os.urandom(SIZE))
    os.utime(card / NAME, ns=(stamp, stamp))
    room.visit(faulty(card, TORN))
    assert [seal.holes for seal in seals(room)] == [(HOLE,), (HOLE,)]
    assert "superseded" not in kinds(room.stores)


def test_a_part_that_could_be_read_in_the_end_leaves_no_hole(tmp_path: Path, room: Room) -> None:
    data = os.urandom(SIZE)
    card = make_card(tmp_path / "card", {NAME: data})
    before = shown(card)
    progress = room.visit(faulty(card, replace(TORN, reading=1)))
    assert (progress.state, codes(progress)) == ("safe", set())
    assert [seal.holes for seal in seals(room)] == [()]
    assert room.wrong(before) == []


@pytest.mark.parametrize("pulled_at", [LEAF, 5 * LEAF, 11 * LEAF + 20 * BLOCK, 13 * LEAF])
def test_pulled_out_in_the_middle_is_no_hole_and_it_goes_on(tmp_path: Path, room: Room, pulled_at: int) -> None:
    data = os.urandom(SIZE)
    card = make_card(tmp_path / "card", {NAME: data})
    before = shown(card)
    progress = room.visit(faulty(card, TORN, Fault("unplug", at=pulled_at)))
    assert progress.state == "incomplete"
    if not seals(room):
        assert codes(progress) == {"pulled-out"}
        assert room.visit(faulty(card, TORN), bay="2").state == "incomplete"
    (partial,) = seals(room)
    assert partial.holes == (HOLE,)
    assert original(room, partial) == with_holes(data, HOLE)
    assert room.wrong(before, planted=[NAME]) == []


def test_a_stage_of_a_torn_file_is_never_taken_for_whole(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy ended between its leaf list and its seal: only the map tells what was read."""
    data = os.urandom(SIZE)
    card = make_card(tmp_path / "card", {NAME: data})
    with monkeypatch.context() as patch:
        patch.setattr(partial_records, "seal", _stop)
        assert room.visit(faulty(card, TORN)).state == "incomplete"
    assert seals(room) == []
    assert room.visit(folder_device(card)).state == "safe"
    (whole,) = seals(room)
    assert whole.holes == ()
    assert original(room, whole) == data


def _stop(*_: object) -> None:
    raise RuntimeError("stopped")


def test_patience_ends_and_what_was_not_tried_is_said_to_be_so(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(SIZE)
    card = make_card(tmp_path / "card", {NAME: data})
    before = shown(card)
    monkeypatch.setattr(partial_records, "PATIENCE", Patience(2, 900))
    room.visit(faulty(card, replace(TORN, length=50 * BLOCK)))
    (partial,) = seals(room)
    assert [hole.reason for hole in partial.holes] == ["unreadable", "given-up"]
    first, rest = partial.holes
    assert (first.offset, rest.offset + rest.length) == (HOLE.offset, 3 * LEAF)
    assert original(room, partial) == with_holes(data, *partial.holes)
    assert room.wrong(before, planted=[NAME]) == []


def test_a_damaged_stage_of_a_torn_file_is_kept_and_the_file_is_taken_anew(tmp_path: Path, room: Room) -> None:
    data = os.urandom(SIZE)
    card = make_card(tmp_path / "card", {NAME: data})
    before = shown(card)
    room.visit(faulty(card, TORN, Fault("unplug", at=11 * LEAF)))
    (stage,) = find_stages(room.stores.folders.staging).stages
    assert stage.map.exists()
    with stage.original.open("r+b") as file:
        file.seek(5 * LEAF + 7)
        file.write(b"rot")
    for _ in range(3):
        progress = room.visit(faulty(card, TORN))
        assert progress.state == "incomplete"
    (partial,) = seals(room)
    assert original(room, partial) == with_holes(data, HOLE)
    assert room.wrong(before, planted=[NAME]) == []


@pytest.mark.parametrize("done", [False, True])
def test_killed_at_any_step_it_becomes_one_partial_record(tmp_path: Path, done: bool) -> None:
    """Every sixth step here; `make long NAME=kill-table` has them all."""
    data = os.urandom(3 * LEAF + 5)
    card = make_card(tmp_path / "card", {NAME: data})
    before = shown(card)
    trace = FaultyFiles()
    Room(tmp_path / "learn", files=trace).visit(faulty(card, TORN))
    for step in range(int(done), len(trace.trace), 6):
        room = Room(tmp_path / f"station{step}")
        with suppress(Killed):
            room.restart(FaultyFiles(step, done=done, kill=True)).visit(faulty(card, TORN))
        room = room.restart()
        progress = room.visit(faulty(card, TORN))
        assert progress.state == "incomplete"
        (partial,) = seals(room)
        assert partial.holes == (HOLE,), step
        assert original(room, partial) == with_holes(data, HOLE)
        assert room.wrong(before, planted=[NAME]) == [], step


def test_a_record_is_found_by_the_key_of_its_source(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    room.visit(faulty(card, TORN))
    (partial,) = seals(room)
    key = source_key("BODYCAM-CAM001", partial.source)
    assert records_of(room.stores.ledger.engine, key) == [partial.record]
