"""`dockwarden-centre`: the central office's commands."""

import json
import secrets
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from dockwarden.centre import enrol as enrolling
from dockwarden.centre.handing_over import check_target, copy_package
from dockwarden.centre.running import PAGE, run_office
from dockwarden.centre.settings import SYSTEM_FILE, Settings, read_settings
from dockwarden.durable.files import OsFiles, make_folder, write_durably
from dockwarden.service.command import print_json, run_command
from dockwarden.service.logs import configure
from dockwarden.service.setup import check_owner, choose
from dockwarden.service.socket import call

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

SettingsOption = Annotated[
    Path | None, typer.Option("--settings", help="The settings file; else /etc/dockwarden/centre.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

CHANGING = (
    "What stations reach the broker by is changed in this file; then run setup again, restart broker and centre, and "
    "let each station take a new answer. A centre keeps its folder: for another one name another --settings."
)


@app.command()
def setup(
    settings: Annotated[Path, typer.Option(help="The settings file; written where there is none.")] = SYSTEM_FILE,
    root: Annotated[Path | None, typer.Option(help="Where everything is kept.")] = None,
    broker_host: Annotated[str | None, typer.Option(help="The name by which stations reach the broker.")] = None,
    broker_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Its port; 8883 unless given.")] = None,
) -> None:
    """Set the centre up: settings, keys, certificate authority, and the broker's files."""
    files = OsFiles()
    given = {
        "root": str(root.absolute()) if root is not None else None,
        "broker": {"host": broker_host, "port": broker_port},
    }
    chosen = choose(Settings, settings, given, CHANGING)
    check_owner(chosen.root)
    if not settings.exists():
        lines = [f"root = {json.dumps(given['root'], ensure_ascii=False)}", "[broker]"]
        lines += [f"host = {json.dumps(chosen.broker.host)}", f"port = {chosen.broker.port}"]
        make_folder(files, settings.absolute().parent)
        write_durably(files, settings, "\n".join(lines).encode() + b"\n", 0o644)
    chosen = read_settings(settings)
    config = enrolling.setup(chosen, files, datetime.now(UTC))
    print(f"settings     {settings}")
    print(f"fingerprint  {enrolling.centre_key(chosen).verifier.fingerprint}")
    print(f"broker       mosquitto -c {config}")


@app.command()
def run(settings: SettingsOption = None) -> None:
    """Run the centre until it is told to stop (SIGTERM, Ctrl-C)."""
    configure("centre")
    run_office(read_settings(settings))


@app.command()
def enrol(
    request: Annotated[Path, typer.Argument(help="The station's enrolment request.")],
    answer: Annotated[Path, typer.Option(help="Where to write the answer for the station.")],
    fingerprint: Annotated[str, typer.Option(help="The station's fingerprint, as its screen shows it.")],
    settings: SettingsOption = None,
) -> None:
    """Take a station in: compares its fingerprint, signs its certificate, writes the answer."""
    chosen = read_settings(settings)
    found = call(
        enrolling.Folders(chosen.root).socket,
        "enrol",
        {"request": request.read_bytes().decode("utf-8", "replace"), "fingerprint": fingerprint},
    )
    write_durably(OsFiles(), answer, found["answer"].encode(), 0o600)
    print(f"station      {found['station']}")
    print(f"answer       {answer}")
    print(f"fingerprint  {found['fingerprint']}   (the centre's: compare it at the station)")
    print(f"at the station: dockwarden-agent setup --answer {answer.name} --fingerprint {found['fingerprint']}")


@app.command()
def ask(
    station: Annotated[str, typer.Argument(help="The station's name.")],
    settings: SettingsOption = None,
    as_json: JsonOption = False,
    wait: Annotated[float, typer.Option(min=0, max=300, help="Seconds to wait for the station itself.")] = 5.0,
) -> None:
    """Ask a station how it stands. If it is away: what it last said, and since when it is gone."""
    found = _call(read_settings(settings), "ask", {"station": station, "wait_s": wait}, timeout=wait + 30)
    if as_json:
        print_json(found)
        return
    if found["answered_by"] == "station":
        print(f"{station} answers, as of {found['as_of']}:")
    else:
        print(f"{station} is {found['state']} since {found['since']}; what it said as of {found['as_of']}:")
    if "records" in found:
        print("  " + "  ".join(f"{name.replace('_', ' ')} {value}" for name, value in found["records"].items()))


@app.command()
def stations(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """All stations and how they stand."""
    found = _call(read_settings(settings), "stations")["stations"]
    if as_json:
        print_json(found)
        return
    table = Table("station", "state", "since", "facts", "alarms")
    for station in found:
        facts = str(station["head"]["size"]) if station["head"] else "0"
        alarms = ", ".join(sorted({alarm["code"] for alarm in station["alarms"]}))
        table.add_row(station["station"], station["state"], station["since"] or "", facts, alarms)
    Console().print(table)


@app.command()
def records(
    settings: SettingsOption = None,
    as_json: JsonOption = False,
    station: Annotated[str | None, typer.Option(help="Only this station's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 1000,
) -> None:
    """Records that stations have sealed, newest first."""
    found = _all_records(read_settings(settings), station, limit)
    if as_json:
        print_json(found)
        return
    table = Table(Column("record", min_width=26), "station", "MB", "deadline", "stored")
    for record in found:
        size = "" if record["bytes"] is None else f"{record['bytes'] / 1e6:.1f}"
        stored = "yes" if record["stored"] else "no"
        table.add_row(record["record"], record["station"], size, record["deadline"]["state"], stored)
    Console().print(table)


@app.command()
def package(
    target: Annotated[Path, typer.Argument(help="The new folder of the package.")],
    record: Annotated[list[str] | None, typer.Option(help="A record's id; give it once for each.")] = None,
    case: Annotated[bool, typer.Option("--case", help="Read a case number from standard input.")] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a case package that anyone can verify without this program."""
    chosen, target = read_settings(settings), target.absolute()
    check_target(target)
    # The service sees another /tmp and no home: it writes below its own root, and this command takes it from there.
    spooled = enrolling.Folders(chosen.root).packages / secrets.token_hex(8)
    wanted: dict[str, Any] = {"records": record or [], "target": str(spooled)}
    if case:
        wanted["case"] = sys.stdin.readline().strip()
    try:
        found = _call(chosen, "package", wanted, timeout=24 * 3600)
        copy_package(OsFiles(), spooled, target)
    finally:
        shutil.rmtree(spooled, ignore_errors=True)
    found["package"] = str(target)
    if as_json:
        print_json(found)
        return
    print(f"package      {found['package']}")
    print(f"records      {found['records']}")
    print(f"fingerprint  {found['fingerprint']}")
    print(f"verify with  dockwarden-verify {found['package']} --trust {found['fingerprint']}")


def _all_records(settings: Settings, station: str | None, limit: int) -> list[dict[str, Any]]:
    """Records page by page, so that no single answer takes long."""
    found: list[dict[str, Any]] = []
    while len(found) < limit:
        size = min(PAGE, limit - len(found))
        before = found[-1]["record"] if found else None
        page = _call(settings, "records", {"station": station, "limit": size, "before": before})["records"]
        found += page
        if len(page) < size:
            break
    return found


def _call(
    settings: Settings, method: str, params: dict[str, Any] | None = None, timeout: float = 60.0
) -> dict[str, Any]:
    return call(enrolling.Folders(settings.root).socket, method, params, timeout)


def main() -> None:
    """Entry point."""
    run_command(app)
