"""USB devices and their disks as the kernel shows them in sysfs and udev's database; letting a device in or not.

A port is named as newer udev names it (ID_PATH_WITH_USB_REVISION): controller, root hub's USB version, chain of hub
ports, such as `pci-0000:00:03.0-usbv2-0:1.4`. It stays the same over reboots, whatever bus numbers the kernel deals.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyudev

from dockwarden.agent.drivers.descriptors import DescriptorError, Descriptors, parse

SECTOR = 512
_DEVICES = Path("/sys/bus/usb/devices")
_WITHOUT_FILES = {
    "0x5",  # extended, of three makers
    "0xf",
    "0x85",
    "21686148-6449-6e6f-744e-656564454649",  # BIOS boot
    "e3c9e316-0b5c-4db8-817d-f92df00215ae",  # Microsoft reserved
}


@dataclass(frozen=True)
class UsbDevice:
    """A device on a USB port. `number` (bus, device, sysfs inode) is new each time that one is plugged in.

    `descriptors` is what it claims to be, or the error where that contradicts itself. The strings are its own words.
    """

    port: str
    number: tuple[int, int, int]
    path: Path
    descriptors: Descriptors | DescriptorError
    vendor: str | None
    product: str | None
    serial: str | None
    authorized: bool


@dataclass(frozen=True)
class BlockNode:
    """A disk or partition: `number` (major, minor), size in bytes, and what udev found on it (None: nothing known).

    `container` is whether it holds no files by its nature: a disk with partitions, an extended partition, the gaps
    that boot loaders and Windows reserve.
    """

    node: Path
    number: tuple[int, int]
    size: int
    container: bool
    known: bool
    filesystem: str | None
    uuid: str | None
    label: str | None


def usb_devices(context: pyudev.Context) -> list[UsbDevice]:
    """Every USB device but root hubs; one that leaves while it is looked at is not listed."""
    found = []
    for device in context.list_devices(subsystem="usb", DEVTYPE="usb_device"):
        try:
            each = _usb_device(device)
        except (OSError, ValueError, LookupError):
            continue
        if each is not None:
            found.append(each)
    return found


def block_nodes(context: pyudev.Context, device: UsbDevice) -> list[BlockNode]:
    """The disks and partitions of a device, ordered by name."""
    try:
        parent = pyudev.Devices.from_path(context, str(device.path))
        nodes = [_block_node(each) for each in context.list_devices(subsystem="block", parent=parent)]
    except (OSError, ValueError, LookupError, pyudev.DeviceNotFoundError):  # it is just leaving
        return []
    return sorted((node for node in nodes if node is not None), key=lambda node: str(node.node))


def set_authorized(device: UsbDevice, allowed: bool) -> None:
    """Let the kernel bind drivers to a device, or take them away from it. Raises OSError."""
    (device.path / "authorized").write_text("1" if allowed else "0")


def root_hubs() -> list[tuple[Path, int]]:
    """All root hubs, and what tells one from another that comes in its place (its sysfs inode)."""
    found = []
    for link in sorted(_DEVICES.glob("usb*")):
        with suppress(OSError):  # it has left
            found.append((link.resolve(strict=True), link.stat().st_ino))
    return found


def require_authorization(hubs: Iterable[Path], ports: Iterable[str]) -> list[Path]:
    """From now on a device on a controller of these ports is bound to nothing until it is let in; hubs are let in by
    the bay service. Returns the root hubs that could not be told (`authorized_default` in sysfs)."""
    controllers = {port.rpartition("-usbv")[0] for port in ports}
    refused = []
    for path in hubs:
        if _controller(path) in controllers:
            try:
                (path / "authorized_default").write_text("0")
            except OSError:
                refused.append(path)
    return refused


def connector_ports(device: UsbDevice) -> tuple[str, ...]:
    """The ports of the connector that a device sits in: its own, and the one for the other USB version, if any."""
    peer = (device.path / "port" / "peer").resolve()
    try:
        hub, number = peer.parent.parent, peer.name.rpartition("-port")[2]
        chain = number if _is_root_hub(hub) else f"{_needed(hub, 'devpath')}.{number}"
        return device.port, f"{_root_port(hub)}{chain}"
    except (OSError, StopIteration):
        return (device.port,)


def _usb_device(device: pyudev.Device) -> UsbDevice | None:
    path = Path(device.sys_path)
    if _is_root_hub(path):
        return None
    port = f"{_root_port(path)}{_needed(path, 'devpath')}"
    raw = (path / "descriptors").read_bytes()
    descriptors: Descriptors | DescriptorError
    try:
        descriptors = parse(raw, f"port {port}")
    except DescriptorError as error:
        descriptors = error
    return UsbDevice(
        port=port,
        number=(int(_needed(path, "busnum")), int(_needed(path, "devnum")), path.stat().st_ino),
        path=path,
        descriptors=descriptors,
        vendor=_attribute(path, "manufacturer"),
        product=_attribute(path, "product"),
        serial=_attribute(path, "serial"),
        authorized=_needed(path, "authorized") != "0",
    )


def _block_node(device: pyudev.Device) -> BlockNode | None:
    if device.device_node is None:
        return None
    path, said = Path(device.sys_path), device.properties
    partitions = device.device_type == "disk" and any((path / name).exists() for name in _partitions(path))
    return BlockNode(
        node=Path(device.device_node),
        number=(int(said["MAJOR"]), int(said["MINOR"])),
        size=int(_needed(path, "size")) * SECTOR,
        container=partitions or said.get("ID_PART_ENTRY_TYPE") in _WITHOUT_FILES,
        known=device.is_initialized,
        filesystem=said.get("ID_FS_TYPE"),
        uuid=said.get("ID_FS_UUID"),
        label=said.get("ID_FS_LABEL"),
    )


def _partitions(disk: Path) -> list[str]:
    return [each.name for each in disk.iterdir() if (each / "partition").exists()]


def _is_root_hub(path: Path) -> bool:
    return path.name.startswith("usb") and path.name[3:].isdigit()


def _root_port(path: Path) -> str:
    """The first part of the names of all ports below a root hub, for anything on it."""
    root = next(each for each in (path, *path.parents) if _is_root_hub(each))
    version = _attribute(root, "version") or "2"
    return f"{_controller(root)}-usbv{version[0]}-0:"


def _controller(root_hub: Path) -> str:
    parent = root_hub.parent
    return f"{(parent / 'subsystem').resolve().name}-{parent.name}"


def _needed(path: Path, name: str) -> str:
    return (path / name).read_text().strip()


def _attribute(path: Path, name: str) -> str | None:
    """A device's own word, as text whatever its bytes are."""
    try:
        said = (path / name).read_bytes().decode("utf-8", "replace").strip()
    except OSError:
        return None
    return said or None
