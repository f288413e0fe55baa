"""The centre's settings (TOML, see docs/operating/README.md)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dockwarden.service.settings import load

PlaceName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
Port = Annotated[int, Field(ge=0, le=65535)]

SYSTEM_FILE = Path("/etc/dockwarden/centre.toml")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Broker(_Table):
    """Where the MQTT broker listens; the name must stand in its certificate."""

    host: str = "localhost"
    port: Port = 8883


class Web(_Table):
    """The centre's pages; loopback only until there is sign-in. Port 0 takes a free one."""

    host: Literal["127.0.0.1", "::1"] = "127.0.0.1"
    port: Port = 8420


class Settings(_Table):
    """Everything that an office may choose at the centre. `deadline_hours`: article 15's two days;
    `zone_minutes`: the zone in which times are shown, minutes east of UTC."""

    centre: PlaceName = "centre"
    root: Path
    broker: Broker = Broker()
    web: Web | None = Web()
    deadline_hours: Annotated[int, Field(ge=1, le=24 * 31)] = 48
    zone_minutes: Annotated[int, Field(ge=-720, le=840)] = 480


def read_settings(given: Path | None) -> Settings:
    """Read the settings of this machine, or of the file `given`. Raises ServiceError naming file, key, reason."""
    return load(Settings, [] if given is not None else [SYSTEM_FILE], given=given, side="centre")
