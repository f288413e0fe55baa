"""Writes tests/evidence/golden/: examples of every format, byte for byte, from fixed keys, ids and dates.

    cd tests && python -m evidence.make_golden

Other implementations read these files; docs/formats/ refers to them. A change here is a change of format.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from dockwarden.evidence import canonical, facts, fields, merkle, seals
from dockwarden.evidence.canonical import MalformedError
from evidence import world

FOLDER = Path(__file__).resolve().parent / "golden"

ACCEPTED: list[canonical.Value] = [
    None,
    True,
    [],
    {},
    0,
    -1,
    9007199254740991,
    -9007199254740991,
    "",
    '"\\/\b\f\n\r\t\x00\x1f\x7f',
    "执法记录仪 😀 \u2028",
    [1, [2, {"a": [None, False]}]],
    {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7},
]
REFUSED = [
    *(b"1.0", b"1e2", b"-0", b"01", b"9007199254740992", b"NaN", b" 1", b"1\n", b'{"a":1,"a":1}', b'{"b":1,"a":1}'),
    *(b'{"a": 1}', b'"\\u0041"', b'"\\/"', b'"\\ud83d\\ude00"', b'"\\ud800"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf1"),
    *(b"[1,]", b"", b"[" * 34 + b"]" * 34),
]


def as_json(value: object) -> bytes:
    """A vector file: JSON for people's eyes."""
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def keys() -> dict[str, Any]:
    """The keys that sign everything here."""
    return {
        key.name: {
            "seed": key.seed.hex(),
            "public": key.verifier.public.hex(),
            "line": key.verifier.text(),
            "fingerprint": key.verifier.fingerprint,
            "id": key.verifier.key_id().hex(),
            "cosigning_id": key.verifier.key_id(4).hex(),
        }
        for key in (world.CENTRE, world.STATION)
    }


def canonical_forms() -> dict[str, Any]:
    """Values with their only form, and bytes that are none."""
    for data in REFUSED:
        try:
            canonical.decode(data)
        except MalformedError:
            continue
        raise AssertionError(data)
    return {
        "accepted": [{"value": value, "bytes": canonical.encode(value).hex()} for value in ACCEPTED],
        "refused": [data.hex() for data in REFUSED],
    }


def digests() -> list[dict[str, Any]]:
    """Digests of files that a rule describes: `repeat` bytes, `times` over."""
    found = []
    for repeat, times in ((b"", 0), (b"abc", 1), (b"abcd", 16), (bytes(range(251)), 5000)):
        made, leaves = world.measured(repeat * times)
        found.append(
            {
                "repeat": repeat.hex(),
                "times": times,
                "size": made.size,
                "sha256": made.sha256,
                "sm3": made.sm3,
                "leaves": [leaf.hex() for leaf in leaves],
                "leaves_root": made.leaves_root,
            }
        )
    return found


def fact(entry: facts.Entry) -> dict[str, Any]:
    """An entry taken apart."""
    assert entry.body_bytes is not None
    return {
        "envelope": entry.envelope_bytes.decode(),
        "body": entry.body_bytes.hex(),
        "salt": entry.body_bytes[:16].hex(),
        "body_json": entry.body_bytes[16:].decode(),
        "body_sha256": hashlib.sha256(entry.body_bytes).hexdigest(),
        "leaf": entry.leaf.hex(),
        "entry": canonical.encode(facts.entry_to_object(entry)).decode(),
        "withheld": canonical.encode(facts.entry_to_object(facts.Entry(entry.envelope_bytes, None))).decode(),
    }


def log(made: world.Log) -> dict[str, Any]:
    """A log's leaves, its root at each size, and all its proofs."""
    tree, size = made.tree, len(made.entries)
    pairs = [(old, new) for new in range(size + 1) for old in range(1, new + 1)]
    return {
        "log": made.name,
        "leaves": [entry.leaf.hex() for entry in made.entries],
        "roots": [merkle.root_at(tree.node, at).hex() for at in range(size + 1)],
        "inclusion": [
            {"index": index, "size": at, "proof": _hex(merkle.inclusion_proof(tree.node, index, at))}
            for at in range(1, size + 1)
            for index in range(at)
        ],
        "consistency": [
            {"old": old, "new": new, "proof": _hex(merkle.consistency_proof(tree.node, old, new))}
            for old, new in pairs
        ],
    }


def _hex(proof: list[bytes]) -> list[str]:
    return [step.hex() for step in proof]


def build() -> dict[str, bytes]:
    """Every golden file but those of the package, by path below the folder."""
    made = world.build(b"the first recording", b"")
    record = made.records[0]
    entry = next(entry for entry in made.station.entries if entry.envelope.kind == "received")
    assert entry.body is not None
    return {
        "keys.json": as_json(keys()),
        "canonical.json": as_json(canonical_forms()),
        "digests.json": as_json(digests()),
        "fact.json": as_json(fact(made.station.entries[1])),
        "log.json": as_json(log(made.station)),
        "log/entries.jsonl": made.station.lines(made.station.entries, proven=False),
        "log/head.note": made.station.head(world.STATION, world.CENTRE),
        "head.note": made.station.head(world.STATION),
        "head-cosigned.note": made.station.head(world.STATION, world.CENTRE),
        "seal.note": made.files[f"records/{record}/seal.note"],
        "seal-partial.note": seals.sign_seal(world.a_partial_seal(), world.STATION),
        "receipt.note": fields.data(entry.body, "receipt"),
    }


def write(folder: Path) -> None:
    """Write all golden files below a folder."""
    for path, data in build().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    world.build(b"the first recording", b"").write(folder / "package")


if __name__ == "__main__":
    write(FOLDER)
