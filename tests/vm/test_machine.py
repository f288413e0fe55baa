"""The machine as tests use it: files in and out, commands with their ends, refusals with their reasons."""

from pathlib import Path

import pytest

from dockwarden.simulators.vm.devices import Keyboard, SimulatedDisk, StorageDevice
from dockwarden.simulators.vm.errors import VmError
from dockwarden.simulators.vm.machine import Machine

pytestmark = pytest.mark.vm


def test_files_go_in_and_come_out_and_nothing_else_reaches_the_host(vm: Machine, tmp_path: Path) -> None:
    source = tmp_path / "in.bin"
    source.write_bytes(bytes(range(256)))
    there = vm.put(source, "folder/证据 1.bin")
    vm.check(["sh", "-c", f"cat '{there}' '{there}' > /twice"])
    assert vm.get(Path("/twice"), tmp_path / "out.bin").read_bytes() == bytes(range(256)) * 2
    assert not Path("/twice").exists()


def test_a_command_has_its_code_output_errors_and_input(vm: Machine) -> None:
    ended = vm.run(["sh", "-c", "cat; printf '\\377' >&2; exit 7"], given="证据")
    assert (ended.code, ended.out, ended.err) == (7, "证据", "\udcff")
    with pytest.raises(VmError) as caught:
        vm.check(["false"])
    assert caught.value.code == "refused"


def test_a_command_without_end_is_killed_with_all_that_it_started(vm: Machine) -> None:
    ended = vm.run(["sh", "-c", "echo begun; sleep 4242 & sleep 4242"], timeout_s=2)
    assert (ended.code, ended.out) == (None, "begun\n")
    assert vm.run(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '^.*sleep [4]242'"]).out == "0\n"


def test_what_cannot_be_plugged_is_refused_and_the_machine_goes_on(vm: Machine, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    nowhere = StorageDevice(tmp_path / "nowhere", "3")
    for device in (Keyboard("99"), StorageDevice(image, "99"), nowhere, SimulatedDisk(image, "31")):
        with pytest.raises(VmError) as caught:
            vm.plug(device)
        assert caught.value.code == "refused"
    assert vm.plugged == ()
    with vm.with_plugged(StorageDevice(image, "3")):
        assert len(vm.plugged) == 1
