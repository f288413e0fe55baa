"""The station's settings (TOML, see docs/operating/README.md)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from dockwarden.service.settings import load

PlaceName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
BayName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Port = Annotated[int, Field(ge=0, le=65535)]


def _distinct(bays: list[str]) -> list[str]:
    twice = sorted({bay for bay in bays if bays.count(bay) > 1})
    if twice:
        raise ValueError(f"bay {', '.join(twice)} is named twice")
    return bays


Bays = Annotated[list[BayName], Field(min_length=1, max_length=64), AfterValidator(_distinct)]

SYSTEM_FILE = Path("/etc/dockwarden/agent.toml")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Offsite(_Table):
    """The restic repository: files that hold its URL and its password, so that neither is in a command line."""

    repository_file: Path
    password_file: Path


class Panel(_Table):
    """The station's page; loopback only. Port 0 takes a free one."""

    host: Literal["127.0.0.1", "::1"] = "127.0.0.1"
    port: Port = 8410


class Settings(_Table):
    """Everything that an office may choose at a station.

    `readings`: how often a device is read, 2 (proven) or 1 (copied). `known`: how files that are records already are
    read at a later docking, `full` or `sample` (then a bay is at most copied). `release`: whether a device is to be
    cleared on proof or kept as it is; the office chooses it at setup, and see `release_in_force`. `deadline_hours`:
    article 15's two days.
    `unknown_storage`: whether a USB disk that no profile fits is refused, or taken in, read-only like all.
    `profiles`: folders with device profiles of the office's own.
    """

    station: PlaceName
    root: Path
    bays: Bays
    release: Literal["keep", "clear-on-proof"]
    readings: Literal[1, 2] = 2
    known: Literal["full", "sample"] = "full"
    deadline_hours: Annotated[int, Field(ge=1, le=24 * 31)] = 48
    unknown_storage: Literal["refuse", "intake"] = "refuse"
    profiles: tuple[Path, ...] = ()
    media: bool = True
    offsite: Offsite | None = None
    panel: Panel | None = Panel()


def release_in_force(release: str, enrolled: bool) -> bool:
    """Whether the office's choice is what happens: without a centre that signs for its copies no device is cleared,
    whatever was chosen."""
    return release == "keep" or enrolled


def read_settings(given: Path | None) -> Settings:
    """Read the settings of this machine, or of the file `given`. Raises ServiceError naming file, key, reason."""
    return load(Settings, [] if given is not None else [SYSTEM_FILE], given=given, side="agent")
