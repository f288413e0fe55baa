"""Bytes that come through a real kernel from a plugged device, whole or with faults."""

import hashlib
from pathlib import Path

import pytest
from tests.vm.vm_samples import (
    OPTIONS,
    disk,
    mounted,
    place_of,
    recording,
    sha256,
)

from dockwarden.simulators.vm.devices import SimulatedDisk, StorageDevice, appears, disk_appears
from dockwarden.simulators.vm.faults import Fault
from dockwarden.simulators.vm.images import MIB, Volume, fill, make_volume, rename_short, with_table
from dockwarden.simulators.vm.machine import Machine

pytestmark = pytest.mark.vm

DATA = recording()
STEP = 65_536
TRUE = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return make_volume(tmp_path / "card.img", Volume("fat16", 16, files={"DCIM/A.MP4": DATA}))


@pytest.mark.parametrize("make", [StorageDevice, SimulatedDisk])
def test_a_file_of_a_plugged_card_has_the_digest_it_has_on_the_host(
    vm: Machine, card: Path, make: type[StorageDevice] | type[SimulatedDisk]
) -> None:
    before = hashlib.sha256(card.read_bytes()).digest()
    with disk(vm, make(card, "3")) as (plugged, node), mounted(vm, node) as point:
        assert sha256(vm, point / "DCIM/A.MP4") == TRUE
    assert [hashlib.sha256(image.read_bytes()).digest() for image in plugged.images] == [before]


def test_volumes_behind_a_partition_table_and_names_in_gbk_are_read(vm: Machine, card: Path, tmp_path: Path) -> None:
    other = make_volume(tmp_path / "other.img", Volume("fat12", 4, files={"GBKNAME1.MP4": b"two"}))
    rename_short(other, "GBKNAME1.MP4", "现场笔录".encode("gbk") + b".MP4")
    device = StorageDevice(with_table(tmp_path / "both.img", [("fat16", card), ("fat12", other)]), "3")
    with disk(vm, device) as (_, node):
        with mounted(vm, f"{node}1") as point:
            assert sha256(vm, point / "DCIM/A.MP4") == TRUE
        with mounted(vm, f"{node}2") as point:
            assert vm.check(["ls", point]) == "现场笔录.MP4\n"


def test_exfat_is_read_with_long_chinese_names(vm: Machine, tmp_path: Path) -> None:
    image = make_volume(tmp_path / "exfat.img", Volume("exfat", 16))
    fill(vm, image, {"DCIM/现场执法记录 第一段.mp4": DATA})
    with disk(vm, StorageDevice(image, "3")) as (_, node), mounted(vm, node, OPTIONS) as point:
        assert sha256(vm, point / "DCIM/现场执法记录 第一段.mp4") == TRUE


def test_a_flipped_bit_is_in_the_first_reading_and_gone_in_the_second(vm: Machine, card: Path) -> None:
    fault = Fault("flip", at=place_of(card, DATA) + MIB, reading=1)
    with disk(vm, SimulatedDisk(card, "3", faults=(fault,))) as (plugged, node), mounted(vm, node) as point:
        wrong = bytearray(DATA)
        wrong[MIB] ^= 1
        path = point / "DCIM/A.MP4"
        for _ in range(2):  # the second comes from the page cache, where the wrong byte is all that is ever seen
            assert vm.check(["sha256sum", path]).split()[0] == hashlib.sha256(wrong).hexdigest()
        assert sha256(vm, path) == TRUE
        assert vm.told(plugged)["log"] == [f"flip at {fault.at}"]


def test_a_bad_sector_is_an_input_output_error_where_it_lies(vm: Machine, card: Path) -> None:
    fault = Fault("bad-sector", at=place_of(card, DATA) + MIB)
    with disk(vm, SimulatedDisk(card, "3", faults=(fault,))) as (_, node), mounted(vm, node) as point:
        read, error = _read(vm, point / "DCIM/A.MP4")
    assert error == "Input/output error"
    assert MIB - STEP < read <= MIB


def test_an_unplug_in_mid_read_never_looks_like_the_whole_file(vm: Machine, card: Path) -> None:
    fault = Fault("unplug", at=place_of(card, DATA) + MIB)
    with disk(vm, SimulatedDisk(card, "3")) as (plugged, node), mounted(vm, node) as point:
        vm.fault(plugged, [fault])
        read, error = _read(vm, point / "DCIM/A.MP4")
        assert (read < len(DATA), error) == (True, "Input/output error")


def test_an_unplug_ends_a_raw_reading_of_the_disk_before_its_end(vm: Machine, card: Path) -> None:
    with disk(vm, SimulatedDisk(card, "3")) as (plugged, node):
        vm.fault(plugged, [Fault("unplug", at=4 * MIB)])
        read, _ = _read(vm, Path(node), "fullblock")
    # With an error or, by a moment's difference, without one: who reads a disk must know its size beforehand.
    assert 2 * MIB < read < 16 * MIB


def test_what_goes_wrong_once_on_the_wire_or_is_slow_does_not_change_what_is_read(vm: Machine, card: Path) -> None:
    at = place_of(card, DATA)
    faults = (
        Fault("stall", at=at + 4096, reading=1),
        Fault("short", at=at + MIB, reading=1),
        Fault("slow", rate=4 * MIB),
    )
    with disk(vm, SimulatedDisk(card, "3", faults=faults)) as (plugged, node), mounted(vm, node) as point:
        assert sha256(vm, point / "DCIM/A.MP4") == TRUE
        assert [line.split()[0] for line in vm.told(plugged)["log"]] == ["stall", "short"]


def test_a_disk_that_claims_more_than_it_has_shows_zeros_there(vm: Machine, card: Path) -> None:
    with disk(vm, SimulatedDisk(card, "3", faults=(Fault("capacity", length=16 * MIB),))) as (_, node):
        assert int(vm.check(["blockdev", "--getsize64", node])) == 32 * MIB
        last = vm.check(["sh", "-c", f"tail -c 4096 {node} | tr -d '\\0' | wc -c"])
    assert last.strip() == "0"


def test_what_is_written_to_a_disk_that_forgets_is_not_there_when_it_is_read_again(vm: Machine, card: Path) -> None:
    for faults, kept in (((), True), ((Fault("lost-write", at=0),), False)):
        with disk(vm, SimulatedDisk(card, "3", faults=faults)) as (plugged, node):
            vm.check(["sh", "-c", f"echo kept | dd of={node} bs=512 seek=20000 conv=sync oflag=direct"])
            again = vm.check(["dd", f"if={node}", "iflag=direct", "bs=512", "skip=20000", "count=1"])
            assert (again[:4] == "kept") is kept
            assert int(vm.told(plugged)["written"]) >= 512


def test_a_device_whose_descriptors_lie_is_seen_or_refused_and_does_no_harm(vm: Machine, card: Path) -> None:
    # Byte 4 of a configuration is its number of interfaces, byte 2 its length, byte 13 the number of endpoints.
    for at, value in ((4, 7), (2, 255), (13, 30)):
        device = SimulatedDisk(card, "3", "LIAR", faults=(Fault("descriptor", at=at, value=value),))
        since = vm.now()
        with vm.with_plugged(device):
            vm.wait_for(since, appears(device))
    honest, since = SimulatedDisk(card, "3", "HONEST"), vm.now()
    with vm.with_plugged(honest):
        vm.wait_for(since, disk_appears(honest))


def _read(vm: Machine, path: Path, how: str = "direct") -> tuple[int, str]:
    """How many bytes of a file come before its end or an error, and the error's words."""
    ended = vm.run(["dd", f"if={path}", "of=/dev/null", f"iflag={how}", f"bs={STEP}"])
    (read,) = [line.split()[0] for line in ended.err.splitlines() if " copied, " in line]
    errors = [line.rpartition(": ")[2] for line in ended.err.splitlines() if "error reading" in line]
    return int(read), errors[0] if errors else ""
