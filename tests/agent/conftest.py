"""A station's stores in a temporary folder, and devices made of plain folders."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockwarden.agent.bays import Progress, Stay
from dockwarden.agent.docking import Desk, dock, undock
from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.drivers.source import Device
from dockwarden.agent.stores import Stores, open_stores
from dockwarden.durable.files import OsFiles
from dockwarden.evidence.notes import SigningKey

PROFILES = {profile.name: profile for profile in profiles.load().profiles}


def folder_device(root: Path, serial: str = "CAM001", volume: str = "1234-ABCD") -> Device:
    """A device whose files are those of a folder."""
    return recognise(root, tuple(PROFILES.values()), model="BODYCAM", serial=serial, volume=volume)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(tmp_path / "station", "st-01", SigningKey.generate("st-01"), OsFiles())
    yield opened
    opened.close()


@pytest.fixture
def visit(stores: Stores) -> Callable[[Device], Progress]:
    """Docks a device until its bay shows the verdict, then takes it out."""
    desk = Desk(stores, PROFILES)

    def run(device: Device, stay: Stay | None = None) -> Progress:
        progress = Progress("1", state="reading")
        session = dock(desk, "1", device, progress, stay or Stay())
        undock(session)
        device.close()
        return progress

    return run
