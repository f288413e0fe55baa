"""Volumes that are torn, by seed, on a real kernel: each is read or ends in an error of ours, none takes long."""

from pathlib import Path

import pytest
from tests.hostile.watching import Case
from tests.vm import hostile_volumes

from dockwarden.simulators.vm.machine import Machine

pytestmark = pytest.mark.vm

SEED = 20_261_124
SAMPLE: list[Case] = [*range(8)]
WORST: list[Case] = [f"{way}:{kind}" for way in ("doubling", "endless-file", "endless-folder") for kind in range(4)]
"""Trees of more paths than there are stars, files of terabytes, folders in a circle: on each kind of volume."""


def test_torn_volumes_are_listed_and_read_within_bounds(vm: Machine, tmp_path: Path) -> None:
    volumes = hostile_volumes.make_volumes(vm, tmp_path / "volumes", "hostile-volumes")
    played, good = hostile_volumes.play(vm, volumes, SEED, SAMPLE + WORST)
    assert good
    assert [each for each in played if each.wrong or "kernel" in each.outcome] == []
    assert [each.case for each in played] == SAMPLE + WORST
    worst = {each.outcome.split()[-1] for each in played if each.case in WORST}
    assert "amber" in worst
    assert "whole" not in worst
