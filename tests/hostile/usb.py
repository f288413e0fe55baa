"""Mutated USB descriptors: each ends in a decision, and what claims to be more than a disk is never let in."""

from collections.abc import Sequence
from pathlib import Path

from dockwarden.agent.drivers.admission import objection
from dockwarden.agent.drivers.descriptors import DescriptorError, Descriptors, parse
from dockwarden.agent.drivers.profiles import load
from dockwarden.agent.drivers.profiles import parse as profile_of
from dockwarden.agent.drivers.usb import UsbDevice
from dockwarden.simulators.mutating import case, mutated, odd_number
from dockwarden.simulators.vm.descriptors import CLAIMS, DISK, VENDOR, Description, Interface

KNOWN = (
    *load().profiles,
    profile_of(
        'name = "x"\nfamily = "mass-storage"\nkind = "camera"\n'
        '[usb]\nallow = ["vendor"]\n[[match]]\nusb = "4255:0001"\n',
        Path("x.toml"),
    ),
)
"""The profiles of the station: one knows a camera that has an interface of its maker's beside its disk."""

_STORAGE, _VENDOR = 0x08, 0xFF
_HUB = Interface((9, 0, 0))
_BESIDE = [(), (VENDOR,), (_HUB,), *((claim,) for claim in CLAIMS.values())]


def _example(interfaces: Sequence[Interface], product: int = 1, more: Sequence[Interface] = ()) -> bytes:
    """What sysfs shows of a true device; `more` are the interfaces of a second configuration."""
    first = Description(0x4255, product, "maker", "X3", "1", tuple(interfaces))
    second = Description(0x4255, product, "maker", "X3", "1", tuple(more)).configuration() if more else b""
    device = bytearray(first.device())
    device[17] = 2 if more else 1
    return bytes(device) + first.configuration() + second


EXAMPLES = (
    *(_example((DISK, *beside), product) for beside in _BESIDE for product in (1, 2)),
    *(_example((DISK,), more=beside) for beside in _BESIDE if beside),
    _example((DISK, DISK, DISK)),
)


def play(seed: int, number: int) -> str:
    """Mutate a device's descriptors, have it judged, and return the outcome."""
    chance = case(seed, "descriptors", number)
    data = chance.choice(EXAMPLES)
    data = _relabelled(data, number) if number % 2 else mutated(data, chance, EXAMPLES)
    if number % 3 == 0:
        data = _fitted(data)
    return judged(data)


def judged(data: bytes) -> str:
    """What the bay service says of a device with these descriptors. Raises AssertionError where it is wrong."""
    said: Descriptors | DescriptorError
    try:
        said = parse(data, "port 1")
    except DescriptorError as error:
        said = error
    device = UsbDevice("port 1", (1, 2, 3), Path("sys"), said, "maker", "X3", "1", authorized=False)
    error = objection(device, KNOWN)
    if error is not None:
        assert error.what and error.do and error.where, error
        return error.code
    claimed, ids = claims(data), data[8:12]
    allowed = {_STORAGE, _VENDOR} if ids == b"\x55\x42\x01\x00" else {_STORAGE}
    assert claimed <= allowed, f"let in although it claims {sorted(claimed)}: {data.hex()}"
    return "admitted"


def claims(data: bytes) -> set[int]:
    """Every class that a device claims, as a host reads it that believes each length in turn."""
    found = set() if data[4] == 0 or data[4:7] == b"\xef\x02\x01" else {data[4]}
    at = 18
    while at + 2 <= len(data) and data[at] >= 2:
        if data[at + 1] == 4 and at + 5 < len(data):
            found.add(data[at + 5])
        at += data[at]
    return found


def _relabelled(data: bytes, number: int) -> bytes:
    """The class, or another field, of one descriptor is another: what a device that lies well would send."""
    chance = case(number, "label", number)
    changed = bytearray(data)
    at = chance.choice([4, 5, 6, 17, *range(18, len(changed))])
    changed[at] = odd_number(chance, 8)
    return bytes(changed)


def _fitted(data: bytes) -> bytes:
    """The only configuration claims to be as long as what is there, so that the mutation behind its head counts."""
    if len(data) < 27 or data[17] != 1:
        return data
    return data[:20] + (len(data) - 18 & 0xFFFF).to_bytes(2, "little") + data[22:]
