"""The golden files are what the code writes today, and the verifier takes them: no format changes by chance."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from dockwarden.evidence import canonical, checkpoints, facts, merkle, notes, receipts, seals
from dockwarden.evidence.canonical import MalformedError
from evidence import make_golden, verifier, world

GOLDEN = make_golden.FOLDER


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def vectors(name: str) -> Any:
    """A file of vectors."""
    return json.loads((GOLDEN / name).read_bytes())


def raw(proof: list[str]) -> list[bytes]:
    """Bytes of a proof."""
    return [bytes.fromhex(step) for step in proof]


def test_the_golden_files_come_out_byte_for_byte(tmp_path: Path) -> None:
    make_golden.write(tmp_path)
    made, kept = contents(tmp_path), contents(GOLDEN)
    assert sorted(made) == sorted(kept)
    assert [path for path in made if made[path] != kept[path]] == []
    assert sum(map(len, kept.values())) < 200_000


def test_canonical_vectors_hold_for_both_readers() -> None:
    found = vectors("canonical.json")
    for vector in found["accepted"]:
        data = bytes.fromhex(vector["bytes"])
        assert canonical.decode(data) == vector["value"]
        assert canonical.encode(vector["value"]) == data == verifier.load().encode(vector["value"])
    for data in raw(found["refused"]):
        with pytest.raises(MalformedError):
            canonical.decode(data)
        with pytest.raises(ValueError):
            verifier.load().decode(b'{"a":' + data + b"}")


def test_key_and_digest_vectors_hold() -> None:
    for name, vector in vectors("keys.json").items():
        key = notes.SigningKey(name, bytes.fromhex(vector["seed"]))
        assert key.verifier.text() == vector["line"]
        theirs = verifier.load().parse_key(vector["line"])
        assert (theirs.fingerprint, theirs.id().hex(), theirs.id(4).hex()) == (
            *(vector["fingerprint"], vector["id"]),
            vector["cosigning_id"],
        )
    for vector in vectors("digests.json"):
        data = bytes.fromhex(vector["repeat"]) * vector["times"]
        tree = verifier.load().Tree()
        for leaf in raw(vector["leaves"]):
            tree.add(leaf)
        assert hashlib.sha256(data).hexdigest() == vector["sha256"]
        assert hashlib.new("sm3", data).hexdigest() == vector["sm3"]
        assert tree.root().hex() == vector["leaves_root"]


def test_fact_vector_holds() -> None:
    vector = vectors("fact.json")
    entry = facts.entry_from_object(json.loads(vector["entry"]))
    assert entry.envelope_bytes == vector["envelope"].encode()
    assert entry.body == json.loads(vector["body_json"])
    assert entry.envelope.body_sha256 == vector["body_sha256"]
    assert entry.leaf.hex() == vector["leaf"]
    assert facts.entry_from_object(json.loads(vector["withheld"])).leaf == entry.leaf


def test_log_vectors_hold_for_both_readers() -> None:
    vector = vectors("log.json")
    leaves, roots = raw(vector["leaves"]), raw(vector["roots"])
    for one in vector["inclusion"]:
        claim = (leaves[one["index"]], one["index"], one["size"], raw(one["proof"]), roots[one["size"]])
        merkle.verify_inclusion(*claim)
        assert verifier.load().included(*claim)
    for one in vector["consistency"]:
        merkle.verify_consistency(one["old"], roots[one["old"]], one["new"], roots[one["new"]], raw(one["proof"]))
    head = checkpoints.open_head((GOLDEN / "head.note").read_bytes(), world.KEYS)
    assert (head.log, head.size, head.root) == (vector["log"], len(leaves), roots[-1])


def test_signed_vectors_hold() -> None:
    seal_data, receipt_data = (GOLDEN / "seal.note").read_bytes(), (GOLDEN / "receipt.note").read_bytes()
    seal, _ = seals.open_seal(seal_data, world.KEYS)
    receipt = receipts.open_receipt(receipt_data, world.KEYS)
    assert receipt.agrees(seal.record, hashlib.sha256(seal_data).hexdigest(), seal.digests)
    cosigned = (GOLDEN / "head-cosigned.note").read_bytes()
    assert notes.verify_cosignatures(cosigned, world.KEYS) == [(world.CENTRE.verifier, world.COSIGNED_AT)]
    line = cosigned.decode().splitlines()[-1].split(" ")
    assert base64.b64decode(line[2])[4:12] == world.COSIGNED_AT.to_bytes(8, "big")


def test_the_golden_package_and_log_are_accepted_by_the_verifier(tmp_path: Path) -> None:
    keys = vectors("keys.json")
    trust = tmp_path / "keys"
    trust.write_text("".join(f"{key['line']}\n" for key in keys.values()))
    assert verifier.check(GOLDEN / "package", keys["centre"]["fingerprint"])["exit"] == 0
    assert verifier.check(GOLDEN / "log", str(trust))["exit"] == 0
