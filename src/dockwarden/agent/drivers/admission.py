"""Which USB device is let into a bay: by its descriptors alone, before the kernel binds anything to it."""

from collections.abc import Iterable

from dockwarden.agent.drivers.descriptors import CLASS_NAMES, MASS_STORAGE, DescriptorError
from dockwarden.agent.drivers.profiles import Profile, Seen, allowed_interfaces
from dockwarden.agent.drivers.usb import UsbDevice
from dockwarden.service.errors import ServiceError


class RefusedDevice(ServiceError):
    """A device that is not let in: `hub-in-bay`, `not-only-storage`, `no-disk`, `unknown-device`."""


def objection(device: UsbDevice, profiles: Iterable[Profile] = ()) -> ServiceError | None:
    """Why a device is not let into a bay; None where it may be.

    Only what is a disk in each of its configurations is: what claims to be a keyboard or a network as well could type
    or listen, whatever else it carries. What else it may offer stands in the profile that knows its ids.
    """
    where = f"port {device.port}"
    if isinstance(device.descriptors, DescriptorError):
        return device.descriptors
    if device.descriptors.is_hub:
        do = "Plug the camera itself into the bay."
        return RefusedDevice("hub-in-bay", "a hub is plugged into the bay", where, do)
    known = Seen(device.vendor, device.product, usb=device.descriptors.usb_id)
    unwanted = device.descriptors.classes - {MASS_STORAGE} - allowed_interfaces(profiles, known)
    others = sorted(CLASS_NAMES.get(each, f"class {each:#04x}") for each in unwanted)
    if others:
        do = "Take it out and hand it to the office: it may be no camera."
        return RefusedDevice("not-only-storage", f"the device is more than a disk: {', '.join(others)}", where, do)
    return None
