"""The agent's own driver, in the guest, against cards that the real kernel has mounted."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.vm.vm_samples import camera_card, disk, mounted, place_of, python

from dockwarden.simulators.vm.devices import SimulatedDisk, StorageDevice
from dockwarden.simulators.vm.faults import Fault
from dockwarden.simulators.vm.images import MIB
from dockwarden.simulators.vm.machine import Machine

pytestmark = pytest.mark.vm

BAYS = "/mnt"
BAY = "bay"
VIDEO = "DCIM/20261124/DCAM_ZB2041_650113_20261124_091500.mp4"
MARKED = "DCIM/20261124/DCAM_ZB2041_650113_20261124_093000_IMP.mp4"
STEP = 524_288  # what the driver is asked for at once


def driven(vm: Machine) -> dict[str, Any]:
    """What the driver sees in the bay."""
    ended = python(vm, "guest_driver.py", BAYS, BAY)
    assert ended.code == 0, ended.err
    seen: dict[str, Any] = json.loads(ended.out)
    return seen


def by_name(seen: dict[str, Any]) -> dict[str, Any]:
    return {bytes.fromhex(source["raw"]).decode(): source for source in seen["sources"]}


def test_the_driver_lists_and_reads_a_camera_read_only_with_right_digests(vm: Machine, tmp_path: Path) -> None:
    card, files = camera_card(tmp_path)
    before = hashlib.sha256(card.read_bytes()).digest()
    with disk(vm, StorageDevice(card, "3", "CAM000777")) as (_, node), mounted(vm, node):
        seen = driven(vm)
    assert (seen["profile"], seen["unlisted"]) == ("dcam", [])
    assert seen["key"] == "disk-volume-1000-0001"
    found = by_name(seen)
    assert sorted(found) == sorted(files)
    assert seen["listed again"] == len(files)
    for name, data in files.items():
        true = {"sha256": hashlib.sha256(data).hexdigest(), "read": len(data)}
        cached, uncached = found[name]["readings"]
        assert found[name]["size"] == len(data)
        assert cached == {**true, "how": "none"}
        assert uncached == {**true, "how": "direct"}
    assert hashlib.sha256(card.read_bytes()).digest() == before


def test_the_driver_sees_a_bit_that_flips_once_and_says_what_cannot_be_read(vm: Machine, tmp_path: Path) -> None:
    card, files = camera_card(tmp_path)
    flip = Fault("flip", at=place_of(card, files[MARKED]) + 4096, reading=1)
    bad = Fault("bad-sector", at=place_of(card, files[VIDEO]) + MIB)
    with disk(vm, SimulatedDisk(card, "3", faults=(flip, bad))) as (plugged, node), mounted(vm, node):
        found = by_name(driven(vm))
        assert vm.told(plugged)["written"] == 0
    first, second = found[MARKED]["readings"]
    assert first["sha256"] != second["sha256"] == hashlib.sha256(files[MARKED]).hexdigest()
    for reading in found[VIDEO]["readings"]:
        assert reading["code"] == "unreadable"
        assert MIB - STEP <= reading["offset"] <= MIB
    assert all("sha256" in reading for reading in found["LOG/20261124.txt"]["readings"])


def test_the_driver_says_that_a_camera_was_pulled_out(vm: Machine, tmp_path: Path) -> None:
    card, _ = camera_card(tmp_path)
    with disk(vm, SimulatedDisk(card, "3")) as (plugged, node), mounted(vm, node):
        vm.fault(plugged, [Fault("unplug", at=MIB)])
        seen = driven(vm)
    codes = [reading.get("code") for source in seen["sources"] for reading in source["readings"]]
    assert "unplugged" in codes
    # From then on nothing of it can be read, and nothing is called a defect of the file.
    assert set(codes[codes.index("unplugged") :]) == {"unplugged"}
    assert seen["listed again"] == "unplugged"
