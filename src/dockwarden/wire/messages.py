"""What is said on each lane, but for chunks (`chunks.py`) and logs (`ledgers.py`): strict forms of bounded size.

Every reader raises MalformedError, and nothing else, for what does not print back identically. A receipt has no
form here: on its lane travels the receipt's own note (evidence.receipts).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, TypeVar, cast

from dockwarden.evidence import canonical, fields, ids, notes, statements
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.seals import SESSION, Seal

ORIGINAL, PREVIEW, SHEET = 0, 1, 2
PARTS = ("original", "preview.mp4", "sheet.jpg")
"""Names of the parts of a record, in the order of their numbers."""

MAX_SIZE = 1 << 42
"""Bytes of the largest item (4 TiB)."""
MAX_EPOCH = 2**32 - 1
MAX_RANGES = 64
"""Ranges of one want: a page. What lies behind them is wanted later."""
MAX_PACKET = 2_000_000
"""Bytes of the largest MQTT packet; the broker is told the same (`max_packet_size`)."""

_KEPT_FOR_HEADERS = 100_000
LIMITS = {
    "presence": 1 << 10,
    "offer": 1 << 16,
    "chunk": 1 << 20,
    "answer": MAX_PACKET - _KEPT_FOR_HEADERS,
    "done": 1 << 16,
    "fact": MAX_PACKET - _KEPT_FOR_HEADERS,
    "head": 1 << 16,
    "prove": 1 << 10,
    "want": 1 << 14,
    "receipt": 1 << 16,
    "ask": 1 << 12,
    "do": 1 << 20,
    "roster": MAX_PACKET - _KEPT_FOR_HEADERS,
}
"""Bytes of the largest payload of each lane."""

PresenceState: TypeAlias = Literal["online", "offline"]

_STATE = re.compile(r"online|offline")
_ASK_ID = NONCE = ids.RECORD_ID
_WORD = re.compile(r"[a-z]+(-[a-z]+){0,7}")


class _Message(Protocol):
    def encode(self) -> bytes: ...


_M = TypeVar("_M", bound=_Message)


@dataclass(frozen=True)
class Presence:
    """Whether a station is there. `session` is drawn anew (ids.new_record_id) at each start of the station's
    program; `since` is when it began to be in this state, `at` when this was said (both UTC with ms)."""

    state: PresenceState
    session: str
    since: str
    at: str

    def encode(self) -> bytes:
        """The payload."""
        body = {"at": self.at, "session": self.session, "since": self.since, "state": self.state, "v": 1}
        return canonical.encode(body)

    @staticmethod
    def decode(data: bytes) -> "Presence":
        """Read a payload; raises MalformedError."""
        body = opened("presence", data)
        state = cast(PresenceState, fields.matching(body, "state", _STATE))
        session = fields.matching(body, "session", SESSION)
        return same(Presence(state, session, fields.utc(body, "since"), fields.utc(body, "at")), data)


@dataclass(frozen=True)
class Offer:
    """A station has an item and has nothing of it in flight: the centre says what it wants.

    `size` in bytes, `leaves_root` in hexadecimal; `seal` is the note of the record's seal, with part 0 alone.
    `session` is the station's, `epoch` the highest in which the station was asked for this item (0: none yet):
    the answer has a higher one.
    """

    session: str
    record: str
    part: int
    epoch: int
    size: int
    leaves_root: str
    seal: bytes | None

    def encode(self) -> bytes:
        """The payload."""
        return canonical.encode(
            {
                "epoch": self.epoch,
                "leaves_root": self.leaves_root,
                "part": self.part,
                "record": self.record,
                "seal": None if self.seal is None else fields.base64_text(self.seal),
                "session": self.session,
                "size": self.size,
                "v": 1,
            }
        )

    @staticmethod
    def decode(data: bytes) -> "Offer":
        """Read a payload; raises MalformedError. Nothing of the seal is checked but that it is a note."""
        body = opened("offer", data)
        record, part = _item(body)
        seal = None if body.get("seal") is None else fields.data(body, "seal")
        if (seal is None) != (part != ORIGINAL):
            raise MalformedError("seal", "goes with part 0 and with no other")
        if seal is not None:
            notes.parse(seal)
        offer = Offer(
            session=fields.matching(body, "session", SESSION),
            record=record,
            part=part,
            epoch=bounded(body, "epoch", MAX_EPOCH),
            size=bounded(body, "size", MAX_SIZE),
            leaves_root=fields.digest(body, "leaves_root"),
            seal=seal,
        )
        return same(offer, data)

    def agrees(self, seal: Seal) -> bool:
        """Whether a checked seal is about the item that is offered."""
        offered = (self.record, self.size, self.leaves_root)
        return offered == (seal.record, seal.digests.size, seal.digests.leaves_root)


@dataclass(frozen=True)
class Want:
    """What the centre lacks of an item; cumulative, so that any want may be lost, doubled or overtaken.

    `leaves_root` is the offered one, so that no word about an older preview fits a newer; `seen` is the highest
    serial that the receiver has had in this `epoch`, `credit` how many bytes of data may be
    on their way beyond it, `ranges` the missing leaves as (first, count), ascending, neither touching nor
    overlapping, at most MAX_RANGES. `complete`: all is stored; for an original the receipt follows.
    """

    station: str
    session: str
    record: str
    part: int
    leaves_root: str
    epoch: int
    seen: int
    credit: int
    ranges: tuple[tuple[int, int], ...]
    complete: bool = False

    def to_object(self) -> Object:
        """The statement's body."""
        return {
            "complete": self.complete,
            "credit": self.credit,
            "epoch": self.epoch,
            "leaves_root": self.leaves_root,
            "part": self.part,
            "ranges": [[first, count] for first, count in self.ranges],
            "record": self.record,
            "seen": self.seen,
            "session": self.session,
            "station": self.station,
            "v": 1,
        }

    def sign(self, key: notes.SigningKey) -> bytes:
        """The payload: a statement `want` signed by the centre."""
        return statements.sign("want", self.to_object(), key)

    @staticmethod
    def open(data: bytes, keys: Iterable[notes.VerifierKey]) -> "Want":
        """Check and read a payload; raises SignatureError unless one of `keys` signed it, MalformedError."""
        _bounded_payload("want", data)
        body = statements.open_signed("want", data, keys).body
        fields.version(body)
        record, part = _item(body)
        want = Want(
            station=fields.matching(body, "station", ids.PLACE_NAME),
            session=fields.matching(body, "session", SESSION),
            record=record,
            part=part,
            leaves_root=fields.digest(body, "leaves_root"),
            epoch=bounded(body, "epoch", MAX_EPOCH, least=1),
            seen=fields.integer(body, "seen"),
            credit=fields.integer(body, "credit"),
            ranges=_ranges(body),
            complete=fields.boolean(body, "complete"),
        )
        if want.complete and (want.ranges or want.credit):
            raise MalformedError("complete", "is said while something is wanted")
        if canonical.encode(want.to_object()) != canonical.encode(body):
            raise MalformedError("want", "has fields that this version does not know")
        return want


@dataclass(frozen=True)
class Ask:
    """A question of the centre. `id` is drawn at random (ids.new_record_id); `what` is a word, as `status`."""

    id: str
    what: str

    def encode(self) -> bytes:
        """The payload."""
        return canonical.encode({"id": self.id, "v": 1, "what": self.what})

    @staticmethod
    def decode(data: bytes) -> "Ask":
        """Read a payload; raises MalformedError."""
        body = opened("ask", data)
        return same(Ask(fields.matching(body, "id", _ASK_ID), fields.matching(body, "what", _WORD)), data)


@dataclass(frozen=True)
class Answer:
    """A station's answer to the question `id`, as of `at` (UTC with ms)."""

    id: str
    at: str
    answer: Object

    def encode(self) -> bytes:
        """The payload; raises MalformedError where the answer has no canonical form."""
        return canonical.encode({"answer": self.answer, "at": self.at, "id": self.id, "v": 1})

    @staticmethod
    def decode(data: bytes) -> "Answer":
        """Read a payload; raises MalformedError. What the answer holds is for its reader to check."""
        body = opened("answer", data)
        answer = Answer(fields.matching(body, "id", _ASK_ID), fields.utc(body, "at"), fields.obj(body, "answer"))
        return same(answer, data)


@dataclass(frozen=True)
class Prove:
    """A station asks for a receipt that answers just this question: all bytes are to be read anew, now. `nonce` is
    drawn at random (ids.new_record_id); `seal_sha256` says which seal the record should be stored under."""

    record: str
    seal_sha256: str
    nonce: str

    def encode(self) -> bytes:
        """The payload."""
        body: Object = {"nonce": self.nonce, "record": self.record, "seal_sha256": self.seal_sha256, "v": 1}
        return canonical.encode(body)

    @staticmethod
    def decode(data: bytes) -> "Prove":
        """Read a payload; raises MalformedError."""
        body = opened("prove", data)
        prove = Prove(
            record=fields.matching(body, "record", ids.RECORD_ID),
            seal_sha256=fields.digest(body, "seal_sha256"),
            nonce=fields.matching(body, "nonce", NONCE),
        )
        return same(prove, data)


@dataclass(frozen=True)
class Unproven:
    """The centre gives no receipt for the question that bears `nonce`; `code` is the error's."""

    nonce: str
    code: str

    def encode(self) -> bytes:
        """The payload."""
        return canonical.encode({"code": self.code, "nonce": self.nonce, "v": 1})

    @staticmethod
    def decode(data: bytes) -> "Unproven":
        """Read a payload; raises MalformedError."""
        body = opened("prove", data)
        found = Unproven(fields.matching(body, "nonce", NONCE), fields.matching(body, "code", _WORD, 64))
        return same(found, data)


def bounded(source: Object, key: str, most: int, least: int = 0) -> int:
    """Field `key` as an integer from `least` to `most`; raises MalformedError."""
    value = fields.integer(source, key, least)
    if value > most:
        raise MalformedError(key, f"is above {most}")
    return value


def _bounded_payload(lane: str, data: bytes) -> None:
    if len(data) > LIMITS[lane]:
        raise MalformedError(lane, f"is larger than {LIMITS[lane]} bytes")


def opened(lane: str, data: bytes) -> Object:
    """The object in a payload of `lane`; raises MalformedError."""
    _bounded_payload(lane, data)
    body = canonical.decode_object(data, lane)
    fields.version(body)
    return body


def same(message: _M, data: bytes) -> _M:
    """`message`, if it prints back as `data`; raises MalformedError."""
    if message.encode() != data:
        raise MalformedError(type(message).__name__, "has fields that this version does not know")
    return message


def _item(body: Object) -> tuple[str, int]:
    return fields.matching(body, "record", ids.RECORD_ID), bounded(body, "part", len(PARTS) - 1)


def _ranges(body: Object) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    free = 0
    for item in fields.array(body, "ranges", MAX_RANGES):
        if not isinstance(item, list) or len(item) != 2:
            raise MalformedError("ranges", "holds something that is not a pair")
        pair: Object = {"first": item[0], "count": item[1]}
        first, count = fields.integer(pair, "first"), fields.integer(pair, "count", 1)
        if first < free:
            raise MalformedError("ranges", "touch, overlap or do not ascend")
        ranges.append((first, count))
        free = first + count + 1
    return tuple(ranges)
