"""A running bureau whose uploads are interrupted: cards that take a moment, and what must be true in the end."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.oracle import Card, Scene, measure, show, violations

from dockwarden.service.errors import ServiceError
from dockwarden.simulators.bus import unplug
from dockwarden.simulators.world import World, outcomes, wait_for

SETTINGS = "media = false\n"
MIB = 1 << 20
HASH = 32
LEAF = 512 * 1024

_ENTRY = """
import os, sys
from pathlib import Path
from dockwarden.centre.running import run_office
from dockwarden.centre.settings import read_settings
from dockwarden.durable.files import OsFiles
from dockwarden.service.logs import configure
from dockwarden.simulators.killing_files import FAIL, KILL, STEPS, files_from_environment
configure("centre")
files = files_from_environment(os.environ, OsFiles())
for name in (KILL, FAIL, STEPS):
    os.environ.pop(name, None)
run_office(read_settings(Path(sys.argv[1])), files)
"""


def let_centre_be_killed(world: World) -> None:
    """From its next start the centre, the real one, works on files that can kill it (simulators.killing_files)."""
    world.centre.command = [sys.executable, "-c", _ENTRY, str(world.root / "centre.toml")]


class Uploads:
    """Cards in bay 1, one after another, and the footage that was on them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cards: list[Card] = []
        self.files = 0

    def dock(self, *sizes: int) -> None:
        """Put a new card into the bay and wait until all of it is sealed and confirmed."""
        number = len(self.cards)
        root = self.world.root / f"card{number}"
        root.mkdir()
        for place, size in enumerate(sizes):
            (root / f"{place}.mp4").write_bytes(os.urandom(size))
        unplug(self.world.bus, "1")
        wait_for("the bay to be empty", lambda: self.world.bay("1")["state"] == "empty")
        self.cards.append(show(root, f"DCAM-X3-S{number}", called_safe=True))
        self.files += len(sizes)
        self.world.plug("1", root, serial=f"S{number}")
        verdict = self.world.wait_for_verdict("1")
        assert verdict["state"] == "safe", verdict

    def in_the_middle(self) -> Path:
        """Dock cards until a transfer is seen in its middle; returns the list of its durable leaves."""
        for _ in range(4):
            seen = self._watch(16 * MIB, 20 * MIB)
            if seen is not None:
                return seen
        raise AssertionError("no transfer was ever seen in its middle")

    def _watch(self, *sizes: int) -> Path | None:
        """Dock a card; the leaf list of an item that is not yet whole, as soon as there is one."""
        before = self.received()
        self.dock(*sizes)
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            for listed in self.world.centre_root.glob("incoming/st-01/*/v1/content/leaves"):
                try:
                    count, size = listed.stat().st_size // HASH, (listed.parent / "original").stat().st_size
                except FileNotFoundError:
                    continue
                if 2 <= count < size // LEAF - 4:
                    return listed
            if self.received() == before + len(sizes):
                return None
            time.sleep(0.002)
        raise TimeoutError("nothing is uploaded")

    def received(self) -> int:
        """How many records have been received."""
        return sum(outcomes(record).get("received") == "done" for record in self.world.records())

    def wait(self) -> None:
        """Wait until everything is received and the centre has all facts."""
        wait_for("all receipts", lambda: self.received() == self.files)
        size = self.world.status()["ledger"]["size"]
        wait_for("all facts at the centre", lambda: self._mirrored() >= size)

    def _mirrored(self) -> int:
        head = self.world.centre.call("stations")["stations"][0]["head"]
        return int(head["size"]) if head is not None else 0

    def wrong(self) -> list[str]:
        """What is not as it must be: nothing."""
        world = self.world
        found = violations(Scene(world.station_root, self.cards, centre=world.centre_root))
        shown = sorted(digest for card in self.cards for digest in card.files.values())
        stored = []
        for record in world.centre_records():
            if not record["stored"]:
                found.append(f"record {record['record']} is not stored")
                continue
            original = measure(world.centre_root / record["centre_path"] / "original")
            stored.append((original.size, original.sha256))
            for kind in ("received", "stored"):
                found += _not_once(record, kind)
        if sorted(stored) != shown:
            found.append("the originals at the centre are not just the files of the cards")
        for record in world.records():
            found += _not_once(record, "received")
        found += [f"left over: {path}" for path in world.centre_root.glob("incoming/st-01/*")]
        rejected = world.centre.call("info")["rejected"]
        return found + [f"a defect: {reason}" for reason in rejected if "defect" in reason]


def _not_once(record: dict[str, Any], kind: str) -> list[str]:
    count = [fact["outcome"] for fact in record["facts"] if fact["kind"] == kind]
    return [] if count == ["done"] else [f"record {record['record']}: {kind} {count}"]


def package_of(world: World, records: Sequence[str]) -> tuple[Path, str]:
    """Write a package of records as soon as both sides have signed; its folder, and the fingerprint to trust."""
    made: dict[str, Any] = {}
    target = world.root / "package"

    def covered() -> bool:
        try:
            made.update(world.centre.call("package", {"records": list(records), "target": str(target)}))
        except ServiceError as error:
            if error.code != "not-covered":
                raise
        return bool(made)

    wait_for("a head that both sides signed", covered)
    return target, str(made["fingerprint"])


Strike = Callable[[Uploads], None]
