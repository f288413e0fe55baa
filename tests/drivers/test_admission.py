"""Which device is let into a bay, before anything is bound to it."""

from pathlib import Path

import pytest

from dockwarden.agent.drivers.admission import objection
from dockwarden.agent.drivers.descriptors import Descriptors, Interface
from dockwarden.agent.drivers.profiles import Profile, parse
from dockwarden.agent.drivers.usb import UsbDevice

DISK, KEYBOARD, VENDOR, NETWORK = 0x08, 0x03, 0xFF, 0x0A
CAMERA = parse(
    'name = "x"\nfamily = "mass-storage"\nkind = "camera"\n[usb]\nallow = ["vendor"]\n[[match]]\nusb = "4255:0001"\n',
    Path("x.toml"),
)


def device(*classes: int, product_id: int = 1) -> UsbDevice:
    interfaces = tuple(Interface(1, number, each, 0, 0) for number, each in enumerate(classes))
    descriptors = Descriptors(0x4255, product_id, 0, interfaces)
    return UsbDevice("usb-1", (1, 2, 3), Path("sys"), descriptors, "maker", "X3", "1", authorized=False)


@pytest.mark.parametrize(
    ("found", "profiles", "refused_for"),
    [
        (device(DISK), (), None),
        (device(DISK, VENDOR), (), "vendor"),
        (device(DISK, VENDOR), (CAMERA,), None),
        (device(DISK, VENDOR, product_id=2), (CAMERA,), "vendor"),
        (device(DISK, VENDOR, KEYBOARD), (CAMERA,), "keyboard or mouse"),
        (device(DISK, NETWORK), (CAMERA,), "communications data"),
        (device(DISK, 0x42), (CAMERA,), "class 0x42"),
    ],
)
def test_more_than_a_disk_is_let_in_only_where_a_profile_knows_the_ids(
    found: UsbDevice, profiles: tuple[Profile, ...], refused_for: str | None
) -> None:
    error = objection(found, profiles)
    assert (error is None) == (refused_for is None)
    if error is not None and refused_for is not None:
        assert error.code == "not-only-storage"
        assert error.what.endswith(f": {refused_for}")
