"""A seeded sample of the kill table's rows; all of them: `make long NAME=kill-table`."""

import random
from pathlib import Path

import pytest
from tests.system.forking import Forker
from tests.system.killing import play, table
from tests.system.killing_uploads import SETTINGS, Table

from dockwarden.simulators.world import running_world

SEED = 11
UPLOADS = 4
SAMPLES = {"intake": 18, "quarantine": 9, "resume": 9, "set aside": 9}


@pytest.mark.system
@pytest.mark.parametrize("scenario", SAMPLES)
def test_a_station_that_is_killed_at_any_step_loses_nothing_and_says_nothing_wrong(
    tmp_path: Path, scenario: str
) -> None:
    count, chance = SAMPLES[scenario], random.Random(SEED)
    with Forker() as forker:
        ready, rows = table(forker, tmp_path, scenario)
        assert len(rows) > 200
        chosen = chance.sample([row for row in rows if row.plant == "kill"], count)
        chosen += chance.sample([row for row in rows if row.plant == "fail"], count // 3)
        played = [play(forker, ready, tmp_path / str(number), row) for number, row in enumerate(chosen)]
    assert [one for one in played if one.wrong] == []
    assert sum(one.died for one in played) >= count - 1  # a drawn id can save a step


@pytest.mark.system
def test_a_station_that_is_killed_in_an_upload_gets_one_receipt_for_each_record(tmp_path: Path) -> None:
    with running_world(tmp_path / "world", bays=["1"], settings=SETTINGS) as world:
        uploads = Table(world)
        rows = uploads.rows()
        assert len(rows) > 20
        played = [uploads.play(row) for row in random.Random(SEED).sample(rows, UPLOADS)]
    assert [one for one in played if one.wrong] == []
    assert any(one.died for one in played)
