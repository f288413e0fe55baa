"""Enrolment: nobody gets in but whose key a person has compared, and nobody under another's name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.centre.centre_samples import StationSide

from dockwarden.centre import certificates, enrol
from dockwarden.centre.certificates import issue_client, new_authority
from dockwarden.centre.office import Office
from dockwarden.centre.running import handlers, open_archive
from dockwarden.centre.settings import Broker, Settings
from dockwarden.durable.files import OsFiles
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import SignatureError, SigningKey
from dockwarden.service.errors import ServiceError
from dockwarden.wire import enrolment
from dockwarden.wire.enrolment import Request, certificate_request, new_tls_key, sign_request

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A centre that is set up."""
    made = Settings(root=tmp_path / "centre", web=None)
    enrol.setup(made, OsFiles(), NOW)
    return made


@pytest.fixture
def office(settings: Settings) -> Any:
    """An office that does not run."""
    made = Office(settings, open_archive(settings, OsFiles()))
    yield made
    made.stop()


def request(side: StationSide, name: str | None = None, key: SigningKey | None = None) -> bytes:
    named = name or side.name
    asked = certificate_request(named, new_tls_key()).decode()
    return sign_request(Request(named, (key or side.key).verifier, asked), key or side.key)


def test_a_station_whose_key_was_compared_gets_in(office: Office, side: StationSide) -> None:
    shown = side.key.verifier.fingerprint
    spaced = ":".join(shown[at : at + 4] for at in range(0, 64, 4)).upper()
    for fingerprint in (shown, spaced):
        given_ = office.enrol(request(side), fingerprint)
        answer = enrolment.open_answer(given_["answer"].encode(), [office.archive.key.verifier])
        assert (answer.station, answer.station_key) == ("st-01", side.key.verifier)
        certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
        assert certificate.subject == enrolment.common_name("st-01")
    assert office.archive.catalogue.station_keys() == {"st-01": side.key.verifier}


def refused(office: Office, payload: bytes, fingerprint: str) -> str:
    before = office.archive.catalogue.station_keys()
    with pytest.raises((ServiceError, MalformedError, SignatureError)) as caught:
        office.enrol(payload, fingerprint)
    assert office.archive.catalogue.station_keys() == before
    return getattr(caught.value, "code", type(caught.value).__name__)


def test_another_fingerprint_is_refused(office: Office, side: StationSide) -> None:
    shown = side.key.verifier.fingerprint
    for wrong in ("", shown[:-1], shown[:-1] + ("0" if shown[-1] != "0" else "1"), "0" * 64):
        assert refused(office, request(side), wrong) == "fingerprint"


def test_the_centres_name_is_nobody_elses(office: Office) -> None:
    impostor = SigningKey("centre", bytes(range(32)))
    assert refused(office, request(StationSide(), "centre", impostor), impostor.verifier.fingerprint) == "name"


def test_an_enrolled_name_is_not_given_to_another_key(office: Office, side: StationSide) -> None:
    office.enrol(request(side), side.key.verifier.fingerprint)
    impostor = SigningKey("st-01", bytes(range(32)))
    assert refused(office, request(side, key=impostor), impostor.verifier.fingerprint) == "name-taken"
    twin = SigningKey("st-02", side.key.seed)
    assert refused(office, request(side, "st-02", twin), twin.verifier.fingerprint) == "key-taken"


def test_a_request_signed_by_another_key_is_refused(office: Office, side: StationSide) -> None:
    other = StationSide("st-01x").key
    asked = certificate_request("st-01", new_tls_key()).decode()
    with pytest.raises((SignatureError, MalformedError)):
        office.enrol(sign_request(Request("st-01", side.key.verifier, asked), other), side.key.verifier.fingerprint)
    misnamed = Request("st-01", SigningKey("st-02", bytes(32)).verifier, asked)
    with pytest.raises(MalformedError):
        office.enrol(sign_request(misnamed, SigningKey("st-02", bytes(32))), misnamed.key.fingerprint)
    assert office.archive.catalogue.station_keys() == {}


def odd_requests() -> dict[str, bytes]:
    name = enrolment.common_name("st-01")
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    keys: dict[str, Any] = {
        "rsa": rsa.generate_private_key(65537, 1024),  # noqa: S505  # weak on purpose
        "p-384": ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    made = {
        kind: builder.sign(key, None if kind == "ed25519" else hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM
        )
        for kind, key in keys.items()
    }
    good = certificate_request("st-01", new_tls_key())
    spoilt = bytearray(x509.load_pem_x509_csr(good).public_bytes(serialization.Encoding.DER))
    spoilt[-1] ^= 1
    pem = x509.load_der_x509_csr(bytes(spoilt)).public_bytes(serialization.Encoding.PEM)
    return {**made, "signature": pem, "none": b"", "text": b"hello", "cut": good[: len(good) // 2]}


@pytest.mark.parametrize("kind", ["rsa", "p-384", "ed25519", "signature", "none", "text", "cut"])
def test_a_certificate_is_given_only_to_a_sound_key(kind: str) -> None:
    authority = new_authority("centre", NOW)
    with pytest.raises(MalformedError, match="request"):
        issue_client(authority, "st-01", odd_requests()[kind], NOW)


def test_a_certificate_bears_the_enrolled_name_whatever_was_asked(office: Office, side: StationSide) -> None:
    asked = certificate_request("centre", new_tls_key()).decode()
    payload = sign_request(Request("st-01", side.key.verifier, asked), side.key)
    answer = office.enrol(payload, side.key.verifier.fingerprint)["answer"].encode()
    certificate = enrolment.open_answer(answer, [office.archive.key.verifier]).certificate
    assert x509.load_pem_x509_certificate(certificate.encode()).subject == enrolment.common_name("st-01")


@given(st.binary(max_size=200))
def test_garbage_is_no_request(payload: bytes) -> None:
    with pytest.raises((MalformedError, SignatureError)):
        enrolment.open_request(payload)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"request": 7, "fingerprint": "x"},
        {"request": "\ud800", "fingerprint": "x"},
        {"request": "x" * 100_000, "fingerprint": ""},
    ],
    ids=["nothing", "number", "surrogate", "long"],
)
def test_garbage_at_the_door_gets_an_answer_that_says_what_to_do(office: Office, asked: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        handlers(office, None)["enrol"](asked)
    assert caught.value.code in ("bad-request", "malformed")
    assert caught.value.do


def test_setting_up_again_changes_no_key(settings: Settings) -> None:
    def found() -> dict[str, bytes]:
        keys = enrol.Folders(settings.root).keys
        return {path.name: path.read_bytes() for path in keys.iterdir()}

    before = found()
    enrol.setup(settings, OsFiles(), NOW)
    assert found() == before
    assert {path.stat().st_mode & 0o777 for path in enrol.Folders(settings.root).keys.glob("*.key")} == {0o600}


def broker_certificate(settings: Settings) -> bytes:
    return (enrol.Folders(settings.root).broker / "server.crt").read_bytes()


def test_the_broker_gets_a_certificate_for_the_name_that_the_settings_say_by_now(settings: Settings) -> None:
    before = broker_certificate(settings)
    enrol.setup(settings, OsFiles(), NOW)
    assert broker_certificate(settings) == before
    moved = settings.model_copy(update={"broker": Broker(host="dock.example", port=18883)})
    config = enrol.setup(moved, OsFiles(), NOW)
    assert certificates.serves(broker_certificate(settings), "dock.example", NOW)
    assert not certificates.serves(broker_certificate(settings), "localhost", NOW)
    assert "listener 18883\n" in config.read_text()


def test_a_broker_certificate_that_ends_soon_is_made_anew(settings: Settings) -> None:
    later = NOW + timedelta(days=certificates.SERVER_DAYS - certificates.RENEW_DAYS + 1)
    assert not certificates.serves(broker_certificate(settings), "localhost", later)
    enrol.setup(settings, OsFiles(), later)
    assert certificates.serves(broker_certificate(settings), "localhost", later)


def test_the_broker_becomes_the_user_who_owns_its_files(settings: Settings) -> None:
    config = enrol.Folders(settings.root).broker / enrol.BROKER_CONFIG
    assert f"user {config.owner()}\n" in config.read_text()
