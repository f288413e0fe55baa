"""Enrolment: what a station asks of its centre once, and what it gets (design: security).

A request is a statement signed with the very key it introduces; an answer is one signed by the centre. People
compare the fingerprints on both sides: nothing else can tell a new station from an impostor.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dockwarden.evidence import fields, ids, notes, statements
from dockwarden.evidence.canonical import MalformedError, Object


@dataclass(frozen=True)
class Request:
    """`key` is the station's evidence key; `certificate_request` (PEM) asks for its TLS certificate."""

    station: str
    key: notes.VerifierKey
    certificate_request: str


@dataclass(frozen=True)
class Answer:
    """What makes a station the centre's: its TLS certificate and authority (PEM), keys, and the broker."""

    station: str
    station_key: notes.VerifierKey
    centre_key: notes.VerifierKey
    certificate: str
    authority: str
    broker_host: str
    broker_port: int


def sign_request(request: Request, key: notes.SigningKey) -> bytes:
    """Return the request's note, signed with the key that it introduces."""
    body: Object = {
        "certificate_request": request.certificate_request,
        "key": request.key.text(),
        "station": request.station,
        "v": 1,
    }
    return statements.sign("enrolment", body, key)


def open_request(data: bytes) -> Request:
    """Read a request and check that its maker holds the key; raises MalformedError, SignatureError."""
    key = notes.VerifierKey.parse(fields.text(statements.peek("enrolment", data), "key"))
    body = statements.open_signed("enrolment", data, [key]).body
    fields.version(body)
    station = fields.matching(body, "station", ids.PLACE_NAME)
    if key.name != station:
        raise MalformedError("key", "does not bear the station's name")
    return Request(station, key, fields.text(body, "certificate_request", 16384))


def sign_answer(answer: Answer, key: notes.SigningKey) -> bytes:
    """Return the answer's note, signed by the centre."""
    body: Object = {
        "authority": answer.authority,
        "broker": {"host": answer.broker_host, "port": answer.broker_port},
        "centre_key": answer.centre_key.text(),
        "certificate": answer.certificate,
        "station": answer.station,
        "station_key": answer.station_key.text(),
        "v": 1,
    }
    return statements.sign("enrolment", body, key)


def centre_key_of(data: bytes) -> notes.VerifierKey:
    """The centre's key that an answer claims, unverified: show its fingerprint to a person."""
    return notes.VerifierKey.parse(fields.text(statements.peek("enrolment", data), "centre_key"))


def open_answer(data: bytes, keys: Iterable[notes.VerifierKey]) -> Answer:
    """Read an answer that one of `keys` signed; raises MalformedError, SignatureError."""
    body = statements.open_signed("enrolment", data, keys).body
    fields.version(body)
    broker = fields.obj(body, "broker")
    return Answer(
        station=fields.matching(body, "station", ids.PLACE_NAME),
        station_key=notes.VerifierKey.parse(fields.text(body, "station_key")),
        centre_key=notes.VerifierKey.parse(fields.text(body, "centre_key")),
        certificate=fields.text(body, "certificate", 16384),
        authority=fields.text(body, "authority", 16384),
        broker_host=fields.text(broker, "host", 253),
        broker_port=fields.integer(broker, "port", 1),
    )


def is_fingerprint(key: notes.VerifierKey, typed: str) -> bool:
    """Whether `typed` is the key's fingerprint as a person types it: case, colons and white space do not count."""
    return key.fingerprint == "".join(typed.lower().replace(":", " ").split())


def new_tls_key() -> bytes:
    """Draw a P-256 key (PEM, PKCS#8, not encrypted: the file's mode guards it)."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_tls_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a key; raises MalformedError where it is not an elliptic-curve key."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise MalformedError("key", "is not an elliptic-curve key")
    return key


def common_name(text: str) -> x509.Name:
    """An X.509 name that has a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate_request(place: str, key_pem: bytes) -> bytes:
    """Make a certificate request (PEM, PKCS#10) for the place named `place`, signed with its own key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name(place))
    return builder.sign(load_tls_key(key_pem), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
