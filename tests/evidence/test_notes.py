"""Signed notes and cosignatures of C2SP."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence import notes
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import SignatureError, SigningKey, VerifierKey
from evidence import verifier
from evidence.strategies import texts
from evidence.world import CENTRE, STATION, STRANGER, key

# The example of Go's package sumdb/note, which C2SP's signed-note describes: key, private key, note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_LINE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
GO_NOTE = f"{GO_TEXT}\n— PeterNeumann {GO_LINE}\n".encode()

TEXT = "dockwarden/test/1\nsome text\n"
NOTE = STATION.cosign(CENTRE.cosign(STATION.sign(TEXT), 1_795_509_000), 1_795_509_001)
BOTH = [STATION.verifier, CENTRE.verifier]
some_bytes = st.tuples(st.integers(0, len(NOTE) - 1), st.integers(0, 255))


def bent(changes: list[tuple[int, int]]) -> bytes:
    """The note with some bytes set."""
    data = bytearray(NOTE)
    for place, value in changes:
        data[place] = value
    return bytes(data)


def signed(text: str, signer: SigningKey = STATION) -> bytes:
    """A note of any text at all."""
    value = signer.verifier.key_id() + signer._raw(text.encode())
    return f"{text}\n— {signer.name} {base64.b64encode(value).decode()}\n".encode()


def test_the_known_note_comes_out_and_is_accepted() -> None:
    signer = SigningKey("PeterNeumann", GO_SEED)
    assert signer.verifier.text() == GO_KEY
    assert signer.sign(GO_TEXT) == GO_NOTE
    assert notes.verify(GO_NOTE, [VerifierKey.parse(GO_KEY)]).text == GO_TEXT
    assert verifier.load().parse_note(GO_NOTE).signer([verifier.load().parse_key(GO_KEY)]) is not None


def test_the_example_key_of_signed_note_is_accepted() -> None:
    line = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    assert VerifierKey.parse(line).text() == line


def test_the_example_of_tlog_cosignature_is_read() -> None:
    lines = [
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo"
        "+zyWE+xeMcTOAYQ8=",
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5"
        "nNo0xUe+mbIUBkBIfZ+qnA==\n",
    ]
    note = notes.parse("\n".join(lines).encode())
    assert note.text == lines[0]
    assert [line.name for line in note.signatures] == ["example.com/behind-the-sofa", "witness.example.com/w1"]
    assert int.from_bytes(note.signatures[1].value[:8], "big") == 1679315147


@given(texts.filter(lambda text: all(letter >= " " for letter in text)), st.integers(0, 2**63 - 1))
def test_what_is_signed_and_cosigned_is_verified_by_both_readers(line: str, seconds: int) -> None:
    text = f"dockwarden/test/1\n\n{line}\n"
    note = CENTRE.cosign(STATION.sign(text), seconds)
    assert notes.verify(note, BOTH) == notes.Verified(text, (STATION.verifier,))
    assert notes.verify_cosignatures(note, BOTH) == [(CENTRE.verifier, seconds)]
    stranger = verifier.load()
    parsed = stranger.parse_note(note)
    theirs = [stranger.parse_key(each.text()) for each in BOTH]
    assert parsed.text == text
    assert parsed.signer(theirs) == theirs[0]
    assert parsed.cosigners(theirs) == {"centre"}


@given(st.lists(some_bytes, min_size=1, max_size=3))
def test_of_bent_notes_only_our_errors_escape_and_both_readers_judge_alike(changes: list[tuple[int, int]]) -> None:
    data = bent(changes)
    ours = theirs = None
    with suppress(MalformedError, SignatureError):
        ours = notes.verify(data, [STATION.verifier]).text
    stranger = verifier.load()
    with suppress(stranger.Malformed):
        note = stranger.parse_note(data)
        theirs = note.text if note.signer([stranger.parse_key(STATION.verifier.text())]) else None
    assert ours == theirs
    assert ours in (None, TEXT)
    with suppress(MalformedError, SignatureError):
        notes.verify_cosignatures(data, BOTH)


@given(
    st.binary(max_size=60)
    | st.text("— \n+=AZaz09/é\x00\x1f\ud800", max_size=40).map(lambda t: t.encode("utf-8", "replace"))
)
def test_any_bytes_are_a_note_or_malformed_to_both_readers(data: bytes) -> None:
    ours = theirs = None
    with suppress(MalformedError):
        ours = notes.parse(data).text
    with suppress(verifier.load().Malformed):
        theirs = verifier.load().parse_note(data).text
    assert ours == theirs


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE.replace(b"\n", b"\r\n"),
        NOTE.replace(b"some text", b"some\ttext"),
        NOTE.replace("—".encode(), b"-"),
        NOTE.replace(b"station-1", b"station 1"),
        NOTE.replace("— station-1".encode(), "— station\x01".encode()),
        b"\n" + NOTE[NOTE.index(b"\n\n") + 1 :],
        NOTE + NOTE.splitlines(keepends=True)[-1] * 30,
        b"text\n\n\xe2\x80\x94 name AAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAB=\n",
        b"\xff" + NOTE,
        b"x" * (notes.MAX_NOTE + 1),
    ],
    ids=lambda data: repr(data[-12:]),
)
def test_a_note_of_another_form_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        notes.parse(data)
    if len(data) <= notes.MAX_NOTE:
        with pytest.raises(verifier.load().Malformed):
            verifier.load().parse_note(data)


def test_who_has_not_signed_is_not_believed() -> None:
    with pytest.raises(SignatureError, match="no known key"):
        notes.verify(NOTE, [STRANGER.verifier])
    with pytest.raises(SignatureError, match="no known key"):
        notes.verify(NOTE, [VerifierKey("station-2", STATION.verifier.public)])
    with pytest.raises(SignatureError, match="is wrong"):
        notes.verify(NOTE.replace(b"some", b"same"), BOTH)
    assert notes.verify_cosignatures(NOTE, [STRANGER.verifier]) == []


def test_a_known_key_that_is_wrong_spoils_the_note_though_another_is_right() -> None:
    wrong = signed("dockwarden/test/1\nother text\n", CENTRE).splitlines(keepends=True)[-1]
    with pytest.raises(SignatureError):
        notes.verify(NOTE + wrong, BOTH)
    assert notes.verify(NOTE + wrong, [STATION.verifier]).signers == (STATION.verifier,)


def test_a_cosignature_is_no_signature_and_holds_for_its_time_alone() -> None:
    with pytest.raises(SignatureError):
        notes.verify(NOTE, [CENTRE.verifier])
    line = NOTE.decode().splitlines()[-1]
    raw = bytearray(base64.b64decode(line.rpartition(" ")[2]))
    raw[11] ^= 1
    moved = NOTE.decode().replace(line.rpartition(" ")[2], base64.b64encode(raw).decode()).encode()
    with pytest.raises(SignatureError):
        notes.verify_cosignatures(moved, BOTH)


def test_a_key_signs_nothing_that_could_pass_for_a_cosignature() -> None:
    with pytest.raises(MalformedError):
        STATION.sign(f"cosignature/v1\ntime 5\n{TEXT}")
    for seconds in (-1, 2**63):
        with pytest.raises(ValueError):
            STATION.cosign(NOTE, seconds)


def test_a_cosignature_of_a_time_that_cannot_be_is_refused() -> None:
    seconds = 2**63
    value = CENTRE._raw(f"cosignature/v1\ntime {seconds}\n{TEXT}".encode())
    raw = CENTRE.verifier.key_id(notes.ALGORITHM_COSIGNATURE) + seconds.to_bytes(8, "big") + value
    note = STATION.sign(TEXT) + f"— centre {base64.b64encode(raw).decode()}\n".encode()
    with pytest.raises(SignatureError):
        notes.verify_cosignatures(note, BOTH)
    with pytest.raises(verifier.load().Malformed):
        verifier.load().parse_note(note).cosigners([verifier.load().parse_key(CENTRE.verifier.text())])


@pytest.mark.parametrize(
    "text", ["", "\n", "no end", "tab\there\n", "\ud800\n", "x" * notes.MAX_NOTE + "\n"], ids=repr
)
def test_a_text_that_no_reader_would_take_is_not_signed(text: str) -> None:
    with pytest.raises(MalformedError):
        STATION.sign(text)


@given(st.integers(0, len(GO_KEY) - 1), st.characters(max_codepoint=0x2100))
def test_a_bent_key_line_is_malformed_or_another_key(place: int, letter: str) -> None:
    line = GO_KEY[:place] + letter + GO_KEY[place + 1 :]
    try:
        parsed = VerifierKey.parse(line)
    except MalformedError:
        with pytest.raises(ValueError):
            verifier.load().parse_key(line)
        return
    assert parsed.text() == line
    assert verifier.load().parse_key(line).public == parsed.public


def test_a_key_line_of_another_algorithm_length_or_name_is_malformed() -> None:
    public = STATION.verifier.public
    for raw in (b"\x04" + public, b"\x01" + public[:-1], b"\x01" + public + b"\x00"):
        with pytest.raises(MalformedError):
            VerifierKey.parse(f"name+00000000+{base64.b64encode(raw).decode()}")
    for name in ("", "a b", "a+b", "a\n", "a\x01", "\ud800", "a" * 129):
        with pytest.raises(MalformedError):
            VerifierKey(name, public)


def test_a_private_key_does_not_show_itself() -> None:
    assert key("x").seed.hex() not in repr(key("x"))
    assert notes.SigningKey.generate("x").seed != notes.SigningKey.generate("x").seed
