"""`dockwarden-agent bays …`: which port is which bay, the service that lets devices in, a profile to start from."""

import signal
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.bay_service import BayService
from dockwarden.agent.drivers.mounting import Owner
from dockwarden.agent.drivers.occupancy import FOLDER as OCCUPANCIES
from dockwarden.agent.drivers.occupancy import read_occupancies
from dockwarden.agent.drivers.ports import read_ports
from dockwarden.agent.drivers.suggesting import suggest as suggested
from dockwarden.agent.drivers.volumes import open_volumes, seen_of
from dockwarden.agent.learning import learn_bay
from dockwarden.agent.settings import read_settings
from dockwarden.agent.stores import Folders
from dockwarden.durable.files import OsFiles
from dockwarden.service.command import print_json
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import configure

bays_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SettingsOption = Annotated[
    Path | None, typer.Option("--settings", help="The settings file; else /etc/dockwarden/agent.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@bays_app.command()
def learn(
    bay: Annotated[str, typer.Argument(help="A bay of the settings.")],
    settings: SettingsOption = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long to wait for something to be plugged in.")] = 120.0,
    as_json: JsonOption = False,
) -> None:
    """Learn which USB port is a bay: plug anything into it when asked."""
    ports = learn_bay(read_settings(settings), OsFiles(), bay, seconds, lambda text: print(text, file=sys.stderr))
    if as_json:
        print_json({"ports": ports})
    else:
        for port, its in sorted(ports.items(), key=lambda pair: (pair[1], pair[0])):
            print(f"bay {its}  {port}")


@bays_app.command()
def serve(settings: SettingsOption = None) -> None:
    """Serve the USB ports that were learned: let devices in and mount them read-only. Needs root."""
    chosen = read_settings(settings)
    configure("bays")
    its = chosen.root.stat()  # whoever has the station's folder is the station
    ports, owner = partial(read_ports, Folders(chosen.root).ports), Owner(its.st_uid, its.st_gid)
    service = BayService(ports, OCCUPANCIES, owner, profiles.load((profiles.BUILT_IN, *chosen.profiles)).profiles)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    service.run()


@bays_app.command()
def suggest(
    bay: Annotated[str, typer.Argument(help="The bay that the device sits in.")],
    as_json: JsonOption = False,
) -> None:
    """Print a profile to start from, made of the device that sits in a bay and that no profile fits."""
    occupancy = read_occupancies(OCCUPANCIES).get(bay)
    if occupancy is None or not occupancy.volumes:
        do = "Plug the device in; the bay service must run and let it in (`bays`)."
        raise ServiceError("no-such-device", "no device with a readable disk sits there", f"bay {bay}", do)
    fallback = next(each for each in profiles.load().profiles if not each.match)
    device = open_volumes(occupancy, fallback)
    try:
        names = [source.name.text for source in device.sources()]
    finally:
        device.close()
    profile = suggested(seen_of(occupancy), names)
    if as_json:
        print_json({"bay": bay, "profile": profile})
    else:
        print(profile, end="")
