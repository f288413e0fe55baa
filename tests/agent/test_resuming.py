"""A device that was pulled out goes on where it was, in any bay; another one that looks the same starts anew."""

import os
import threading
from pathlib import Path
from threading import Event

import pytest
from tests.agent.cards import LEAF, Counted, Patient, Room, codes, faulty, folder_device, kinds, make_card, shown

from dockwarden.agent import intake, recognising
from dockwarden.agent.bays import Bays, Progress, Stay
from dockwarden.agent.docking import dock
from dockwarden.agent.drivers.hotplug import Plugged, Unplugged
from dockwarden.agent.drivers.source import Device, SourceInfo
from dockwarden.agent.intake import Claims
from dockwarden.agent.stores import new_id
from dockwarden.durable.files import OsFiles
from dockwarden.durable.staging import StagePlan, create_stage, drop_stage, find_stages
from dockwarden.simulators.faults import Fault

GROUPS = 10
NAME = "DCIM/a.mp4"
PROBED = (recognising.PROBES + 2) * LEAF


@pytest.fixture
def size(small_groups: int) -> int:
    """A file of some groups."""
    return GROUPS * small_groups + 77


def pull_out(room: Room, card: Path, place: int, group: int) -> Progress:
    """Dock a card and pull it out when byte `place` of its one large file is asked for."""
    device = faulty(card, Fault("unplug", at=place))
    return room.visit(Patient(device, stores=room.stores, place=place, group=group))


def test_a_device_that_was_pulled_out_goes_on_in_another_bay(
    tmp_path: Path, room: Room, size: int, small_groups: int
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(size)})
    before = shown(card)
    place = 7 * small_groups + 5
    progress = pull_out(room, card, place, small_groups)
    assert (progress.state, codes(progress)) == ("incomplete", {"pulled-out"})
    assert kinds(room.stores).count("sealed") == 0
    once = Room(room.root, readings=1)  # so that only the copy is counted
    device = Counted(folder_device(card))
    assert once.visit(device, "2").state == "copied"
    assert device.given[NAME.encode()] <= size - place + small_groups + PROBED
    once.stores.close()
    assert room.visit(faulty(card), "3").state == "safe"
    assert kinds(room.stores).count("sealed") == 1
    assert room.wrong(before) == []


@pytest.mark.parametrize("groups", [1, 4, 9])
def test_a_device_that_was_pulled_out_goes_on_at_the_very_leaf_where_it_stopped(
    tmp_path: Path, room: Room, size: int, small_groups: int, groups: int
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(size)})
    place = groups * small_groups + LEAF + 5
    assert room.visit(faulty(card, Fault("unplug", at=place))).state == "incomplete"
    once = Room(room.root, readings=1)
    device = Counted(folder_device(card))
    assert once.visit(device, "2").state == "copied"
    assert device.given[NAME.encode()] <= size - (place - place % LEAF) + PROBED
    once.stores.close()


def test_it_goes_on_after_a_restart_and_after_being_pulled_out_again_and_again(
    tmp_path: Path, room: Room, size: int, small_groups: int
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(size), "b": b"b"})
    before = shown(card)
    for place in (1, 3 * small_groups + 1, 6 * small_groups + 1, 9 * small_groups + 1):
        given = 0 if place == 1 else place - small_groups  # what the probes read counts too, so it is pulled earlier
        device = faulty(card, Fault("unplug", at=max(1, given // 2)))
        assert room.visit(device).state == "incomplete"
        room = room.restart()
        assert room.wrong(before) == []
    assert len(find_stages(room.stores.folders.staging).stages) == 1
    assert room.visit(faulty(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 2
    assert room.wrong(before) == []
    room.stores.close()


def test_other_bytes_under_the_same_name_start_anew_and_the_old_stage_is_kept(
    tmp_path: Path, room: Room, size: int, small_groups: int
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(size)})
    pull_out(room, card, 5 * small_groups, small_groups)
    (stage,) = find_stages(room.stores.folders.staging).stages
    old = stage.original.read_bytes()
    stamp = (card / NAME).stat()
    (card / NAME).write_bytes(os.urandom(size))
    os.utime(card / NAME, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    before = shown(card)
    assert room.visit(faulty(card)).state == "safe"
    (kept,) = (path for path in (room.stores.folders.staging / "kept").iterdir() if path.is_dir())
    assert (kept / "original").read_bytes() == old
    assert kinds(room.stores).count("sealed") == 1
    assert room.wrong(before) == []


def test_a_stage_that_the_disk_has_damaged_is_kept_and_the_file_is_read_anew(
    tmp_path: Path, room: Room, size: int, small_groups: int
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(size)})
    before = shown(card)
    pull_out(room, card, 5 * small_groups, small_groups)
    (stage,) = find_stages(room.stores.folders.staging).stages
    with stage.original.open("r+b") as file:
        file.seek(3 * LEAF)
        file.write(b"damage")
    progress = room.visit(faulty(card))
    assert (progress.state, codes(progress)) == ("safe", set())
    assert len([path for path in (room.stores.folders.staging / "kept").iterdir() if path.is_dir()]) == 1
    assert find_stages(room.stores.folders.staging).stages == ()
    assert room.wrong(before) == []


def test_of_two_stages_that_look_alike_each_device_finds_its_own(
    tmp_path: Path, room: Room, size: int, small_groups: int
) -> None:
    cards = [make_card(tmp_path / name, {NAME: os.urandom(size)}) for name in ("one", "two")]
    stamp = (cards[0] / NAME).stat()
    os.utime(cards[1] / NAME, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    befores = [shown(card, None) for card in cards]
    place = 5 * small_groups + 1
    # Both are docked at once under one serial, and both are pulled out.
    second = Patient(faulty(cards[1], Fault("unplug", at=place)), stores=room.stores, place=size, group=small_groups)
    inner = faulty(cards[0])
    first = Meeting(inner, room, second, place)
    assert room.visit(first).state == "incomplete"
    assert len(find_stages(room.stores.folders.staging).stages) == 2
    assert room.visit(faulty(cards[1])).state == "safe"
    assert room.visit(faulty(cards[0])).state == "safe"
    assert not (room.stores.folders.staging / "kept").exists()
    assert kinds(room.stores).count("sealed") == 2
    assert room.wrong(*befores) == []


class Meeting(Counted):
    """A device during whose copy another one is docked; then it is pulled out."""

    def __init__(self, inner: Device, room: Room, other: Device, place: int) -> None:
        super().__init__(inner)
        self.room, self.other, self.place, self.met = room, other, place, False

    def open(self, source: SourceInfo, uncached: bool):  # type: ignore[no-untyped-def]
        reader = super().open(source, uncached)
        read = reader.read

        def reading(offset: int, length: int) -> bytes:
            if offset >= self.place and not self.met:
                self.met = True
                assert self.room.visit(self.other, "2").state == "incomplete"
                self.inner.pull()  # type: ignore[attr-defined]
            return read(offset, length)

        reader.read = reading  # type: ignore[method-assign]
        return reader


def test_two_devices_with_one_serial_at_once_are_two_devices(tmp_path: Path, room: Room) -> None:
    cards = [make_card(tmp_path / name, {NAME: os.urandom(3 * LEAF), "b": name.encode()}) for name in ("one", "two")]
    for name in (NAME, "b"):
        os.utime(cards[1] / name, ns=((cards[0] / name).stat().st_mtime_ns,) * 2)
    befores = [shown(card, None) for card in cards]
    results: dict[str, Progress] = {}

    def run(bay: str, card: Path) -> None:
        results[bay] = room.visit(folder_device(card), bay)

    threads = [threading.Thread(target=run, args=(str(number), card)) for number, card in enumerate(cards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[bay].state for bay in ("0", "1")] == ["safe", "safe"]
    assert kinds(room.stores).count("sealed") == 4
    assert room.wrong(*befores) == []


def test_a_device_that_is_put_into_another_bay_before_the_first_has_let_go_still_goes_on(
    tmp_path: Path, room: Room, size: int, small_groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(size)})
    before = shown(card)
    place = 6 * small_groups + 1
    asked, claim, release = Event(), Claims.claim, Claims.release

    def claiming(self: Claims, record: str, ended: Event) -> bool:
        if record in self._holders:
            asked.set()
        return claim(self, record, ended)

    def releasing(self: Claims, record: str) -> None:
        """The first bay lets go only once the second one has asked for the stage."""
        assert asked.wait(60)
        release(self, record)

    class Moved(Patient):
        """Is put into another bay in the middle."""

        def wait(self) -> None:
            super().wait()
            bays.put(Unplugged("1", self.info.key))
            bays.put(Plugged("2", folder_device(card)))

    monkeypatch.setattr(Claims, "claim", claiming)
    monkeypatch.setattr(Claims, "release", releasing)
    done = Event()

    def run(bay: str, device: Device, progress: Progress, stay: Stay) -> None:
        dock(room.desk, bay, device, progress, stay)
        if bay == "2":
            done.set()

    bays = Bays(["1", "2"], run, lambda bay, error: None)
    bays.put(Plugged("1", Moved(faulty(card), stores=room.stores, place=place, group=small_groups)))
    assert done.wait(60)
    states = {bay["bay"]: bay["state"] for bay in bays.snapshot()}
    bays.stop()
    assert states == {"1": "empty", "2": "safe"}
    assert kinds(room.stores).count("sealed") == 1
    assert find_stages(room.stores.folders.staging).stages == ()
    assert room.wrong(before) == []


def test_a_stage_that_another_bay_finishes_meanwhile_is_known_and_not_taken_twice(
    tmp_path: Path, room: Room, size: int, small_groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(size)})
    before = shown(card)
    pull_out(room, card, 6 * small_groups + 1, small_groups)
    claim = Claims.claim

    def waiting(self: Claims, record: str, ended: Event) -> bool:
        monkeypatch.setattr(Claims, "claim", claim)
        assert room.visit(faulty(card), "2").state == "safe"
        return claim(self, record, ended)

    monkeypatch.setattr(Claims, "claim", waiting)
    assert room.visit(faulty(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 1
    assert find_stages(room.stores.folders.staging).stages == ()
    assert room.wrong(before) == []


def test_stages_that_come_and_go_in_other_bays_disturb_nobody(tmp_path: Path, room: Room) -> None:
    done = Event()
    staging = room.stores.folders.staging

    def churn() -> None:
        while not done.is_set():
            drop_stage(OsFiles(), create_stage(OsFiles(), staging, StagePlan(new_id(), {"n": 1}, 0)))

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        card = make_card(tmp_path / "card", {f"{number}": bytes([number]) for number in range(40)})
        progress = room.visit(faulty(card))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert (progress.state, codes(progress)) == ("safe", set())


def test_a_station_that_is_stopped_says_so_and_not_that_somebody_took_the_device(tmp_path: Path, room: Room) -> None:
    stay = Stay()
    stay.ended.set()
    progress = room.visit(folder_device(make_card(tmp_path / "card", {NAME: b"x"})), stay=stay)
    assert (progress.state, codes(progress)) == ("incomplete", {"stopped"})


def test_sources_of_the_same_name_in_two_folders_and_on_two_cards_are_apart(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {"DCIM/100/A.MP4": b"1" * 9, "DCIM/101/A.MP4": b"2" * 9, "A.MP4": b"3" * 9})
    before = shown(card)
    assert room.visit(folder_device(card)).state == "safe"
    assert room.visit(folder_device(card, volume="5678-EFGH")).state == "safe"
    assert kinds(room.stores).count("sealed") == 6
    assert room.wrong(before) == []


def test_the_space_that_the_log_needs_is_left_to_it() -> None:
    assert intake.KEEP_FREE >= 16 * 1024 * 1024
