"""`dockwarden-agent`: the station's commands. Party names and case numbers are read from files or the keyboard,
never from the command line."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from dockwarden.agent import setup as setting_up
from dockwarden.agent.cli_bays import JsonOption, SettingsOption, bays_app
from dockwarden.agent.settings import SYSTEM_FILE, Settings, read_settings, release_in_force
from dockwarden.agent.station import read_only_view, run_station
from dockwarden.agent.status import quarantined as list_quarantined
from dockwarden.agent.status import records as list_records
from dockwarden.agent.status import status as make_status
from dockwarden.agent.stores import Folders
from dockwarden.durable.files import OsFiles, make_folder, write_durably
from dockwarden.rules.labels import ACTIVITIES
from dockwarden.service.command import print_json, run_command
from dockwarden.service.errors import ServiceError
from dockwarden.service.setup import check_owner, choose
from dockwarden.service.socket import call

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(bays_app, name="bays")

CHANGING = (
    "Bays and release are changed in this file; then restart the agent. A station keeps its name and its folder: for "
    "another one name another --settings."
)
NOT_IN_FORCE = (
    "release clear-on-proof is chosen but not in force: no centre signs yet for its copies, so none is cleared"
)

LONG_S = 24 * 3600.0
"""A backup of a full station takes as long as it takes."""


@app.command()
def run(settings: SettingsOption = None) -> None:
    """Run the station until it is told to stop (SIGTERM, Ctrl-C)."""
    run_station(read_settings(settings))


@app.command()
def setup(
    settings: Annotated[Path, typer.Option(help="The settings file; written where there is none.")] = SYSTEM_FILE,
    station: Annotated[str | None, typer.Option(help="The station's name, such as st-01.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where everything is kept; one file system.")] = None,
    bay: Annotated[list[str] | None, typer.Option(help="A bay; give it once for each.")] = None,
    release: Annotated[str | None, typer.Option(help="keep | clear-on-proof: the office chooses.")] = None,
    answer: Annotated[Path | None, typer.Option(help="The centre's answer to the enrolment request.")] = None,
    fingerprint: Annotated[str, typer.Option(help="The centre's fingerprint, as its screen shows it.")] = "",
) -> None:
    """Set the station up: settings, keys, enrolment request; then, with --answer, enrol it."""
    files = OsFiles()
    given = {
        "station": station,
        "root": str(root.absolute()) if root is not None else None,
        "bays": bay or None,
        "release": release,
    }
    chosen = choose(Settings, settings, given, CHANGING)
    check_owner(chosen.root)
    if not settings.exists():
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]
        make_folder(files, settings.absolute().parent)
        write_durably(files, settings, "\n".join(lines).encode() + b"\n", 0o644)
    chosen = read_settings(settings)
    request = setting_up.make_keys(chosen, files)
    shown = setting_up.station_key(chosen).verifier.fingerprint
    if answer is not None:
        setting_up.accept(chosen, files, answer.read_bytes(), fingerprint)
    print(f"settings     {settings}")
    print(f"fingerprint  {shown}")
    if not release_in_force(chosen.release, setting_up.is_enrolled(Folders(chosen.root))):
        print(NOT_IN_FORCE)
    if answer is None:
        print(f"request      {request}")
        print(f"at the centre: dockwarden-centre enrol {request.name} --answer FILE --fingerprint {shown}")
        print("with its answer here: dockwarden-agent setup --answer FILE --fingerprint (the centre's)")
    else:
        print("enrolled     yes")


@app.command()
def status(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """How the station stands."""
    chosen = read_settings(settings)
    found = _ask_or_read(chosen, "status")
    if as_json:
        print_json(found)
        return
    records, disk = found["records"], found["disk"]
    console = Console()
    console.print(f"[bold]{found['station']}[/bold]  {found['at']}")
    counts = ("total", "unlabelled", "late", "waiting_upload", "waiting_backup")
    console.print("records: " + "  ".join(f"{name.replace('_', ' ')} {records[name]}" for name in counts))
    offsite = found["offsite"]
    console.print(
        f"off-site: last backup {offsite['backed_up_at'] or 'never'}  last drill {offsite['drilled_at'] or 'never'}"
    )
    if offsite["failed"]:
        what = f"{offsite['failed']} records are not off-site as they should be: run `backup` and read what it says"
        console.print(f"[yellow]! {what}[/yellow]")
    console.print(f"disk free: {disk['free'] / 1e9:.1f} of {disk['total'] / 1e9:.1f} GB")
    if not found["policy"].get("release_in_force", True):
        console.print(f"[yellow]! {NOT_IN_FORCE}[/yellow]")
    console.print(f"ledger: {found['ledger']['size']} facts, root {found['ledger']['root'][:16]}…")
    for sentence in found["findings"]:
        console.print(f"[yellow]! {sentence}[/yellow]")
    _print_bays(console, found["bays"])


@bays_app.callback(invoke_without_command=True)
def bays(context: typer.Context, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """The bays and what is in them."""
    if context.invoked_subcommand is not None:
        return
    found = _ask_or_read(read_settings(settings), "status")["bays"]
    if as_json:
        print_json(found)
    else:
        _print_bays(Console(), found)


@app.command()
def records(
    settings: SettingsOption = None,
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 1000,
) -> None:
    """The station's records, newest first."""
    found = _ask_or_read(read_settings(settings), "records", {"limit": limit})["records"]
    if as_json:
        print_json(found)
        return
    table = Table(Column("record", min_width=26), "name", "MB", "deadline", "facts")
    for record in found:
        kinds = " ".join(dict.fromkeys(fact["kind"] for fact in record["facts"]))
        name = json.dumps(record["source_name"], ensure_ascii=False).strip('"')
        size = "" if record["bytes"] is None else f"{record['bytes'] / 1e6:.1f}"
        if record["holes"]:
            size += f" (partial: {sum(hole['length'] for hole in record['holes'])} bytes missing)"
        table.add_row(record["record"], name, size, record["deadline"]["state"], kinds)
    Console().print(table)


@app.command()
def quarantine(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """What could not become a record, newest first, and why."""
    found = _ask_or_read(read_settings(settings), "quarantined")["quarantined"]
    if as_json:
        print_json(found)
        return
    for item in found:
        reason = item["reason"] or {}
        name = json.dumps(item["source_name"], ensure_ascii=False)
        print(f"{item['item']}  {item['at']}  {reason.get('code', '')}: {reason.get('what', '')}")
        print(f"    {name} on {item['device']}, kept: {item['path'] or 'nothing'}")


@app.command()
def label(
    record: Annotated[str, typer.Argument(help="The record's id.")],
    officer_number: Annotated[str, typer.Option("--by", help="Your own officer number.")],
    settings: SettingsOption = None,
    given: Annotated[
        Path | None,
        typer.Option(
            "--input", help="JSON {case, party, officer, officer_id, activity, secret}; - for standard input."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Label a record (article 15): asks for what --input does not give."""
    words = _read_json(given) if given is not None else _ask_for_label()
    found = _ask(read_settings(settings), "label", {"record": record, "by": officer_number, "given": words})
    if as_json:
        print_json(found)
    else:
        missing = found["missing"]
        print("complete" if not missing else f"still missing: {', '.join(missing)}")


@app.command()
def roster(
    given: Annotated[
        Path, typer.Argument(help="JSON {bindings: […], tasks: […], marks: […]}; - for standard input.")
    ],
    settings: SettingsOption = None,
) -> None:
    """Take device bindings, tasks and secrecy marks into the station's registry: all of them or none."""
    found = _ask(read_settings(settings), "roster", _read_json(given))
    print(f"{found['bindings']} bindings, {found['tasks']} tasks, {found['marks']} marks taken")


@app.command()
def backup(
    settings: SettingsOption = None,
    as_json: JsonOption = False,
    new_repository: Annotated[
        bool, typer.Option("--new-repository", help="Make a new repository where the known one is gone for good.")
    ] = False,
) -> None:
    """Back up off-site now, and prove it by reading it back. The nightly timer calls this."""
    _long(read_settings(settings), "backup", as_json, {"new_repository": new_repository})


@app.command()
def drill(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Restore the off-site backup into an empty folder and verify every record."""
    _long(read_settings(settings), "drill", as_json)


@app.command()
def release(
    bay: Annotated[str | None, typer.Argument(help="The bay; all of them without it.")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Clear devices on proof, by the running station, or say why not (policy `release`)."""
    found = _ask(read_settings(settings), "release", {"bay": bay} if bay is not None else {}, timeout=LONG_S)
    if as_json:
        print_json(found)
    for each in [] if as_json else found["bays"]:
        print(f"bay {each['bay']}: {each['cleared']} files cleared, {each['left']} left")
        for finding in each["why"]:
            print(f"    {finding['code']}: {finding['what']}")
    if any(each["why"] for each in found["bays"]):
        raise typer.Exit(1)


def _long(settings: Settings, method: str, as_json: bool, params: dict[str, Any] | None = None) -> None:
    found = _ask(settings, method, params, timeout=LONG_S)
    if as_json:
        print_json(found)
    else:
        print("  ".join(f"{key} {value}" for key, value in found.items()))
    if found.get("failed"):
        raise typer.Exit(1)


def _ask(
    settings: Settings, method: str, params: dict[str, Any] | None = None, timeout: float = 60.0
) -> dict[str, Any]:
    return call(Folders(settings.root).socket, method, params, timeout)


def _ask_or_read(settings: Settings, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the running station; where none runs, read its ledger without writing."""
    try:
        return _ask(settings, method, params)
    except ServiceError as error:
        if error.code != "not-running":
            raise
    setting_up.station_key(settings)
    if not setting_up.has_run(settings):
        do = "Start it: dockwarden-agent run, or its service."
        raise ServiceError("never-run", "the station has not run yet", str(settings.root), do)
    with read_only_view(settings) as view:
        if method == "status":
            return dict(make_status(view))
        if method == "quarantined":
            return {"quarantined": list_quarantined(view)}
        return {"records": list_records(view, limit=(params or {}).get("limit", 1000))}


def _ask_for_label() -> dict[str, str]:
    asked = {
        "case": typer.prompt("案号 case number", default="", show_default=False),
        "party": typer.prompt("当事人 party", default="", show_default=False),
        "officer": typer.prompt("承办人 officer", default="", show_default=False),
        "activity": typer.prompt(f"活动 activity ({' '.join(ACTIVITIES)})", default="", show_default=False),
    }
    return {key: value for key, value in asked.items() if value}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(sys.stdin.read() if str(path) == "-" else path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ServiceError(
            "input", f"not readable as JSON: {type(error).__name__}", str(path), "Correct it."
        ) from error
    if not isinstance(found, dict):
        raise ServiceError("input", "not a JSON object", str(path), "See the command's help.")
    return found


def _print_bays(console: Console, found: list[dict[str, Any]]) -> None:
    table = Table("bay", "state", "device", "files", "MB", "MB/s", "left", "findings")
    for bay in found:
        table.add_row(
            bay["bay"],
            bay["state"],
            bay["device"] or "",
            f"{bay['files_done']}/{bay['files_total']}",
            f"{bay['bytes_done'] / 1e6:.1f}/{bay['bytes_total'] / 1e6:.1f}",
            f"{bay['rate'] / 1e6:.1f}",
            "" if bay["eta_s"] is None else f"{bay['eta_s']} s",
            "; ".join(finding["what"] for finding in bay["findings"]),
        )
    console.print(table)


def main() -> None:
    """Entry point."""
    run_command(app)
