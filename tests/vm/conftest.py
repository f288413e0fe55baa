"""One booted machine for all tests of this folder; between tests its ports and mounts are empty."""

from collections.abc import Iterator

import pytest

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
