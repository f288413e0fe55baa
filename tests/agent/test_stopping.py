"""A station that stops, or a bay that is emptied, waits for no device and for no long reading."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Counted, Room, codes, folder_device, kinds, make_card, shown
from tests.agent.test_half_states import crash

from dockwarden.agent import sealing
from dockwarden.agent.bays import Stay
from dockwarden.agent.drivers.hotplug import Event as HotPlugEvent
from dockwarden.agent.drivers.hotplug import Plugged
from dockwarden.agent.drivers.source import Device, Reader, SourceInfo
from dockwarden.agent.intake import Claims
from dockwarden.agent.sessions import Desk
from dockwarden.agent.settings import Settings
from dockwarden.agent.setup import make_keys
from dockwarden.agent.station import Station
from dockwarden.durable.files import OsFiles
from dockwarden.simulators.faults import Fault, FaultyDevice
from dockwarden.simulators.world import VERDICTS, wait_for

NAME = "DCIM/a.mp4"
SIZE = 20 * LEAF + 9


class Stalling(Counted):
    """A device that gives no answer once it `is_time`, until it is let go: as a dying card keeps the kernel busy."""

    def __init__(self, inner: Device, is_time: Callable[["Stalling", str], bool]) -> None:
        super().__init__(inner)
        self.is_time, self.stalls, self.let_go = is_time, threading.Event(), threading.Event()
        self.listings = 0

    def stall(self, where: str) -> None:
        """Give no answer, where it is time."""
        if self.is_time(self, where):
            self.stalls.set()
            self.let_go.wait()

    def sources(self) -> list[SourceInfo]:
        """See Device."""
        self.listings += 1
        self.stall("sources")
        return self.inner.sources()

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """See Device."""
        self.stall("open")
        reader = super().open(source, uncached)
        read = reader.read

        def reading(offset: int, length: int) -> bytes:
            self.stall("read")
            return read(offset, length)

        reader.read = reading  # type: ignore[method-assign]
        return reader

    @property
    def total(self) -> int:
        """Bytes that it has given."""
        return sum(self.given.values())


class OneDevice:
    """A hot-plug source that puts one device into bay 1."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def start(self, put: Callable[[HotPlugEvent], None]) -> None:
        """See HotPlug."""
        put(Plugged("1", self._device))

    def stop(self) -> None:
        """See HotPlug."""


@pytest.fixture
def station_settings(tmp_path: Path) -> Iterator[Settings]:
    """The settings of a station that is set up."""
    settings = Settings(
        station="st-01", root=tmp_path / "root", bays=["1"], release="keep", known="sample", media=False, panel=None
    )
    settings.root.mkdir()
    make_keys(settings, OsFiles())
    yield settings


def test_the_policy_of_the_settings_is_the_stations(station_settings: Settings, tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    states = []
    for _ in range(2):
        station = Station(station_settings, OneDevice(folder_device(card)))
        station.start()
        wait_for("the verdict", lambda station=station: station.bays.snapshot()[0]["state"] in VERDICTS)
        states.append(station.bays.snapshot()[0]["state"])
        station.stop()
    assert states == ["safe", "copied"]


WHEN: dict[str, Callable[[Stalling, str], bool]] = {
    "it is copied": lambda device, where: where == "read" and device.total >= 8 * LEAF,
    "it is opened for the second reading": lambda device, where: where == "open" and device.total >= SIZE,
    "it is read a second time": lambda device, where: where == "read" and device.total >= SIZE + 8 * LEAF,
    "it is listed": lambda device, where: where == "sources",
    "it is listed at the end": lambda device, where: device.listings == 4,
}


@pytest.mark.parametrize("when", [*WHEN, "what is known is read"])
def test_a_station_stops_though_a_device_gives_no_answer(
    station_settings: Settings, tmp_path: Path, small_groups: int, when: str
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    settings = station_settings.model_copy(update={"known": "full"})
    if when == "what is known is read":
        station = Station(settings, OneDevice(folder_device(card)))
        station.start()
        wait_for("the verdict", lambda: station.bays.snapshot()[0]["state"] == "safe")
        station.stop()
    device = Stalling(folder_device(card), WHEN.get(when, WHEN["it is copied"]))
    station = Station(settings, OneDevice(device))
    station.start()
    assert device.stalls.wait(60)
    stopping = threading.Thread(target=station.stop)
    stopping.start()
    stopping.join(60)
    stopped = not stopping.is_alive()
    device.let_go.set()
    stopping.join()
    assert stopped
    (bay,) = station.bays.snapshot()
    assert (bay["state"], [found["code"] for found in bay["findings"]]) == ("incomplete", ["stopped"])  # type: ignore[attr-defined]


def test_a_bay_whose_device_gives_no_answer_takes_the_next_one(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    before = shown(card)
    device, stay = Stalling(folder_device(card), WHEN["it is copied"]), Stay()

    def pull() -> None:
        assert device.stalls.wait(60)
        stay.left = True
        stay.ended.set()

    pulling = threading.Thread(target=pull)
    pulling.start()
    progress = room.visit(device, stay=stay)
    assert (progress.state, codes(progress)) == ("incomplete", {"pulled-out"})
    assert room.visit(folder_device(card)).state == "safe"
    device.let_go.set()
    pulling.join()
    assert kinds(room.stores).count("sealed") == 1
    assert room.wrong(before) == []


def test_what_a_stalled_device_opens_too_late_is_closed(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    device, stay = folder_device(card), Stay()
    let_go, closed, opened = threading.Event(), threading.Event(), device.open

    def opening(source: SourceInfo, uncached: bool) -> Reader:
        reader = opened(source, uncached)
        close = reader.close

        def closing() -> None:
            close()
            closed.set()

        reader.close = closing  # type: ignore[method-assign]
        stay.ended.set()
        let_go.wait()
        return reader

    device.open = opening  # type: ignore[method-assign]
    assert room.visit(device, stay=stay).state == "incomplete"
    assert not closed.is_set()
    let_go.set()
    assert closed.wait(60)


def test_a_card_that_reads_a_byte_a_second_keeps_no_station_from_stopping(tmp_path: Path, room: Room) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    device, stay = FaultyDevice(folder_device(card), card, [Fault("slow", rate=1)]), Stay()
    timer = threading.Timer(0.5, stay.ended.set)
    timer.start()
    progress = room.visit(device, stay=stay)
    assert (progress.state, codes(progress)) == ("incomplete", {"stopped"})
    device.pull()
    timer.join()


def test_a_stage_that_is_being_verified_is_left_as_it_is_when_the_station_stops(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = make_card(tmp_path / "card", {NAME: os.urandom(SIZE)})
    before = shown(card)
    crash(room, card, monkeypatch, sealing, "publish")

    class Ending(Claims):
        """The station stops when it has just found what an earlier try has left."""

        def claim(self, record: str, ended: threading.Event) -> bool:
            claimed = super().claim(record, ended)
            ended.set()
            return claimed

    desk, room.desk = room.desk, Desk(room.stores, room.desk.profiles, Ending())
    progress = room.visit(folder_device(card))
    assert (progress.state, codes(progress)) == ("incomplete", {"stopped"})
    assert "sealed" not in kinds(room.stores)
    room.desk = desk
    assert room.visit(folder_device(card)).state == "safe"
    assert kinds(room.stores).count("sealed") == 1
    assert room.wrong(before) == []
