"""A seeded sample of the kill table's rows; all of them: `make long NAME=kill-table`."""

import random
from pathlib import Path

import pytest
from tests.system.killing import SCENARIOS, play, table

SEED = 11
SAMPLES = {"intake": 10, "quarantine": 5, "resume": 4, "set aside": 4}


@pytest.mark.system
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_station_that_is_killed_at_any_step_loses_nothing_and_says_nothing_wrong(
    tmp_path: Path, scenario: str
) -> None:
    ready, rows = table(tmp_path, scenario, ("kill", "fail"))
    assert len(rows) > 100
    chance = random.Random(SEED)
    count = SAMPLES[scenario]
    chosen = chance.sample([row for row in rows if row.plant == "kill"], count)
    chosen += chance.sample([row for row in rows if row.plant == "fail"], max(1, count // 4))
    assert [what for number, row in enumerate(chosen) for what in play(ready, tmp_path / str(number), row)] == []
