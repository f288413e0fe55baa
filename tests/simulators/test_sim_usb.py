"""Descriptions of USB devices and their faults, and what the machine boots from: the parts that need no machine."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.simulators.vm.descriptors import CLAIMS, DISK, Description, described, lied
from dockwarden.simulators.vm.devices import Hub, SimulatedCamera, SimulatedDisk, StorageDevice, id_path, parse_device
from dockwarden.simulators.vm.errors import VmError
from dockwarden.simulators.vm.faults import Fault, fault_of, parse_fault, parse_faults
from dockwarden.simulators.vm.images import MIB, Volume, make_volume, rename_short, with_table
from dockwarden.simulators.vm.kernel import cpio, newest_kernel, unpacked


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("flip:at=4096,reading=1", Fault("flip", at=4096, reading=1)),
        ("capacity:length=-512", Fault("capacity", length=-512)),
        ('{"kind": "slow", "rate": 1000}', Fault("slow", rate=1000)),
        ("descriptor:which=device,at=17,value=255", Fault("descriptor", at=17, which="device", value=255)),
        ("unplug", Fault("unplug")),
    ],
)
def test_a_fault_is_read_as_it_is_typed(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault
    assert fault_of(fault.to_object()) == fault


def test_faults_are_read_from_toml_in_their_order() -> None:
    toml = '[[fault]]\nkind = "stall"\nat = 512\n[[fault]]\nkind = "unplug"\nat = 1000000\n'
    assert parse_faults(toml) == (Fault("stall", at=512), Fault("unplug", at=1_000_000))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "melt",
        "flip:at=x",
        "flip:at=-1",
        "flip:where=3",
        "flip:reading=0",
        "slow",
        "descriptor:value=256",
        "{",
        "{}",
    ],
)
def test_what_is_no_fault_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(VmError) as caught:
        parse_fault(text)
    assert caught.value.code == "bad-device"


@given(st.text(max_size=60))
def test_nothing_typed_as_a_fault_raises_anything_else(text: str) -> None:
    try:
        parse_fault(text)
    except VmError:
        return


def test_a_device_is_read_as_it_is_typed(tmp_path: Path) -> None:
    image, other = tmp_path / "a=1.img", tmp_path / "b.img"
    for path in (image, other):
        path.touch()
    typed = ["disk", str(other), "3", "serial=S1", "claims=keyboard", "fault=flip:at=1,reading=2"]
    flip = Fault("flip", at=1, reading=2)
    assert parse_device(typed) == SimulatedDisk((other,), "3", "S1", (flip,), ("keyboard",))
    assert parse_device(["uas", f"{other}+{other}", "1.2"]) == StorageDevice((other, other), "1.2", uas=True)
    assert parse_device(["hub", "1.2"]) == Hub("1.2")
    camera = parse_device(["camera", str(other), "15", "password=111111"])
    assert isinstance(camera, SimulatedCamera) and camera.password == "1" * 6
    assert id_path(camera) == "platform-vhci_hcd.0-usb-0:15"


@pytest.mark.parametrize(
    "words",
    [[], ["disk"], ["disk", "/nowhere", "1"], ["hub", "0"], ["hub", "1."], ["toaster", "1"], ["hub", "1", "x=1"]],
)
def test_what_is_no_device_is_refused(words: list[str]) -> None:
    with pytest.raises(VmError) as caught:
        parse_device(words)
    assert caught.value.code == "bad-device"


def test_descriptors_have_the_lengths_they_say_and_lie_only_where_told() -> None:
    claimed = Description(0x4255, 2, "RIG", "CAM", "S1", (DISK, *CLAIMS.values()))
    whole = claimed.configuration()
    assert struct.unpack("<BBHB", whole[:5]) == (9, 2, len(whole), 4)
    places, at = [], 0
    while at < len(whole):
        places.append(whole[at + 1])
        at += whole[at]
    assert at == len(whole)
    assert places == [2, 4, 5, 5, 4, 0x21, 5, 4, 4]
    assert described(claimed, 0x0303, ()) == b"\x06\x03S\x001\x00"
    assert described(claimed, 0x0304, ()) is None
    lie = Fault("descriptor", at=4, value=9)
    told = lied(whole, "configuration", (lie,))
    assert [index for index in range(len(whole)) if told[index] != whole[index]] == [4]
    assert lied(claimed.device(), "device", (lie,)) == claimed.device()


def test_the_newest_kernel_that_has_its_modules_is_booted(tmp_path: Path) -> None:
    boot, modules = tmp_path / "boot", tmp_path / "modules"
    boot.mkdir()
    for version, whole in (("6.1.0-9-amd64", True), ("6.1.0-50-amd64", True), ("6.9.0-1-amd64", False)):
        (boot / f"vmlinuz-{version}").touch()
        (modules / version).mkdir(parents=True)
        if whole:
            (modules / version / "modules.dep").touch()
    assert newest_kernel(boot, modules).version == "6.1.0-50-amd64"


def test_without_a_kernel_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(VmError) as caught:
        newest_kernel(tmp_path, tmp_path)
    assert caught.value.code == "no-kernel"
    assert "linux-image-amd64" in caught.value.do


@given(st.binary(max_size=2000))
def test_what_is_no_kernel_is_left_as_it_is(data: bytes) -> None:
    assert unpacked(data) == data


def test_an_archive_is_laid_out_as_the_kernel_expects() -> None:
    archive = cpio({"init": b"12345"}, ("bin",))
    assert len(archive) % 4 == 0
    assert archive.startswith(b"070701") and archive.count(b"070701") == 3
    at = archive.index(b"init\0")
    start = archive.index(b"12345")
    assert start % 4 == 0 and archive[at + 5 : start] == b"\0" * (start - at - 5)


def test_a_table_names_each_volume_where_it_lies(tmp_path: Path) -> None:
    first = make_volume(tmp_path / "a.img", Volume("fat16", 16, files={"A.TXT": b"first"}))
    second = make_volume(tmp_path / "b.img", Volume("fat12", 4))
    whole = with_table(tmp_path / "whole.img", [("fat16", first), ("fat12", second)]).read_bytes()
    assert whole[510:512] == b"\x55\xaa"
    for index, (kind, volume) in enumerate(((0x0E, first), (0x01, second))):
        entry = whole[446 + 16 * index : 462 + 16 * index]
        start, count = struct.unpack("<II", entry[8:])
        assert entry[4] == kind
        assert whole[start * 512 : (start + count) * 512] == volume.read_bytes()


def test_only_one_entry_is_renamed(tmp_path: Path) -> None:
    image = make_volume(
        tmp_path / "a.img", Volume("fat12", 4, files={"ONE/X.TXT": b"", "TWO/X.TXT": b"", "Y.TXT": b""})
    )
    with pytest.raises(VmError):
        rename_short(image, "X.TXT", b"Z.TXT")
    rename_short(image, "Y.TXT", "证.TXT".encode("gbk"))
    assert "证      TXT".encode("gbk")[:2] in image.read_bytes()
    assert image.stat().st_size == 4 * MIB
