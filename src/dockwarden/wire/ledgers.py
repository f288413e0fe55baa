"""What is said of logs: batches of facts, and heads (the centre and its stations cosign each other's).

Strict forms of bounded size, as in `messages.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from dockwarden.evidence import canonical, checkpoints, facts, fields, ids, notes
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.wire.messages import LIMITS, opened, same

MAX_ENTRIES = 1000
"""Entries of one batch."""


@dataclass(frozen=True)
class FactBatch:
    """Entries of a log from number `start` on, without a gap."""

    log: str
    start: int
    entries: tuple[facts.Entry, ...]

    def encode(self) -> bytes:
        """The payload."""
        entries = [facts.entry_to_object(entry) for entry in self.entries]
        return canonical.encode({"entries": entries, "log": self.log, "start": self.start, "v": 1})

    @staticmethod
    def decode(data: bytes) -> "FactBatch":
        """Read a payload; every envelope, and every body against its envelope; raises MalformedError."""
        body = opened("fact", data)
        log, start = fields.matching(body, "log", ids.LOG_ID), fields.integer(body, "start")
        items = fields.array(body, "entries", MAX_ENTRIES)
        if not items:
            raise MalformedError("entries", "are none")
        entries = tuple(facts.entry_from_object(_entry(item)) for item in items)
        for number, entry in enumerate(entries, start):
            if (entry.envelope.log, entry.envelope.seq) != (log, number):
                raise MalformedError("entries", "are not the log's next ones")
        return same(FactBatch(log, start, entries), data)


def fact_batch(log: str, start: int, entries: Iterable[facts.Entry], limit: int = LIMITS["fact"]) -> FactBatch:
    """Return a batch of as many of `entries` as fit into a payload of `limit` bytes; at least one is taken."""
    room = limit - len(canonical.encode({"entries": [], "log": log, "start": start, "v": 1}))
    taken: list[facts.Entry] = []
    for entry in entries:
        room -= len(canonical.encode(facts.entry_to_object(entry))) + 1
        if taken and (room < 0 or len(taken) == MAX_ENTRIES):
            break
        taken.append(entry)
    return FactBatch(log, start, tuple(taken))


@dataclass(frozen=True)
class LogSize:
    """How many entries of a log a side holds."""

    log: str
    size: int


@dataclass(frozen=True)
class HeadMessage:
    """A side's newest head, and what it knows of the other side's log.

    `head` is the checkpoint's note; `seen` how far the sender holds the receiver's log (None: nothing of it);
    `cosigned` the receiver's own head as the sender cosigned it; `consistency` the proof that the tree of the
    size in the receiver's last `seen` begins this head's tree (hashes of 32 bytes; empty when there was none).
    """

    head: bytes
    seen: LogSize | None = None
    cosigned: bytes | None = None
    consistency: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """The payload."""
        seen = None if self.seen is None else {"log": self.seen.log, "size": self.seen.size}
        return canonical.encode(
            {
                "consistency": [fields.base64_text(step) for step in self.consistency],
                "cosigned": None if self.cosigned is None else self.cosigned.decode(),
                "head": self.head.decode(),
                "seen": seen,
                "v": 1,
            }
        )

    @staticmethod
    def decode(data: bytes) -> "HeadMessage":
        """Read a payload; raises MalformedError. No signature is checked here."""
        body = opened("head", data)
        seen = None
        if body.get("seen") is not None:
            inner = fields.obj(body, "seen")
            seen = LogSize(fields.matching(inner, "log", ids.LOG_ID), fields.integer(inner, "size"))
        cosigned = None if body.get("cosigned") is None else _head_note(body, "cosigned")
        steps = tuple(_hash(item) for item in fields.array(body, "consistency", 64))
        return same(HeadMessage(_head_note(body, "head"), seen, cosigned, steps), data)


def _entry(item: object) -> Object:
    if not isinstance(item, dict):
        raise MalformedError("entries", "holds something that is not an object")
    return cast(Object, item)


def _head_note(body: Object, key: str) -> bytes:
    data = fields.text(body, key, 1 << 15).encode()
    checkpoints.Head.parse(notes.parse(data).text)
    return data


def _hash(item: object) -> bytes:
    if not isinstance(item, str):
        raise MalformedError("consistency", "holds something that is not text")
    value = fields.base64_bytes(item, "consistency")
    if len(value) != 32:
        raise MalformedError("consistency", "holds something that is not a hash")
    return value
