"""The footage that all tests of this folder look at, made once."""

from pathlib import Path

import pytest
from tests.media.media_samples import make_footage


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.mp4, other.mp4, long.mp4, voice.wav and photo.jpg; tests only read it."""
    folder = tmp_path_factory.mktemp("footage")
    make_footage(folder)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A fresh folder, as the agent passes one for derivatives."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
