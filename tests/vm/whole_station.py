"""A whole station with 24 bays in the machine: four controllers, hubs of hubs, and what its report tells."""

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.vm.vm_samples import HERE

from dockwarden.simulators.vm.devices import XHCI, Hub, SimulatedDisk, StorageDevice, appears, usbip_place
from dockwarden.simulators.vm.faults import Fault
from dockwarden.simulators.vm.machine import SHARE, Machine, Plugged

WAIT_S = 240.0
FOLDER = "station"

EMULATED = {
    "1": (1, "3"),
    "2": (1, "4"),
    "4": (1, "6"),
    "5": (1, "7"),
    "6": (1, "8"),
    "7": (2, "3"),
    "8": (2, "4"),
    "9": (2, "6"),
    "10": (2, "1.2.1"),
    "11": (2, "1.2.2"),
    "12": (2, "1.3"),
}
"""The bays on xHCI controllers: controller and port. Three of them are behind hubs, two behind a hub of a hub."""

SIMULATED = {"3": 1, **{str(bay): bay - 11 for bay in range(13, 19)}, **{str(bay): bay - 3 for bay in range(19, 25)}}
"""The bays on the two USB/IP controllers, by port; only these have faults."""

BAYS = sorted({*EMULATED, *SIMULATED}, key=int)
HUBS = (Hub("1", 2), Hub("1.2", 2))


def ports() -> dict[str, str]:
    """The bay of each port, as it is learned."""
    found = {}
    for bay, (controller, port) in EMULATED.items():
        found |= {f"{XHCI[controller]}-usbv{version}-0:{port}": bay for version in (2, 3)}
    for bay, number in SIMULATED.items():
        controller, port = usbip_place(number)
        found[f"platform-vhci_hcd.{controller}-usbv2-0:{port}"] = bay
    return found


def device_in(bay: str, card: Path, serial: str, *faults: Fault) -> StorageDevice | SimulatedDisk:
    """A camera for a bay: a simulated one where the bay's controller is."""
    if bay in SIMULATED:
        return SimulatedDisk(card, str(SIMULATED[bay]), serial, faults)
    controller, port = EMULATED[bay]
    return StorageDevice(card, port, serial, controller=controller)


def digests(files: dict[str, bytes]) -> set[str]:
    return {hashlib.sha256(data).hexdigest() for data in files.values()}


class Docked:
    """The station in the guest, as its report tells."""

    def __init__(self, vm: Machine) -> None:
        self.vm = vm
        self.folder = vm.shared(FOLDER)

    def newest(self) -> dict[str, Any]:
        report = self.folder / "report"
        lines = report.read_text("utf-8").splitlines() if report.exists() else []
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {"serving": None, "bays": [], "records": []}
        return found

    def bay(self, name: str) -> dict[str, Any]:
        return next((bay for bay in self.newest()["bays"] if bay["bay"] == name), {"state": "", "findings": []})

    def until(self, name: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The bay once it is as wanted."""
        ends = time.monotonic() + WAIT_S
        while not fits(bay := self.bay(name)):
            assert time.monotonic() < ends, (bay, self.log()[-2000:], self.vm.log()[-2000:])
            time.sleep(0.1)
        return bay

    def until_state(self, name: str, *states: str) -> dict[str, Any]:
        return self.until(name, lambda bay: bay["state"] in states)

    def verdict(self, name: str) -> str:
        """What the bay says in the end."""
        return str(self.until_state(name, "safe", "copied", "incomplete", "refused")["state"])

    def log(self) -> str:
        """What station and service have logged."""
        path = self.folder / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def pause(self) -> None:
        """The bay service ends: nothing is mounted, and the controllers are open to all."""
        (self.folder / "pause").touch()
        self._until_serving(False)

    def go_on(self) -> None:
        """A bay service begins."""
        (self.folder / "pause").unlink(missing_ok=True)
        self._until_serving(True)

    def _until_serving(self, wanted: bool) -> None:
        ends = time.monotonic() + WAIT_S
        while self.newest()["serving"] is not wanted:
            assert time.monotonic() < ends, self.log()[-2000:]
            time.sleep(0.1)

    def dock(self, cards: Mapping[str, Path], *faults: Fault) -> dict[str, Plugged]:
        """Plug a card into each bay, one right after the other."""
        return {bay: self.vm.plug(device_in(bay, card, f"CAM{bay}", *faults)) for bay, card in cards.items()}

    def undock(self, plugged: Mapping[str, Plugged]) -> None:
        """Pull them all out; returns once their bays are empty."""
        for each in plugged.values():
            self.vm.unplug(each)
        for bay in plugged:
            self.until_state(bay, "empty")

    def until_dropped_off(self, plugged: Mapping[str, Plugged]) -> None:
        """Wait until simulated devices with the fault `unplug` have done so."""
        ends = time.monotonic() + WAIT_S
        for bay, each in plugged.items():
            while not any("unplug after" in line for line in self.vm.told(each)["log"]):
                assert time.monotonic() < ends, (bay, self.bay(bay), self.vm.told(each))
                time.sleep(0.1)

    def plug_hubs(self) -> None:
        """Plug in the dock's own hubs; the service lets them in."""
        since = self.vm.now()
        for hub in HUBS:
            self.vm.plug(hub)
            self.vm.wait_for(since, appears(hub), WAIT_S)


def pull_out_and_dock_again(docked: Docked, cards: Mapping[str, Path], places: Mapping[str, int]) -> list[str]:
    """Cards whose devices drop off once so many bytes have been read of them, all at once, then whole ones; bays on
    USB/IP controllers only. Returns what the bays say in the end."""
    plugged: dict[str, Plugged] = {}
    for bay, card in cards.items():
        plugged |= docked.dock({bay: card}, Fault("unplug", at=places[bay]))
    docked.until_dropped_off(plugged)
    docked.undock(plugged)
    plugged = docked.dock(cards)
    said = [docked.verdict(bay) for bay in cards]
    assert all(docked.vm.told(each)["written"] == 0 for each in plugged.values())
    docked.undock(plugged)
    return said


@contextmanager
def running_station(vm: Machine) -> Iterator[Docked]:
    """A station in the machine for the length of a block; it begins paused."""
    # A vault on a real disk: what lies in memory is never called safe.
    vm.check(["sh", "-c", "truncate -s 300M /tmp/disk && mkfs.ext4 -q /tmp/disk && mkdir -p /srv/vault"])
    vm.check(["modprobe", "loop"])
    vm.check(["mount", "-o", "loop", "/tmp/disk", "/srv/vault"])
    docked = Docked(vm)
    docked.folder.mkdir()
    settings = f'station = "st-01"\nroot = "/srv/vault/st"\nbays = {json.dumps(BAYS)}\nrelease = "keep"\n'
    (docked.folder / "agent.toml").write_text(f"{settings}media = false\n[panel]\nport = 0\n", "utf-8")
    (docked.folder / "ports.json").write_text(json.dumps({"ports": ports()}), "utf-8")
    (docked.folder / "pause").touch()
    vm.check(["mkdir", "-p", "/srv/vault/st"])
    vm.check(["cp", SHARE / FOLDER / "ports.json", "/srv/vault/st/"])
    script = [sys.executable, HERE / "guest_station.py", SHARE / FOLDER]
    words = ["sh", "-c", f'exec "$@" 2>{SHARE / FOLDER}/log', "sh", *script]
    ended: list[Any] = []
    running = threading.Thread(target=lambda: ended.append(vm.run(words, timeout_s=3600)))
    running.start()
    try:
        docked.until_state("1", "empty")
        yield docked
    finally:
        (docked.folder / "stop").touch()
        running.join()
        assert ended[0].code == 0, docked.log()[-4000:]
        vm.check(["umount", "/srv/vault"])
