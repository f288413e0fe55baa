"""The verifier's own Ed25519 against RFC 8032, against OpenSSL, and against points that prove nothing."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.evidence import fields, notes
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import VerifierKey
from evidence import verifier
from evidence.world import STATION

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
# RFC 8032 section 7.1, tests 1 to 3: private key, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
SMALL = sorted(number.to_bytes(32, "little") for number in notes._SMALL_ORDER)


def theirs(public: bytes, message: bytes, signature: bytes) -> bool:
    """The verifier's word."""
    said: bool = verifier.load().ed25519(public, message, signature)
    return said


def ours(public: bytes, message: bytes, signature: bytes) -> bool:
    """The word of evidence/notes.py, which asks OpenSSL."""
    try:
        return VerifierKey("x", public).holds(signature, message)
    except MalformedError:
        return False


@pytest.mark.parametrize(("private", "public", "message", "signature"), RFC_8032, ids=["1", "2", "3"])
def test_the_examples_of_rfc_8032_hold(private: str, public: str, message: str, signature: str) -> None:
    key, text, value = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private)).sign(text) == value
    assert theirs(key, text, value) and ours(key, text, value)


@settings(max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.integers(0, 511), st.integers(0, 255))
def test_both_judge_alike_whatever_bit_is_turned(seed: bytes, message: bytes, place: int, key_place: int) -> None:
    signer = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = signer.public_key().public_bytes_raw(), signer.sign(message)
    assert theirs(public, message, signature) and ours(public, message, signature)
    bent, other = bytearray(signature), bytearray(public)
    bent[place // 8] ^= 1 << place % 8
    other[key_place // 8] ^= 1 << key_place % 8
    for claim in (
        (public, message, bytes(bent)),
        (public, message + b"x", signature),
        (bytes(other), message, signature),
    ):
        assert not theirs(*claim)
        assert not ours(*claim)


def test_a_signature_has_one_form_only() -> None:
    message = b"message"
    public, signature = STATION.verifier.public, STATION._raw(message)
    s = int.from_bytes(signature[32:], "little")
    for larger in (s + L, s + 2 * L):
        assert not theirs(public, message, signature[:32] + larger.to_bytes(32, "little"))
        assert not ours(public, message, signature[:32] + larger.to_bytes(32, "little"))
    for length in (0, 32, 63, 65):
        assert not theirs(public, message, (signature + b"\x00")[:length])
        assert not ours(public, message, (signature + b"\x00")[:length])


@pytest.mark.parametrize("public", SMALL, ids=lambda point: point.hex()[:8])
def test_a_key_of_small_order_signs_nothing(public: bytes) -> None:
    # With such a key, R = [S]B holds for every message, or for one of eight.
    accepted = 0
    for number in range(16):
        r = verifier.load()._add(verifier.load().BASE, verifier.load().NEUTRAL)
        scale = pow(r[2], -1, P)
        encoded = (r[1] * scale % P | (r[0] * scale % P & 1) << 255).to_bytes(32, "little")
        signature, message = encoded + (1).to_bytes(32, "little"), str(number).encode()
        accepted += theirs(public, message, signature)
    assert accepted == 0
    with pytest.raises(MalformedError):
        VerifierKey("x", public)
    line = f"x+{hashlib.sha256(b'x' + chr(10).encode() + bytes([1]) + public).hexdigest()[:8]}+"
    with pytest.raises(verifier.load().Malformed):
        verifier.load().parse_key(line + fields.base64_text(b"\x01" + public))


@pytest.mark.parametrize("r", SMALL, ids=lambda point: point.hex()[:8])
def test_a_signature_whose_r_is_of_small_order_is_refused(r: bytes) -> None:
    # The signer itself can make one: S = k * a, R the neutral point. OpenSSL takes it.
    seed_hash = hashlib.sha512(STATION.seed).digest()
    scalar = int.from_bytes(seed_hash[:32], "little") & ((1 << 254) - 8) | 1 << 254
    public, message = STATION.verifier.public, b"message"
    k = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little")
    signature = r + (k * scalar % L).to_bytes(32, "little")
    assert not theirs(public, message, signature)
    assert not ours(public, message, signature)


@pytest.mark.parametrize("y", [P, P + 1, P + 3, 2**255 - 1, P + 3 + 2**255, 2**256 - 1])
def test_a_point_that_is_not_written_the_one_way_is_refused(y: int) -> None:
    encoded = y.to_bytes(32, "little")
    assert not theirs(encoded, b"", bytes(64))
    with pytest.raises(MalformedError):
        VerifierKey("x", encoded)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
@settings(max_examples=40)
def test_any_bytes_are_judged_without_an_error(public: bytes, signature: bytes) -> None:
    assert theirs(public, b"message", signature) == ours(public, b"message", signature) is False
