"""The kill table: a real station is killed at each of its durable steps, or one of them fails, and must come back.

A row: a station is prepared, started with a kill (or a failure) planted at one step, and watched until it dies or
shows its verdict. The outside checker looks at what lies there. Then it is started without the plant and must bring
every file to safety, with nothing lost, nothing doubled, nothing half done.
"""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tests.oracle import Card, Scene, show, violations
from tests.system.forking import Forker

from dockwarden.agent.settings import read_settings
from dockwarden.agent.setup import make_keys
from dockwarden.durable.files import OsFiles
from dockwarden.service.errors import ServiceError
from dockwarden.service.socket import call
from dockwarden.simulators.bus import plug, unplug
from dockwarden.simulators.camera import at
from dockwarden.simulators.faults import Fault
from dockwarden.simulators.killing_files import FAIL, KILL, STEPS
from dockwarden.simulators.world import VERDICTS, wait_for

Plant: TypeAlias = Literal["kill", "fail"]
PLANTS: tuple[Plant, ...] = ("kill", "fail")

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
class Played:
    """What came of a row: whether the station died of it, and what is wrong, nothing when all is well."""

    row: Row
    died: bool
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Scenario:
    """What happens to a card of two files. `before` prepares the site; in the run that is killed the device has
    `faults`; `planted` are the files that may be in quarantine then."""

    before: Callable[[Forker, "Site"], None] = lambda forker, site: None
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

    def start(self, forker: Forker, environ: Mapping[str, str] | None = None) -> int:
        """Start the station; its bays are the bus."""
        arguments = ["station", f"--settings={self.root / 'station.toml'}", f"--bus={self.bus}"]
        return forker.start(arguments, environ or {}, self.root / "station.log")

    def bay(self, bay: str) -> str | None:
        """The state that a bay shows; None while the station does not answer."""
        with suppress(ServiceError):
            status = call(self.station / "agent.sock", "status", {}, 5.0)
            return next(str(found["state"]) for found in status["bays"] if found["bay"] == bay)
        return None

    def is_labelled(self) -> bool:
        """Whether the label stage has spoken of every record: it runs beside the bay, and its steps count too."""
        with suppress(ServiceError):
            found = call(self.station / "agent.sock", "records", {}, 5.0)["records"]
            return all(any(fact["kind"] == "labelled" for fact in record["facts"]) for record in found)
        return False

    def said(self) -> str:
        """What the station said."""
        return (self.root / "station.log").read_text("utf-8", "replace")


def run_once(
    forker: Forker, site: Site, bay: str, environ: Mapping[str, str] | None = None, *, labelled: bool = False
) -> str | None:
    """Run the station until `bay` shows its verdict, then stop it; None where it died by a kill.

    With `labelled` it runs until its records are labelled too, so that each run has the same number of steps. Raises
    ServiceError where it ended in another way.
    """
    pid = site.start(forker, environ)
    code: int | None = None
    try:
        ends = time.monotonic() + READY_S
        while (code := forker.code(pid)) is None:
            state = site.bay(bay)
            if state in VERDICTS and (not labelled or site.is_labelled()):
                code = forker.end(pid, signal.SIGTERM)
                if code:
                    break
                return state
            if time.monotonic() > ends:
                raise TimeoutError(f"no verdict: {site.said()[-500:]}")
            time.sleep(0.02)
        if code == -signal.SIGKILL:
            return None
        raise ServiceError("ended", f"the station ended with {code}", site.root.name, site.said()[-500:])
    finally:
        if code is None:
            forker.end(pid, signal.SIGKILL)


def _pulled_out_in_the_middle(forker: Forker, site: Site) -> None:
    """The large file is staged, as far as it got; the small one is not seen yet."""
    site.plug("1", (Fault("unplug", at=5 * MIB),))
    pid = site.start(forker)
    staged = site.station / "staging"
    try:
        wait_for("the card to be out", lambda: not list(site.bus.glob("*.json")) and any(staged.glob("*.json")))
        wait_for("the bay to be empty", lambda: site.bay("1") == "empty")
    finally:
        forker.end(pid, signal.SIGTERM)


def _staged_then_altered(forker: Forker, site: Site) -> None:
    """A stage that is complete but for its seal, of a file that has other bytes now under the same name and time."""
    names = steps_of(forker, site.copy(site.root.with_name("learn")), "1")
    site.plug("1")
    assert run_once(forker, site, "1", {KILL: f"{names.index('replace seal.note') + 1}:before"}) is None
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
    "torn": Scenario(
        faults=(Fault("unreadable", LARGE, at=MIB, length=1),),
        planted=frozenset({LARGE.encode()}),
    ),
    "resume": Scenario(before=_pulled_out_in_the_middle),
    "set aside": Scenario(before=_staged_then_altered),
}


def steps_of(forker: Forker, site: Site, bay: str, faults: tuple[Fault, ...] = ()) -> list[str]:
    """The names of all durable steps of a station from its start to verdict and labels. The site is spent by it."""
    site.plug(bay, faults)
    log = site.root / "steps"
    run_once(forker, site, bay, {STEPS: str(log)}, labelled=True)
    names = log.read_text("utf-8").splitlines()
    shutil.rmtree(site.root)
    return names


def table(
    forker: Forker, folder: Path, scenario: str, plants: tuple[Plant, ...] = ("kill",)
) -> tuple[Site, list[Row]]:
    """Prepare a scenario below `folder`; returns the prepared site and all its rows."""
    site = Site(folder / scenario.replace(" ", "-") / "ready")
    site.make()
    SCENARIOS[scenario].before(forker, site)
    names = steps_of(forker, site.copy(site.root.with_name("learnt")), "2", SCENARIOS[scenario].faults)
    rows = [
        Row(scenario, number, name, when, plant)
        for plant in PLANTS
        for number, name in enumerate(names, 1)
        for when in ("before", "after")
    ]
    return site, rows


def play(forker: Forker, ready: Site, folder: Path, row: Row) -> Played:
    """Play a row in the new folder `folder`, which is kept only where something is wrong."""
    scenario = SCENARIOS[row.scenario]
    site = ready.copy(folder)
    cards = [show(site.card, DEVICE)]
    site.plug("2", scenario.faults)
    died, wrong = _first_run(forker, site, row)
    if (site.station / "ledger.sqlite").exists() or any((site.station / "vault").glob("*/*")):
        wrong += violations(_scene(site, cards, scenario, settled=False))
    site.unplug()
    site.plug("1")
    state = run_once(forker, site, "1")
    if state != "safe":
        wrong.append(f"after the restart its bay shows {state}")
    wrong += violations(_scene(site, cards, scenario, settled=True))
    wrong += _left_over(site)
    if not wrong:
        shutil.rmtree(folder)
    return Played(row, died, tuple(wrong))


def _first_run(forker: Forker, site: Site, row: Row) -> tuple[bool, list[str]]:
    """Run until it dies or the verdict comes; a step that fails must be told in words wherever it is told."""
    try:
        state = run_once(forker, site, "2", row.environ, labelled=True)
    except ServiceError as error:
        told = re.search(r"^(io-error|disk-full): ", site.said(), re.MULTILINE)
        return False, [] if row.plant == "fail" and told else [f"ended without a clear word: {error}"]
    if state is None:
        return True, []
    wrong = (
        ["was called safe with files in quarantine"] if state == "safe" and SCENARIOS[row.scenario].planted else []
    )
    return False, wrong + (["told only of an internal failure"] if '"code": "internal"' in site.said() else [])


def _scene(site: Site, cards: list[Card], scenario: Scenario, settled: bool) -> Scene:
    return Scene(site.station, cards, scenario.planted, settled=settled)


def _left_over(site: Site) -> list[str]:
    """What no check of the outside checker sees: stages, halves of files."""
    left = [*(site.station / "staging").glob("*.json"), *site.station.rglob("*.part")]
    return [f"left over: {path.relative_to(site.station)}" for path in left]
