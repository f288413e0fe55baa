"""The bay service: what is plugged into a bay's USB port is looked at, let in or refused, and mounted read-only.

It is a process of its own, since it alone needs the rights for it; the station reads what it tells (`occupancy`).
Events of udev only wake it; what counts is what the kernel shows when it looks. So nothing is missed that was plugged
in before the start, during a restart, or while the monitor's buffer overflowed.
"""

import os
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, TypeAlias

import pyudev

from dockwarden.agent.drivers.admission import RefusedDevice, objection
from dockwarden.agent.drivers.clearing_door import ClearingDoor
from dockwarden.agent.drivers.descriptors import DescriptorError
from dockwarden.agent.drivers.mounting import Owner, mount_volumes, unmount_below
from dockwarden.agent.drivers.occupancy import Left, Occupancy, Refusal, Volume, encode
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.drivers.usb import (
    BlockNode,
    UsbDevice,
    block_nodes,
    require_authorization,
    root_hubs,
    set_authorized,
    usb_devices,
)
from dockwarden.agent.drivers.writable import CLEARABLE
from dockwarden.durable.files import OsFiles, write_durably
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import log

RESCAN_S = 5.0
SETTLE_S = 1.0
"""How long a device's disks must have stayed the same: a reader of several cards shows one after the other."""

NO_DISK_S = 30.0
BUFFER = 8 << 20

Phase: TypeAlias = Literal["waiting", "mounting", "mounted", "refused"]


@dataclass
class _Occupant:
    """What sits in a bay, and how far it has come. Times are of the monotonic clock, in seconds."""

    device: UsbDevice
    since: float
    changed: float
    phase: Phase = "waiting"
    nodes: tuple[BlockNode, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True)
class _Done:
    """What came of mounting, told by the thread that did it."""

    bay: str
    occupant: _Occupant
    folder: Path
    volumes: tuple[Volume, ...]
    left: tuple[Left, ...]


class BayService:
    """Serves the ports that `ports` names (port to bay; asked at each look, so that a bay can be learned meanwhile).

    `folder` gets a file for each occupied bay and the mount points; `owner` may read what is mounted. `profiles` say
    what a device that they know by its ids may offer besides a disk.
    """

    def __init__(
        self, ports: Callable[[], Mapping[str, str]], folder: Path, owner: Owner, profiles: Sequence[Profile] = ()
    ) -> None:
        self._ask_ports = ports
        self._ports: Mapping[str, str] = {}
        self._hubs: list[tuple[Path, int]] = []
        self._told = False
        self._folder = folder
        self._owner = owner
        self._profiles = tuple(profiles)
        self._files = OsFiles()
        self._occupants: dict[str, _Occupant] = {}
        self._done: SimpleQueue[_Done] = SimpleQueue()
        self._stays = count(1)
        self._run_id = os.urandom(4).hex()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Serve until `stop`; then nothing is mounted any more. Raises DurableError, OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._clear()
        door = ClearingDoor(self._folder, self._owner.uid, self._volume)
        context = pyudev.Context()
        monitor = _monitor(context)  # before the first look, so that nothing falls between them
        try:
            while not self._stopping.is_set():
                self._learn()
                self._look(context)
                if not _wait(monitor, self._wake_read, self._pause()):
                    log("bays").warning("events of udev were lost: looking at everything anew")
                    monitor = _monitor(context)
        finally:
            door.close()
            self._clear()

    def stop(self) -> None:
        """End `run`; may be called from a signal handler."""
        self._stopping.set()
        self._wake()

    def _volume(self, bay: str, stay: str, name: str) -> tuple[Path, Path] | None:
        """Block device and mount point of a volume that is in a bay now; called in the door's threads."""
        occupant = self._occupants.get(bay)
        folder = occupant.folder if occupant is not None else None
        if occupant is None or folder is None or occupant.phase != "mounted" or folder.name != stay:
            return None
        for point in folder.iterdir():
            if point.name == name and os.path.ismount(point):
                number = point.stat().st_dev
                wanted = (os.major(number), os.minor(number))
                fits = (node for node in occupant.nodes if node.number == wanted and node.filesystem in CLEARABLE)
                return next(((node.node, point) for node in fits), None)
        return None

    def _clear(self) -> None:
        """Show no device and mount none: also what a killed run has left."""
        for path in self._folder.glob("*.json"):
            path.unlink(missing_ok=True)
        for folder in self._folder.glob("*/*"):
            unmount_below(folder)

    def _learn(self) -> None:
        """Take over what was learned about ports since the last look, and close the controllers to all else: also
        one that has come since, or come anew."""
        try:
            ports = dict(self._ask_ports())
        except ServiceError as error:
            if not self._told:
                log("bays").error("the bays of the ports are not known", code=error.code, where=error.where)
            self._told = True
            ports = dict(self._ports)
        else:
            self._told = False
        hubs = root_hubs()
        if (ports, hubs) == (self._ports, self._hubs):
            return
        self._ports, self._hubs = ports, hubs
        for path in require_authorization([path for path, _ in hubs], ports):
            log("bays").warning("devices on this controller are bound before they are looked at", root_hub=path.name)

    def _look(self, context: pyudev.Context) -> None:
        """Bring what is told of each bay in line with what the kernel shows now."""
        devices = {device.port: device for device in usb_devices(context)}
        self._let_hubs_in(devices)
        now: dict[str, UsbDevice] = {}
        for port, bay in self._ports.items():
            if port in devices:
                now.setdefault(bay, devices[port])
        for bay, occupant in list(self._occupants.items()):
            if bay not in now or now[bay].number != occupant.device.number:
                del self._occupants[bay]
                self._leave(bay, occupant)
        for bay, device in now.items():
            if bay not in self._occupants:
                self._occupants[bay] = self._enter(bay, device)
        self._tell_mounted()
        for bay, occupant in self._occupants.items():
            if occupant.phase in ("waiting", "mounted"):
                self._follow(bay, occupant, tuple(block_nodes(context, occupant.device)))

    def _let_hubs_in(self, devices: Mapping[str, UsbDevice]) -> None:
        """The dock's own hubs: a hub on the way to a bay."""
        for port, device in devices.items():
            hub = not isinstance(device.descriptors, DescriptorError) and device.descriptors.is_hub
            leads = any(bay_port.startswith(f"{port}.") for bay_port in self._ports)
            if hub and leads and not device.authorized:
                with suppress(OSError):  # it has left: the next look tells
                    set_authorized(device, True)

    def _enter(self, bay: str, device: UsbDevice) -> _Occupant:
        now = time.monotonic()
        occupant = _Occupant(device, now, now)
        reason = objection(device, self._profiles)
        try:
            set_authorized(device, reason is None)
        except OSError as error:
            if reason is None:
                what = f"the device could not be let in: {error.strerror}"
                reason = RefusedDevice("not-authorized", what, f"port {device.port}", "Plug it in again.")
        if reason is not None:
            self._refuse(bay, occupant, reason)
        return occupant

    def _follow(self, bay: str, occupant: _Occupant, nodes: tuple[BlockNode, ...]) -> None:
        """Wait until a device's disks stay the same, then mount them; begin anew where they change later."""
        now = time.monotonic()
        if nodes != occupant.nodes:
            occupant.nodes, occupant.changed = nodes, now
            if occupant.phase == "mounted":
                self._leave(bay, occupant)
                occupant.phase, occupant.since = "waiting", now
        if occupant.phase != "waiting":
            return
        if any(node.size for node in nodes) and all(node.known for node in nodes):
            if now - occupant.changed >= SETTLE_S:
                occupant.phase = "mounting"
                threading.Thread(target=self._mount, args=(bay, occupant), name=f"mount {bay}", daemon=True).start()
        elif now - occupant.since >= NO_DISK_S:
            what, where = "the device shows no disk, or no card is in it", f"port {occupant.device.port}"
            self._refuse(bay, occupant, RefusedDevice("no-disk", what, where, "Look whether it holds a card."))

    def _mount(self, bay: str, occupant: _Occupant) -> None:
        """In a thread of its own: a torn file system can take its time, and the other bays go on."""
        folder = self._folder / bay / f"{self._run_id}-{next(self._stays)}"
        try:
            volumes, left = mount_volumes(occupant.nodes, folder, self._owner)
        except Exception as error:
            log("bays").exception("mounting failed", bay=bay)
            volumes, left = [], [Left("all", f"the service failed to mount the device: {type(error).__name__}")]
        self._done.put(_Done(bay, occupant, folder, tuple(volumes), tuple(left)))
        self._wake()

    def _tell_mounted(self) -> None:
        """What was mounted meanwhile is told, unless its device has left."""
        with suppress(Empty):
            while True:
                done = self._done.get_nowait()
                if self._occupants.get(done.bay) is not done.occupant:
                    unmount_below(done.folder)
                    continue
                done.occupant.phase, done.occupant.folder = "mounted", done.folder
                self._tell(done.bay, _described(done.occupant, done.folder.name, done.volumes, done.left))

    def _refuse(self, bay: str, occupant: _Occupant, error: ServiceError) -> None:
        occupant.phase = "refused"
        stay = f"{self._run_id}-{next(self._stays)}"
        refusal = Refusal(error.code, error.what, error.where, error.do)
        self._tell(bay, _described(occupant, stay, refusal=refusal))

    def _tell(self, bay: str, occupancy: Occupancy) -> None:
        write_durably(self._files, self._folder / f"{bay}.json", encode(occupancy), 0o644)

    def _leave(self, bay: str, occupant: _Occupant) -> None:
        (self._folder / f"{bay}.json").unlink(missing_ok=True)
        if occupant.folder is not None:
            unmount_below(occupant.folder)
            occupant.folder = None

    def _pause(self) -> float:
        """Seconds until the next look, where no event comes before."""
        waiting = any(occupant.phase == "waiting" for occupant in self._occupants.values())
        return SETTLE_S / 4 if waiting else RESCAN_S

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"x")


def _described(
    occupant: _Occupant,
    stay: str,
    volumes: tuple[Volume, ...] = (),
    left: tuple[Left, ...] = (),
    refusal: Refusal | None = None,
) -> Occupancy:
    device, said = occupant.device, occupant.device.descriptors
    usb = None if isinstance(said, DescriptorError) else said.usb_id
    return Occupancy(stay, usb, device.vendor, device.product, device.serial, volumes, left, refusal)


def _monitor(context: pyudev.Context) -> pyudev.Monitor | None:
    """A monitor of udev's events; None where there is none to be had: then the rescan alone finds devices."""
    try:
        return _listen(context)
    except OSError as error:
        log("bays").warning("udev's events cannot be heard: devices are found by looking alone", error=error.errno)
        return None


def _listen(context: pyudev.Context) -> pyudev.Monitor:
    monitor = pyudev.Monitor.from_netlink(context)
    monitor.filter_by("usb")
    monitor.filter_by("block")
    with suppress(OSError):  # without the right to a large buffer the rescan finds what is lost
        monitor.set_receive_buffer_size(BUFFER)
    monitor.start()
    return monitor


def _wait(monitor: pyudev.Monitor | None, wake: int, seconds: float) -> bool:
    """Sleep until something happens, and forget what it was. False where events were lost."""
    select.select([wake] if monitor is None else [monitor, wake], [], [], seconds)
    with suppress(BlockingIOError):
        os.read(wake, 4096)
    if monitor is None:
        return True
    try:
        while monitor.poll(timeout=0) is not None:
            pass
    except OSError:
        return False
    return True
