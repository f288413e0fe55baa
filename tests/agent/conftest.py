"""A station in a temporary folder, without processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.cards import Room

from dockwarden.agent.bays import Progress
from dockwarden.agent.drivers.source import Device
from dockwarden.agent.stores import Stores


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """A station; it may be restarted meanwhile."""
    opened = Room(tmp_path / "station")
    yield opened
    opened.stores.close()


@pytest.fixture
def stores(room: Room) -> Stores:
    """The station's stores."""
    return room.stores


@pytest.fixture
def visit(room: Room) -> Callable[[Device], Progress]:
    """Docks a device until its bay shows the verdict, then takes it out."""
    return room.visit
