"""Signed notes of C2SP (c2sp.org/signed-note) with Ed25519 keys, and cosignatures (c2sp.org/tlog-cosignature)."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.fields import base64_bytes, base64_text

ALGORITHM_ED25519 = 1
ALGORITHM_COSIGNATURE = 4
MAX_NOTE = 4 << 20
MAX_SIGNATURES = 32

_NAME = r"[^\s+\x00-\x1f\ud800-\udfff]{1,128}"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIGNATURE_LINE = re.compile(rf"— ({_NAME}) ([A-Za-z0-9+/]+={{0,2}})")
_KEY_NAME = re.compile(_NAME)
_COSIGNED_PREFIX = "cosignature/v1\n"
_LATEST = 2**63 - 1

_FIELD = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset(y | sign << 255 for sign in (0, 1) for y in (0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8))
"""The points of order 1, 2, 4 and 8, as little-endian numbers: a signature by or with them binds nothing."""


class SignatureError(ValueError):
    """A note that no known key has signed, or whose signature by a known key is wrong."""


@dataclass(frozen=True)
class Signature:
    """One signature line: the key's name, its 4-byte id, and the bytes behind the id."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True)
class Note:
    """A parsed, not yet verified note. `text` ends with a newline."""

    text: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True)
class VerifierKey:
    """A public key with its name. `public` is the raw Ed25519 key of 32 bytes."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not _KEY_NAME.fullmatch(self.name) or len(self.public) != 32:
            raise MalformedError("key", "is not a name and 32 bytes")
        if not _is_sound_point(self.public):
            raise MalformedError("key", "is a point that no key pair has")

    def key_id(self, algorithm: int = ALGORITHM_ED25519) -> bytes:
        """The 4-byte id that signature lines carry."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([algorithm]) + self.public).digest()[:4]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the raw public key in hexadecimal, for people to compare."""
        return hashlib.sha256(self.public).hexdigest()

    def text(self) -> str:
        """The key as a line: `name+id+base64(algorithm, public)`."""
        return f"{self.name}+{self.key_id().hex()}+{base64_text(bytes([ALGORITHM_ED25519]) + self.public)}"

    @staticmethod
    def parse(text: str) -> "VerifierKey":
        """Read a key line; only what prints back identically is accepted."""
        name, _, rest = text.partition("+")
        _, _, encoded = rest.partition("+")
        raw = base64_bytes(encoded, "key")
        if len(raw) != 33 or raw[0] != ALGORITHM_ED25519:
            raise MalformedError("key", "is not an Ed25519 key")
        key = VerifierKey(name, raw[1:])
        if key.text() != text:
            raise MalformedError("key", "does not print back identically")
        return key

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` is this key's over `message`.

        RFC 8032 section 5.1.7 without the cofactor, as OpenSSL does it, and both points are of the large order.
        """
        if len(signature) != 64 or not _is_sound_point(signature[:32]):
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """A private key with its name. `seed` is the raw Ed25519 private key of 32 bytes."""

    name: str
    seed: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r})"

    @staticmethod
    def generate(name: str) -> "SigningKey":
        """Draw a new key from the operating system's randomness."""
        return SigningKey(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
        return VerifierKey(self.name, public.public_bytes_raw())

    def _raw(self, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def sign(self, text: str) -> bytes:
        """Return the note of `text` with this key's signature; `text` must end with a newline.

        Raises MalformedError for a text that no reader would take, and for one that looks like a cosignature's
        message: the same key signs both, so their texts must differ.
        """
        _check_text(text)
        if text.startswith(_COSIGNED_PREFIX):
            raise MalformedError("note", "is the message of a cosignature")
        line = _line(self.name, self.verifier.key_id() + self._raw(text.encode()))
        note = f"{text}\n{line}".encode()
        if len(note) > MAX_NOTE:
            raise MalformedError("note", f"is larger than {MAX_NOTE} bytes")
        return note

    def cosign(self, note: bytes, unix_seconds: int) -> bytes:
        """Return `note` with this key's dated cosignature appended; other lines stay byte for byte."""
        if not 0 <= unix_seconds <= _LATEST:
            raise ValueError("a cosignature's time is a Unix time below 2^63")
        message = _cosigned_message(parse(note).text, unix_seconds)
        stamp = unix_seconds.to_bytes(8, "big")
        value = self.verifier.key_id(ALGORITHM_COSIGNATURE) + stamp + self._raw(message)
        return note + _line(self.name, value).encode()


@dataclass(frozen=True)
class Verified:
    """A note's text and the known keys whose signatures hold."""

    text: str
    signers: tuple[VerifierKey, ...]


def parse(data: bytes) -> Note:
    """Read a note; raises MalformedError for anything that does not print back identically."""
    if len(data) > MAX_NOTE:
        raise MalformedError("note", f"is larger than {MAX_NOTE} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError("note", "is not UTF-8") from error
    head, gap, tail = whole.rpartition("\n\n")
    text = head + "\n"
    if not gap or not tail.endswith("\n"):
        raise MalformedError("note", "has no signatures")
    _check_text(text)
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedError("note", "has too many signatures")
    return Note(text, tuple(_signature(line) for line in lines))


def verify(data: bytes, keys: Iterable[VerifierKey]) -> Verified:
    """Check a note against known keys.

    Returns its text and the keys that signed it. Raises SignatureError when no known key signed it, or when
    a line that claims a known key is wrong; lines of unknown keys are ignored (C2SP signed-note).
    """
    note = parse(data)
    message = note.text.encode()
    signers = []
    for key in keys:
        for line in note.signatures:
            if line.name == key.name and line.key_id == key.key_id():
                if not key.holds(line.value, message):
                    raise SignatureError(f"the signature of {key.name} is wrong")
                signers.append(key)
                break
    if not signers:
        names = ", ".join(line.name for line in note.signatures)
        raise SignatureError(f"no known key has signed this (signed by: {names})")
    return Verified(note.text, tuple(signers))


def verify_cosignatures(data: bytes, keys: Iterable[VerifierKey]) -> list[tuple[VerifierKey, int]]:
    """Return the known keys that cosigned a note, with their Unix times; a wrong one raises SignatureError."""
    note = parse(data)
    found = []
    for key in keys:
        for line in note.signatures:
            if line.name == key.name and line.key_id == key.key_id(ALGORITHM_COSIGNATURE):
                seconds = int.from_bytes(line.value[:8], "big")
                message = _cosigned_message(note.text, seconds)
                if len(line.value) != 72 or seconds > _LATEST or not key.holds(line.value[8:], message):
                    raise SignatureError(f"the cosignature of {key.name} is wrong")
                found.append((key, seconds))
    return found


def _cosigned_message(text: str, unix_seconds: int) -> bytes:
    return f"{_COSIGNED_PREFIX}time {unix_seconds}\n{text}".encode()


def _line(name: str, value: bytes) -> str:
    return f"— {name} {base64_text(value)}\n"


def _signature(line: str) -> Signature:
    found = _SIGNATURE_LINE.fullmatch(line)
    if not found:
        raise MalformedError("note", "has a signature line of another form")
    raw = base64_bytes(found[2], "note")
    if len(raw) < 5:
        raise MalformedError("note", "has a signature that is too short")
    return Signature(found[1], raw[:4], raw[4:])


def _check_text(text: str) -> None:
    if not text.endswith("\n") or text == "\n":
        raise MalformedError("note", "text does not end with a newline")
    if _CONTROL.search(text):
        raise MalformedError("note", "text holds a control character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedError("note", "text holds a lone surrogate") from error


def _is_sound_point(encoded: bytes) -> bool:
    """Whether 32 bytes are a point's only encoding (y below the field's size), and no point of small order."""
    number = int.from_bytes(encoded, "little")
    return number % 2**255 < _FIELD and number not in _SMALL_ORDER
