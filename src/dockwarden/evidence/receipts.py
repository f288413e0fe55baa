"""Receipts: a witness's signed word that it re-read every byte of a record at a place (article 15, 异地备份)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dockwarden.evidence import fields, ids, notes, statements
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.digests import Digests
from dockwarden.evidence.facts import PLACES, Place

GENERATION = re.compile(r"[a-z0-9]{8,64}")


@dataclass(frozen=True)
class Receipt:
    """`place` in its `generation` holds the record; `witness` (a place's name, the signing key's name) read it
    in full and found the seal's size in bytes, SHA-256 and SM3. `nonce` answers a fresh question, else None."""

    record: str
    seal_sha256: str
    size: int
    sha256: str
    sm3: str
    place: Place
    generation: str
    witness: str
    at: str
    nonce: str | None = None
    head: str | None = None
    method: str = "full"

    def to_object(self) -> Object:
        """The receipt's canonical object."""
        return {
            "at": self.at,
            "generation": self.generation,
            "head": self.head,
            "method": self.method,
            "nonce": self.nonce,
            "place": self.place,
            "record": self.record,
            "seal_sha256": self.seal_sha256,
            "sha256": self.sha256,
            "size": self.size,
            "sm3": self.sm3,
            "v": 1,
            "witness": self.witness,
        }

    @staticmethod
    def from_object(source: Object) -> "Receipt":
        """Read a receipt; raises MalformedError."""
        fields.version(source)
        place, method = fields.text(source, "place", 16), fields.text(source, "method", 16)
        if place not in PLACES:
            raise MalformedError("place", "is none that we know")
        if method != "full":
            raise MalformedError("method", "is not full: samples give no receipt")
        receipt = Receipt(
            record=fields.matching(source, "record", ids.RECORD_ID),
            seal_sha256=fields.digest(source, "seal_sha256"),
            size=fields.integer(source, "size"),
            sha256=fields.digest(source, "sha256"),
            sm3=fields.digest(source, "sm3"),
            place=place,
            generation=fields.matching(source, "generation", GENERATION),
            witness=fields.matching(source, "witness", ids.PLACE_NAME),
            at=fields.utc(source, "at"),
            nonce=fields.optional_text(source, "nonce", 64),
            head=fields.optional_text(source, "head", 8192),
            method=method,
        )
        fields.printed_back(source, receipt.to_object())
        return receipt

    def agrees(self, record: str, seal_sha256: str, digests: Digests) -> bool:
        """Whether this receipt is about just that record, seal and bytes."""
        mine = (self.record, self.seal_sha256, self.size, self.sha256, self.sm3)
        return mine == (record, seal_sha256, digests.size, digests.sha256, digests.sm3)


def sign_receipt(receipt: Receipt, key: notes.SigningKey) -> bytes:
    """Return the receipt's note; the witness signs with its own key.

    Raises MalformedError for a receipt that no reader would take.
    """
    if receipt.witness != key.name:
        raise ValueError("a witness signs with its own key")
    data = statements.sign("receipt", receipt.to_object(), key)
    Receipt.from_object(statements.peek("receipt", data))
    return data


def open_receipt(data: bytes, keys: Iterable[notes.VerifierKey]) -> Receipt:
    """Check and read a receipt; raises SignatureError unless the key of its witness signed it."""
    witness = fields.matching(statements.peek("receipt", data), "witness", ids.PLACE_NAME)
    statement = statements.open_signed("receipt", data, [key for key in keys if key.name == witness])
    return Receipt.from_object(statement.body)
