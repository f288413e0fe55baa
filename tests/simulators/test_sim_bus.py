"""The bus: files that appear and vanish are devices that are plugged in and pulled out."""

import json
import queue
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dockwarden.agent.drivers.hotplug import Event, HotPlug, Plugged, Refused, Unplugged
from dockwarden.agent.drivers.source import SourceError
from dockwarden.service.errors import ServiceError
from dockwarden.simulators import bus
from dockwarden.simulators.bus import DirectoryBus, plug, unplug
from dockwarden.simulators.faults import Clock, Fault

WAIT_S = 30


class Listener:
    """A running bus and what it has said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: queue.Queue[Event] = queue.Queue()
        self.bus: HotPlug = DirectoryBus(folder)
        self.bus.start(self.events.put)

    def next(self) -> Event:
        return self.events.get(timeout=WAIT_S)

    def plugged(self) -> Plugged:
        event = self.next()
        assert isinstance(event, Plugged)
        return event


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    heard = Listener(tmp_path / "bus")
    yield heard
    heard.bus.stop()
    assert heard.events.empty()


@pytest.fixture
def card(tmp_path: Path) -> Path:
    root = tmp_path / "card"
    (root / "DCIM" / "20261124").mkdir(parents=True)
    (root / "DCIM" / "20261124" / "a.mp4").write_bytes(b"x" * 5000)
    return root


def test_a_device_that_is_plugged_in_comes_with_its_bay_profile_and_sources(listener: Listener, card: Path) -> None:
    plug(listener.folder, "3", card, serial="ZB2041")
    event = listener.plugged()
    with closing(event.device) as device:
        assert event.bay == "3"
        assert (device.info.profile, device.info.serial, device.info.model) == ("dcam", "ZB2041", "DCAM X3")
        assert [source.size for source in device.sources()] == [5000]
        reading = device.clock()
        assert reading is not None and reading.method == "asked"


def test_pulling_it_out_makes_its_readers_fail_and_is_told(listener: Listener, card: Path) -> None:
    plug(listener.folder, "1", card, serial="ZB2041")
    with closing(listener.plugged().device) as device:
        with closing(device.open(device.sources()[0], False)) as reader:
            assert reader.read(0, 10) == b"x" * 10
            unplug(listener.folder, "1")
            assert listener.next() == Unplugged("1", device.info.key)
            with pytest.raises(SourceError) as caught:
                reader.read(10, 10)
        assert caught.value.code == "unplugged"


def test_what_is_there_at_the_start_comes_first_and_a_bay_can_be_used_again(tmp_path: Path, card: Path) -> None:
    folder = tmp_path / "bus"
    plug(folder, "2", card, serial="B")
    plug(folder, "1", card, serial="A")
    heard = Listener(folder)
    try:
        for bay in ("1", "2"):
            event = heard.plugged()
            assert event.bay == bay
            event.device.close()
        unplug(folder, "1")
        assert isinstance(heard.next(), Unplugged)
        plug(folder, "1", card, serial="C")
        again = heard.plugged()
        assert again.device.info.serial == "C"
        again.device.close()
    finally:
        heard.bus.stop()


def test_another_device_in_the_same_bay_at_once_is_one_out_and_one_in(listener: Listener, card: Path) -> None:
    plug(listener.folder, "1", card, serial="A")
    listener.plugged().device.close()
    text = (listener.folder / "1.json").read_text("utf-8").replace('"A"', '"B"')
    other = listener.folder / ".other"
    other.write_text(text, "utf-8")
    other.replace(listener.folder / "1.json")
    assert isinstance(listener.next(), Unplugged)
    event = listener.plugged()
    assert event.device.info.serial == "B"
    event.device.close()


def test_a_device_that_falls_out_by_a_fault_leaves_its_bay(listener: Listener, card: Path) -> None:
    plug(listener.folder, "1", card, serial="A", faults=[Fault("unplug", at=100)])
    with closing(listener.plugged().device) as device:
        with closing(device.open(device.sources()[0], False)) as reader, pytest.raises(SourceError):
            reader.read(0, 200)
        assert listener.next() == Unplugged("1", device.info.key)
    assert not (listener.folder / "1.json").exists()


def test_one_card_in_two_bodies_is_one_volume_and_two_cameras_with_one_serial_are_two(
    listener: Listener, card: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a").write_bytes(b"a")
    plug(listener.folder, "1", card, serial="A")
    plug(listener.folder, "2", card, serial="B")
    plug(listener.folder, "3", other, serial="A")
    found = {}
    for _ in range(3):
        event = listener.plugged()
        found[event.bay] = (event.device.info.key, event.device.sources()[0].volume)
        event.device.close()
    assert found["1"][1] == found["2"][1] != found["3"][1]
    assert found["1"][0] == found["3"][0] != found["2"][0]


@pytest.mark.parametrize(
    ("values", "code", "word"),
    [
        ({"root": "/nowhere/at/all", "model": "X"}, "no-card", "no card"),
        ({"root": "relative", "model": "X"}, "bad-bus-file", "absolute"),
        ({"model": "X"}, "bad-bus-file", "root"),
        ({"root": "/", "model": "X", "colour": 1}, "bad-bus-file", "colour"),
        ({"root": "/", "model": "X", "faults": [{"kind": "melt"}]}, "bad-bus-file", "faults.0.kind"),
        ("not JSON", "bad-bus-file", "JSON"),
    ],
)
def test_what_cannot_be_a_device_is_refused_with_a_word_and_the_other_bays_go_on(
    listener: Listener, card: Path, values: Any, code: str, word: str
) -> None:
    text = values if isinstance(values, str) else json.dumps(values)
    part = listener.folder / ".part"
    part.write_text(text, "utf-8")
    part.replace(listener.folder / "1.json")
    event = listener.next()
    assert isinstance(event, Refused)
    assert (event.bay, event.error.code) == ("1", code)
    assert word in event.error.what
    plug(listener.folder, "2", card)
    listener.plugged().device.close()
    unplug(listener.folder, "1")
    plug(listener.folder, "1", card)
    listener.plugged().device.close()


def test_a_device_that_two_profiles_fit_is_refused_by_naming_both(listener: Listener, card: Path) -> None:
    (card / "REC_FILE").mkdir()
    plug(listener.folder, "1", card, model="disk")
    event = listener.next()
    assert isinstance(event, Refused)
    assert "dcam and recorder" in event.error.what


def test_a_bay_takes_one_device_and_has_a_plain_name(tmp_path: Path, card: Path) -> None:
    plug(tmp_path, "1", card)
    with pytest.raises(ServiceError) as caught:
        plug(tmp_path, "1", card)
    assert caught.value.code == "bay-taken"
    for bay in ("../1", "", ".x", "a/b", "x" * 33):
        with pytest.raises(ServiceError) as caught:
            plug(tmp_path, bay, card)
        assert caught.value.code == "bad-bay"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["1.json"]


def test_a_bus_file_says_all_that_was_said(tmp_path: Path, card: Path) -> None:
    fault = Fault("flip", "*.mp4", at=7, reading=2)
    plug(tmp_path, "1", card, serial=None, clock=Clock(5, 6, True), faults=[fault], volume="V", vendor="W", label="L")
    body = bus.read_body(tmp_path / "1.json")
    assert body == bus.Body(str(card), "DCAM X3", None, "W", "L", "V", Clock(5, 6, True), (fault,))


def test_stopping_a_bus_that_was_never_started_does_nothing(tmp_path: Path) -> None:
    DirectoryBus(tmp_path).stop()
