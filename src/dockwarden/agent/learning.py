"""Learning which USB port is which bay: a person plugs something in, and the port that answers is the one."""

import time
from collections.abc import Callable

import pyudev

from dockwarden.agent.drivers.descriptors import DescriptorError
from dockwarden.agent.drivers.ports import assign, read_ports
from dockwarden.agent.drivers.usb import UsbDevice, connector_ports, usb_devices
from dockwarden.agent.settings import Settings
from dockwarden.agent.stores import Folders
from dockwarden.durable.files import Files
from dockwarden.service.errors import ServiceError

LOOK_S = 0.25


def learn_bay(
    settings: Settings, files: Files, bay: str, seconds: float, tell: Callable[[str], object]
) -> dict[str, str]:
    """Wait until something new is plugged in, and make its connector the one of `bay`.

    `tell` says to the person what to do. A running station takes it over at its next look, within seconds. Returns
    the bay of each port. Raises ServiceError `no-such-bay`, `nothing-plugged`, `bad-ports`; DurableError.
    """
    if bay not in settings.bays:
        do = f"The settings have {', '.join(settings.bays)}."
        raise ServiceError("no-such-bay", "the settings do not have this bay", f"bay {bay}", do)
    path = Folders(settings.root).ports
    read_ports(path)  # a torn file is said before anybody walks to the dock
    context = pyudev.Context()
    before = {device.number for device in usb_devices(context)}
    tell(f"Plug a camera, or anything with a USB plug, into bay {bay}; take it out first where it is in already.")
    device = _wait_for_new(context, before, seconds)
    if device is None:
        do = "Try another device or cable, and look whether the bay has power."
        raise ServiceError("nothing-plugged", f"nothing new was seen for {seconds:.0f} s", f"bay {bay}", do)
    return assign(files, path, bay, connector_ports(device))


def _wait_for_new(context: pyudev.Context, before: set[tuple[int, int, int]], seconds: float) -> UsbDevice | None:
    """The first device that comes, hubs apart: the dock itself may have been plugged in just now."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for device in usb_devices(context):
            hub = not isinstance(device.descriptors, DescriptorError) and device.descriptors.is_hub
            if device.number not in before and not hub:
                return device
        time.sleep(LOOK_S)
    return None
