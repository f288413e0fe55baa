"""`dockwarden-sim`: everything that makes the whole testable with no device."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter

from dockwarden.agent.settings import read_settings
from dockwarden.agent.station import run_station
from dockwarden.durable.files import OsFiles
from dockwarden.service.command import run_command
from dockwarden.simulators import camera as cameras
from dockwarden.simulators import recorder as recorders
from dockwarden.simulators.bus import DirectoryBus, plug
from dockwarden.simulators.demo import run_demo
from dockwarden.simulators.demo_folder import fresh_folder
from dockwarden.simulators.faults import Fault
from dockwarden.simulators.killing_files import files_from_environment
from dockwarden.simulators.vm.machine import machine
from dockwarden.simulators.vm.prompt import Prompt

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

BusOption = Annotated[Path, typer.Option("--bus", help="The folder that stands for the bays.")]
CardOption = Annotated[Path, typer.Option("--dir", help="The folder that is the card; made when it is missing.")]
BayOption = Annotated[str, typer.Option("--bay", help="The bay.")]
FaultOption = Annotated[list[str] | None, typer.Option("--fault", help="A fault as JSON; see simulators/faults.py.")]
SeedOption = Annotated[int, typer.Option("--seed", help="What is drawn by chance follows from it.")]
CacheOption = Annotated[Path, typer.Option("--cache", help="Where made media are kept.")]

CACHE = Path("build/footage")


@app.command()
def demo(
    into: Annotated[Path, typer.Option(help="The folder of the demo; made anew each time.")] = Path("build/demo"),
    footage: Annotated[Path | None, typer.Option(help="The camera holds exactly the files of this folder.")] = None,
    stay: Annotated[bool | None, typer.Option(help="Stay up afterwards; by default on a terminal.")] = None,
) -> None:
    """The whole journey: a camera in a bay, its footage proven at station, centre and off-site."""
    with fresh_folder(into.absolute()):
        raise typer.Exit(run_demo(into, footage, sys.stdout.isatty() if stay is None else stay))


@app.command()
def station(settings: Annotated[Path, typer.Option(help="The station's settings.")], bus: BusOption) -> None:
    """Run the real station with its bays fed by a simulated bus."""
    files = files_from_environment(os.environ, OsFiles())
    run_station(read_settings(settings), DirectoryBus(bus), files)


@app.command()
def camera(
    card: CardOption,
    bay: BayOption,
    bus: BusOption,
    fault: FaultOption = None,
    seed: SeedOption = 1,
    cache: CacheOption = CACHE,
) -> None:
    """Put a body camera with real recordings into a bay."""
    if not card.exists():
        cameras.build(card, datetime.now(UTC), cache, cameras.Body(seed=seed))
    plug(bus, bay, card, model="DCAM-X3", serial=f"ZB{2040 + seed}", faults=_faults(fault))


@app.command()
def recorder(
    card: CardOption,
    bay: BayOption,
    bus: BusOption,
    fault: FaultOption = None,
    seed: SeedOption = 1,
    cache: CacheOption = CACHE,
) -> None:
    """Put a voice recorder into a bay."""
    if not card.exists():
        recorders.build(card, datetime.now(UTC), cache, seed)
    plug(bus, bay, card, model="VR-10", serial=f"VR{seed:04}", faults=_faults(fault))


@app.command()
def vm(
    do: Annotated[list[str] | None, typer.Option("--do", help="A line for the prompt; then no prompt.")] = None,
) -> None:
    """Boot Debian's kernel with hot-pluggable USB and give a prompt; needs QEMU, no rights (docs/testing/vm.md)."""
    with machine() as booted:
        prompt = Prompt(booted, print)
        print(f"up after {booted.boot_s:.1f} s; `help` says what can be done")
        for line in do if do is not None else iter(_typed, None):
            if not prompt.take(line):
                break


def _typed() -> str | None:
    """A line from the keyboard; None at its end."""
    try:
        return input("vm> ")
    except EOFError:
        return None


def _faults(given: list[str] | None) -> list[Fault]:
    return [TypeAdapter(Fault).validate_json(text) for text in given or []]


def main() -> None:
    """Entry point."""
    run_command(app)
