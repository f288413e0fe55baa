"""Every durable step of intake fails once, or fails although it was done: a clear word, then it heals.

After each row: the outside checker, then the same device again without a restart; or a restart first.
"""

import errno
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Room, codes, faulty, kinds, make_card, shown

from dockwarden.agent.drivers.source import Device
from dockwarden.agent.settling import settle
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.simulators.faults import Fault
from dockwarden.simulators.killing_files import CountingFiles, FailingFiles, When

BAD = "DCIM/bad.mp4"
FILES = {"DCIM/a.mp4": b"a" * (LEAF + 3), BAD: b"b" * 1000}
SAMPLE = 16
SEED = 3


@dataclass(frozen=True)
class Row:
    """One step of one scenario: its number, its name, and whether it fails before or after it is done."""

    scenario: str
    step: int
    name: str
    when: When


SCENARIOS: dict[str, tuple[Fault, ...]] = {
    "all is well": (),
    "a file is quarantined": (Fault("eof", BAD, at=500, reading=1),),
}


class StruckFiles(FailingFiles):
    """Tells whether its step has come. Drawn ids change the number of steps a little: some share a folder."""

    struck = False

    def strike(self, name: str) -> None:
        """See FailingFiles."""
        self.struck = True
        super().strike(name)


def table(folder: Path, scenario: str) -> list[Row]:
    """All rows of a scenario: its steps are those of a run that goes well."""
    folder.mkdir()
    counting = CountingFiles(OsFiles())
    room = Room(folder / "station", counting)
    began = len(counting.steps)
    room.visit(faulty(make_card(folder / "card", FILES), *SCENARIOS[scenario]))
    room.stores.close()
    steps = list(enumerate(counting.steps, 1))[began:]
    whens: tuple[When, ...] = ("before", "after")
    return [Row(scenario, number, name, when) for number, name in steps for when in whens]


def play(folder: Path, row: Row, again: str) -> list[str]:
    """Play a row in the new folder `folder`; returns what is wrong."""
    folder.mkdir()
    card = make_card(folder / "card", FILES)
    before = shown(card)
    files = StruckFiles(OsFiles(), row.step, row.when)
    room = Room(folder / "station", files)
    planted = [BAD] if SCENARIOS[row.scenario] else []
    state, words = visit(room, faulty(card, *SCENARIOS[row.scenario]))
    wrong = [f"no clear word: {words}"] if "internal" in words or (state == "incomplete" and not words) else []
    wrong += room.wrong(before, planted=planted, settled=False)
    if again == "restart":
        room = room.restart()
        wrong += settle(room.stores)
        wrong += room.wrong(before, planted=planted)
    late = again != "restart" and not files.struck
    state, words = visit(room, faulty(card))
    if late:
        state, words = visit(room, faulty(card))
    if (state, words) != ("safe", set()):
        wrong.append(f"docked again: {state} {words}")
    wrong += room.wrong(before, planted=planted)
    if kinds(room.stores).count("sealed") != len(FILES):
        wrong.append(f"{kinds(room.stores).count('sealed')} records of {len(FILES)} files")
    if list(room.stores.folders.staging.glob("*.json")):
        wrong.append("a stage is left")
    wrong += settle(room.stores)
    room.stores.close()
    shutil.rmtree(folder)
    return [f"{row} {again}: {what}" for what in wrong]


def visit(room: Room, device: Device) -> tuple[str, set[str]]:
    """What the bay shows: an error of the log ends the session (tests/agent/test_bays.py)."""
    try:
        progress = room.visit(device)
    except DurableError as error:
        return "incomplete", {error.code}
    return progress.state, codes(progress)


@pytest.mark.parametrize("again", ["docked again", "restart"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_step_that_fails_is_told_and_heals(tmp_path: Path, scenario: str, again: str) -> None:
    rows = table(tmp_path / "learn", scenario)
    assert len(rows) > 100
    chosen = random.Random(SEED).sample(rows, SAMPLE)
    assert [what for number, row in enumerate(chosen) for what in play(tmp_path / str(number), row, again)] == []


class FullFiles(OsFiles):
    """A disk that has room for `left` bytes of originals."""

    def __init__(self, left: int) -> None:
        self.left = left

    def fallocate(self, fd: int, size: int) -> None:
        if size > self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().fallocate(fd, size)


def test_a_full_disk_is_told_the_other_bays_go_on_and_it_heals(tmp_path: Path) -> None:
    disk = FullFiles(2 * LEAF)
    room = Room(tmp_path / "station", disk)
    large = make_card(tmp_path / "large", {"a": b"a" * 5 * LEAF, "b": b"b"})
    small = make_card(tmp_path / "small", {"c": b"c" * LEAF})
    befores = [shown(large, "L"), shown(small, "S")]
    progress = room.visit(faulty(large, serial="L"))
    assert (progress.state, codes(progress)) == ("incomplete", {"disk-full", "not-all"})
    assert "Free space" in progress.findings[0].what
    assert room.visit(faulty(small, serial="S"), "2").state == "safe"
    assert kinds(room.stores).count("quarantined") == 0
    assert kinds(room.stores).count("sealed") == 2
    assert room.wrong(*befores) == []
    disk.left = 1 << 40
    assert room.visit(faulty(large, serial="L")).state == "safe"
    assert kinds(room.stores).count("sealed") == 3
    assert room.wrong(*befores) == []
    room.stores.close()
