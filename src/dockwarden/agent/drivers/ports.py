"""Which USB port is which bay: learned once, by plugging something in, and kept in one small file."""

import json
from collections.abc import Mapping
from pathlib import Path

from dockwarden.durable.files import Files, write_durably
from dockwarden.evidence import canonical
from dockwarden.evidence.canonical import Object
from dockwarden.service.errors import ServiceError

MOST_BYTES = 1 << 20


def read_ports(path: Path) -> dict[str, str]:
    """The bay of each learned port (see `drivers.usb`); none where nothing was learned yet.

    Raises ServiceError `bad-ports` where the file is not what `assign` wrote.
    """
    try:
        found = json.loads(path.read_bytes()[: MOST_BYTES + 1])
        ports = found["ports"]
        if not isinstance(ports, dict) or not all(isinstance(bay, str) for bay in ports.values()):
            raise TypeError
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        do = "Take the file away and learn the bays again (`dockwarden-agent bays learn`)."
        raise ServiceError(
            "bad-ports", "the file that says which port is which bay is unreadable", path.name, do
        ) from error
    return dict(ports)


def assign(files: Files, path: Path, bay: str, ports: tuple[str, ...]) -> dict[str, str]:
    """Make `ports` the ports of `bay`, and of no other; what the bay had before is forgotten. Returns all ports.

    A connector is two ports where it carries USB 2 and USB 3. Raises ServiceError, DurableError.
    """
    known = {port: its for port, its in read_ports(path).items() if its != bay and port not in ports}
    whole: Mapping[str, str] = {**known, **dict.fromkeys(ports, bay)}
    content: Object = {"ports": dict(whole)}
    write_durably(files, path, canonical.encode(content) + b"\n")
    return dict(whole)
