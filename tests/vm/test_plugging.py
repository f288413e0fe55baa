"""What udev tells, through pyudev, of devices that come and go."""

from pathlib import Path

import pytest
from tests.vm.vm_samples import camera_card, disk

from dockwarden.simulators.vm.devices import (
    Hub,
    Keyboard,
    SimulatedDisk,
    StorageDevice,
    appears,
    disk_appears,
    id_path,
)
from dockwarden.simulators.vm.images import Volume, make_volume
from dockwarden.simulators.vm.machine import Machine

pytestmark = pytest.mark.vm


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return camera_card(tmp_path)[0]


@pytest.mark.parametrize("port", ["3", "15"])
def test_a_plug_reaches_udev_with_the_port_it_was_made_in(vm: Machine, card: Path, port: str) -> None:
    device, since = StorageDevice(card, port, "CAM000777"), vm.now()
    with vm.with_plugged(device):
        told = vm.wait_for(since, disk_appears(device))
    assert told["ID_PATH"] == f"pci-0000:00:10.0-usb-0:{port}:1.0-scsi-0:0:0:0"
    assert told["ID_SERIAL_SHORT"] == "CAM000777"
    assert (told["ID_FS_TYPE"], told["ID_FS_LABEL"], told["ID_FS_UUID"]) == ("vfat", "BODYCAM", "1000-0001")
    # By its place in sysfs: udev works ID_PATH out anew from what is left of the device.
    gone = {"SUBSYSTEM": "block", "ACTION": "remove", "DEVPATH": told["DEVPATH"]}
    assert vm.wait_for(since, gone)["DEVNAME"] == told["DEVNAME"]


def test_the_port_keeps_its_name_when_the_device_comes_again(vm: Machine, card: Path) -> None:
    paths = []
    for serial in ("FIRST", "SECOND"):
        device, since = SimulatedDisk(card, "4", serial), vm.now()
        with vm.with_plugged(device):
            paths.append(
                vm.wait_for(since, {"SUBSYSTEM": "block", "ACTION": "add", "ID_SERIAL_SHORT": serial})["ID_PATH"]
            )
    assert paths == [f"{id_path(device)}:1.0-scsi-0:0:0:0"] * 2


def test_behind_hubs_of_hubs_the_path_names_every_port(vm: Machine, card: Path) -> None:
    since = vm.now()
    for hub in (Hub("1"), Hub("1.2")):
        vm.plug(hub)
        vm.wait_for(since, appears(hub))
    device = StorageDevice(card, "1.2.3", "DEEP")
    vm.plug(device)
    assert vm.wait_for(since, disk_appears(device))["ID_PATH"].startswith("pci-0000:00:10.0-usb-0:1.2.3:")


def test_two_with_one_serial_are_two(vm: Machine, card: Path, tmp_path: Path) -> None:
    other = camera_card(tmp_path, "other.img", seed=9)[0]
    since = vm.now()
    devices = [SimulatedDisk(card, "1", "SAME"), SimulatedDisk(other, "2", "SAME")]
    for device in devices:
        vm.plug(device)
    told = [vm.wait_for(since, disk_appears(device)) for device in devices]
    assert {event["ID_SERIAL_SHORT"] for event in told} == {"SAME"}
    assert len({event["ID_PATH"] for event in told}) == len({event["DEVNAME"] for event in told}) == 2
    assert [event["ID_FS_UUID"] for event in told] == ["1000-0001", "1000-0009"]


@pytest.mark.parametrize("uas", [False, True])
def test_every_disk_of_a_device_is_seen(vm: Machine, card: Path, tmp_path: Path, uas: bool) -> None:
    second = make_volume(tmp_path / "second.img", Volume("fat12", 4, "CARD2"))
    device, since = StorageDevice((card, second), "5", "READER", uas=uas), vm.now()
    with vm.with_plugged(device):
        told = [vm.wait_for(since, disk_appears(device, lun)) for lun in (0, 1)]
    assert [event["ID_FS_LABEL"] for event in told] == ["BODYCAM", "CARD2"]
    (bound,) = {event["DRIVER"] for event in vm.events(since, {"ACTION": "bind", "DEVTYPE": "usb_interface"})}
    assert bound == ("uas" if uas else "usb-storage")


def test_a_keyboard_is_seen_as_one(vm: Machine) -> None:
    device, since = Keyboard("6"), vm.now()
    with vm.with_plugged(device):
        assert ":0301" in vm.wait_for(since, appears(device))["ID_USB_INTERFACES"]
        vm.wait_for(since, {"SUBSYSTEM": "input", "ACTION": "add", "ID_PATH": f"{id_path(device)}:1.0"})


def test_a_camera_that_also_claims_a_keyboard_is_visible_as_such(vm: Machine, card: Path) -> None:
    device, since = SimulatedDisk(card, "6", "TRICK", claims=("keyboard", "unknown")), vm.now()
    with disk(vm, device):
        assert ":030101:" in vm.wait_for(since, appears(device))["ID_USB_INTERFACES"]
        # An interface without endpoints at the very end is missing there (systemd 252), not among the events.
        interfaces = vm.events(since, {"DEVTYPE": "usb_interface", "ACTION": "add"})
        assert {event["INTERFACE"] for event in interfaces} == {"8/6/80", "3/1/1", "239/254/253"}
        # Without authorisation the kernel binds both: this is what an agent has to forbid.
        vm.wait_for(since, {"SUBSYSTEM": "input", "ACTION": "add", "ID_PATH": f"{id_path(device)}:1.1"})
