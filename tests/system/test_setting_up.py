"""Setting a station and a centre up, as a person does it: with the commands, making mistakes."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockwarden.simulators.broker import free_port
from dockwarden.simulators.bus import plug
from dockwarden.simulators.faults import Fault
from dockwarden.simulators.world import Process, program, wait_for

pytestmark = pytest.mark.system


def command(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    name, *rest = [str(argument) for argument in arguments]
    return subprocess.run(
        [program(f"dockwarden-{name}"), *rest],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def done(*arguments: object) -> str:
    ran = command(*arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refused(*arguments: object, **environ: str) -> dict[str, str]:
    """The error of a command that cannot run; the same in words without --json."""
    told = command(*arguments, **environ)
    assert (told.returncode, told.stdout) == (2, "")
    error: dict[str, str] = json.loads(command(*arguments, "--json", **environ).stderr) if _asks(arguments) else {}
    code, _, rest = told.stderr.partition(": ")
    what, where, do = rest.partition("\n  where: ")[0], *rest.partition("\n  where: ")[2].split("\n  do:    ")
    spoken = {"code": code, "what": what, "where": where, "do": do.strip()}
    assert not error or error == spoken
    return spoken


def _asks(arguments: tuple[object, ...]) -> bool:
    return arguments[1] in {"status", "records", "bays", "quarantine", "stations"}


class Place:
    """A folder with the settings and the roots of both sides; nothing in it yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.agent = root / "etc" / "dockwarden" / "agent.toml"
        self.centre = root / "etc" / "dockwarden" / "centre.toml"
        self.station = root / "station"
        self.office = root / "centre"

    def set_up(self, *more: str, release: str = "keep") -> tuple[object, ...]:
        """The arguments of a station's first setup."""
        first = ("agent", "setup", f"--settings={self.agent}", "--station=st-01", f"--root={self.station}")
        return (*first, "--bay=1", "--bay=2", f"--release={release}", *more)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def centre(place: Place) -> Iterator[Place]:
    """With a running centre, whose broker does not run."""
    done("centre", "setup", f"--root={place.office}", f"--settings={place.centre}", f"--broker-port={free_port()}")
    with place.centre.open("a") as file:
        file.write("[web]\nport = 0\n")
    with (place.root / "centre.log").open("wb") as log:
        running = subprocess.Popen(
            [program("dockwarden-centre"), "run", f"--settings={place.centre}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        while not (place.office / "centre.sock").exists():
            assert running.poll() is None, (place.root / "centre.log").read_text()
        yield place
    finally:
        running.terminate()
        running.wait(30)


def test_setup_makes_the_folder_of_the_settings(place: Place) -> None:
    done(*place.set_up())
    assert 'bays = ["1", "2"]' in place.agent.read_text()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("--release=clear", "release"),
        ("--station=St 1", "station"),
        ("--bay=1", "bay 1 is named twice"),
        ("--bay=a/b", "bays"),
    ],
)
def test_a_wrong_choice_is_told_before_anything_is_written(place: Place, changed: str, named: str) -> None:
    error = refused(*place.set_up(changed))
    assert error["code"] == "settings"
    assert named in error["what"]
    assert list(place.root.iterdir()) == []


def test_what_was_not_chosen_is_named(place: Place) -> None:
    error = refused("agent", "setup", f"--settings={place.agent}", "--station=st-01")
    assert [key for key in ("root", "bays", "release") if f"{key}: Field required" in error["what"]] == [
        "root",
        "bays",
        "release",
    ]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("--station=st-02", "station is st-01 in the file, and st-02 was given"),
        ("--root=/elsewhere", "and /elsewhere was given"),
        ("--bay=3", "bays is 1, 2 in the file, and 1, 2, 3 was given"),
        ("--release=clear-on-proof", "release is keep in the file, and clear-on-proof was given"),
    ],
)
def test_a_second_setup_that_says_something_else_is_refused(place: Place, changed: str, named: str) -> None:
    done(*place.set_up())
    before = place.agent.read_bytes()
    error = refused(*place.set_up(changed))
    assert (error["code"], error["where"]) == ("differs", str(place.agent))
    assert named in error["what"]
    assert "changed in this file" in error["do"]
    assert place.agent.read_bytes() == before


def test_a_second_setup_needs_no_more_than_the_settings(place: Place) -> None:
    first = done(*place.set_up())
    assert done("agent", "setup", f"--settings={place.agent}") == first
    assert done(*place.set_up()) == first


def test_a_second_setup_of_the_centre_that_says_something_else_is_refused(place: Place) -> None:
    first = ("centre", "setup", f"--settings={place.centre}", f"--root={place.office}", "--broker-port=18883")
    done(*first)
    error = refused(*first, "--broker-host=dock.example")
    assert "broker.host is localhost in the file, and dock.example was given" in error["what"]
    error = refused("centre", "setup", f"--settings={place.centre}", "--root=/elsewhere", "--broker-port=1")
    assert "broker.port is 18883" in error["what"] and "root is" in error["what"]
    assert "run setup again" in error["do"]


def test_the_folder_of_one_station_is_not_taken_for_another(place: Place) -> None:
    done(*place.set_up())
    place.agent.unlink()
    error = refused(*place.set_up("--station=st-02"))
    assert error["code"] == "another-station"
    assert "st-01" in error["what"]


def test_setup_in_the_folder_of_another_user_is_refused(place: Place) -> None:
    # A file system's root belongs to root; who runs the tests as root finds a folder of somebody else's.
    root = Path("/")
    if os.geteuid() == 0:
        place.station.mkdir()
        os.chown(place.station, 65534, 65534)
        root = place.station
    error = refused(*place.set_up(f"--root={root}"))
    assert error["code"] == "other-user"
    assert "sudo -u" in error["do"]
    assert not place.agent.exists()


def test_status_says_what_is_still_to_be_done(place: Place) -> None:
    status = ("agent", "status", f"--settings={place.agent}")
    error = refused(*status)
    assert (error["code"], error["where"]) == ("settings", str(place.agent))
    assert "there is no settings file" in error["what"]
    done(*place.set_up())
    error = refused(*status)
    assert error["code"] == "never-run"
    assert "dockwarden-agent run" in error["do"]
    (place.station / "keys" / "station.seed").unlink()
    assert refused(*status)["code"] == "not-set-up"


def test_each_side_leaves_the_others_variables_alone_and_refuses_a_mistyped_one(place: Place) -> None:
    done(*place.set_up())
    status = ("agent", "status", f"--settings={place.agent}")
    assert refused(*status, DOCKWARDEN_CENTRE_ROOT="/c")["code"] == "never-run"
    for name in ("DOCKWARDEN_AGENT_ROOOT", "DOCKWARDEN_CENTER_ROOT"):
        error = refused(*status, **{name: "/c"})
        assert error["code"] == "settings"
        assert name in error["what"]


def test_a_wrong_command_line_is_an_object_too() -> None:
    ran = command("agent", "records", "--limit=0", "--json")
    assert (ran.returncode, ran.stdout) == (2, "")
    error = json.loads(ran.stderr)
    assert set(error) == {"code", "what", "where", "do"}
    assert error["code"] == "usage"
    assert "--limit" in error["what"]


def test_clearing_that_is_chosen_but_not_done_is_called_so(place: Place) -> None:
    assert "not in force" in done(*place.set_up(release="clear-on-proof"))
    other = Place(place.root / "other")
    assert "not in force" not in done(*other.set_up())


def test_what_is_in_quarantine_is_listed_and_status_says_what_is_not_in_force(place: Place) -> None:
    done(*place.set_up(release="clear-on-proof"))
    with place.agent.open("a") as file:
        file.write("media = false\n[panel]\nport = 0\n")
    card, bus = place.root / "card", place.root / "bus"
    card.mkdir()
    bus.mkdir()
    for name in ("good.mp4", "bad.mp4"):
        (card / name).write_bytes(os.urandom(10_000))
    settings = f"--settings={place.agent}"
    station = Process(
        "station",
        [program("dockwarden-sim"), "station", settings, f"--bus={bus}"],
        place.root / "station.log",
        place.station / "agent.sock",
    )
    station.start()
    try:
        plug(bus, "1", card, model="DCAM-X3", serial="S1", faults=[Fault("unreadable", "bad.mp4", length=1 << 40)])
        wait_for("the verdict", lambda: station.call("status")["bays"][0]["state"] == "incomplete")
        (item,) = json.loads(done("agent", "quarantine", "--json", settings))
        assert (item["source_name"], item["reason"]["code"]) == ("bad.mp4", "unreadable")
        assert "unreadable" in done("agent", "quarantine", settings)
    finally:
        station.stop()
    assert json.loads(done("agent", "quarantine", "--json", settings)) == [item]
    policy = json.loads(done("agent", "status", "--json", settings))["policy"]
    assert policy == {"known": "full", "readings": 2, "release": "clear-on-proof", "release_in_force": False}
    assert "not in force" in " ".join(done("agent", "status", settings).split())
    place.agent.write_text(place.agent.read_text().replace("clear-on-proof", "keep"))
    assert json.loads(done("agent", "status", "--json", settings))["policy"]["release_in_force"] is True
    assert "not in force" not in " ".join(done("agent", "status", settings).split())


def test_the_printed_hints_lead_to_an_enrolled_station(centre: Place) -> None:
    shown = done(*centre.set_up())
    (hint,) = [line for line in shown.splitlines() if line.startswith("at the centre:")]
    request = centre.station / "enrolment-request.note"
    fingerprint = hint.split("--fingerprint ")[1]
    spaced = " ".join(fingerprint[at : at + 4] for at in range(0, 64, 4)).upper()
    answer = centre.root / "answer.note"
    settings = f"--settings={centre.centre}"
    taken = done("centre", "enrol", request, f"--answer={answer}", f"--fingerprint={spaced}", settings)
    (hint,) = [line for line in taken.splitlines() if line.startswith("at the station:")]
    fingerprint = hint.split("--fingerprint ")[1]
    again = ("agent", "setup", f"--settings={centre.agent}", f"--answer={answer}")
    assert refused(*again)["code"] == "fingerprint"
    assert refused(*again, f"--fingerprint={'0' * 64}")["code"] == "fingerprint"
    for typed in (" : ".join(fingerprint[at : at + 4] for at in range(0, 64, 4)).upper(), fingerprint):
        assert "enrolled     yes" in done(*again, f"--fingerprint={typed}")
