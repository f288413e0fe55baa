"""Bays on USB ports: what is plugged in is looked at, let in or refused, mounted read-only and handed over.

Events of udev only wake the thread; what counts is what the kernel shows when it looks. So nothing is missed that was
plugged in before the start, during a restart, or while the monitor's buffer overflowed.
"""

import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, TypeAlias

import pyudev

from dockwarden.agent.drivers.admission import RefusedDevice, objection
from dockwarden.agent.drivers.descriptors import DescriptorError
from dockwarden.agent.drivers.hotplug import Event, Plugged, Refused, Unplugged
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.drivers.usb import (
    BlockNode,
    UsbDevice,
    block_nodes,
    require_authorization,
    set_authorized,
    usb_devices,
)
from dockwarden.agent.drivers.volumes import Volumes, attach, unmount_all
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import log

RESCAN_S = 5.0
SETTLE_S = 1.0
"""How long a device's disks must have stayed the same: a reader of several cards shows one after the other."""

NO_DISK_S = 30.0
BUFFER = 8 << 20

Phase: TypeAlias = Literal["waiting", "mounting", "shown", "refused"]


@dataclass
class _Occupant:
    """What sits in a bay, and how far it has come. Times are of the monotonic clock, in seconds."""

    device: UsbDevice
    since: float
    phase: Phase = "waiting"
    nodes: tuple[BlockNode, ...] = ()
    changed: float = 0.0
    key: str = ""


@dataclass(frozen=True)
class _Attached:
    """What came of mounting, told by the thread that did it."""

    bay: str
    occupant: _Occupant
    result: Volumes | ServiceError


class UsbBays:
    """Hot-plug events of the USB ports that are bays.

    `ports` tells the bay of each port; it is asked at each look, so that a bay can be learned while the station runs.
    `mounts` is a folder of its own for mount points. `unknown` is what becomes of a disk that no profile fits.
    """

    def __init__(
        self,
        ports: Callable[[], Mapping[str, str]],
        mounts: Path,
        profiles: tuple[Profile, ...],
        *,
        unknown: Literal["refuse", "intake"],
    ) -> None:
        self._ask_ports = ports
        self._ports: Mapping[str, str] = {}
        self._mounts = mounts
        self._profiles = profiles
        self._unknown = unknown
        self._occupants: dict[str, _Occupant] = {}
        self._attached: SimpleQueue[_Attached] = SimpleQueue()
        self._numbers = count()
        self._told = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, put: Callable[[Event], None]) -> None:
        """See HotPlug."""
        self._thread = threading.Thread(target=self._run, args=(put,), name="usb", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """See HotPlug."""
        self._stopping.set()
        self._wake()
        if self._thread is not None:
            self._thread.join()

    def _run(self, put: Callable[[Event], None]) -> None:
        for left in self._mounts.glob("*/*"):
            unmount_all(left)
        context = pyudev.Context()
        monitor = _monitor(context)  # before the first look, so that nothing falls between them
        while not self._stopping.is_set():
            self._learn(context)
            self._look(context, put)
            if not _wait(monitor, self._wake_read, self._pause()):
                log("usb").warning("events of udev were lost: looking at everything anew")
                monitor = _monitor(context)

    def _learn(self, context: pyudev.Context) -> None:
        """Take over what was learned about ports since the last look."""
        try:
            ports = dict(self._ask_ports())
        except ServiceError as error:
            if not self._told:
                log("usb").error("the bays of the ports are not known", code=error.code, where=error.where)
            self._told = True
            return
        self._told = False
        if ports == self._ports:
            return
        self._ports = ports
        for root_hub in require_authorization(context, ports):
            log("usb").warning(
                "devices on this controller are bound before they are looked at", root_hub=root_hub.name
            )

    def _look(self, context: pyudev.Context, put: Callable[[Event], None]) -> None:
        """Bring what is known of each bay in line with what the kernel shows now."""
        devices = {device.port: device for device in usb_devices(context)}
        self._let_hubs_in(devices)
        now: dict[str, UsbDevice] = {}
        for port, bay in self._ports.items():
            if port in devices:
                now.setdefault(bay, devices[port])
        for bay, occupant in list(self._occupants.items()):
            device = now.get(bay)
            if device is None or device.number != occupant.device.number:
                del self._occupants[bay]
                put(Unplugged(bay, occupant.key))
        for bay, device in now.items():
            if bay not in self._occupants:
                self._occupants[bay] = self._enter(bay, device, put)
        self._hand_over(put)
        for bay, occupant in list(self._occupants.items()):
            if occupant.phase in ("waiting", "shown"):
                self._follow(bay, occupant, tuple(block_nodes(context, occupant.device)), put)

    def _let_hubs_in(self, devices: Mapping[str, UsbDevice]) -> None:
        """The dock's own hubs: a hub on the way to a bay."""
        for port, device in devices.items():
            hub = not isinstance(device.descriptors, DescriptorError) and device.descriptors.is_hub
            leads = any(bay_port.startswith(f"{port}.") for bay_port in self._ports)
            if hub and leads and not device.authorized:
                with suppress(OSError):  # it has left: the next look tells
                    set_authorized(device, True)

    def _enter(self, bay: str, device: UsbDevice, put: Callable[[Event], None]) -> _Occupant:
        occupant = _Occupant(device, time.monotonic(), changed=time.monotonic())
        reason = objection(device, self._profiles)
        try:
            set_authorized(device, reason is None)
        except OSError as error:
            if reason is None:
                what = f"the device could not be let in: {error.strerror}"
                reason = RefusedDevice("not-authorized", what, f"port {device.port}", "Plug it in again.")
        if reason is not None:
            self._refuse(bay, occupant, reason, put)
        return occupant

    def _follow(
        self, bay: str, occupant: _Occupant, nodes: tuple[BlockNode, ...], put: Callable[[Event], None]
    ) -> None:
        """Wait until a device's disks stay the same, then mount them; begin anew where they change later."""
        now = time.monotonic()
        if nodes != occupant.nodes:
            occupant.nodes, occupant.changed = nodes, now
            if occupant.phase == "shown":
                put(Unplugged(bay, occupant.key))
                occupant.phase, occupant.since = "waiting", now
        if occupant.phase != "waiting":
            return
        if any(node.size for node in nodes) and all(node.known for node in nodes):
            if now - occupant.changed >= SETTLE_S:
                occupant.phase = "mounting"
                threading.Thread(target=self._mount, args=(bay, occupant), name=f"mount {bay}", daemon=True).start()
        elif now - occupant.since >= NO_DISK_S:
            what, where = "the device shows no disk, or no card is in it", f"port {occupant.device.port}"
            self._refuse(bay, occupant, RefusedDevice("no-disk", what, where, "Look whether it holds a card."), put)

    def _mount(self, bay: str, occupant: _Occupant) -> None:
        """In a thread of its own: a torn file system can take its time, and the other bays go on."""
        folder = self._mounts / bay / str(next(self._numbers))
        result: Volumes | ServiceError
        try:
            result = attach(occupant.device, occupant.nodes, folder, self._profiles)
        except ServiceError as error:
            result = error
        except Exception as error:
            log("usb").exception("mounting failed", bay=bay)
            what = f"the station failed to mount the device: {type(error).__name__}"
            result = RefusedDevice("internal", what, f"port {occupant.device.port}", "Plug it in again.")
        self._attached.put(_Attached(bay, occupant, result))
        self._wake()

    def _hand_over(self, put: Callable[[Event], None]) -> None:
        """What was mounted meanwhile is shown, unless its device has left."""
        with suppress(Empty):
            while True:
                done = self._attached.get_nowait()
                if self._occupants.get(done.bay) is not done.occupant:
                    if isinstance(done.result, Volumes):
                        done.result.close()
                elif isinstance(done.result, ServiceError):
                    self._refuse(done.bay, done.occupant, done.result, put)
                else:
                    self._show(done.bay, done.occupant, done.result, put)

    def _show(self, bay: str, occupant: _Occupant, device: Volumes, put: Callable[[Event], None]) -> None:
        fallback = not next(each for each in self._profiles if each.name == device.info.profile).match
        if fallback and self._unknown == "refuse":
            device.close()
            what, do = "no profile fits this device", "See `bays suggest` for a profile to start from."
            error = RefusedDevice("unknown-device", what, f"port {occupant.device.port}", do)
            self._refuse(bay, occupant, error, put)
            return
        occupant.phase, occupant.key = "shown", device.info.key
        put(Plugged(bay, device))

    def _refuse(self, bay: str, occupant: _Occupant, error: ServiceError, put: Callable[[Event], None]) -> None:
        occupant.phase = "refused"
        put(Refused(bay, error))

    def _pause(self) -> float:
        """Seconds until the next look, where no event comes before."""
        waiting = any(occupant.phase == "waiting" for occupant in self._occupants.values())
        return SETTLE_S / 4 if waiting else RESCAN_S

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"x")


def _monitor(context: pyudev.Context) -> pyudev.Monitor | None:
    """A monitor of udev's events; None where there is none to be had: then the rescan alone finds devices."""
    try:
        return _listen(context)
    except OSError as error:
        log("usb").warning("udev's events cannot be heard: devices are found by looking alone", error=error.errno)
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
