"""Uploads that are interrupted wherever they can be: in the end every original is at the centre, once, and proven."""

import random
from functools import partial
from pathlib import Path

import pytest
from tests.oracle import Scene, violations
from tests.system.sync_world import MIB, SETTINGS, Strike, Uploads, let_centre_be_killed, package_of

from dockwarden.simulators.killing_files import KILL
from dockwarden.simulators.world import running_world, wait_for

SEED = 5
SAMPLE = 2


def broker_restarted(uploads: Uploads) -> None:
    uploads.in_the_middle()
    uploads.world.broker.restart()


def broker_killed(uploads: Uploads) -> None:
    uploads.in_the_middle()
    uploads.world.broker.kill()
    uploads.world.broker.start()


def broker_hangs_then_dies(uploads: Uploads) -> None:
    uploads.in_the_middle()
    uploads.world.broker.pause()
    uploads.world.broker.kill()
    uploads.world.broker.start()


def centre_killed(uploads: Uploads) -> None:
    listed = uploads.in_the_middle()
    uploads.world.centre.kill()
    before = listed.read_bytes()
    uploads.world.centre.start()
    if listed.exists():
        assert listed.read_bytes().startswith(before)  # what was durable is not asked for again


def station_killed(uploads: Uploads) -> None:
    uploads.in_the_middle()
    uploads.world.station.kill()
    uploads.world.station.start()


def everybody_killed(uploads: Uploads) -> None:
    uploads.in_the_middle()
    for process in (uploads.world.station, uploads.world.centre):
        process.kill()
    uploads.world.broker.kill()
    uploads.world.broker.start()
    for process in (uploads.world.centre, uploads.world.station):
        process.start()


def broker_away_while_cards_are_docked(uploads: Uploads) -> None:
    """The intake goes on; the centre says that it knows nothing; all is made up for."""
    world = uploads.world
    world.broker.stop()
    wait_for("the centre to see it", lambda: not world.centre.call("info")["link"])
    uploads.dock(3 * MIB, 100, 0)
    asked = world.centre.call("ask", {"station": "st-01", "wait_s": 60})
    assert (asked["answered_by"], asked["state"]) == ("last-known", "unknown")
    assert uploads.received() == uploads.files - 3
    world.broker.start()
    wait_for(
        "the answer", lambda: world.centre.call("question", {"id": asked["question"]})["answered_at"] is not None
    )


def centre_away_while_cards_are_docked(uploads: Uploads) -> None:
    uploads.world.centre.stop()
    uploads.dock(3 * MIB, 100)
    assert uploads.received() == uploads.files - 2
    uploads.world.centre.start()


STEPS = (
    "create original",
    "fallocate original",
    "fdatasync original",
    "pwrite leaves",
    "fdatasync leaves",
    "replace seal.note",
    "replace inventory.json",
    "replace 0=ocfl_object_1.1",
    "rename_new ID",
    "commit",
)
"""What the centre does durably while it receives; `rename_new ID` lies between store and receipt."""
BETWEEN = ("1:before:rename_new ID", "1:after:rename_new ID")


def points() -> list[str]:
    """Where the centre is killed: on both sides of the renaming into the store, and at a sample of all else. (Each
    single step has its turn in tests/centre/test_archive.py, without processes.)"""
    every = [f"{number}:{when}:{name}" for name in STEPS for number in (1, 2, 3) for when in ("before", "after")]
    return [*BETWEEN, *random.Random(SEED).sample([point for point in every if point not in BETWEEN], SAMPLE)]


def centre_killed_at(point: str, uploads: Uploads) -> None:
    uploads.world.centre.stop()
    uploads.dock(MIB + 1, 100, 7)
    uploads.world.centre.start({KILL: point}, ready=False)
    assert uploads.world.centre.wait(60) == -9, point
    uploads.world.centre.start()


TROUBLES: tuple[Strike, ...] = (
    broker_restarted,
    broker_killed,
    broker_hangs_then_dies,
    centre_killed,
    station_killed,
    everybody_killed,
    broker_away_while_cards_are_docked,
    centre_away_while_cards_are_docked,
    *(partial(centre_killed_at, point) for point in points()),
)


@pytest.mark.system
@pytest.mark.timeout(600)
def test_whatever_is_interrupted_every_original_arrives_once(tmp_path: Path) -> None:
    with running_world(tmp_path / "world", bays=["1"], settings=SETTINGS) as world:
        let_centre_be_killed(world)
        uploads = Uploads(world)
        for trouble in TROUBLES:
            trouble(uploads)
            uploads.wait()
        assert uploads.wrong() == []
        records = [record["record"] for record in world.centre_records()]
        scene = Scene(world.station_root, centre=world.centre_root, packages=[package_of(world, records)])
        assert violations(scene) == []
