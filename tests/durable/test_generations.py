"""Which log is a place's own: the newest generation's, whatever its name and whatever a clock says."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from dockwarden.durable.files import OsFiles
from dockwarden.durable.generations import own_log
from dockwarden.durable.ledger import Ledger
from dockwarden.durable.tables import open_engine
from dockwarden.evidence.facts import By, Instant

BY = By("st-01", "stage", "dockwarden/0.1.0 setup")
FIRST, SECOND, THIRD = "st-01.mmmmmmmm", "st-01.bbbbbbbb", "st-01.zzzzzzzz"


def begin(engine: Engine, log: str, hour: int, after: str | None = None) -> None:
    """Begin a log when the clock says `hour`, as the one that goes on for the log `after`."""
    new = Ledger(engine, log, lambda: Instant(f"2026-11-24T{hour:02}:00:00.000Z", "0" * 32, 0, True), OsFiles())
    if after is not None:
        new.append("restored", by=BY, body={"log": after, "size": 2, "why": "set back"})
    new.append("key-rotated", by=BY, body={"purpose": "log", "vkey": "none"})
    new.append("docked", by=BY, body={})


@pytest.mark.parametrize("names", [(FIRST, SECOND, THIRD), (THIRD, SECOND, FIRST), (SECOND, THIRD, FIRST)])
@pytest.mark.parametrize("hours", [(1, 2, 3), (3, 2, 1), (2, 2, 2)])
def test_the_newest_generation_is_the_one_that_no_other_goes_on_for(
    tmp_path: Path, names: tuple[str, str, str], hours: tuple[int, int, int]
) -> None:
    engine = open_engine(tmp_path / "ledger.sqlite")
    before = None
    for name, hour in zip(names, hours, strict=True):
        begin(engine, name, hour, before)
        assert own_log(engine, "st-01") == name
        before = name
    engine.dispose()


@pytest.mark.parametrize("names", [(FIRST, SECOND, THIRD), (THIRD, SECOND, FIRST), (SECOND, THIRD, FIRST)])
def test_of_logs_that_say_nothing_of_each_other_the_one_that_was_begun_last_counts(
    tmp_path: Path, names: tuple[str, str, str]
) -> None:
    engine = open_engine(tmp_path / "ledger.sqlite")
    for hour, name in enumerate(names):
        begin(engine, name, hour)
        assert own_log(engine, "st-01") == name
    engine.dispose()


def test_a_place_without_a_log_gets_a_new_one_and_other_places_logs_are_not_its_own(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "ledger.sqlite")
    begin(engine, "st-010.aaaaaaaa", 1)
    begin(engine, "centre.bbbbbbbb", 2, FIRST)
    found = own_log(engine, "st-01")
    assert found.startswith("st-01.")
    assert found != own_log(engine, "st-01")
    begin(engine, found, 0)
    assert own_log(engine, "st-01") == found
    engine.dispose()
