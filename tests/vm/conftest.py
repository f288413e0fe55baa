"""One booted machine for all tests of this folder; between tests its ports and mounts are empty."""

from collections.abc import Iterator

import pytest
from tests.vm.whole_station import Docked, running_station

from dockwarden.simulators.vm.machine import Machine, machine


@pytest.fixture(scope="session")
def booted_machine() -> Iterator[Machine]:
    with machine() as booted:
        yield booted


@pytest.fixture
def vm(booted_machine: Machine) -> Iterator[Machine]:
    yield booted_machine
    booted_machine.unplug_all()
    booted_machine.run(["sh", "-c", "umount --lazy /mnt/*"])


@pytest.fixture(scope="session")
def station_in_vm(booted_machine: Machine) -> Iterator[Docked]:
    with running_station(booted_machine) as docked:
        yield docked


@pytest.fixture(scope="module")
def docked(station_in_vm: Docked) -> Iterator[Docked]:
    """The station with its bay service. Other tests plug in without it."""
    station_in_vm.go_on()
    yield station_in_vm
    station_in_vm.pause()
