"""The units of systemd are ones that it accepts, and keep what the program needs open."""

import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from dockwarden.agent.drivers.occupancy import FOLDER as OCCUPANCIES

FOLDER = Path(__file__).resolve().parents[2] / "systemd"
UNITS = sorted(path for path in FOLDER.iterdir() if path.suffix in {".service", ".timer"})
PROGRAMS = "/opt/dockwarden/bin"
BAYS = FOLDER / "dockwarden-bays.service"
SERVICES = [
    path for path in UNITS if path.suffix == ".service" and PROGRAMS in path.read_text("utf-8") and path != BAYS
]


def read(path: Path) -> RawConfigParser:
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep capitals
    unit.read_string(path.read_text("utf-8"))
    return unit


@pytest.mark.system
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_every_unit(tmp_path: Path) -> None:
    for path in UNITS:
        text = path.read_text("utf-8").replace(PROGRAMS, str(Path(sys.executable).parent))
        (tmp_path / path.name).write_text(text, "utf-8")
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / path.name) for path in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_every_service_runs_a_command_of_ours_with_few_rights(path: Path) -> None:
    service = read(path)["Service"]
    program, command, *_ = service["ExecStart"].split()
    assert (program.rpartition("/")[0], program.rpartition("/")[2]) in {
        (PROGRAMS, "dockwarden-agent"),
        (PROGRAMS, "dockwarden-centre"),
    }
    assert command in {"run", "backup", "drill"}
    assert service["User"] == "dockwarden"
    assert [service[key] for key in ("ProtectSystem", "PrivateTmp", "NoNewPrivileges")] == ["strict", "yes", "yes"]
    assert service["CapabilityBoundingSet"] == ""
    assert "AF_PACKET" not in service["RestrictAddressFamilies"]


@pytest.mark.parametrize("name", ["agent", "centre"])
def test_what_runs_all_the_time_is_watched_and_may_do_what_it_must(name: str) -> None:
    service = read(next(path for path in SERVICES if path.name == f"dockwarden-{name}.service"))["Service"]
    assert (service["Type"], int(service["WatchdogSec"]) > 0) == ("notify", True)
    assert "dockwarden" in service["StateDirectory"]
    # Decoders run in namespaces of their own; facts say whether the clock is synchronised.
    assert {"RestrictNamespaces", "ProtectClock"}.isdisjoint(service)
    assert "AF_NETLINK" in service["RestrictAddressFamilies"]


def test_the_broker_runs_as_the_user_whose_files_it_reads() -> None:
    broker, centre = (read(FOLDER / f"dockwarden-{name}.service") for name in ("broker", "centre"))
    assert broker["Service"]["User"] == centre["Service"]["User"]
    folder = f"/var/lib/{centre['Service']['StateDirectory']}/broker"
    assert broker["Service"]["ReadWritePaths"] == folder
    assert broker["Service"]["ExecStart"].endswith(f" -c {folder}/mosquitto.conf")
    assert "dockwarden-broker.service" in centre["Unit"]["After"]


def test_the_bays_are_served_with_the_rights_to_mount_and_in_the_mount_table_of_all() -> None:
    service = read(BAYS)["Service"]
    assert service["ExecStart"] == f"{PROGRAMS}/dockwarden-agent bays serve"
    assert OCCUPANCIES.parent == Path("/run") / service["RuntimeDirectory"]
    assert set(service["CapabilityBoundingSet"].split()) == {"CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_NET_ADMIN"}
    assert service["RestrictAddressFamilies"] == "AF_UNIX AF_NETLINK"
    own_table = {"ProtectSystem", "PrivateTmp", "ProtectHome", "PrivateMounts", "PrivateDevices", "PrivateNetwork"}
    assert own_table.isdisjoint(service)
    assert BAYS.name in read(FOLDER / "dockwarden-agent.service")["Unit"]["After"]


@pytest.mark.parametrize("name", ["backup", "drill"])
def test_a_timer_makes_up_for_a_night_that_was_missed_and_spreads_the_stations(name: str) -> None:
    timer = read(next(path for path in UNITS if path.name == f"dockwarden-{name}.timer"))["Timer"]
    assert timer["Persistent"] == "yes"
    assert timer["RandomizedDelaySec"]
    assert (timer["OnCalendar"].split()[0] == "Sun") is (name == "drill")
