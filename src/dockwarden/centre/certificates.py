"""The centre's certificate authority, for TLS to the broker alone: what evidence rests on are raw Ed25519 keys."""

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from dockwarden.evidence import ids
from dockwarden.evidence.canonical import MalformedError
from dockwarden.wire.enrolment import common_name, load_tls_key, new_tls_key

AUTHORITY_DAYS = 3650
SERVER_DAYS = 825
STATION_DAYS = 825
RENEW_DAYS = 60
"""A certificate that ends sooner than this is made anew."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def new_authority(centre: str, now: datetime.datetime) -> Pair:
    """Make the authority's self-signed certificate."""
    key_pem = new_tls_key()
    key = load_tls_key(key_pem)
    name = common_name(f"Dockwarden {centre} authority")
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), key_pem)


def issue_server(authority: Pair, host: str, now: datetime.datetime) -> Pair:
    """Make the broker's pair for `host` (a name or an address)."""
    key_pem = new_tls_key()
    certificate = _issue(
        authority,
        common_name(host),
        load_tls_key(key_pem).public_key(),
        use=ExtendedKeyUsageOID.SERVER_AUTH,
        now=now,
        days=SERVER_DAYS,
        names=x509.SubjectAlternativeName([_general_name(host)]),
    )
    return Pair(certificate, key_pem)


def serves(certificate: bytes, host: str, now: datetime.datetime) -> bool:
    """Whether the broker's certificate (PEM) is for `host` and lasts for a while yet."""
    found = x509.load_pem_x509_certificate(certificate)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    lasts = found.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)
    return _general_name(host) in list(names) and lasts


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def issue_client(authority: Pair, place: str, request_pem: bytes, now: datetime.datetime) -> bytes:
    """Sign a request. Only its key is taken; the name is `place`. Raises MalformedError."""
    if not ids.PLACE_NAME.fullmatch(place):
        raise MalformedError("station", "is not a station's name")
    try:
        asked = x509.load_pem_x509_csr(request_pem)
        key, valid = asked.public_key(), asked.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError("request", "is not a certificate request") from error
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise MalformedError("request", "is not signed by its own P-256 key")
    use = ExtendedKeyUsageOID.CLIENT_AUTH
    return _issue(authority, common_name(place), key, use=use, now=now, days=STATION_DAYS)


def _issue(
    authority: Pair,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    use: x509.ObjectIdentifier,
    now: datetime.datetime,
    days: int,
    names: x509.SubjectAlternativeName | None = None,
) -> bytes:
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    builder = (
        _builder(subject, issuer.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(load_tls_key(authority.key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # A station's clock may be somewhat behind the centre's.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
