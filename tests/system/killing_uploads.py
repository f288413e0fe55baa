"""The kill table of uploads: a station with a running centre is killed at each thing that it makes durable.

On a station only the log is durable in an upload: facts, and heads that are cosigned. So its steps are commits, from
the docking of a card to the receipt of its last record; `kill` takes the program away before or after the n-th.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.oracle import Card, Scene, show, violations

from dockwarden.service.errors import ServiceError
from dockwarden.simulators.killing_files import KILL, STEPS
from dockwarden.simulators.world import World, outcomes

PATTERN = "commit"
SETTINGS = "media = false\n"
WAIT_S = 120.0
LATE_S = 4.0


@dataclass(frozen=True)
class Row:
    """Kill the station `when` its `step`-th commit is done."""

    step: int
    when: str


@dataclass(frozen=True)
class Played:
    """What came of a row."""

    row: Row
    died: bool
    wrong: tuple[str, ...]


class Table:
    """The rows over one world: each docks a card of its own in bay 1."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cards: list[Card] = []

    def rows(self) -> list[Row]:
        """All rows, learnt from an upload that goes well."""
        log = self._world.root / "steps"
        self._play({STEPS: str(log)})
        count = log.read_text("utf-8").splitlines().count(PATTERN)
        return [Row(step, when) for step in range(1, count + 1) for when in ("before", "after")]

    def play(self, row: Row) -> Played:
        """Play a row."""
        died = self._play({KILL: f"{row.step}:{row.when}:{PATTERN}"})
        return Played(row, died, tuple(self._wrong()))

    def _play(self, environ: dict[str, str]) -> bool:
        """Dock a new card and upload it, with something planted first and then without; whether the station died."""
        world, number = self._world, len(self._cards)
        world.station.stop()
        (world.bus / "1.json").unlink(missing_ok=True)
        card = _card(world.root / f"card{number}")
        self._cards.append(show(card, f"DCAM-X3-K{number}"))
        world.plug("1", card, serial=f"K{number}")
        world.station.start(environ, ready=False)
        settled = self._is_settled()
        if KILL not in environ:
            return False
        died = self._dies(LATE_S if settled else WAIT_S)
        world.station.kill()
        world.station.start()
        if not self._is_settled():
            raise ServiceError("ended", "the station ended", "kill table", world.station.log.read_text()[-500:])
        return died

    def _dies(self, seconds: float) -> bool:
        """Whether the station dies within some seconds; heads come after all receipts."""
        running = self._world.station.running
        ends = time.monotonic() + seconds
        while running is not None and running.poll() is None and time.monotonic() < ends:
            time.sleep(0.1)
        return running is not None and running.poll() is not None

    def _is_settled(self) -> bool:
        """Wait until the card is safe and all records are at the centre; False where the station ends before."""
        ends = time.monotonic() + WAIT_S
        running = self._world.station.running
        while running is not None and running.poll() is None:
            with suppress(ServiceError):
                if self._world.bay("1")["state"] == "safe" and self._all_received():
                    return True
            if time.monotonic() > ends:
                raise TimeoutError(f"not settled: {self._world.station.log.read_text()[-500:]}")
            time.sleep(0.1)
        return False

    def _all_received(self) -> bool:
        records = self._world.records()
        received = [record for record in records if outcomes(record).get("received") == "done"]
        return len(received) == len(records) == 2 * len(self._cards)

    def _wrong(self) -> list[str]:
        world = self._world
        wrong = violations(Scene(world.station_root, self._cards, centre=world.centre_root))
        for record in world.records():
            wrong += _doubled(record, ("sealed", "confirmed", "received"))
        for record in world.centre_records():
            wrong += _doubled(record, ("stored",))
        return wrong


def _doubled(record: dict[str, Any], kinds: tuple[str, ...]) -> list[str]:
    said = [fact["kind"] for fact in record["facts"]]
    return [f"record {record['record']}: {said.count(kind)} facts {kind}" for kind in kinds if said.count(kind) != 1]


def _card(root: Path) -> Path:
    root.mkdir()
    (root / "large.mp4").write_bytes(os.urandom(3_000_001))
    (root / "small.mp4").write_bytes(os.urandom(100))
    return root
