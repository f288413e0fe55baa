"""What is wrong with a simulated USB disk or camera, as data.

A fault is `{"kind", "at", "length", "reading", "rate", "which", "value"}`; all but `kind` may be left out.

| kind | what happens |
| --- | --- |
| `flip` | the lowest bit of byte `at` of the disk is wrong on the wire |
| `bad-sector` | reading any byte of `at` to `at` + `length` ends in a medium error |
| `stall` | reading byte `at` stalls the endpoint, as a controller does that has lost its way |
| `short` | a reading that holds byte `at` gives `length` bytes less than were asked for, and says so |
| `slow` | all reading together gets `rate` bytes a second |
| `unplug` | the device drops off once `at` bytes have been read |
| `capacity` | the disk claims `length` bytes more (or less, where negative) than it has; behind the end are zeros |
| `lost-write` | what is written at or behind byte `at` is acknowledged and thrown away |
| `descriptor` | byte `at` of the descriptor `which` (`device` or `configuration`) is `value` |

`reading` gives a fault only the n-th time that its place is read (1 is the first); without it every time.
As on a command line: `flip:at=4096,reading=1`.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from dockwarden.simulators.vm.errors import VmError

Kind: TypeAlias = Literal[
    "flip", "bad-sector", "stall", "short", "slow", "unplug", "capacity", "lost-write", "descriptor"
]
Which: TypeAlias = Literal["device", "configuration"]
SECTOR = 512


@dataclass(frozen=True)
class Fault:
    """One fault; see the module. `at` and `length` in bytes of the disk, `rate` in bytes a second."""

    kind: Kind
    at: int = 0
    length: int = SECTOR
    reading: int | None = None
    rate: int = 0
    which: Which = "configuration"
    value: int = 0

    def covers(self, start: int, length: int) -> bool:
        """Whether `length` bytes from `start` touch this fault's place."""
        end = self.at + (self.length if self.kind == "bad-sector" else 1)
        return start < end and self.at < start + length

    def to_object(self) -> dict[str, object]:
        """The fault as JSON."""
        return asdict(self)


def fault_of(given: Mapping[str, Any]) -> Fault:
    """A fault from parsed JSON or TOML. Raises VmError `bad-device`."""
    known = {field.name for field in fields(Fault)}
    for name, value in given.items():
        if name not in known:
            raise _bad(f"{name} is no part of a fault; {', '.join(sorted(known))} are")
        if name in ("kind", "which"):
            choices = get_args(Kind if name == "kind" else Which)
            if value not in choices:
                raise _bad(f"{name} {value!r} is none of {', '.join(choices)}")
        elif type(value) is not int and not (name == "reading" and value is None):
            raise _bad(f"{name} is no whole number: {value!r}")
    if "kind" not in given:
        raise _bad("has no kind")
    fault = Fault(**given)
    if fault.at < 0 or (fault.reading is not None and fault.reading < 1) or (fault.kind == "slow" and fault.rate < 1):
        raise _bad("at is below 0, reading below 1, or slow has no rate")
    if not 0 <= fault.value <= 255:
        raise _bad(f"value {fault.value} is no byte")
    return fault


def parse_fault(text: str) -> Fault:
    """A fault as typed: JSON, or `kind:at=4096,reading=1`. Raises VmError `bad-device`."""
    if text.lstrip().startswith("{"):
        try:
            return fault_of(json.loads(text))
        except json.JSONDecodeError as error:
            raise _bad(f"no JSON: {error}") from error
    kind, _, rest = text.partition(":")
    given: dict[str, Any] = {"kind": kind.strip()}
    for part in filter(None, rest.split(",")):
        name, _, value = part.partition("=")
        given[name.strip()] = int(value) if value.strip().lstrip("-").isdigit() else value.strip()
    return fault_of(given)


def parse_faults(toml: str) -> tuple[Fault, ...]:
    """The `[[fault]]` tables of a TOML text, in order. Raises VmError `bad-device`."""
    try:
        tables = tomllib.loads(toml).get("fault", [])
    except tomllib.TOMLDecodeError as error:
        raise _bad(f"no TOML: {error}") from error
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _bad("faults are tables [[fault]]")
    return tuple(fault_of(table) for table in tables)


def _bad(what: str) -> VmError:
    return VmError("bad-device", what, "fault")
