"""The kill table: a real station is killed at each of its durable steps, or one of them fails, and must come back.

A row: a station is prepared, started with a kill (or a failure) planted at one step, and watched until it dies or
shows its verdict. The outside checker looks at what lies there. Then it is started without the plant and must bring
every file to safety, with nothing lost, nothing doubled, nothing half done.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tests.oracle import Card, Scene, show, violations

from dockwarden.agent.settings import read_settings
from dockwarden.agent.setup import make_keys
from dockwarden.durable.files import OsFiles
from dockwarden.service.errors import ServiceError
from dockwarden.simulators.bus import plug, unplug
from dockwarden.simulators.camera import at
from dockwarden.simulators.faults import Fault
from dockwarden.simulators.killing_files import FAIL, KILL, STEPS
from dockwarden.simulators.world import VERDICTS, Process, program, wait_for

Plant: TypeAlias = Literal["kill", "fail"]

LARGE, SMALL = "DCIM/large.mp4", "DCIM/small.mp4"
SERIAL, DEVICE = "ZB2041", "DCAM-X3-ZB2041"
SETTINGS = 'station = "st-01"\nroot = {root}\nbays = ["1", "2"]\nrelease = "keep"\nmedia = false\n[panel]\nport = 0\n'
MIB = 1024 * 1024
READY_S = 60.0


@dataclass(frozen=True)
class Row:
    """One row. `step` counts the station's steps from its start; `when`: before or after it is done."""

    scenario: str
    step: int
    name: str
    when: str
    plant: Plant = "kill"

    @property
    def environ(self) -> dict[str, str]:
        """What plants it in a station."""
        return {KILL if self.plant == "kill" else FAIL: f"{self.step}:{self.when}"}


@dataclass(frozen=True)
class Scenario:
    """What happens to a card of two files. `before` prepares the site; in the run that is killed the device has
    `faults`; `planted` are the files that may be in quarantine then."""

    before: Callable[["Site"], None] = lambda site: None
    faults: tuple[Fault, ...] = ()
    planted: frozenset[bytes] = frozenset()


@dataclass(frozen=True)
class Site:
    """A station's folder, a card and a bus below one folder that can be copied."""

    root: Path

    @property
    def station(self) -> Path:
        """The station's root."""
        return self.root / "station"

    @property
    def card(self) -> Path:
        """The card."""
        return self.root / "card"

    @property
    def bus(self) -> Path:
        """The bays."""
        return self.root / "bus"

    def make(self) -> None:
        """Set it up: keys and settings as `setup` makes them, a card of two files."""
        self.root.mkdir(parents=True)
        self.settle_in()
        make_keys(read_settings(self.root / "station.toml"), OsFiles())
        for name, size in ((LARGE, 5 * MIB + 3), (SMALL, 1000)):
            place = at(self.card, name.encode())
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(os.urandom(size))

    def settle_in(self) -> None:
        """Write the settings for where it lies now."""
        text = SETTINGS.format(root=json.dumps(str(self.station)))
        (self.root / "station.toml").write_text(text, "utf-8")

    def copy(self, to: Path) -> "Site":
        """The same site elsewhere."""
        shutil.copytree(self.root, to, ignore=shutil.ignore_patterns("*.sock"))
        site = Site(to)
        site.settle_in()
        return site

    def plug(self, bay: str, faults: tuple[Fault, ...] = ()) -> None:
        """Put the card into a bay; it is the same volume wherever the site lies."""
        plug(self.bus, bay, self.card, model="DCAM-X3", serial=SERIAL, faults=faults, volume="KILL-TABLE")

    def unplug(self) -> None:
        """Pull it out, wherever it is."""
        for bay in ("1", "2"):
            unplug(self.bus, bay)

    def process(self) -> Process:
        """The station as a process; its bays are the bus."""
        command = [program("dockwarden-sim"), "station", f"--settings={self.root / 'station.toml'}"]
        command.append(f"--bus={self.bus}")
        return Process("station", command, self.root / "station.log", self.station / "agent.sock")


def verdict(process: Process, bay: str) -> str | None:
    """What a bay shows, if that is its verdict; None also while the station does not answer."""
    with suppress(ServiceError):
        status = process.call("status", timeout=5.0)
        state = next(str(found["state"]) for found in status["bays"] if found["bay"] == bay)
        return state if state in VERDICTS else None
    return None


def run_once(site: Site, bay: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Run the station until `bay` shows its verdict, then stop it; None where it died by a kill.

    Raises ServiceError where it ended in another way.
    """
    process = site.process()
    process.start(environ, ready=False)
    try:
        ends = time.monotonic() + READY_S
        while True:
            running = process.running
            code = None if running is None else running.poll()
            if code is not None:
                process.running = None
                if code == -9:
                    return None
                raise ServiceError("ended", f"the station ended with {code}", site.root.name, _tail(site))
            state = verdict(process, bay)
            if state is not None:
                process.stop()
                return state
            if time.monotonic() > ends:
                raise TimeoutError(f"no verdict: {_tail(site)}")
            time.sleep(0.03)
    finally:
        process.kill()


def _pulled_out_in_the_middle(site: Site) -> None:
    """The large file is staged, as far as it got; the small one is not seen yet."""
    site.plug("1", (Fault("unplug", at=5 * MIB),))
    process = site.process()
    process.start()
    try:
        staged = site.station / "staging"
        wait_for("the card to be out", lambda: not list(site.bus.glob("*.json")) and any(staged.glob("*.json")))
        wait_for("the bay to be empty", lambda: process.call("status")["bays"][0]["state"] == "empty")
    finally:
        process.stop()


def _staged_then_altered(site: Site) -> None:
    """A stage that is complete but for its seal, of a file that has other bytes now under the same name and time."""
    site.plug("1")
    step = next(number for number, name in enumerate(steps_of(site.copy(site.root.with_name("learn")), "1"), 1)
                if name == "replace seal.note")  # fmt: skip
    assert run_once(site, "1", {KILL: f"{step}:before"}) is None
    place = at(site.card, LARGE.encode())
    stamp = place.stat()
    place.write_bytes(os.urandom(stamp.st_size))
    os.utime(place, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    site.unplug()


SCENARIOS: dict[str, Scenario] = {
    "intake": Scenario(),
    "quarantine": Scenario(
        faults=(Fault("eof", LARGE, at=MIB), Fault("unreadable", SMALL, at=5, length=1)),
        planted=frozenset({LARGE.encode(), SMALL.encode()}),
    ),
    "resume": Scenario(before=_pulled_out_in_the_middle),
    "set aside": Scenario(before=_staged_then_altered),
}


def steps_of(site: Site, bay: str, faults: tuple[Fault, ...] = ()) -> list[str]:
    """The names of all durable steps of a station from its start to the verdict. The site is spent by it."""
    if not list(site.bus.glob("*.json")):
        site.plug(bay, faults)
    log = site.root / "steps"
    run_once(site, bay, {STEPS: str(log)})
    names = log.read_text("utf-8").splitlines()
    shutil.rmtree(site.root)
    return names


def table(folder: Path, scenario: str, plants: tuple[Plant, ...] = ("kill",)) -> tuple[Site, list[Row]]:
    """Prepare a scenario below `folder`; returns the prepared site and all its rows."""
    site = Site(folder / _plain(scenario) / "ready")
    site.make()
    SCENARIOS[scenario].before(site)
    names = steps_of(site.copy(site.root.with_name("learnt")), "2", SCENARIOS[scenario].faults)
    rows = [
        Row(scenario, number, name, when, plant)
        for number, name in enumerate(names, 1)
        for when in ("before", "after")
        for plant in plants
    ]
    return site, rows


def play(ready: Site, folder: Path, row: Row) -> list[str]:
    """Play a row in the new folder `folder`; returns what is wrong, and keeps the folder only then."""
    scenario = SCENARIOS[row.scenario]
    site = ready.copy(folder)
    cards = [show(site.card, DEVICE)]
    site.plug("2", scenario.faults)
    wrong = _first_run(site, row)
    wrong += violations(_scene(site, cards, scenario, settled=False))
    site.unplug()
    site.plug("1")
    state = run_once(site, "1")
    if state != "safe":
        wrong.append(f"after the restart its bay shows {state}")
    wrong += violations(_scene(site, cards, scenario, settled=True))
    wrong += _left_over(site)
    if not wrong:
        shutil.rmtree(folder)
    return [f"{row}: {what}" for what in wrong]


def _first_run(site: Site, row: Row) -> list[str]:
    """Run until it dies or the verdict comes; a step that fails must be told in words wherever it is told."""
    try:
        state = run_once(site, "2", row.environ)
    except ServiceError as error:
        if row.plant == "kill" or not re.search(r"^(io-error|disk-full): ", site_log(site), re.MULTILINE):
            return [f"ended without a clear word: {error}"]
        return []
    if row.plant == "kill" and state == "safe" and SCENARIOS[row.scenario].planted:
        return ["was called safe with files in quarantine"]
    return ["told only of an internal failure"] if '"code": "internal"' in site_log(site) else []


def _scene(site: Site, cards: list[Card], scenario: Scenario, settled: bool) -> Scene:
    return Scene(site.station, cards, scenario.planted, settled=settled)


def _left_over(site: Site) -> list[str]:
    """What no check of the outside checker sees: stages, halves of files."""
    left = [path for path in (site.station / "staging").glob("*.json")]
    left += [path for path in site.station.rglob("*.part")]
    return [f"left over: {path.relative_to(site.station)}" for path in left]


def site_log(site: Site) -> str:
    """What the station said."""
    return (site.root / "station.log").read_text("utf-8", "replace")


def _tail(site: Site) -> str:
    return site_log(site)[-500:]


def _plain(name: str) -> str:
    return name.replace(" ", "-")


def as_json(row: Row) -> dict[str, object]:
    """A row for a report."""
    return asdict(row)
