"""USB descriptors as a device gives them (USB 2.0 specification, 9.6): what it claims to be, before it is let in.

Everything here is hostile input. Only what decides about letting a device in is read: who it says it is, and which
kinds of interface it offers in any of its configurations.
"""

import struct
from dataclasses import dataclass

from dockwarden.service.errors import ServiceError

MASS_STORAGE = 0x08
HUB = 0x09

CLASS_NAMES = {
    0x01: "audio",
    0x02: "communications",
    0x03: "keyboard or mouse",
    0x06: "still image",
    0x07: "printer",
    MASS_STORAGE: "mass storage",
    HUB: "hub",
    0x0A: "communications data",
    0x0B: "smart card",
    0x0E: "video",
    0xE0: "wireless",
    0xEF: "miscellaneous",
    0xFE: "application",
    0xFF: "vendor",
}

_GROUPED_INTERFACES = (0xEF, 2, 1)
"""Class, subclass and protocol of a device that leaves it to its interfaces, as class 0 does, and groups these."""

_DEVICE, _CONFIGURATION, _INTERFACE = 1, 2, 4
_DEVICE_LENGTH, _CONFIGURATION_LENGTH, _INTERFACE_LENGTH = 18, 9, 9


class DescriptorError(ServiceError):
    """Descriptors that contradict themselves: the device is not let in."""


@dataclass(frozen=True)
class Interface:
    """One interface that a device offers: its configuration, and the class by which the kernel binds a driver."""

    configuration: int
    number: int
    interface_class: int
    subclass: int
    protocol: int


@dataclass(frozen=True)
class Descriptors:
    """What a device claims: `vendor_id`, `product_id` (16 bits each), its class and all its interfaces.

    `device_class` and `device_kind` (subclass, protocol) are of the device as a whole.
    """

    vendor_id: int
    product_id: int
    device_class: int
    interfaces: tuple[Interface, ...]
    device_kind: tuple[int, int] = (0, 0)

    @property
    def usb_id(self) -> str:
        """The ids of vendor and product as profiles write them, such as `4255:0001`."""
        return f"{self.vendor_id:04x}:{self.product_id:04x}"

    @property
    def classes(self) -> frozenset[int]:
        """All classes that it claims. Linux binds some drivers, such as that of a radio, by the class of the device
        as a whole, whatever its interfaces are."""
        by_interfaces = self.device_class == 0 or (self.device_class, *self.device_kind) == _GROUPED_INTERFACES
        of_device = () if by_interfaces else (self.device_class,)
        return frozenset((*of_device, *(each.interface_class for each in self.interfaces)))

    @property
    def is_hub(self) -> bool:
        """Whether it says that it is a hub."""
        return self.device_class == HUB or any(each.interface_class == HUB for each in self.interfaces)


def parse(data: bytes, where: str) -> Descriptors:
    """Read a device descriptor and the configurations behind it, as Linux shows them in sysfs (`descriptors`).

    `where` names the port. Raises DescriptorError where lengths or counts do not hold: an interface that one reader
    sees and another does not is how a device hides a keyboard.
    """
    if len(data) < _DEVICE_LENGTH or data[0] != _DEVICE_LENGTH or data[1] != _DEVICE:
        raise _bad(where, "the device descriptor is cut off or is none")
    vendor_id, product_id = struct.unpack_from("<HH", data, 8)
    interfaces: list[Interface] = []
    offset, found = _DEVICE_LENGTH, 0
    while offset < len(data):
        total = _configuration_length(data, offset, where)
        interfaces += _interfaces(data[offset : offset + total], where)
        offset, found = offset + total, found + 1
    if found != data[17]:
        raise _bad(where, f"it announces {data[17]} configurations and shows {found}")
    if not interfaces:
        raise _bad(where, "it offers no interface")
    return Descriptors(vendor_id, product_id, data[4], tuple(interfaces), (data[5], data[6]))


def _configuration_length(data: bytes, offset: int, where: str) -> int:
    if len(data) - offset < _CONFIGURATION_LENGTH or data[offset + 1] != _CONFIGURATION:
        raise _bad(where, f"no configuration at byte {offset}")
    total = int.from_bytes(data[offset + 2 : offset + 4], "little")
    if total < _CONFIGURATION_LENGTH or offset + total > len(data):
        raise _bad(where, f"the configuration at byte {offset} says {total} bytes")
    return total


def _interfaces(configuration: bytes, where: str) -> list[Interface]:
    found: list[Interface] = []
    offset = 0
    while offset < len(configuration):
        length = configuration[offset]
        if length < 2 or offset + length > len(configuration):
            raise _bad(where, f"a descriptor of {length} bytes at byte {offset} of a configuration")
        if configuration[offset + 1] == _INTERFACE:
            if length < _INTERFACE_LENGTH:
                raise _bad(where, f"an interface of {length} bytes")
            number, _, _, kind, subclass, protocol = configuration[offset + 2 : offset + 8]
            found.append(Interface(configuration[5], number, kind, subclass, protocol))
        offset += length
    return found


def _bad(where: str, what: str) -> DescriptorError:
    do = "Take it out. Where it is a device of yours, have its maker look at it."
    return DescriptorError("bad-descriptors", f"the device's description contradicts itself: {what}", where, do)
