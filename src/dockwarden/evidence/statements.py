"""Signed statements: one form for all that we sign but heads.

A statement is a signed note whose text is two lines: its type (`dockwarden/<type>/1`) and a canonical JSON
object. The type line keeps a signature over one kind of statement from being shown as another.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dockwarden.evidence import canonical, notes
from dockwarden.evidence.canonical import MalformedError, Object

Type: TypeAlias = Literal["seal", "receipt", "want", "package", "enrolment"]


@dataclass(frozen=True)
class Statement:
    """A statement whose signature by `signer` holds. `raw` are the bytes as received."""

    body: Object
    signer: notes.VerifierKey
    raw: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole note, as `sha256sum` prints it for the file."""
        return hashlib.sha256(self.raw).hexdigest()


def sign(kind: Type, body: Object, key: notes.SigningKey) -> bytes:
    """Return the signed note of `body`."""
    return key.sign(f"{_type_line(kind)}\n{canonical.encode(body).decode()}\n")


def open_signed(kind: Type, data: bytes, keys: Iterable[notes.VerifierKey]) -> Statement:
    """Return the statement in `data`.

    Raises MalformedError for another type or form and SignatureError unless one of `keys` signed it.
    """
    verified = notes.verify(data, keys)
    return Statement(_body(kind, verified.text), verified.signers[0], data)


def peek(kind: Type, data: bytes) -> Object:
    """Return the body WITHOUT checking any signature: only to find out whose key to ask for."""
    return _body(kind, notes.parse(data).text)


def _type_line(kind: Type) -> str:
    return f"dockwarden/{kind}/1"


def _body(kind: Type, text: str) -> Object:
    lines = text.split("\n")
    if len(lines) != 3 or lines[0] != _type_line(kind):
        raise MalformedError(kind, "is not a statement of this type")
    return canonical.decode_object(lines[1].encode(), kind)
