"""A bureau on loopback: broker, centre, off-site server and a station, each the real thing in a process of its own.

The demo and the system tests run on it. Everything lies below one folder.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockwarden.service.errors import ServiceError
from dockwarden.service.socket import call
from dockwarden.simulators.broker import Mosquitto, free_port
from dockwarden.simulators.bus import plug, unplug
from dockwarden.simulators.faults import Clock, Fault
from dockwarden.simulators.offsite_server import OffsiteServer, serve_restic

READY_S = 60.0
POLL_S = 0.2


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until `ready` says so; raises TimeoutError naming `what`."""
    ends = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > ends:
            raise TimeoutError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(POLL_S)


@dataclass
class Process:
    """One of our services as a process; what it says goes to the file `log`."""

    name: str
    command: Sequence[str]
    log: Path
    socket: Path
    running: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, environ: Mapping[str, str] | None = None, ready: bool = True) -> None:
        """Start it and, unless `ready` is off, wait until it answers. Raises ServiceError where it ends instead."""
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environ or {})},
            )
        if ready:
            wait_for(self.name, self._answers, READY_S)

    def call(self, method: str, params: Mapping[str, Any] | None = None, timeout: float = 60.0) -> dict[str, Any]:
        """Ask its local door; raises ServiceError."""
        return call(self.socket, method, params, timeout)

    def stop(self) -> None:
        """Stop it as a service manager would; raises ServiceError where it does not end well."""
        running, self.running = self.running, None
        if running is None:
            return
        running.send_signal(signal.SIGTERM)
        try:
            code = running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            raise ServiceError("stuck", "a process did not end", self.name, f"See {self.log.name}.") from None
        if code:
            raise ServiceError("ended", f"a process ended with {code}", self.name, f"See {self.log.name}.")

    def kill(self) -> None:
        """Take its power away."""
        running, self.running = self.running, None
        if running is not None:
            running.kill()
            running.wait()

    def wait(self, seconds: float) -> int:
        """Wait for its end by itself; returns the exit code, negative for a signal."""
        running = self.running
        if running is None:
            raise ServiceError("not-running", "the process does not run", self.name, "Start it first.")
        code = running.wait(seconds)
        self.running = None
        return code

    def _answers(self) -> bool:
        if self.running is not None and self.running.poll() is not None:
            last = self.log.read_text("utf-8", "replace")[-600:]
            raise ServiceError("ended", f"a process ended: {last}", self.name, f"See {self.log.name}.")
        with suppress(ServiceError):
            self.call("info", timeout=5.0)
            return True
        return False


@dataclass(frozen=True)
class World:
    """The running bureau. `bus` is the folder in which devices are plugged (simulators.bus)."""

    root: Path
    broker: Mosquitto
    centre: Process
    station: Process
    offsite: OffsiteServer
    bus: Path
    fingerprint: str
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def station_root(self) -> Path:
        """The station's folder."""
        return self.root / "station"

    @property
    def centre_root(self) -> Path:
        """The centre's folder."""
        return self.root / "centre"

    def plug(
        self, bay: str, card: Path, serial: str = "ZB2041", faults: Sequence[Fault] = (), model: str = "DCAM-X3"
    ) -> None:
        """Put a card into a bay, in a device whose clock can be asked."""
        plug(self.bus, bay, card, model=model, serial=serial, clock=Clock(), faults=faults)

    def unplug(self, bay: str) -> None:
        """Pull out what is in a bay and wait until the station has seen it."""
        unplug(self.bus, bay)
        wait_for(f"bay {bay} to be empty", lambda: self.bay(bay)["state"] == "empty")

    def bay(self, bay: str) -> dict[str, Any]:
        """One bay as the station's status shows it."""
        return next(found for found in self.status()["bays"] if found["bay"] == bay)

    def status(self) -> dict[str, Any]:
        """The station's status."""
        return self.station.call("status")

    def records(self) -> list[dict[str, Any]]:
        """The station's records."""
        found: list[dict[str, Any]] = self.station.call("records", {"limit": 100_000})["records"]
        return found

    def wait_for_verdict(self, bay: str, seconds: float = 300.0) -> dict[str, Any]:
        """Wait until a bay shows its verdict; returns the bay."""
        wait_for(f"the verdict of bay {bay}", lambda: self.bay(bay)["state"] in VERDICTS, seconds)
        return self.bay(bay)

    def wait_for_facts(self, kinds: set[str], seconds: float = 300.0) -> list[dict[str, Any]]:
        """Wait until every record has a fact, done or failed, of each of `kinds`; returns the records."""
        wait_for(
            f"{', '.join(sorted(kinds))} of all records",
            lambda: all(kinds <= set(outcomes(record)) for record in self.records()),
            seconds,
        )
        return self.records()

    def ask(self, wait_s: float = 5.0) -> dict[str, Any]:
        """What `dockwarden-centre ask` says of the station."""
        return run_json("dockwarden-centre", "ask", "st-01", "--json", f"--wait={wait_s}", *self._centre_settings)

    def centre_records(self) -> list[dict[str, Any]]:
        """The records as the centre knows them."""
        found: list[dict[str, Any]] = self.centre.call("records", {"limit": 100_000})["records"]
        return found

    @property
    def _centre_settings(self) -> tuple[str, str]:
        return "--settings", str(self.root / "centre.toml")


VERDICTS = frozenset({"safe", "copied", "incomplete", "refused"})


def outcomes(record: dict[str, Any]) -> dict[str, str]:
    """The latest outcome of each kind of fact about a record, void ones left out."""
    latest = {fact["kind"]: fact["outcome"] for fact in record["facts"]}
    return {kind: outcome for kind, outcome in latest.items() if outcome != "void"}


@contextmanager
def running_world(root: Path, bays: Sequence[str] = ("1", "2", "3", "4"), settings: str = "") -> Iterator[World]:
    """Set a bureau up below the new folder `root` and run it for the length of a block.

    `settings` are further lines of the station's settings. Raises ServiceError naming what does not start.
    """
    root = root.absolute()
    for folder in (root, root / "logs", root / "offsite", root / "bus"):
        folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    run("dockwarden-centre", "setup", f"--root={root / 'centre'}", f"--settings={root / 'centre.toml'}",
        f"--broker-port={port}")  # fmt: skip
    with (root / "centre.toml").open("a") as file:
        file.write("[web]\nport = 0\n")
    with ExitStack() as stack:
        broker = Mosquitto(root / "centre" / "broker" / "mosquitto.conf", port, root / "logs" / "mosquitto.log")
        broker.start()
        stack.callback(broker.stop)
        centre = _process(root, "centre", [program("dockwarden-centre"), "run", f"--settings={root / 'centre.toml'}"])
        centre.start()
        stack.callback(centre.stop)
        offsite = stack.enter_context(serve_restic(root / "offsite"))
        fingerprint = _set_up_station(root, bays, offsite, settings)
        station = _process(
            root,
            "station",
            [program("dockwarden-sim"), "station", f"--settings={root / 'station.toml'}", f"--bus={root / 'bus'}"],
        )
        station.start()
        stack.callback(station.stop)
        yield World(root, broker, centre, station, offsite, root / "bus", fingerprint)


def program(name: str) -> str:
    """The path of one of our commands, beside the Python that runs this."""
    return str(Path(sys.executable).with_name(name))


def run(*command: str, stdin: str | None = None) -> str:
    """Run one of our commands; returns what it prints. Raises ServiceError with what it said where it fails."""
    done = subprocess.run(
        [program(command[0]), *command[1:]], input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        what = f"{' '.join(command[:2])} ended with {done.returncode}: {done.stderr[-500:]}{done.stdout[-300:]}"
        raise ServiceError("command", what, command[0], "See what it says.")
    return done.stdout


def run_json(*command: str, stdin: str | None = None) -> dict[str, Any]:
    """Run one of our queries; returns its JSON."""
    found: dict[str, Any] = json.loads(run(*command, stdin=stdin))
    return found


def _process(root: Path, name: str, command: Sequence[str]) -> Process:
    folder = "agent" if name == "station" else name
    return Process(name, command, root / "logs" / f"{name}.log", root / name / f"{folder}.sock")


def _set_up_station(root: Path, bays: Sequence[str], offsite: OffsiteServer, settings: str) -> str:
    """Set the station up and enrol it as people would, comparing fingerprints; returns the centre's."""
    base = ["dockwarden-agent", "setup", "--station=st-01", f"--root={root / 'station'}", "--release=keep"]
    base += [f"--settings={root / 'station.toml'}", *(f"--bay={bay}" for bay in bays)]
    shown = _shown(run(*base))
    answer = root / "station" / "enrolment-answer.note"
    enrolled = _shown(
        run(
            "dockwarden-centre",
            "enrol",
            shown["request"],
            f"--answer={answer}",
            f"--fingerprint={shown['fingerprint']}",
            f"--settings={root / 'centre.toml'}",
        )
    )
    run(*base, f"--answer={answer}", f"--fingerprint={enrolled['fingerprint'].split()[0]}")
    password, repository = root / "offsite.password", root / "offsite.repository"
    for path, text in ((password, secrets.token_hex(16)), (repository, offsite.repository("st-01"))):
        path.touch(mode=0o600)
        path.write_text(text + "\n", "utf-8")
    more = (
        f"[offsite]\nrepository_file = {json.dumps(str(repository))}\npassword_file = {json.dumps(str(password))}\n"
    )
    with (root / "station.toml").open("a") as file:
        file.write(f"{settings}\n{more}[panel]\nport = 0\n")
    return enrolled["fingerprint"].split()[0]


def _shown(text: str) -> dict[str, str]:
    """The `name   value` lines that a setup command prints."""
    return {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in text.splitlines() if " " in line}
