"""A device that leaves while it is looked at."""

from pathlib import Path

import pyudev

from dockwarden.agent.drivers.descriptors import DescriptorError
from dockwarden.agent.drivers.usb import UsbDevice, block_nodes


def test_a_device_that_has_just_left_shows_no_disk_and_ends_nothing() -> None:
    gone = UsbDevice(
        "1-1",
        (1, 2, 3),
        Path("/sys/devices/gone/usb1/1-1"),
        DescriptorError("bad-descriptors", "gone", "1-1", ""),
        None,
        None,
        None,
        True,
    )
    assert block_nodes(pyudev.Context(), gone) == []
