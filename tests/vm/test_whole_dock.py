"""A dock of 24 bays on four controllers: many at once, pulled out anywhere, plugged while nobody listens."""

import random
from pathlib import Path

import pytest
from tests.vm.vm_samples import camera_card
from tests.vm.whole_station import Docked, digests, pull_out_and_dock_again

from dockwarden.simulators.vm.machine import Machine

pytestmark = pytest.mark.vm

SEED = 20_261_124
SMALL = 200_000
READ = 3_000_000
"""Less than what docking a card of `camera_card` reads of it, twice each byte and what mounting takes."""


def small_cards(folder: Path, bays: list[str]) -> tuple[dict[str, Path], set[str]]:
    """A card of its own for each bay, and the digests of all their files."""
    made = {bay: camera_card(folder, f"card{bay}.img", 100 + int(bay), SMALL) for bay in bays}
    return {bay: card for bay, (card, _) in made.items()}, {
        digest for _, files in made.values() for digest in digests(files)
    }


def test_eight_cameras_at_once_on_four_controllers_and_behind_hubs_of_hubs(
    docked: Docked, vm: Machine, tmp_path: Path
) -> None:
    cards, wanted = small_cards(tmp_path, ["1", "3", "7", "10", "11", "12", "13", "19"])
    docked.plug_hubs()
    plugged = docked.dock(cards)
    assert {bay: docked.verdict(bay) for bay in cards} == dict.fromkeys(cards, "safe")
    assert all(docked.bay(bay)["findings"] == [] for bay in cards)
    docked.undock(plugged)
    assert set(docked.newest()["records"]) >= wanted


def test_pulled_out_at_any_byte_a_camera_is_taken_whole_when_it_is_docked_again(
    docked: Docked, vm: Machine, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    made = {bay: camera_card(tmp_path, f"card{bay}.img", 200 + int(bay)) for bay in ("3", "13", "19")}
    places = {bay: chance.randrange(READ) for bay in made}
    assert pull_out_and_dock_again(docked, {bay: card for bay, (card, _) in made.items()}, places) == ["safe"] * 3, (
        places
    )
    records = docked.newest()["records"]
    for _, files in made.values():
        films = {name: data for name, data in files.items() if name.endswith(".mp4")}  # the log is on every card
        assert [records.count(digest) for digest in digests(films)] == [1, 1], places


def test_what_is_plugged_in_while_no_service_runs_is_found_when_it_begins(
    docked: Docked, vm: Machine, tmp_path: Path
) -> None:
    cards, wanted = small_cards(tmp_path, ["1", "2", "13"])
    docked.pause()
    plugged = docked.dock({"1": cards["1"], "13": cards["13"]})
    docked.go_on()
    assert [docked.verdict(bay) for bay in ("1", "13")] == ["safe", "safe"]
    # During a restart one leaves, one stays and one comes.
    docked.pause()
    docked.vm.unplug(plugged["1"])
    plugged = {"13": plugged["13"], **docked.dock({"2": cards["2"]})}
    docked.go_on()
    assert [docked.verdict(bay) for bay in ("2", "13")] == ["safe", "safe"]
    assert docked.bay("1")["state"] == "empty"
    docked.undock(plugged)
    assert set(docked.newest()["records"]) >= wanted


def test_what_is_plugged_in_while_events_are_lost_is_found(docked: Docked, vm: Machine, tmp_path: Path) -> None:
    cards, wanted = small_cards(tmp_path, ["8"])
    pid = (docked.folder / "pid").read_text("ascii")
    vm.check(["kill", "-STOP", pid])
    try:
        for _ in range(4):
            vm.check(["udevadm", "trigger", "--action=change", "--subsystem-match=usb", "--subsystem-match=block"])
            vm.check(["udevadm", "settle"])
        plugged = docked.dock(cards)
    finally:
        vm.check(["kill", "-CONT", pid])
    assert docked.verdict("8") == "safe"
    assert "events of udev were lost" in docked.log()
    docked.undock(plugged)
    assert set(docked.newest()["records"]) >= wanted


def test_a_controller_that_comes_anew_is_closed_again_and_its_ports_are_the_same_bays(
    docked: Docked, vm: Machine, tmp_path: Path
) -> None:
    """As at a boot that deals other bus numbers: the controllers come up in another order."""
    cards, wanted = small_cards(tmp_path, ["10"])
    before = bus_numbers(vm)
    for what, slots in (("unbind", ("10", "11")), ("bind", ("11", "10"))):
        for slot in slots:
            vm.check(["sh", "-c", f"echo 0000:00:{slot}.0 > /sys/bus/pci/drivers/xhci_hcd/{what}"])
    assert bus_numbers(vm) != before
    closed = "until ! grep -q 1 /sys/bus/pci/devices/0000:00:1[01].0/usb*/authorized_default; do sleep 0.2; done"
    vm.check(["timeout", "60", "sh", "-c", closed])
    docked.plug_hubs()
    plugged = docked.dock(cards)
    assert docked.verdict("10") == "safe"
    docked.undock(plugged)
    assert set(docked.newest()["records"]) >= wanted


def bus_numbers(vm: Machine) -> list[str]:
    """Of the two xHCI controllers."""
    return vm.check(["sh", "-c", "cat /sys/bus/pci/devices/0000:00:1[01].0/usb*/busnum"]).split()
