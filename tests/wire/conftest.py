"""What the tests of the link share: a fresh broker each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dockwarden.simulators.broker import Broker, running_broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running broker that has nothing of another test in its memory."""
    with running_broker(tmp_path / "broker") as running:
        yield running
