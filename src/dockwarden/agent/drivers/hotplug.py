"""What a station needs of a source of hot-plug events; udev is one, a simulator's folder another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from dockwarden.agent.drivers.source import Device
from dockwarden.service.errors import ServiceError


@dataclass(frozen=True)
class Plugged:
    """A device sits in a bay and can be read. Who takes the event closes the device."""

    bay: str
    device: Device


@dataclass(frozen=True)
class Unplugged:
    """The device `device_key` has left its bay; its open readers fail."""

    bay: str
    device_key: str


@dataclass(frozen=True)
class Refused:
    """Something was put into a bay that is not taken, and why (no profile, two profiles, a bad description)."""

    bay: str
    error: ServiceError


Event: TypeAlias = Plugged | Unplugged | Refused


class HotPlug(Protocol):
    """Events of the bays, in order, from one thread; what is plugged in at the start comes first."""

    def start(self, put: Callable[[Event], None]) -> None:
        """Begin to deliver; `put` must not block for long."""

    def stop(self) -> None:
        """Deliver nothing any more; returns when the thread has ended."""
