"""A centre at a desk, closed at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.centre.centre_samples import StationSide
from tests.centre.desk import Desk, Talk

from dockwarden.durable.files import Files


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Make centres; all are closed at the end."""
    desks: list[Desk] = []

    def make(*stations: StationSide, root: Path | None = None, files: Files | None = None) -> Desk:
        desks.append(Desk(root or tmp_path / "centre", files, *stations))
        return desks[-1]

    yield make
    for desk in desks:
        desk.close()


@pytest.fixture
def side() -> StationSide:
    """The station st-01."""
    return StationSide()


@pytest.fixture
def talk(make_desk: Callable[..., Desk], side: StationSide) -> Talk:
    """The line of a centre to st-01."""
    return make_desk(side).talks[side.name]
