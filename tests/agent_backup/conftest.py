"""One append-only server for a file of tests, and for each test a station with a repository of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent_backup.station import Station, open_station
from tests.offsite.samples import repository

from dockwarden.simulators.offsite_server import OffsiteServer, serve_restic


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OffsiteServer]:
    with serve_restic(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="module")
def made_once(server: OffsiteServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new repository; making one takes seconds, copying it none."""
    repository(tmp_path_factory.mktemp("made"), server.repository("made-once")).ensure()
    return server.directory / "made-once"


@pytest.fixture
def served(server: OffsiteServer, made_once: Path, tmp_path: Path) -> Path:
    """The folder of the station's repository at the server."""
    return Path(shutil.copytree(made_once, server.directory / tmp_path.name))


@pytest.fixture
def station(server: OffsiteServer, served: Path, tmp_path: Path) -> Iterator[Station]:
    made = open_station(tmp_path / "station", repository(tmp_path / "settings", server.repository(served.name)))
    yield made
    made.stores.close()
