"""`dockwarden-centre`: the central office's commands."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dockwarden.centre import enrol as enrolling
from dockwarden.centre.running import PAGE, run_office
from dockwarden.centre.settings import Settings, read_settings
from dockwarden.durable.files import OsFiles, write_durably
from dockwarden.service.command import print_json, run_command
from dockwarden.service.logs import configure
from dockwarden.service.socket import call

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

SettingsOption = Annotated[
    Path | None, typer.Option("--settings", help="The settings file; else /etc/dockwarden/centre.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def setup(
    root: Annotated[Path, typer.Option(help="Where everything is kept.")],
    settings: Annotated[Path, typer.Option(help="The settings file to write.")],
    broker_host: Annotated[str, typer.Option(help="The name by which stations reach the broker.")] = "localhost",
    broker_port: Annotated[int, typer.Option(min=1, max=65535)] = 8883,
) -> None:
    """Set the centre up: settings, keys, certificate authority, and the broker's files."""
    files = OsFiles()
    if not settings.exists():
        lines = [f"root = {json.dumps(str(root.absolute()))}", "[broker]", f"host = {json.dumps(broker_host)}"]
        write_durably(files, settings, "\n".join([*lines, f"port = {broker_port}"]).encode() + b"\n", 0o644)
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
    table = Table("record", "station", "MB", "deadline", "stored")
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
    wanted: dict[str, Any] = {"records": record or [], "target": str(target.absolute())}
    if case:
        wanted["case"] = sys.stdin.readline().strip()
    found = _call(read_settings(settings), "package", wanted, timeout=24 * 3600)
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
