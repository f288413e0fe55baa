"""Stations as the centre hears them, without a wire: they seal, say facts, offer items and answer wants, or lie."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dockwarden.evidence import facts, fields, ids, merkle, receipts, seals
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.checkpoints import Head, sign_head
from dockwarden.evidence.digests import LEAF_SIZE, Digests, Measure
from dockwarden.evidence.facts import By, Entry, Envelope, Instant, Outcome, Place
from dockwarden.evidence.notes import SigningKey
from dockwarden.rules.labels import Label, parse_case_number
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.ledgers import FactBatch
from dockwarden.wire.messages import ORIGINAL, Offer, Want

T0 = "2026-11-24T08:00:00.000Z"
BOOT = "0" * 32


def drawn(seed: str, size: int) -> bytes:
    """Bytes of chance that follow from a name."""
    return random.Random(seed).randbytes(size)


def record_id(name: str) -> str:
    """A record's id that follows from a name."""
    return ids.new_record_id(drawn(f"record {name}", 16))


def instant(utc: str = T0, mono: int = 0) -> Instant:
    """A moment on the clock of a machine that is in step."""
    return Instant(utc, BOOT, mono, True)


@dataclass(frozen=True)
class Footage:
    """Bytes to be sent as a part of a record, with the tree over their leaves."""

    record: str
    data: bytes
    part: int = ORIGINAL
    tree: merkle.Tree = field(init=False)
    digests: Digests = field(init=False)

    def __post_init__(self) -> None:
        measure = Measure()
        measure.update(self.data)
        object.__setattr__(self, "digests", measure.finish())
        object.__setattr__(self, "tree", merkle.Tree(measure.leaves))


@dataclass
class StationSide:
    """A station: its key, its log, and what it says."""

    name: str = "st-01"
    generation: str = "aaaaaaaa"
    entries: list[Entry] = field(default_factory=list)
    session: str = field(default_factory=lambda: ids.new_record_id(drawn("session", 16)))

    @property
    def key(self) -> SigningKey:
        """Its key."""
        return SigningKey(self.name, drawn(f"key {self.name}", 32))

    @property
    def log(self) -> str:
        """Its log."""
        return ids.log_id(self.name, self.generation)

    def say(
        self,
        kind: str,
        record: str | None = None,
        body: Object | None = None,
        *,
        outcome: Outcome = "done",
        place: Place | None = None,
        at: str = T0,
        withheld: bool = False,
    ) -> Entry:
        """Append a fact to its log."""
        entry = fact(self.log, len(self.entries), kind, record, body, outcome, place, at, withheld)
        self.entries.append(entry)
        return entry

    def seal(self, footage: Footage, number: int = 1, *, sealed_at: str = T0, captured_end: object = T0) -> bytes:
        """A seal's note; the fact is not said."""
        name = seals.SourceName(f"DCIM/{number}.MP4", f"DCIM/{number}.MP4".encode(), "ascii")
        seal = seals.Seal(
            record=footage.record,
            log=self.log,
            bay="1",
            session=self.session,
            device={"family": "mass-storage", "key": "X3", "kind": "camera", "profile": "generic"},
            source={
                "marks": [], "modified_raw": 1, "name": name.to_object(), "size": len(footage.data), "volume": "V"
            },
            captured={"start": None, "end": captured_end, "how": "name"},  # type: ignore[dict-item]  # may lie
            clock=None,
            digests=footage.digests,
            read_back="direct",
            sealed_at=sealed_at,
        )  # fmt: skip
        return seals.sign_seal(seal, self.key)

    def sealed(self, footage: Footage, number: int = 1, **more: str) -> bytes:
        """Seal and say so; returns the seal's note."""
        note = self.seal(footage, number, **more)
        self.say("sealed", footage.record, sealed_body(note), place="station", at=more.get("sealed_at", T0))
        return note

    def offer(self, footage: Footage, seal: bytes | None = None, epoch: int = 0) -> bytes:
        """The payload of an offer."""
        root, size = footage.digests.leaves_root, footage.digests.size
        return Offer(self.session, footage.record, footage.part, epoch, size, root, seal).encode()

    def batch(self, start: int = 0, end: int | None = None) -> bytes:
        """The payload that holds some of its entries."""
        return FactBatch(self.log, start, tuple(self.entries[start:end])).encode()

    def head(self, size: int | None = None) -> bytes:
        """The note of its log's head."""
        leaves = [entry.leaf for entry in self.entries[:size]]
        return sign_head(Head(self.log, len(leaves), merkle.root(leaves)), self.key)


def fact(
    log: str,
    seq: int,
    kind: str,
    record: str | None = None,
    body: Object | None = None,
    outcome: Outcome = "done",
    place: Place | None = None,
    at: str = T0,
    withheld: bool = False,
) -> Entry:
    """An entry of any log."""
    data = facts.seal_body(body or {}, drawn(f"salt {log} {seq}", facts.SALT_SIZE))
    by = By(log.partition(".")[0], "stage", "dockwarden/0.1.0 test")
    envelope = Envelope(log, seq, instant(at, seq), kind, outcome, by, facts.body_digest(data), record, place)
    return Entry(envelope.encode(), None if withheld else data)


def sealed_body(note: bytes) -> Object:
    """The body of a `sealed` fact."""
    digests = seals.read_seal(note).digests
    return {
        "leaves_root": digests.leaves_root,
        "seal": fields.base64_text(note),
        "seal_sha256": seals.seal_sha256(note),
        "sha256": digests.sha256,
        "size": digests.size,
        "sm3": digests.sm3,
    }


def label_body(
    case: str | None = "某市监罚〔2026〕1号", party: str | None = "甲", officer: str | None = "张伟"
) -> Object:
    """The body of a `labelled` fact."""
    number = parse_case_number(case) if case is not None else None
    return {**Label(number, party, "1" if officer else None, officer).to_object(), "secret": False}


def receipt_note(
    seal: bytes, key: SigningKey, place: Place = "centre", generation: str = "bbbbbbbb", **changes: str
) -> bytes:
    """A receipt that says what the seal says."""
    made = seals.read_seal(seal)
    values = {"record": made.record, "seal_sha256": seals.seal_sha256(seal), **changes}
    receipt = receipts.Receipt(
        values["record"], values["seal_sha256"], made.digests.size, made.digests.sha256, made.digests.sm3, place,
        generation, key.name, T0,
    )  # fmt: skip
    return receipts.sign_receipt(receipt, key)


def receipt_body(note: bytes) -> Object:
    """The body of a `received` or `backed-up` fact."""
    return {"receipt": fields.base64_text(note)}


def chunk(footage: Footage, leaf: int, want: Want, serial: int = 1, data: bytes | None = None) -> bytes:
    """The payload of a chunk; `data` may be other bytes than the leaf's."""
    start = leaf * LEAF_SIZE
    sent = footage.data[start : start + LEAF_SIZE] if data is None else data
    proof = tuple(footage.tree.proof(leaf))
    return Chunk(footage.record, footage.part, want.epoch, serial, leaf, proof, sent).encode()


def wanted(want: Want) -> Iterator[int]:
    """The leaves that a want names."""
    for first, count in want.ranges:
        yield from range(first, first + count)


def chunks(footage: Footage, want: Want, leaves: Iterable[int] | None = None) -> list[bytes]:
    """The chunks of what is wanted, or of some leaves."""
    chosen = wanted(want) if leaves is None else leaves
    return [chunk(footage, leaf, want, serial) for serial, leaf in enumerate(chosen, 1)]
