"""The prompt by which people play with the machine."""

from pathlib import Path

import pytest
from tests.vm.vm_samples import camera_card

from dockwarden.simulators.vm.devices import appears
from dockwarden.simulators.vm.machine import Machine
from dockwarden.simulators.vm.prompt import Prompt

pytestmark = pytest.mark.vm


def test_devices_are_plugged_and_pulled_out_by_typing(vm: Machine, tmp_path: Path) -> None:
    card, _ = camera_card(tmp_path)
    said: list[str] = []
    prompt, since = Prompt(vm, said.append), vm.now()

    def typed(line: str) -> str:
        said.clear()
        assert prompt.take(line)
        return "\n".join(said)

    name, _, what = typed(f"plug disk {card} 3 serial=TYPED fault=flip:at=4096").partition(": ")
    assert what == "SimulatedDisk port 3 card.img"
    (plugged,) = vm.plugged
    vm.wait_for(since, appears(plugged.device))
    assert '"mode": "disk"' in typed("devices")
    appeared = "ACTION=add SUBSYSTEM=usb DEVTYPE=usb_device"
    assert appeared in typed("events")
    assert appeared not in typed("events")  # an event is said once
    assert typed("run echo $((6 * 7)); exit 3") == "42\nended with 3"
    assert "SerialNumber: TYPED" in typed("log")
    assert "port 3 is taken" in typed(f"plug disk {card} 3")
    assert "no image" in typed("plug disk /nowhere 3")
    assert "plug storage|uas" in typed("dance")
    assert "No closing quotation" in typed("plug '")
    assert typed(f"unplug {name}") == ""
    assert vm.plugged == ()
    assert not prompt.take("quit")
