"""Runs in the guest: a station and its bay service; tells when each plug was heard and when its first byte came.

    guest_plug.py FOLDER COUNT

FOLDER holds `agent.toml`. For each of COUNT plugs it appends two lines to `report`: `{"ready": n}`, and then
`{"uevent", "disk", "first_byte"}`, in seconds of the monotonic clock: the kernel's first word of the device, udev's
of its disk with a file system, and the first byte of a file in the hands of intake.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyudev

from dockwarden.agent import setup
from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.bay_service import BayService
from dockwarden.agent.drivers.hotplug import Event, Plugged
from dockwarden.agent.drivers.mounting import Owner
from dockwarden.agent.drivers.occupancy import FOLDER
from dockwarden.agent.drivers.ports import read_ports
from dockwarden.agent.drivers.served_bays import ServedBays
from dockwarden.agent.drivers.source import Device, Reader, SourceInfo
from dockwarden.agent.settings import read_settings
from dockwarden.agent.station import Station
from dockwarden.agent.stores import Folders
from dockwarden.durable.files import OsFiles
from dockwarden.evidence.seals import ReadBack


@dataclass
class Times:
    """What of one plug has been seen so far."""

    seen: dict[str, float] = field(default_factory=dict)
    whole: threading.Event = field(default_factory=threading.Event)

    def note(self, what: str) -> None:
        """The first time of each counts."""
        self.seen.setdefault(what, time.monotonic())
        if len(self.seen) == 3:
            self.whole.set()

    def begin(self) -> None:
        """Another plug."""
        self.seen.clear()
        self.whole.clear()


@dataclass
class Watched:
    """A device that notes the first byte that it gives."""

    inner: Device
    times: Times

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """See Device."""
        return _Reading(self.inner.open(source, uncached), self.times)


@dataclass
class _Reading:
    inner: Reader
    times: Times

    @property
    def how(self) -> ReadBack:
        return self.inner.how

    def read(self, offset: int, length: int) -> bytes:
        data = self.inner.read(offset, length)
        self.times.note("first_byte")
        return data

    def close(self) -> None:
        self.inner.close()


class WatchedBays(ServedBays):
    """The real bays, with a watched device in each."""

    def __init__(self, times: Times) -> None:
        super().__init__(FOLDER, profiles.load().profiles, unknown="refuse")
        self._times = times

    def start(self, put: Callable[[Event], None]) -> None:
        """See HotPlug."""

        def watched(event: Event) -> None:
            device = Watched(event.device, self._times) if isinstance(event, Plugged) else None
            put(event if device is None else Plugged(event.bay, device))

        super().start(watched)


def listen(source: str, subsystem: str, note: Callable[[pyudev.Device], None]) -> None:
    """Hand on every device that is added."""
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source=source)
    monitor.filter_by(subsystem)
    monitor.start()
    for device in iter(monitor.poll, None):
        if device.action == "add":
            note(device)


def main() -> None:
    folder, count, times = Path(sys.argv[1]), int(sys.argv[2]), Times()

    def on_usb(device: pyudev.Device) -> None:
        if device.device_type == "usb_device":
            times.note("uevent")

    def on_disk(device: pyudev.Device) -> None:
        if "ID_FS_TYPE" in device.properties and device.properties.get("ID_BUS") == "usb":
            times.note("disk")

    for source, subsystem, note in (("kernel", "usb", on_usb), ("udev", "block", on_disk)):
        threading.Thread(target=listen, args=(source, subsystem, note), daemon=True).start()
    settings = read_settings(folder / "agent.toml")
    setup.make_keys(settings, OsFiles())
    service = BayService(partial(read_ports, Folders(settings.root).ports), FOLDER, Owner(0, 0))
    threading.Thread(target=service.run, daemon=True).start()
    station = Station(settings, WatchedBays(times))
    station.start()
    with (folder / "report").open("a") as report:
        for number in range(count):
            times.begin()
            print(json.dumps({"ready": number}), file=report, flush=True)
            times.whole.wait()
            print(json.dumps(times.seen), file=report, flush=True)
            while any(bay["state"] != "empty" for bay in station.bays.snapshot()):
                time.sleep(0.1)
    station.stop()
    service.stop()


if __name__ == "__main__":
    main()
