"""What a USB device says of itself (USB 2.0, chapter 9), and what of it is a lie."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dockwarden.simulators.vm.faults import Fault, Which

Claim: TypeAlias = Literal["keyboard", "network", "unknown"]

DEVICE, CONFIGURATION, STRING, REPORT = 1, 2, 3, 0x22
BULK, INTERRUPT = 2, 3
_ENGLISH = b"\x04\x03\x09\x04"
# The report of a boot keyboard (HID 1.11, appendix B.1): eight modifier bits, a spare byte, six keys.
KEYBOARD_REPORT = bytes.fromhex(
    "05010906a101050719e029e71500250175019508810295017508810195067508150025650507190029658100c0"
)


@dataclass(frozen=True)
class Endpoint:
    """An endpoint: address with its direction bit, kind of transfer, largest packet and interval."""

    address: int
    transfer: int
    packet: int
    interval: int = 0

    def pack(self) -> bytes:
        """The endpoint's descriptor."""
        return struct.pack("<BBBBHB", 7, 5, self.address, self.transfer, self.packet, self.interval)


@dataclass(frozen=True)
class Interface:
    """An interface: class, subclass and protocol, its endpoints, and class descriptors between them."""

    kind: tuple[int, int, int]
    endpoints: tuple[Endpoint, ...] = ()
    extra: bytes = b""

    def pack(self, number: int) -> bytes:
        """The interface's descriptor and all that belongs to it."""
        head = struct.pack("<BBBBB3BB", 9, 4, number, 0, len(self.endpoints), *self.kind, 0)
        return head + self.extra + b"".join(endpoint.pack() for endpoint in self.endpoints)


_HID = struct.pack("<BBHBBBH", 9, 0x21, 0x111, 0, 1, REPORT, len(KEYBOARD_REPORT))
CLAIMS: Mapping[Claim, Interface] = {
    "keyboard": Interface((3, 1, 1), (Endpoint(0x83, INTERRUPT, 8, 4),), _HID),
    "network": Interface((2, 6, 0)),
    "unknown": Interface((0xEF, 0xFE, 0xFD)),
}
"""What a hostile device claims to be besides a camera."""

BULK_PAIR = (Endpoint(0x81, BULK, 512), Endpoint(0x02, BULK, 512))
DISK = Interface((8, 6, 0x50), BULK_PAIR)
VENDOR = Interface((0xFF, 0, 0), BULK_PAIR)


@dataclass(frozen=True)
class Description:
    """A high-speed device of one configuration. `serial` None is a device that has no serial number."""

    vendor: int
    product: int
    maker: str
    model: str
    serial: str | None
    interfaces: tuple[Interface, ...]

    def device(self) -> bytes:
        """The device descriptor."""
        number = 0 if self.serial is None else 3
        versions = (0x200, 0, 0, 0, 64, self.vendor, self.product, 0x100)
        return struct.pack("<BBHBBBBHHHBBBB", 18, DEVICE, *versions, 1, 2, number, 1)

    def configuration(self) -> bytes:
        """The configuration's descriptor with all interfaces; the device draws 500 mA."""
        below = b"".join(interface.pack(number) for number, interface in enumerate(self.interfaces))
        head = (9 + len(below), len(self.interfaces), 1, 0, 0x80, 250)
        return struct.pack("<BBHBBBBB", 9, CONFIGURATION, *head) + below

    def string(self, number: int) -> bytes | None:
        """A string's descriptor, None for a number that is not there."""
        if number == 0:
            return _ENGLISH
        texts = (self.maker, self.model, self.serial)
        text = texts[number - 1] if number <= len(texts) else None
        if text is None:
            return None
        raw = text.encode("utf-16-le")
        return bytes([len(raw) + 2, STRING]) + raw


def described(description: Description, value: int, faults: Iterable[Fault]) -> bytes | None:
    """The answer to GET_DESCRIPTOR for wValue `value`, with the lies of `faults`; None where there is no such."""
    kind, number = value >> 8, value & 0xFF
    if kind == DEVICE:
        return lied(description.device(), "device", faults)
    if kind == CONFIGURATION:
        return lied(description.configuration(), "configuration", faults)
    if kind == STRING:
        return description.string(number)
    return KEYBOARD_REPORT if kind == REPORT else None


def lied(true: bytes, which: Which, faults: Iterable[Fault]) -> bytes:
    """A descriptor with the bytes that the faults of kind `descriptor` put into it."""
    told = bytearray(true)
    for fault in faults:
        if fault.kind == "descriptor" and fault.which == which and fault.at < len(told):
            told[fault.at] = fault.value
    return bytes(told)
