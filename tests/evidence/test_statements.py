"""Statements, heads, seals, receipts and manifests: what is printed reads back, and who may say what."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence import canonical, checkpoints, merkle, notes, packages, receipts, seals, statements
from dockwarden.evidence.canonical import MalformedError, Object, Value
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.notes import SignatureError, SigningKey
from evidence import verifier, world
from evidence.strategies import counts, hashes, logs, objects, receipt_values, sealings, texts
from evidence.world import CENTRE, KEYS, STATION, STRANGER, key

SEAL = seals.sign_seal(world.a_seal(world.record_id("1"), b"some bytes"), STATION)
RECEIPT = receipts.sign_receipt(world.a_receipt(SEAL, "centre", "centre"), CENTRE)
HEAD = checkpoints.sign_head(Head(world.STATION_LOG, 3, bytes(32)), STATION)
FILE = packages.PackagedFile("records/x/original", 3, "0" * 64, "1" * 64)
MANIFEST = packages.Manifest("centre", world.MADE_AT, (CENTRE.verifier.text(),), (world.record_id("1"),), (FILE,))
PACKAGE = packages.sign_manifest(MANIFEST, CENTRE)


def signed(kind: str, body: object, signer: SigningKey) -> bytes:
    """A note that states anything at all."""
    return signer.sign(f"dockwarden/{kind}/1\n{canonical.encode(body).decode()}\n")


@given(objects)
def test_a_statement_reads_back_and_prints_back(body: Object) -> None:
    data = statements.sign("receipt", body, STATION)
    opened = statements.open_signed("receipt", data, KEYS)
    assert (opened.body, opened.signer, opened.raw) == (body, STATION.verifier, data)
    assert statements.sign("receipt", opened.body, STATION) == data
    assert statements.peek("receipt", data) == body
    assert opened.sha256 == hashlib.sha256(data).hexdigest()


def test_a_statement_of_one_kind_is_none_of_another() -> None:
    kinds: list[statements.Type] = ["receipt", "want", "package", "enrolment"]
    for kind in kinds:
        with pytest.raises(MalformedError):
            statements.open_signed(kind, SEAL, KEYS)
    for text in (
        "dockwarden/seal/1\n{}\n\n",
        "dockwarden/seal/1\n",
        "dockwarden/seal/2\n{}\n",
        "dockwarden/seal/1\n{ }\n",
    ):
        with pytest.raises(MalformedError):
            statements.peek("seal", STATION.sign(text))


def openers() -> list[tuple[bytes, Callable[[bytes], object]]]:
    """Every signed file and how it is opened."""
    return [
        (SEAL, lambda data: seals.open_seal(data, KEYS)),
        (RECEIPT, lambda data: receipts.open_receipt(data, KEYS)),
        (HEAD, lambda data: checkpoints.open_head(data, KEYS)),
        (PACKAGE, lambda data: packages.open_manifest(data, KEYS)),
    ]


@given(st.integers(0, 3), st.data())
def test_of_bent_files_only_our_errors_escape(which: int, data: st.DataObject) -> None:
    whole, read = openers()[which]
    bent = bytearray(whole)
    place = data.draw(st.integers(0, len(bent) - 1))
    bent[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((MalformedError, SignatureError)):
        read(bytes(bent))


def test_a_place_speaks_for_itself_alone() -> None:
    seal, receipt = world.a_seal(world.record_id("1"), b""), world.a_receipt(SEAL, "centre", "centre")
    head = Head(world.STATION_LOG, 3, bytes(32))
    with pytest.raises(ValueError):
        seals.sign_seal(seal, CENTRE)
    with pytest.raises(ValueError):
        receipts.sign_receipt(receipt, STATION)
    with pytest.raises(ValueError):
        checkpoints.sign_head(head, CENTRE)
    with pytest.raises(ValueError):
        packages.sign_manifest(MANIFEST, STATION)
    forged = [
        (signed("seal", seal.to_object(), CENTRE), openers()[0][1]),
        (signed("receipt", receipt.to_object(), STATION), openers()[1][1]),
        (CENTRE.sign(head.text()), openers()[2][1]),
        (signed("package", MANIFEST.to_object(), STATION), openers()[3][1]),
    ]
    for data, read in forged:
        with pytest.raises(SignatureError):
            read(data)


@given(sealings())
def test_a_seal_reads_back_and_prints_back(seal: seals.Seal) -> None:
    signer = key(seal.log.partition(".")[0])
    data = seals.sign_seal(seal, signer)
    opened, statement = seals.open_seal(data, [signer.verifier])
    assert opened == seal == seals.read_seal(data)
    assert seals.sign_seal(opened, signer) == data
    assert seals.seal_sha256(data) == statement.sha256
    theirs = verifier.load().parse_seal(data)
    assert (theirs.record, theirs.log, theirs.sha256) == (seal.record, seal.log, statement.sha256)


@given(receipt_values)
def test_a_receipt_reads_back_and_prints_back(receipt: receipts.Receipt) -> None:
    signer = key(receipt.witness)
    data = receipts.sign_receipt(receipt, signer)
    assert receipts.open_receipt(data, [signer.verifier]) == receipt
    assert receipts.sign_receipt(receipts.open_receipt(data, [signer.verifier]), signer) == data


@given(logs, counts, hashes)
def test_a_head_reads_back_and_prints_back(log: str, size: int, root: bytes) -> None:
    head = Head(log, size, root if size else merkle.EMPTY_ROOT)
    signer = key(head.place_name)
    data = checkpoints.sign_head(head, signer)
    assert checkpoints.open_head(data, [signer.verifier]) == head
    theirs = verifier.load().parse_head(data)
    assert (theirs.log, theirs.size, theirs.root) == (log, size, head.root)


@pytest.mark.parametrize(
    "text",
    [
        HEAD.partition(b"\n\n")[0].decode(),
        "dockwarden/station-1.aaaaaaaa\n03\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "dockwarden/station-1.aaaaaaaa\n٣\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "dockwarden/station-1.aaaaaaaa\n9007199254740992\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "dockwarden/station-1.aaaaaaaa\n0\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "dockwarden/station-1.aaaaaaaa\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n",
        "dockwarden/station-1.aaaaaaaa\n3\nAAAA\n",
        "dockwarden/station-1\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "other/station-1.aaaaaaaa\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "dockwarden/station-1.aaaaaaaa\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nmore\n",
    ],
)
def test_a_head_of_another_form_is_malformed_to_both_readers(text: str) -> None:
    with pytest.raises(MalformedError):
        Head.parse(text)
    if text.endswith("\n"):
        with pytest.raises(verifier.load().Malformed):
            verifier.load().parse_head(STATION.sign(text))


@pytest.mark.parametrize(
    "wrong", [Head("x", 1, bytes(32)), Head("x.aaaaaaaa", -1, bytes(32)), Head("x.aaaaaaaa", 1, b"")]
)
def test_a_head_that_no_reader_would_take_is_not_signed(wrong: Head) -> None:
    with pytest.raises(MalformedError):
        checkpoints.sign_head(wrong, key("x"))


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"record": "x"},
        {"read_back": "perhaps"},
        {"sealed_at": "2026-13-01T00:00:00.000Z"},
        {"session": "x"},
        {"bay": "x" * 65},
        {"device": None},
        {"source": {}},
        {"source": {"name": {"text": "a", "raw": "0", "decoded_as": "x"}}},
        {"source": {"name": {"text": "a", "raw": "", "decoded_as": "x"}}},
        {"digests": {}},
        {"digests": {"leaf_size": 1, "leaves_root": "0" * 64, "sha256": "0" * 64, "size": 0, "sm3": "0" * 64}},
        {"clock": 5},
    ],
    ids=repr,
)
def test_a_seal_with_a_field_of_another_form_is_malformed(change: Object) -> None:
    with pytest.raises(MalformedError):
        seals.read_seal(signed("seal", {**statements.peek("seal", SEAL), **change}, STATION))


HOLE: Object = {"length": 4, "offset": 2, "reason": "unreadable"}


@pytest.mark.parametrize(
    "holes",
    [
        [],
        {},
        [4],
        [{**HOLE, "length": 0}],
        [{**HOLE, "offset": -1}],
        [{**HOLE, "offset": 7}],
        [{**HOLE, "reason": "lost"}],
        [{**HOLE, "offset": 4}, HOLE],
        [HOLE, {**HOLE, "offset": 5}],
        [HOLE, HOLE],
    ],
    ids=repr,
)
def test_holes_that_are_none_of_the_file_are_malformed_to_both_readers(holes: Value) -> None:
    data = signed("seal", {**statements.peek("seal", SEAL), "holes": holes}, STATION)
    with pytest.raises(MalformedError):
        seals.read_seal(data)
    with pytest.raises(ValueError):
        verifier.load().parse_seal(data)


def test_a_partial_seal_reads_back_and_prints_back() -> None:
    made = world.a_partial_seal()
    data = seals.sign_seal(made, STATION)
    assert seals.read_seal(data) == made
    assert made.missing == 8192
    assert verifier.load().parse_seal(data).holes == tuple(
        (hole.offset, hole.length, hole.reason) for hole in made.holes
    )


@pytest.mark.parametrize("lost", sorted(statements.peek("seal", SEAL)))
def test_a_seal_without_one_of_its_fields_is_malformed(lost: str) -> None:
    body = {name: value for name, value in statements.peek("seal", SEAL).items() if name != lost}
    with pytest.raises(MalformedError):
        seals.open_seal(signed("seal", body, STATION), KEYS)


@pytest.mark.parametrize("lost", sorted(statements.peek("receipt", RECEIPT)))
def test_a_receipt_without_one_of_its_fields_is_malformed(lost: str) -> None:
    body = {name: value for name, value in statements.peek("receipt", RECEIPT).items() if name != lost}
    with pytest.raises(MalformedError):
        receipts.open_receipt(signed("receipt", body, CENTRE), KEYS)


def test_a_field_of_a_later_version_is_kept_in_the_signed_bytes_and_ignored() -> None:
    data = signed("seal", {**statements.peek("seal", SEAL), "later": [1]}, STATION)
    seal, statement = seals.open_seal(data, KEYS)
    assert seal == seals.read_seal(SEAL)
    assert statement.raw == data and statement.body["later"] == [1]


@pytest.mark.parametrize("length", [2048 + 1, seals.MAX_NAME])
def test_no_file_fails_for_the_length_of_its_name(length: int) -> None:
    name = seals.SourceName("é" * length, b"\xe9" * length, "latin-1")
    seal = world.a_seal(world.record_id("1"), b"")
    seal = replace(seal, source={**seal.source, "name": name.to_object()})
    assert seals.open_seal(seals.sign_seal(seal, STATION), KEYS)[0].source_name == name


@given(texts)
def test_a_seal_that_no_reader_would_take_is_not_signed(bay: str) -> None:
    seal = replace(world.a_seal(world.record_id("1"), b""), bay=bay + "x" * 65)
    with pytest.raises(MalformedError):
        seals.sign_seal(seal, STATION)


@pytest.mark.parametrize(
    "change",
    [{"method": "sample"}, {"place": "moon"}, {"generation": "short"}, {"nonce": "x" * 65}, {"size": -1}, {"at": ""}],
    ids=repr,
)
def test_a_receipt_with_a_field_of_another_form_is_malformed_and_not_signed(change: dict[str, Any]) -> None:
    body = {**statements.peek("receipt", RECEIPT), **change}
    with pytest.raises(MalformedError):
        receipts.open_receipt(signed("receipt", body, CENTRE), KEYS)
    made = replace(world.a_receipt(SEAL, "centre", "centre"), **change)
    with pytest.raises(MalformedError):
        receipts.sign_receipt(made, CENTRE)


def test_a_receipt_agrees_with_its_record_seal_and_bytes_alone() -> None:
    receipt, seal = receipts.open_receipt(RECEIPT, KEYS), seals.read_seal(SEAL)
    sha256 = seals.seal_sha256(SEAL)
    assert receipt.agrees(seal.record, sha256, seal.digests)
    assert not receipt.agrees(world.record_id("2"), sha256, seal.digests)
    assert not receipt.agrees(seal.record, "0" * 64, seal.digests)
    for change in ({"size": 1}, {"sha256": "0" * 64}, {"sm3": "0" * 64}):
        assert not receipt.agrees(seal.record, sha256, replace(seal.digests, **change))


def test_a_manifest_reads_back_and_prints_back() -> None:
    assert packages.open_manifest(PACKAGE, KEYS) == MANIFEST
    assert packages.sign_manifest(packages.open_manifest(PACKAGE, KEYS), CENTRE) == PACKAGE
    with pytest.raises(SignatureError):
        packages.open_manifest(PACKAGE, [STRANGER.verifier])


@pytest.mark.parametrize(
    "change",
    [
        {"keys": []},
        {"keys": [STATION.verifier.text()]},
        {"keys": [CENTRE.verifier.text(), CENTRE.verifier.text()]},
        {"keys": ["no key"]},
        {"records": ["../x"]},
        {"records": [world.record_id("1"), world.record_id("1")]},
        {"files": [statements.peek("package", PACKAGE)["files"], 1]},
        {"files": [{"path": "package.note", "size": 0, "sha256": "0" * 64, "sm3": "0" * 64}]},
        {"files": [{"path": "a", "size": 0, "sha256": "0" * 64, "sm3": "0" * 64}] * 2},
        {"centre": "No"},
        {"made_at": "today"},
        *(
            {"files": [{"path": path, "size": 0, "sha256": "0" * 64, "sm3": "0" * 64}]}
            for path in ("../x", "/x", "a//b", "a/", "A", "a/../b", ".x", "a\n", "a\\b", "")
        ),
    ],
    ids=repr,
)
def test_a_manifest_of_another_form_is_malformed(change: Object) -> None:
    data = signed("package", {**MANIFEST.to_object(), **change}, CENTRE)
    with pytest.raises(MalformedError):
        packages.open_manifest(data, KEYS)


def test_a_manifest_that_no_reader_would_take_is_not_signed() -> None:
    with pytest.raises(MalformedError):
        packages.sign_manifest(replace(MANIFEST, files=(FILE, FILE)), CENTRE)
    many = tuple(packages.PackagedFile(f"records/{number:0200}", 0, "0" * 64, "1" * 64) for number in range(15_000))
    with pytest.raises(MalformedError, match="larger than"):
        packages.sign_manifest(replace(MANIFEST, files=many), CENTRE)


def test_paths_of_a_package_are_those_of_its_layout() -> None:
    record = world.record_id("1")
    assert packages.receipt_path(record, "off-site", 2) == f"records/{record}/receipts/off-site-2.note"
    assert packages.record_path(record, packages.LEAVES) == f"records/{record}/leaves"
    assert packages.log_path(world.STATION_LOG, packages.HEAD) == f"logs/{world.STATION_LOG}/head.note"


def test_a_note_of_a_statement_stays_what_it_was() -> None:
    cosigned = CENTRE.cosign(HEAD, 5)
    assert cosigned.startswith(HEAD)
    assert notes.verify(cosigned, KEYS).text == notes.parse(HEAD).text
