"""A real station in trouble: a disk that is full, a device that is put in and taken out at will."""

import errno
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.durable.disks import small_disk
from tests.oracle import Scene, show, violations
from tests.system.forking import Forker

from dockwarden.agent.settings import read_settings
from dockwarden.agent.setup import make_keys
from dockwarden.durable.files import OsFiles
from dockwarden.service.errors import ServiceError
from dockwarden.service.socket import call
from dockwarden.simulators.bus import plug, unplug
from dockwarden.simulators.faults import Fault
from dockwarden.simulators.world import VERDICTS, wait_for

MIB = 1024 * 1024


class Running:
    """A station that runs; `root` is its folder, `place` holds the rest."""

    def __init__(self, root: Path, place: Path) -> None:
        self.root, self.place = root, place

    def plug(self, bay: str, card: Path, serial: str, *faults: Fault) -> None:
        """Put a card into a bay."""
        plug(self.place / "bus", bay, card, model="DCAM-X3", serial=serial, faults=faults)

    def unplug(self, bay: str) -> None:
        """Pull out what is in a bay, and wait until the station has seen it."""
        unplug(self.place / "bus", bay)
        wait_for("the bay to be empty", lambda: self.bay(bay).get("state") == "empty")

    def bay(self, bay: str) -> dict[str, Any]:
        """A bay as the status shows it, nothing while the station does not answer."""
        with suppress(ServiceError):
            bays: list[dict[str, Any]] = call(self.root / "agent.sock", "status", {}, 10.0)["bays"]
            return next(found for found in bays if found["bay"] == bay)
        return {}

    def verdict(self, bay: str) -> tuple[str, set[str]]:
        """What a bay shows in the end: its state and the codes of its findings."""
        wait_for("the verdict", lambda: self.bay(bay).get("state") in VERDICTS)
        found = self.bay(bay)
        return found["state"], {finding["code"] for finding in found["findings"]}


@contextmanager
def running(root: Path, place: Path) -> Iterator[Running]:
    """A station over `root`, running for the length of a block."""
    settings = place / "station.toml"
    text = f'station = "st-01"\nroot = {json.dumps(str(root))}\nbays = ["1", "2", "3"]\nrelease = "keep"\n'
    settings.write_text(f"{text}media = false\n[panel]\nport = 0\n", "utf-8")
    make_keys(read_settings(settings), OsFiles())
    with Forker() as forker:
        pid = forker.start(["station", f"--settings={settings}", f"--bus={place / 'bus'}"], {}, place / "log")
        station = Running(root, place)
        wait_for("the station", lambda: bool(station.bay("1")))
        yield station
        assert forker.end(pid, signal.SIGTERM) == 0


def card_of(root: Path, **files: int) -> Path:
    """A new card with files of so many bytes."""
    root.mkdir()
    for name, size in files.items():
        (root / f"{name}.mp4").write_bytes(os.urandom(size))
    return root


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(MIB // 4))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        with suppress(OSError):
            while True:
                file.write(b"x")


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk needs root")
def test_a_full_disk_is_told_the_other_bays_go_on_and_it_heals_when_there_is_room(tmp_path: Path) -> None:
    large = card_of(tmp_path / "large", big=60 * MIB, little=1000)
    small = card_of(tmp_path / "small", one=100_000)
    late = card_of(tmp_path / "late", two=100_000)
    cards = [show(card, f"DCAM-X3-{name}") for name, card in (("L", large), ("S", small), ("T", late))]
    with small_disk(tmp_path, 128 * MIB) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(50 * MIB))
        with running(disk / "station", tmp_path) as station:
            scene = Scene(disk / "station", cards)
            station.plug("1", large, "L")
            station.plug("2", small, "S")
            assert station.verdict("2") == ("safe", set())
            assert station.verdict("1") == ("incomplete", {"disk-full", "not-all"})
            assert violations(scene) == []
            ballast.unlink()
            station.unplug("1")
            station.plug("3", large, "L")
            assert station.verdict("3") == ("safe", set())
            # Now to the last byte: not even the log can grow.
            fill(ballast)
            station.plug("1", late, "T")
            state, codes = station.verdict("1")
            assert state == "incomplete"
            assert "disk-full" in codes
            assert "internal" not in codes
            assert station.verdict("3") == ("safe", set())
            assert violations(scene) == []
            ballast.unlink()
            station.unplug("1")
            station.plug("1", late, "T")
            assert station.verdict("1") == ("safe", set())
            assert violations(scene) == []


@pytest.mark.system
def test_devices_that_come_and_go_leave_one_record_for_each_file(tmp_path: Path) -> None:
    """A camera goes from bay to bay, pulled out here and there; a second one stays and is not disturbed."""
    restless = card_of(tmp_path / "restless", a=9 * MIB, b=9 * MIB, c=10)
    calm = card_of(tmp_path / "calm", d=9 * MIB, e=0)
    cards = [show(card, f"DCAM-X3-{name}") for name, card in (("R", restless), ("C", calm))]
    with running(tmp_path / "station", tmp_path) as station:
        station.plug("3", calm, "C", Fault("slow", rate=8 * MIB))
        # In the first file, in the second, there again, in the second reading, there again.
        for turn, megabytes in enumerate((4, 12, 8, 14, 10)):
            bay = str(turn % 2 + 1)
            station.plug(bay, restless, "R", Fault("unplug", at=megabytes * MIB))
            wait_for("the camera to be out", lambda: not list((tmp_path / "bus").glob("[12].json")))
            wait_for("the bay to be empty", lambda bay=bay: station.bay(bay).get("state") == "empty")  # type: ignore[misc]
            assert [finding["code"] for finding in station.bay(bay)["findings"]] == ["pulled-out"]
            assert violations(Scene(tmp_path / "station", cards, settled=False)) == []
        station.plug("1", restless, "R")
        assert station.verdict("1") == ("safe", set())
        assert station.verdict("3") == ("safe", {"empty-file"})
        assert violations(Scene(tmp_path / "station", cards)) == []
        records = call(tmp_path / "station" / "agent.sock", "records", {}, 10.0)["records"]
        assert len(records) == 5


@pytest.mark.system
def test_a_second_agent_on_the_same_folder_touches_nothing(tmp_path: Path) -> None:
    card = card_of(tmp_path / "card", a=9 * MIB)
    before = show(card, "DCAM-X3-A")
    with running(tmp_path / "station", tmp_path) as station:
        station.plug("1", card, "A", Fault("slow", rate=4 * MIB))
        wait_for("the copy to begin", lambda: station.bay("1").get("state") == "reading")
        with Forker() as forker:
            pid = forker.start(
                ["station", f"--settings={tmp_path / 'station.toml'}", f"--bus={tmp_path / 'none'}"],
                {},
                tmp_path / "second",
            )
            wait_for("the second to give up", lambda: forker.code(pid) == 2)
        assert "already-running" in (tmp_path / "second").read_text()
        assert station.verdict("1") == ("safe", set())
        assert violations(Scene(tmp_path / "station", [before])) == []
