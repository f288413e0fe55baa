"""A device that is docked again: it is safe only when every byte that it shows has been held against what is here."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.cards import LEAF, Counted, Room, codes, faulty, folder_device, kinds, make_card, shown

from dockwarden.agent import recognising, vault
from dockwarden.agent.bays import Progress, Stay
from dockwarden.agent.docking import dock
from dockwarden.agent.drivers.source import Device, Reader, SourceInfo
from dockwarden.agent.known import records_of, source_key
from dockwarden.durable.tables import latest, writing
from dockwarden.evidence import canonical
from dockwarden.simulators.faults import Fault

NAME = "DCIM/a.mp4"
SIZE = 40 * LEAF + 9
MIDDLE = 23 * LEAF + 5
LOOKED = 2 * recognising.LOOK
"""What the first look at a card reads of each file that seems known."""


def flip(path: Path, place: int) -> None:
    """Change one bit of a file; name, size and time stay."""
    stamp = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def only_first_and_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """No leaf is drawn: what lies in the middle is seen by nobody who does not read all."""
    monkeypatch.setattr(recognising, "PROBES", 0)


def originals(room: Room) -> list[bytes]:
    """The bytes of all records."""
    folder = room.stores.folders.vault
    return [(vault.folder(folder, record) / vault.ORIGINAL).read_bytes() for record in vault.records(folder)]


def test_one_changed_byte_in_the_middle_of_a_known_file_is_a_new_record(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_first_and_last(monkeypatch)
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE), "b.mp4": b"b"})
    assert room.visit(folder_device(card)).state == "safe"
    old = (card / NAME).read_bytes()
    flip(card / NAME, MIDDLE)
    progress = room.visit(folder_device(card))
    assert (progress.state, codes(progress)) == ("safe", set())
    assert kinds(room.stores).count("sealed") == 3
    assert kinds(room.stores).count("confirmed") == 3
    assert {old, (card / NAME).read_bytes()} <= set(originals(room))
    # The next time the new record is the one that is known.
    assert room.visit(folder_device(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 3


@settings(max_examples=8)
@given(st.integers(1, 9 * LEAF + 17), st.lists(st.integers(0, 1 << 40), max_size=2))
def test_whatever_byte_of_a_known_file_changes_no_bay_is_safe_without_it(size: int, places: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        card = make_card(Path(folder) / "card", {"a.mp4": os.urandom(size)})
        room = Room(Path(folder) / "station")
        assert room.visit(folder_device(card)).state == "safe"
        seen = {(card / "a.mp4").read_bytes()}
        for place in [*places, None]:
            if place is not None:
                flip(card / "a.mp4", place % size)
            seen.add((card / "a.mp4").read_bytes())
            assert room.visit(folder_device(card)).state == "safe"
            assert set(originals(room)) == seen  # what is flipped back is known again
            assert kinds(room.stores).count("sealed") == len(seen)
        room.stores.close()


@pytest.mark.parametrize("size", [0, 1, 3 * LEAF, SIZE])
def test_a_known_file_is_read_once_in_full_and_no_leaf_twice(tmp_path: Path, room: Room, size: int) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(size)})
    assert room.visit(folder_device(card)).state == "safe"
    facts = len(kinds(room.stores))
    device = Counted(folder_device(card))
    assert room.visit(device).state == "safe"
    assert 0 <= device.given.get(NAME.encode(), 0) - size <= LOOKED
    assert kinds(room.stores)[facts:] == ["docked", "clock-measured", "judged", "undocked"]


def test_a_station_that_samples_says_copied_and_why(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_first_and_last(monkeypatch)
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    sampling = Room(room.root, known="sample")
    # What is new is read twice: nothing rests on a sample.
    assert sampling.visit(folder_device(card)).state == "safe"
    device = Counted(folder_device(card))
    progress = sampling.visit(device)
    assert (progress.state, codes(progress)) == ("copied", {"known-by-sample"})
    assert progress.snapshot()["safe"] is False
    assert 0 <= device.given[NAME.encode()] - (LEAF + 9) <= LOOKED
    assert kinds(sampling.stores).count("sealed") == 1
    flip(card / NAME, MIDDLE)
    assert sampling.visit(folder_device(card)).state == "copied"
    # A probe that differs is enough: the file is read in full, twice.
    flip(card / NAME, 5)
    progress = sampling.visit(folder_device(card))
    assert (progress.state, codes(progress)) == ("safe", set())
    assert (card / NAME).read_bytes() in originals(sampling)
    sampling.stores.close()


def test_a_station_that_samples_still_confirms_in_full_what_was_not_confirmed(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    before = shown(card)
    sampling = Room(room.root, known="sample")
    assert sampling.visit(faulty(card, Fault("unplug", at=SIZE + LEAF))).state == "incomplete"
    progress = sampling.visit(folder_device(card))
    assert (progress.state, codes(progress)) == ("safe", set())
    assert kinds(sampling.stores).count("sealed") == kinds(sampling.stores).count("confirmed") == 1
    assert sampling.wrong(before) == []
    sampling.stores.close()


def test_a_station_that_reads_once_reads_what_it_knows_in_full_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_first_and_last(monkeypatch)
    once = Room(tmp_path / "station", readings=1)
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    assert once.visit(folder_device(card)).state == "copied"
    flip(card / NAME, MIDDLE)
    assert once.visit(folder_device(card)).state == "copied"
    assert (card / NAME).read_bytes() in originals(once)
    once.stores.close()


def test_what_is_new_is_taken_before_what_is_known_is_read_again(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {f"{number}.mp4": os.urandom(9 * LEAF) for number in range(4)})
    room.visit(folder_device(card))
    (card / "5.mp4").write_bytes(os.urandom(LEAF))
    seen: dict[int | None, int] = {}
    device = Counted(folder_device(card))

    def look(progress: Progress) -> None:
        seen.setdefault(progress.files_known, device.given.get(b"0.mp4", 0))
        if kinds(room.stores).count("sealed") == 5:
            seen.setdefault(-5, device.given.get(b"0.mp4", 0))

    progress = watched(room, card, look, device=device)
    assert (progress.state, progress.snapshot()["files_known"]) == ("safe", 4)
    # The bay says how many are known, and the new one is sealed, when no known one has been read but at two places.
    assert seen[4] <= LOOKED
    assert seen[-5] <= LOOKED + LEAF


def test_among_many_known_files_the_changed_one_is_found(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {f"{number:03}.mp4": os.urandom(3 * LEAF) for number in range(60)})
    assert room.visit(folder_device(card)).state == "safe"
    flip(card / "041.mp4", LEAF + 7)
    progress = room.visit(folder_device(card))
    assert (progress.state, codes(progress)) == ("safe", set())
    assert kinds(room.stores).count("sealed") == 61
    assert (card / "041.mp4").read_bytes() in originals(room)


def test_a_source_is_looked_up_without_going_through_all_records(room: Room) -> None:
    key = source_key("device", {"modified_raw": 1, "name": {"raw": "00"}, "size": 1, "volume": "v"})
    digest = hashlib.sha256(canonical.encode(key)).hexdigest()
    engine = room.stores.ledger.engine

    def add(first: int, end: int) -> None:
        with writing(engine) as connection:
            for number in range(first, end):
                record = f"r{number}"
                sealed = {"record": record, "kind": "sealed", "place": "station", "log": room.stores.ledger.log}
                rest = {"seq": number, "outcome": "done", "version": 0, "attempts": 0, "boot": "b", "mono": 0}
                connection.execute(latest.insert().values(**sealed, **rest))
                row = {"record": record, "source_key": digest if number < 2 else record}
                connection.exec_driver_sql("INSERT INTO known_sources VALUES (:record, :source_key)", row)

    def steps() -> int:
        taken = 0

        def step() -> int:
            nonlocal taken
            taken += 1
            return 0

        with engine.connect() as connection:  # the pool has just this one connection
            connection.connection.driver_connection.set_progress_handler(step, 1)  # type: ignore[union-attr]
        assert records_of(engine, key) == ["r1", "r0"]
        return taken

    add(0, 10)
    few = steps()
    add(10, 3000)
    assert 0 < steps() <= 2 * few


class Watching(Counted):
    """A device that calls `look` after each reading of it."""

    look: Callable[[], None]

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """See Device."""
        reader = super().open(source, uncached)
        read = reader.read

        def reading(offset: int, length: int) -> bytes:
            data = read(offset, length)
            self.look()
            return data

        reader.read = reading  # type: ignore[method-assign]
        return reader


def watched(
    room: Room, card: Path, look: Callable[[Progress], None], stay: Stay | None = None, device: Device | None = None
) -> Progress:
    """Dock a card, looking at its bay after each reading of the device."""
    device, progress = Watching(device or folder_device(card)), Progress("1", state="reading")
    device.look = lambda: look(progress)
    dock(room.desk, "1", device, progress, stay or Stay())
    device.close()
    return progress


@pytest.mark.parametrize("place", [None, MIDDLE])
def test_the_bay_shows_how_far_the_reading_of_a_known_file_is(
    tmp_path: Path, room: Room, place: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_first_and_last(monkeypatch)
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    room.visit(folder_device(card))
    if place is not None:
        flip(card / NAME, place)
    seen: list[dict[str, object]] = []
    progress = watched(room, card, lambda progress: seen.append(progress.snapshot()))
    assert progress.state == "safe"
    reading = [shot for shot in seen if shot["state"] == "reading"]
    done = [int(str(shot["bytes_done"])) for shot in reading]
    assert done == sorted(done)
    assert len(set(done)) > 20
    for shot in seen:
        assert 0 <= int(str(shot["bytes_done"])) <= int(str(shot["bytes_total"]))
        assert int(str(shot["rate"])) >= 0
        assert shot["eta_s"] is None or int(str(shot["eta_s"])) >= 0
    assert any(shot["eta_s"] is not None for shot in reading)


@pytest.mark.parametrize("left", [False, True])
def test_the_reading_of_a_known_file_ends_with_the_stay(tmp_path: Path, room: Room, left: bool) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    before = shown(card)
    room.visit(folder_device(card))
    stay, readings = Stay(left=left), 0

    def end(progress: Progress) -> None:
        nonlocal readings
        readings += 1
        if readings == 20:
            stay.ended.set()

    progress = watched(room, card, end, stay)
    assert (progress.state, codes(progress)) == ("incomplete", {"pulled-out" if left else "stopped"})
    assert readings <= 21
    assert room.visit(folder_device(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 1
    assert room.wrong(before) == []


def test_a_known_file_that_can_only_be_read_through_the_cache_is_never_safe(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    assert room.visit(folder_device(card)).state == "safe"
    device = faulty(card)
    opened = device.open
    device.open = lambda source, uncached: opened(source, False)  # type: ignore[method-assign]
    progress = room.visit(device)
    assert (progress.state, codes(progress)) == ("incomplete", {"no-read-back", "not-all"})


def test_a_known_file_that_can_no_longer_be_read_in_the_middle_is_never_safe(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_first_and_last(monkeypatch)
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE), "b.mp4": b"b"})
    before = shown(card)
    assert room.visit(folder_device(card)).state == "safe"
    progress = room.visit(faulty(card, Fault("unreadable", NAME, at=MIDDLE, length=10)))
    assert (progress.state, codes(progress)) == ("incomplete", {"unreadable", "not-all"})
    assert room.visit(folder_device(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 2
    assert room.wrong(before, planted=[NAME]) == []


def test_a_record_that_another_bay_confirms_meanwhile_is_read_here_all_the_same(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two devices that look alike: what one of them has shown says nothing of the other."""
    only_first_and_last(monkeypatch)
    data = bytearray(os.urandom(SIZE))
    first = make_card(tmp_path / "first", {NAME: bytes(data)})
    data[MIDDLE] ^= 1
    second = make_card(tmp_path / "second", {NAME: bytes(data)})
    os.utime(second / NAME, ns=((first / NAME).stat().st_mtime_ns,) * 2)
    # Taken, then pulled out before it was confirmed.
    assert room.visit(faulty(first, Fault("unplug", at=SIZE + LEAF))).state == "incomplete"
    device: Device = faulty(second)
    listings, listed = 0, device.sources

    def meanwhile() -> list[SourceInfo]:
        nonlocal listings
        listings += 1
        if listings == 3:  # the second is taken for the first's record; now the first is confirmed in another bay
            assert room.visit(faulty(first), "2").state == "safe"
        return listed()

    device.sources = meanwhile  # type: ignore[method-assign]
    progress = room.visit(device)
    assert progress.state == "incomplete"
    assert "not-confirmed" in codes(progress)
    # The first device has proven the record: the other one's denial takes nothing from it.
    assert room.visit(folder_device(first)).state == "safe"
    assert kinds(room.stores).count("sealed") == 1
    assert room.visit(folder_device(second)).state == "safe"
    assert kinds(room.stores).count("sealed") == 2
