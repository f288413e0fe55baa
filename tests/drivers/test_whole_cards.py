"""A whole card, as the driver lists it: its recordings and findings, and what changes when one file is taken away."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.drivers.listings import PROFILES
from tests.simulators.sim_samples import CACHE, NOW

from dockwarden.agent.drivers.mass_storage import MassStorage, recognise
from dockwarden.agent.drivers.source import SourceInfo
from dockwarden.agent.metadata.camera_logs import log_files
from dockwarden.agent.metadata.listing import read_listing
from dockwarden.agent.metadata.noticing import Noticed, notice
from dockwarden.agent.metadata.recordings import group
from dockwarden.simulators import camera

pytestmark = pytest.mark.system
DCAM = PROFILES["dcam"]


@pytest.fixture
def card(tmp_path: Path) -> Path:
    root = tmp_path / "card"
    camera.build(root, NOW, CACHE)
    return root


@pytest.fixture
def device(card: Path) -> Iterator[MassStorage]:
    opened = recognise(card, tuple(PROFILES.values()), model="X3", serial="S1", volume="card")
    with closing(opened):
        yield opened


def noticed(device: MassStorage) -> list[Noticed]:
    def content(source: SourceInfo) -> bytes:
        with closing(device.open(source, uncached=False)) as reader:
            return reader.read(0, source.size)

    sources = device.sources()
    return notice(sources, DCAM, {source: content(source) for source in log_files(sources, DCAM.log)})


def test_a_whole_card_has_its_recordings_and_nothing_missing(device: MassStorage) -> None:
    found = group(read_listing(device.sources(), DCAM), DCAM)
    assert sorted(len(recording.segments) for recording in found.recordings) == [1, 1, 1, 1, 2]
    kinds = [{kind for kind, _ in recording.sidecars} for recording in found.recordings]
    assert sorted(kinds, key=len) == [{"log"}] * 4 + [{"log", "position"}]
    assert found.alone == ()
    assert [each.code for each in noticed(device)] == ["marked-important"]


def test_any_recording_that_is_taken_away_is_missed_by_the_log(card: Path, device: MassStorage) -> None:
    media = sorted(card.glob("DCIM/*/*"))
    assert len(media) == 6
    for path in media:
        away = path.rename(card.parent / "away")
        lost = [name.text for each in noticed(device) if each.code == "log-without-file" for name in each.names]
        assert lost == [path.name]
        away.rename(path)
