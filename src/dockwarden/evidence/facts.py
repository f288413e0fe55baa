"""Facts: what is known of a record, said once and never changed.

A leaf of a log is an *envelope*; what it says in detail is its *body*, which is stored beside it and bound to it
by a salted digest, so that a body can be withheld, left out or erased while the log still verifies.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias, cast, get_args

from dockwarden.evidence import canonical, fields, ids, merkle
from dockwarden.evidence.canonical import MalformedError, Object

Outcome: TypeAlias = Literal["done", "failed", "void"]
Place: TypeAlias = Literal["station", "centre", "off-site"]
Actor: TypeAlias = Literal["person", "stage", "device"]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
PLACES: tuple[Place, ...] = get_args(Place)
ACTORS: tuple[Actor, ...] = get_args(Actor)

KINDS = frozenset(
    {
        *("key-rotated", "restored", "docked", "judged", "undocked", "refused", "clock-measured"),
        *("sealed", "confirmed", "quarantined", "superseded", "labelled", "finding"),
        *("probed", "previewed", "fingerprinted"),
        *("stored", "received", "delivered", "backed-up", "drilled", "exported", "finding"),
        *("release-begun", "released"),
    }
)
"""The kinds that this program writes; a reader accepts any word, because the list grows."""

KIND = re.compile(r"[a-z]+(-[a-z]+)*")
SALT_SIZE = 16
MAX_BODY = 1 << 20
MAX_ENVELOPE = 1 << 14

_ACTOR_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BOOT = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Instant:
    """A moment: UTC with milliseconds, the boot it was read in, that boot's monotonic milliseconds, and whether
    the clock was synchronised. Order is never read from it: `seq` orders facts."""

    utc: str
    boot: str
    mono: int
    synchronised: bool

    def to_object(self) -> Object:
        """The instant's canonical object."""
        return {
            "boot": self.boot,
            "mono": self.mono,
            "synchronised": self.synchronised,
            "utc": self.utc,
        }

    @staticmethod
    def from_object(source: Object) -> "Instant":
        """Read an instant; raises MalformedError."""
        return Instant(
            fields.utc(source, "utc"),
            fields.matching(source, "boot", _BOOT),
            fields.integer(source, "mono"),
            fields.boolean(source, "synchronised"),
        )


@dataclass(frozen=True)
class By:
    """Who said it: an id (never a name), the kind of actor, and how (`dockwarden/0.1.0 intake`, `cli` …)."""

    id: str
    kind: Actor
    how: str

    def to_object(self) -> Object:
        """The actor's canonical object."""
        return {"how": self.how, "id": self.id, "kind": self.kind}

    @staticmethod
    def from_object(source: Object) -> "By":
        """Read an actor; raises MalformedError."""
        return By(
            fields.matching(source, "id", _ACTOR_ID),
            cast(Actor, _one_of(source, "kind", ACTORS)),
            fields.text(source, "how", 128),
        )


@dataclass(frozen=True)
class Envelope:
    """What a log commits to about one fact. `record` and `place` are None where the fact is about neither."""

    log: str
    seq: int
    at: Instant
    kind: str
    outcome: Outcome
    by: By
    body_sha256: str
    record: str | None = None
    place: Place | None = None

    def encode(self) -> bytes:
        """Canonical bytes: the data of the log's leaf number `seq`."""
        source: Object = {
            "at": self.at.to_object(),
            "body_sha256": self.body_sha256,
            "by": self.by.to_object(),
            "kind": self.kind,
            "log": self.log,
            "outcome": self.outcome,
            "seq": self.seq,
            "v": 1,
        }
        if self.record is not None:
            source["record"] = self.record
        if self.place is not None:
            source["place"] = self.place
        return canonical.encode(source)

    @staticmethod
    def decode(data: bytes) -> "Envelope":
        """Read an envelope; raises MalformedError for anything that does not print back identically."""
        source = canonical.decode_object(data, "envelope")
        fields.version(source)
        envelope = Envelope(
            log=fields.matching(source, "log", ids.LOG_ID),
            seq=fields.integer(source, "seq"),
            at=Instant.from_object(fields.obj(source, "at")),
            kind=fields.matching(source, "kind", KIND, 64),
            outcome=cast(Outcome, _one_of(source, "outcome", OUTCOMES)),
            by=By.from_object(fields.obj(source, "by")),
            body_sha256=fields.digest(source, "body_sha256"),
            record=fields.matching(source, "record", ids.RECORD_ID) if "record" in source else None,
            place=cast(Place, _one_of(source, "place", PLACES)) if "place" in source else None,
        )
        if envelope.encode() != data:
            raise MalformedError("envelope", "has fields that this version does not know")
        return envelope


@dataclass(frozen=True)
class Entry:
    """An envelope's bytes and its body's bytes (salt, then canonical JSON), or None where it is withheld."""

    envelope_bytes: bytes
    body_bytes: bytes | None

    @cached_property
    def envelope(self) -> Envelope:
        """The parsed envelope."""
        return Envelope.decode(self.envelope_bytes)

    @cached_property
    def body(self) -> Object | None:
        """The parsed body, checked against the envelope; None where it is withheld."""
        if self.body_bytes is None:
            return None
        return open_body(self.body_bytes, self.envelope.body_sha256)

    @property
    def leaf(self) -> bytes:
        """The log's leaf hash."""
        return merkle.leaf_hash(self.envelope_bytes)


def seal_body(body: Object, salt: bytes) -> bytes:
    """Bytes of a body: 16 random bytes of salt, then canonical JSON. Raises MalformedError over 1 MiB."""
    if len(salt) != SALT_SIZE:
        raise ValueError(f"a salt has {SALT_SIZE} bytes")
    data = salt + canonical.encode(body)
    if len(data) > MAX_BODY:
        raise MalformedError("body", f"is larger than {MAX_BODY} bytes")
    return data


def body_digest(data: bytes) -> str:
    """The digest by which an envelope binds its body."""
    return hashlib.sha256(data).hexdigest()


def open_body(data: bytes, body_sha256: str) -> Object:
    """Read a body that an envelope binds by `body_sha256`; raises MalformedError where it is another."""
    if len(data) > MAX_BODY or body_digest(data) != body_sha256:
        raise MalformedError("body", "is not the one that the envelope binds")
    return canonical.decode_object(data[SALT_SIZE:], "body")


def entry_to_object(entry: Entry) -> Object:
    """An entry as it travels: on the wire, in backups and in packages."""
    body = None if entry.body_bytes is None else fields.base64_text(entry.body_bytes)
    return {"body": body, "envelope": entry.envelope_bytes.decode()}


def entry_from_object(source: Object) -> Entry:
    """Read an entry and check its envelope and body; raises MalformedError. Other fields (a proof) may be there."""
    if "body" not in source:
        raise MalformedError("body", "is not there; a withheld one is null")
    body = None if source["body"] is None else fields.data(source, "body")
    entry = Entry(fields.text(source, "envelope", MAX_ENVELOPE).encode("utf-8", "replace"), body)
    _ = entry.envelope, entry.body
    return entry


def _one_of(source: Object, key: str, words: tuple[str, ...]) -> str:
    value = fields.text(source, key, 32)
    if value not in words:
        raise MalformedError(key, f"is none of {', '.join(words)}")
    return value
