"""Devices that can be plugged into the machine, as data.

QEMU's own devices sit on xHCI controllers, 1 or 2; their ports are paths through hubs: `3`, or `1.2` for port 2 of a
hub in port 1. Simulated devices (`usb_disk.py`, `usb_camera.py`) sit on USB/IP controllers, ports 1 to 15 on one and
16 to 30 on another; only they have faults. As on a command line: `disk IMAGE[+IMAGE…] PORT [serial=…] [fault=…]…`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, get_args

from dockwarden.simulators.vm.descriptors import Claim
from dockwarden.simulators.vm.errors import VmError
from dockwarden.simulators.vm.faults import Fault, parse_fault

XHCI = {1: "pci-0000:00:10.0", 2: "pci-0000:00:11.0"}
"""The xHCI controllers as udev names them, by number."""

USBIP = "platform-vhci_hcd"
USBIP_PORTS = 15
"""Ports of each USB/IP controller at high speed."""

MAKERS_PASSWORD = "000000"  # noqa: S105 - the default of most makers, printed in their manuals

_PORT = re.compile(r"[1-9][0-9]?(\.[1-9][0-9]?){0,4}")


@dataclass(frozen=True)
class StorageDevice:
    """QEMU's mass storage: bulk-only, or UAS with `uas`; each image is a LUN. An image is used in place."""

    image: Path | tuple[Path, ...]
    port: str
    serial: str | None = None
    uas: bool = False
    read_only: bool = False
    controller: int = 1


@dataclass(frozen=True)
class Keyboard:
    """QEMU's keyboard."""

    port: str
    controller: int = 1


@dataclass(frozen=True)
class Hub:
    """QEMU's hub of eight ports (full speed: no UAS behind it)."""

    port: str
    controller: int = 1


@dataclass(frozen=True)
class SimulatedDisk:
    """A camera that is a disk at once. An image is copied, so that what is written to it stays with the device."""

    image: Path | tuple[Path, ...]
    port: str
    serial: str | None = None
    faults: tuple[Fault, ...] = ()
    claims: tuple[Claim, ...] = ()
    read_only: bool = False


@dataclass(frozen=True)
class SimulatedCamera:
    """A camera that must be asked before it is a disk: then it drops off and comes back on the same port."""

    image: Path | tuple[Path, ...]
    port: str
    serial: str | None = None
    faults: tuple[Fault, ...] = ()
    claims: tuple[Claim, ...] = ()
    password: str = MAKERS_PASSWORD


Emulated: TypeAlias = StorageDevice | Keyboard | Hub
Simulated: TypeAlias = SimulatedDisk | SimulatedCamera
UsbDevice: TypeAlias = Emulated | Simulated


def images_of(device: UsbDevice) -> tuple[Path, ...]:
    """The device's images, a LUN each."""
    if isinstance(device, Keyboard | Hub):
        return ()
    return device.image if isinstance(device.image, tuple) else (device.image,)


def id_path(device: UsbDevice) -> str:
    """What udev's ID_PATH of the device's first interface begins with: controller and port, the same every time."""
    if isinstance(device, SimulatedDisk | SimulatedCamera):
        controller, port = usbip_place(int(device.port))
        return f"{USBIP}.{controller}-usb-0:{port}"
    return f"{XHCI[device.controller]}-usb-0:{device.port}"


def usbip_place(port: int) -> tuple[int, int]:
    """The USB/IP controller (0 is the first) of one of the ports 1 to 30, and the port's number there."""
    return (port - 1) // USBIP_PORTS, (port - 1) % USBIP_PORTS + 1


def appears(device: UsbDevice) -> dict[str, str]:
    """Properties of the event that tells of the device itself."""
    return {"SUBSYSTEM": "usb", "DEVTYPE": "usb_device", "ACTION": "add", "ID_PATH": id_path(device)}


def disk_appears(device: StorageDevice | Simulated, lun: int = 0) -> dict[str, str]:
    """Properties of the event that tells of one of its disks."""
    path = f"{id_path(device)}:1.0-scsi-0:0:0:{lun}"
    return {"SUBSYSTEM": "block", "DEVTYPE": "disk", "ACTION": "add", "ID_PATH": path}


def parse_device(words: Sequence[str]) -> UsbDevice:
    """A device as typed: kind, images and port, then `name=value`. Raises VmError `bad-device`."""
    plain = [word for word in words if "=" not in word.partition(":")[0]]
    named = [word for word in words if word not in plain]
    kind, rest = (plain[0], plain[1:]) if plain else ("", [])
    serial, password, controller = None, MAKERS_PASSWORD, 1
    claims: list[Claim] = []
    faults: list[Fault] = []
    for word in named:
        name, _, value = word.partition("=")
        if name == "serial":
            serial = value
        elif name == "password":
            password = value
        elif name == "controller":
            controller = _controller(value)
        elif name == "claims":
            claims.append(_claim(value))
        elif name == "fault":
            faults.append(parse_fault(value))
        else:
            raise _bad(f"{name} is none of serial, password, controller, claims, fault")
    if kind in ("keyboard", "hub") and len(rest) == 1:
        return (Keyboard if kind == "keyboard" else Hub)(_port(rest[0]), controller)
    if kind not in ("storage", "uas", "disk", "camera") or len(rest) != 2:
        raise _bad("say storage|uas|disk|camera IMAGE PORT, or keyboard|hub PORT")
    images, port = _images(rest[0]), _port(rest[1])
    if kind == "disk":
        return SimulatedDisk(images, port, serial, tuple(faults), tuple(claims))
    if kind == "camera":
        return SimulatedCamera(images, port, serial, tuple(faults), tuple(claims), password)
    if faults or claims:
        raise _bad("only disk and camera have faults and claims")
    return StorageDevice(images, port, serial, uas=kind == "uas", controller=controller)


def _images(word: str) -> tuple[Path, ...]:
    images = tuple(Path(part).absolute() for part in word.split("+"))
    for image in images:
        if not image.is_file():
            raise _bad(f"no image {image}")
    return images


def _port(word: str) -> str:
    if not _PORT.fullmatch(word):
        raise _bad(f"no port: {word}")
    return word


def _controller(word: str) -> int:
    if word not in map(str, XHCI):
        raise _bad(f"controller {word} is none of {', '.join(map(str, XHCI))}")
    return int(word)


def _claim(word: str) -> Claim:
    for claim in get_args(Claim):
        if claim == word:
            return claim  # type: ignore[no-any-return]
    raise _bad(f"claims {word} is none of {', '.join(get_args(Claim))}")


def _bad(what: str) -> VmError:
    return VmError("bad-device", what, "device")
