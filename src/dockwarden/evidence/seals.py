"""Seals: the signed manifest of a record, made when its bytes enter the vault (design: intake, step 3)."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from dockwarden.evidence import fields, ids, notes, statements
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.digests import LEAF_SIZE, Digests

ReadBack: TypeAlias = Literal["direct", "dropped", "none"]
"""How bytes were read again after the write: past the page cache (O_DIRECT), after dropping it, or not at all."""

READ_BACKS: tuple[ReadBack, ...] = get_args(ReadBack)
HOLE_REASONS = ("given-up", "unreadable")
SESSION = re.compile(r"[a-z2-7]{26}")
MAX_NAME = 32 * 1024
"""Bytes of a path on a device; Linux ends at 4,096, exFAT's and MTP's deepest paths are longer."""

_RAW = re.compile(r"([0-9a-f]{2})+")


@dataclass(frozen=True, slots=True)
class SourceName:
    """A name as a device showed it. `raw` decides; `text` is for people and says how it was decoded."""

    text: str
    raw: bytes
    decoded_as: str

    def to_object(self) -> Object:
        """The name's canonical object."""
        return {"decoded_as": self.decoded_as, "raw": self.raw.hex(), "text": self.text}

    @staticmethod
    def from_object(source: Object) -> "SourceName":
        """Read a name; raises MalformedError."""
        raw = fields.matching(source, "raw", _RAW, 2 * MAX_NAME)
        text = fields.text(source, "text", MAX_NAME)
        name = SourceName(text, bytes.fromhex(raw), fields.text(source, "decoded_as", 32))
        fields.printed_back(source, name.to_object())
        return name


@dataclass(frozen=True)
class Hole:
    """A range of bytes of a file that its device did not give: `offset` and `length` in bytes, `reason` one of
    `unreadable` (tried block by block) and `given-up` (tried no further). The original has zeros there, which are no
    contents."""

    offset: int
    length: int
    reason: str

    def to_object(self) -> Object:
        """The hole's canonical object."""
        return {"length": self.length, "offset": self.offset, "reason": self.reason}


@dataclass(frozen=True)
class Seal:
    """What is signed of a record; one with `holes` is partial.

    `device` holds the device's key, family, profile and kind; `source` its volume, name, size in bytes,
    raw modification time (the device's own wall clock in seconds, no zone) and marks; `captured` the start and
    end of the recording in UTC or null, and how they are known; `clock` the measured error of the device's clock
    in ms (device minus true) with its uncertainty, or null where unknown. `session` is the docking session.
    """

    record: str
    log: str
    bay: str
    session: str
    device: Object
    source: Object
    captured: Object
    clock: Object | None
    digests: Digests
    read_back: ReadBack
    sealed_at: str
    holes: tuple[Hole, ...] = ()

    def to_object(self) -> Object:
        """The seal's canonical object; `holes` is there only where there are some."""
        holes: Object = {"holes": [hole.to_object() for hole in self.holes]} if self.holes else {}
        return {
            **holes,
            "bay": self.bay,
            "captured": self.captured,
            "clock": self.clock,
            "device": self.device,
            "digests": {
                "leaf_size": LEAF_SIZE,
                "leaves_root": self.digests.leaves_root,
                "sha256": self.digests.sha256,
                "size": self.digests.size,
                "sm3": self.digests.sm3,
            },
            "log": self.log,
            "read_back": self.read_back,
            "record": self.record,
            "sealed_at": self.sealed_at,
            "session": self.session,
            "source": self.source,
            "v": 1,
        }

    @staticmethod
    def from_object(source: Object) -> "Seal":
        """Read a seal; raises MalformedError. Fields of later versions survive in the signed bytes."""
        fields.version(source)
        read_back = fields.text(source, "read_back", 16)
        if read_back not in READ_BACKS:
            raise MalformedError("read_back", "is none that we know")
        SourceName.from_object(fields.obj(fields.obj(source, "source"), "name"))
        seal = Seal(
            record=fields.matching(source, "record", ids.RECORD_ID),
            log=fields.matching(source, "log", ids.LOG_ID),
            bay=fields.text(source, "bay", 64),
            session=fields.matching(source, "session", SESSION),
            device=fields.obj(source, "device"),
            source=fields.obj(source, "source"),
            captured=fields.obj(source, "captured"),
            clock=fields.obj(source, "clock") if source.get("clock") is not None else None,
            digests=_digests(fields.obj(source, "digests")),
            read_back=read_back,
            sealed_at=fields.utc(source, "sealed_at"),
            holes=_holes(source),
        )
        fields.printed_back(source, seal.to_object())
        return seal

    @property
    def missing(self) -> int:
        """Bytes of the file that its device did not give."""
        return sum(hole.length for hole in self.holes)

    @property
    def source_name(self) -> SourceName:
        """The name that the device showed."""
        return SourceName.from_object(fields.obj(self.source, "name"))


def sign_seal(seal: Seal, key: notes.SigningKey) -> bytes:
    """Return the bytes of `seal.note`; their SHA-256 is the record's `seal_sha256`.

    The place that keeps the seal's log signs. Raises MalformedError for a seal that no reader would take.
    """
    if seal.log.partition(".")[0] != key.name:
        raise ValueError("a place seals for its own log alone")
    data = statements.sign("seal", seal.to_object(), key)
    read_seal(data)
    return data


def open_seal(data: bytes, keys: Iterable[notes.VerifierKey]) -> tuple[Seal, statements.Statement]:
    """Check and read a seal.

    Raises SignatureError unless a key named like the place of the seal's log signed it; MalformedError.
    """
    body = statements.peek("seal", data)
    place = fields.matching(body, "log", ids.LOG_ID).partition(".")[0]
    statement = statements.open_signed("seal", data, [key for key in keys if key.name == place])
    return Seal.from_object(statement.body), statement


def read_seal(data: bytes) -> Seal:
    """Read a seal of our own vault WITHOUT checking who signed it."""
    return Seal.from_object(statements.peek("seal", data))


def seal_sha256(data: bytes) -> str:
    """The digest by which facts and receipts name a seal: SHA-256 of the whole file."""
    return hashlib.sha256(data).hexdigest()


def _digests(source: Object) -> Digests:
    if fields.integer(source, "leaf_size") != LEAF_SIZE:
        raise MalformedError("leaf_size", f"is not {LEAF_SIZE}")
    return Digests(
        fields.integer(source, "size"),
        fields.digest(source, "sha256"),
        fields.digest(source, "sm3"),
        fields.digest(source, "leaves_root"),
    )


def _holes(source: Object) -> tuple[Hole, ...]:
    """The holes in order, apart from each other and within the file."""
    if "holes" not in source:
        return ()
    found: list[Hole] = []
    end = 0
    for value in fields.array(source, "holes"):
        hole = _hole(value)
        if hole.offset < end:
            raise MalformedError("holes", "are not in order")
        end = hole.offset + hole.length
        found.append(hole)
    if not found or end > fields.integer(fields.obj(source, "digests"), "size"):
        raise MalformedError("holes", "are none of this file")
    return tuple(found)


def _hole(value: object) -> Hole:
    if not isinstance(value, dict):
        raise MalformedError("holes", "has one that is no object")
    hole = Hole(fields.integer(value, "offset"), fields.integer(value, "length"), fields.text(value, "reason", 16))
    if not hole.length or hole.reason not in HOLE_REASONS:
        raise MalformedError("holes", "has one that is none")
    fields.printed_back(value, hole.to_object())
    return hole
