"""The station's settings (TOML, see docs/operating/README.md)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dockwarden.service.settings import load

PlaceName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
BayName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Port = Annotated[int, Field(ge=0, le=65535)]

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

    `readings`: how often a device is read, 2 (proven) or 1 (copied). `release`: whether a device is cleared on
    proof or kept as it is; the office chooses it at setup. `deadline_hours`: article 15's two days.
    `unknown_storage`: whether a USB disk that no profile fits is refused, or taken in, read-only like all.
    """

    station: PlaceName
    root: Path
    bays: list[BayName] = Field(min_length=1, max_length=64)
    release: Literal["keep", "clear-on-proof"]
    readings: Literal[1, 2] = 2
    deadline_hours: Annotated[int, Field(ge=1, le=24 * 31)] = 48
    unknown_storage: Literal["refuse", "intake"] = "refuse"
    media: bool = True
    offsite: Offsite | None = None
    panel: Panel | None = Panel()


def read_settings(given: Path | None) -> Settings:
    """Read the settings of this machine, or of the file `given`. Raises ServiceError naming file, key, reason."""
    return load(Settings, [] if given is not None else [SYSTEM_FILE], given=given)
