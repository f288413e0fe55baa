"""What every driver offers: a device, its sources, and readers of a source's bytes.

A source is one file that a device shows. All of them are taken: hidden, empty, logs, sidecars, whatever their name.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from dockwarden.evidence.canonical import Object, Value
from dockwarden.evidence.seals import ReadBack, SourceName
from dockwarden.service.errors import ServiceError

Kind: TypeAlias = Literal["camera", "recorder"]
Mark: TypeAlias = Literal["important", "log", "position"]
Code: TypeAlias = Literal[
    "vanished", "grew", "shrank", "changed", "unreadable", "unplugged",
    "not-writable", "held-open", "not-removed", "another-removed",
]  # fmt: skip

_TAKE_AGAIN = "Dock the device again; the file stays in quarantine until a person has looked at it."
_OFFICE = "Hand the device to the office and do not use its card again before it has been read."

_WORDS: dict[Code, tuple[str, str]] = {
    "vanished": ("a file that the device showed is not there any more", _OFFICE),
    "grew": ("a file became longer after the device showed it", _TAKE_AGAIN),
    "shrank": ("a file became shorter after the device showed it", _OFFICE),
    "changed": ("a file was replaced or altered after the device showed it", _TAKE_AGAIN),
    "unreadable": ("a part of a file cannot be read", _OFFICE),
    "unplugged": ("the device was pulled out", "Dock it again in any bay; what was taken is kept."),
    "not-writable": ("the device cannot be made writable", "Nothing was removed; see whether its card is locked."),
    "held-open": ("a file cannot be kept from being written", "It was not removed: find out which program has it."),
    "not-removed": ("a file could not be removed for good", "It may be there still: dock the device again."),
    "another-removed": ("another file had taken the name of one that was removed", _OFFICE),
}


class SourceError(ServiceError):
    """A source that cannot be taken as the device showed it.

    `code` is one of vanished, grew, shrank, changed (all of the one source), unreadable (then `offset` and `length`
    name the range in bytes) and unplugged (no source of the device can be read). Of removing: not-writable (the whole
    device), held-open, not-removed and another-removed (see `Clearing`). `where` names the device, never the
    file: names of files can hold what must not reach a log, and the caller knows which it asked for.
    """

    def __init__(self, code: Code, where: str, offset: int | None = None, length: int | None = None) -> None:
        what, do = _WORDS[code]
        place = where if offset is None else f"{where}, bytes {offset} to {offset + (length or 0)}"
        super().__init__(code, what, place, do)
        self.offset = offset
        self.length = length


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """One file as a device showed it. `name.raw` is its path below the volume's root, joined by `/`.

    `size` is in bytes. `modified_raw` is the device's own wall clock in whole seconds since 1970-01-01T00:00 of that
    same wall clock: no zone and no correction has been applied. `volume` names the card, not the body it sits in.
    """

    volume: str
    name: SourceName
    size: int
    modified_raw: int
    marks: frozenset[Mark] = frozenset()

    def to_object(self) -> Object:
        """The source's canonical object, as it stands in a seal."""
        marks: list[Value] = [*sorted(self.marks)]
        return {
            "marks": marks,
            "modified_raw": self.modified_raw,
            "name": self.name.to_object(),
            "size": self.size,
            "volume": self.volume,
        }


@dataclass(frozen=True)
class DeviceInfo:
    """Who a device says it is. `key` recognises it (see `device_key`); no decision rests on `serial` alone."""

    key: str
    family: str
    profile: str
    kind: Kind
    serial: str | None
    model: str

    def to_object(self) -> Object:
        """The device's canonical object, as it stands in a seal."""
        return {
            "family": self.family,
            "key": self.key,
            "kind": self.kind,
            "model": self.model,
            "profile": self.profile,
            "serial": self.serial,
        }


@dataclass(frozen=True, slots=True)
class Unlisted:
    """Something on a device that is no source: a link, a pipe, a folder that cannot be read. It keeps a bay amber."""

    name: SourceName
    reason: str


@dataclass(frozen=True)
class ClockReading:
    """A look at a device's clock: `device_ms` is its wall clock, `at_ms` ours (Unix), both in ms at one moment.

    `uncertainty_ms` is None where the reading is only a lower bound: the newest file tells that the device's clock
    had got as far as that, no more. `method` says how it was read: `asked`, `newest-file`.
    """

    device_ms: int
    at_ms: int
    uncertainty_ms: int | None
    method: str


class Reader(Protocol):
    """A source opened for reading, by one thread at a time."""

    @property
    def how(self) -> ReadBack:
        """How the bytes were read so far; `none` for a reading that may have come from a cache."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`, at most `length` of them and none behind the size that was listed.

        Fewer than asked means that the device ends the file early: the caller counts. The reading that reaches the
        listed size also checks that the file is still the one that was listed. Raises SourceError.
        """

    def close(self) -> None:
        """Let go of the source."""


class Clearing(Protocol):
    """A device that is writable for a while, to remove files that are proven to be elsewhere. For one thread.

    Nothing but removing can be done. Who opened it closes it, whatever happens.
    """

    def remove(self, source: SourceInfo, proven: Callable[[Reader], bool]) -> None:
        """Remove a listed source, if `proven` finds right what a reader past the cache gives of it.

        From before `proven` reads until the file is gone nobody can change its bytes: where that cannot be had it
        stays (`held-open`). It is the file that was listed, by all that tells it from another, and still bears its
        name just before it is removed. Returns when its folder is synced. Raises SourceError: with `not-removed` and
        `unplugged` it may be gone or not; with `another-removed` a file that had just taken its name is gone, and it
        is still there; with every other code nothing was removed.
        """

    def close(self) -> None:
        """Make the device read-only again, with all that was done on it. Raises SourceError where that fails."""


class Device(Protocol):
    """What is plugged into a bay. Who takes it from the hot-plug source closes it."""

    @property
    def info(self) -> DeviceInfo:
        """Who the device says it is."""

    def sources(self) -> list[SourceInfo]:
        """Every file, looked up anew, ordered by raw name. Raises SourceError `unplugged`."""

    def unlisted(self) -> list[Unlisted]:
        """What the newest `sources` left out and why. Raises SourceError `unplugged`."""

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """Open a listed source; `uncached` reads past the page cache as far as can be. Raises SourceError."""

    def clock(self) -> ClockReading | None:
        """Look at the device's clock; None where it has no way to tell. Raises SourceError `unplugged`."""

    def clearing(self) -> Clearing | None:
        """Make the device writable; None where its driver never removes anything. Raises SourceError."""

    def close(self) -> None:
        """Let go of the device; readers that are open stay so."""


def decode_name(raw: bytes) -> SourceName:
    """Return the name with the text that people see: UTF-8, else GB18030 (which holds GBK), else Latin-1."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return SourceName(raw.decode(encoding), raw, encoding)
        except UnicodeDecodeError:
            continue
    return SourceName(raw.decode("latin-1"), raw, "latin-1")


def device_key(model: str, serial: str | None, volume: str) -> str:
    """Return a device's key: model and serial number, or model and volume where it has no serial number.

    It has the form of an actor's id in a fact: letters, digits and `.-_`, at most 64, whatever the device claims.
    """
    claimed = f"{model}-{serial}" if serial else f"{model}-volume-{volume}"
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", claimed).strip("._-")
    if plain == claimed and len(plain) <= 64:
        return plain
    digest = hashlib.sha256(claimed.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{plain[:48].rstrip('._-') or 'device'}-{digest}"
