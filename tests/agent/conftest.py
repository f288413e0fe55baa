"""A station in a temporary folder, without processes."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Room

from dockwarden.agent import intake
from dockwarden.agent.bays import Progress
from dockwarden.agent.drivers.source import Device
from dockwarden.agent.stores import Stores
from dockwarden.durable.copying import Geometry, copy_in_one_pass


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """A station; it may be restarted meanwhile."""
    opened = Room(tmp_path / "station")
    yield opened
    opened.stores.close()


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> int:
    """Copies go in groups of so many bytes, so that a few megabytes are a large file."""
    geometry = Geometry(buffer=LEAF, buffers=2, group=2 * LEAF)
    monkeypatch.setattr(intake, "copy_in_one_pass", partial(copy_in_one_pass, geometry=geometry))
    return geometry.group


@pytest.fixture
def stores(room: Room) -> Stores:
    """The station's stores."""
    return room.stores


@pytest.fixture
def visit(room: Room) -> Callable[[Device], Progress]:
    """Docks a device until its bay shows the verdict, then takes it out."""
    return room.visit
