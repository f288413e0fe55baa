"""What sits in a bay, as the bay service tells it to the station: one small file a bay, written as a whole.

The bay service (root) looks at devices, lets them in and mounts their volumes read-only; the station (no rights)
reads what is mounted. `<folder>/<bay>.json` is there while something is in the bay.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

FOLDER = Path("/run/dockwarden/bays")
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Volume:
    """A volume that is mounted: its name among those of its device, where, and what it calls itself."""

    name: str
    point: Path
    label: str | None


@dataclass(frozen=True)
class Left:
    """A part of a device that could not be mounted (`sda3`), and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Refusal:
    """Why a device is not let in, as an error says it."""

    code: str
    what: str
    where: str
    do: str


@dataclass(frozen=True)
class Occupancy:
    """One device's stay in a bay. `stay` is another for each plug, and for each change of its volumes.

    `usb` is `vendor:product` in hexadecimal, None where its descriptors contradict themselves; the strings are the
    device's own words. With `refusal` it is not let in.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    stay: str
    usb: str | None
    vendor: str | None
    product: str | None
    serial: str | None
    volumes: tuple[Volume, ...] = ()
    left: tuple[Left, ...] = ()
    refusal: Refusal | None = None


_FORM = TypeAdapter(Occupancy)


def encode(occupancy: Occupancy) -> bytes:
    """The file's content."""
    return _FORM.dump_json(occupancy) + b"\n"


def read_occupancies(folder: Path) -> dict[str, Occupancy]:
    """What sits in each bay now. A file that is not whole, or not of this form, is as if it were not there."""
    found: dict[str, Occupancy] = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            with path.open("rb") as file:
                found[path.stem] = _FORM.validate_json(file.read(MOST_BYTES))
        except (OSError, ValidationError):
            continue
    return found
