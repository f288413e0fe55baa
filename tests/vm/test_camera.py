"""A camera that must be asked before it is a disk."""

import hashlib
import json
from pathlib import Path

import pytest
from tests.vm.vm_samples import camera_card, mounted, python, sha256

from dockwarden.simulators.vm.devices import SimulatedCamera, appears, disk_appears
from dockwarden.simulators.vm.machine import Machine

pytestmark = pytest.mark.vm

PASSWORD = "123456"  # noqa: S105 - a simulated camera's


def test_a_camera_that_is_told_to_be_a_disk_comes_back_as_one_on_the_same_port(vm: Machine, tmp_path: Path) -> None:
    card, files = camera_card(tmp_path)
    camera, since = SimulatedCamera(card, "7", "CAM000042", password=PASSWORD), vm.now()
    with vm.with_plugged(camera) as plugged:
        assert vm.wait_for(since, appears(camera))["ID_USB_INTERFACES"] == ":ff0000:"
        answers = json.loads(python(vm, "guest_camera.py", "000000", PASSWORD).out)
        assert (answers["serial"], answers["ports"]) == ("CAM000042", [7])
        assert (answers["000000"], answers[PASSWORD], answers["disk mode after"]) == (0, 1, PASSWORD)
        assert answers["refused"] == "Pipe error"
        told = vm.wait_for(since, disk_appears(camera))
        assert told["ID_SERIAL_SHORT"] == "CAM000042"
        gone = {"SUBSYSTEM": "usb", "DEVTYPE": "usb_device", "ACTION": "remove"}
        assert vm.events(since, gone)
        assert vm.told(plugged)["log"] == ["wrong password", "refused request 80", "login", "disk mode"]
        with mounted(vm, told["DEVNAME"]) as point:
            for name, data in files.items():
                assert sha256(vm, point / name) == hashlib.sha256(data).hexdigest()
