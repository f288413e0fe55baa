"""A whole station on a real kernel: what is plugged into a learned port is looked at, then taken or refused."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.vm.vm_samples import camera_card, place_of, python
from tests.vm.whole_station import Docked, digests

from dockwarden.agent.drivers import profiles
from dockwarden.simulators.mutating import case
from dockwarden.simulators.vm.devices import Keyboard, SimulatedDisk, StorageDevice
from dockwarden.simulators.vm.faults import Fault
from dockwarden.simulators.vm.images import MIB, Volume, make_volume
from dockwarden.simulators.vm.machine import SHARE, Machine
from dockwarden.simulators.vm.tearing import Torn, tear

pytestmark = pytest.mark.vm

VIDEO = "DCIM/20261124/DCAM_ZB2041_650113_20261124_091500.mp4"


def test_a_camera_in_a_learned_port_is_taken_and_its_card_is_not_written(
    docked: Docked, vm: Machine, tmp_path: Path
) -> None:
    card, files = camera_card(tmp_path)
    before = card.read_bytes()
    with vm.with_plugged(StorageDevice(card, "3", "CAM000777")):
        bay = docked.until_state("1", "safe", "copied", "incomplete", "refused")
        assert (bay["state"], bay["findings"], bay["files_total"]) == ("safe", [], len(files)), bay
    docked.until_state("1", "empty")
    assert set(docked.newest()["records"]) >= digests(files)
    assert card.read_bytes() == before


def test_two_cameras_at_once_with_one_serial_number_are_both_taken(
    docked: Docked, vm: Machine, tmp_path: Path
) -> None:
    (one, ones), (two, twos) = camera_card(tmp_path, "one.img", 11), camera_card(tmp_path, "two.img", 12)
    with vm.with_plugged(StorageDevice(one, "3", "SAME")), vm.with_plugged(StorageDevice(two, "4", "SAME")):
        assert docked.until_state("1", "safe", "incomplete")["state"] == "safe"
        assert docked.until_state("2", "safe", "incomplete")["state"] == "safe"
    docked.until_state("2", "empty")
    assert set(docked.newest()["records"]) >= digests(ones) | digests(twos)


def test_a_keyboard_in_a_bay_is_refused_and_bound_to_nothing(docked: Docked, vm: Machine) -> None:
    with vm.with_plugged(Keyboard("3")):
        bay = docked.until_state("1", "refused")
        assert [finding["code"] for finding in bay["findings"]] == ["not-only-storage"]
        bound = vm.check(["sh", "-c", "ls /sys/bus/usb/drivers/usbhid 2>/dev/null || true"])
        assert ":1.0" not in bound
    docked.until_state("1", "empty")


def test_a_disk_that_no_profile_fits_is_refused_by_policy(docked: Docked, vm: Machine, tmp_path: Path) -> None:
    image = make_volume(tmp_path / "unknown.img", Volume("fat16", 16, files={"letters/a.txt": b"a"}))
    with vm.with_plugged(StorageDevice(image, "4")):
        assert [each["code"] for each in docked.until_state("2", "refused")["findings"]] == ["unknown-device"]
        suggested = vm.check([Path(sys.executable).with_name("dockwarden-agent"), "bays", "suggest", "2"])
    profile = tmp_path / "profile.toml"
    profile.write_text(suggested, "utf-8")
    assert profiles.read(profile).match
    docked.until_state("2", "empty")


def test_a_camera_that_is_pulled_out_in_the_middle_goes_on_at_the_next_plug(
    docked: Docked, vm: Machine, tmp_path: Path
) -> None:
    card, files = camera_card(tmp_path, seed=21)
    with vm.with_plugged(SimulatedDisk(card, "1", "PULLED", faults=(Fault("unplug", at=2 * MIB),))):
        pulled = docked.until("3", lambda bay: any(each["code"] == "pulled-out" for each in bay["findings"]))
        assert pulled["state"] != "safe"
        docked.until_state("3", "empty")
    with vm.with_plugged(SimulatedDisk(card, "1", "PULLED")):
        assert docked.until_state("3", "safe", "incomplete", "refused")["state"] == "safe"
    docked.until_state("3", "empty")
    records = docked.newest()["records"]
    assert set(records) >= digests(files)
    assert [records.count(digest) for digest in digests(files)].count(1) == 2  # the log is the same on every card


def test_a_bad_sector_becomes_a_hole_of_one_block(docked: Docked, vm: Machine, tmp_path: Path) -> None:
    card, files = camera_card(tmp_path, "torn.img", 51)
    bad = Fault("bad-sector", at=place_of(card, files[VIDEO]) + MIB + 512)
    with vm.with_plugged(SimulatedDisk(card, "1", "TORN", faults=(bad,))):
        bay = docked.until_state("3", "safe", "incomplete", "refused")
        assert (bay["state"], {each["code"] for each in bay["findings"]}) == ("incomplete", {"partial", "not-all"})
    docked.until_state("3", "empty")
    torn = files[VIDEO][:MIB] + bytes(4096) + files[VIDEO][MIB + 4096 :]
    assert set(docked.newest()["records"]) >= digests({**files, VIDEO: torn})


def test_hostile_devices_end_amber_or_refused_and_the_camera_beside_them_is_taken(
    docked: Docked, vm: Machine, tmp_path: Path
) -> None:
    (bad, _), (good, files) = camera_card(tmp_path, "bad.img", 41), camera_card(tmp_path, "good.img", 42)
    torn = Torn(bytearray(bad.read_bytes()), "fat16")
    for way in ("endless-file", "doubling"):
        tear(torn, case(1, "bays", 1), way)
    bad.write_bytes(torn.volume)
    radio = SimulatedDisk(good, "1", "RADIO", faults=(Fault("descriptor", at=4, value=0xE0, which="device"),))
    with vm.with_plugged(StorageDevice(bad, "3")), vm.with_plugged(radio), vm.with_plugged(StorageDevice(good, "4")):
        assert docked.until_state("2", "safe", "incomplete", "refused")["state"] == "safe"
        assert docked.until_state("1", "safe", "incomplete", "refused")["state"] != "safe"
        assert [each["code"] for each in docked.until_state("3", "refused")["findings"]] == ["not-only-storage"]
    for bay in ("1", "2", "3"):
        docked.until_state(bay, "empty")
    assert set(docked.newest()["records"]) >= digests(files)


def test_a_bay_is_learned_by_what_is_plugged_in(vm: Machine, tmp_path: Path) -> None:
    card, _ = camera_card(tmp_path, seed=31)
    heard = vm.shared("learning")
    learning: list[Any] = []
    words = ("guest_learning.py", SHARE / "learning")
    asking = threading.Thread(target=lambda: learning.append(python(vm, *words)))
    asking.start()
    while not heard.exists():
        time.sleep(0.1)
    with vm.with_plugged(StorageDevice(card, "5")):
        asking.join()
    assert learning[0].code == 0, learning[0].err
    assert set(json.loads(learning[0].out)) == {"pci-0000:00:10.0-usbv2-0:5", "pci-0000:00:10.0-usbv3-0:5"}
