"""docs/formats/wire.md shows what the code says."""

import re
from pathlib import Path

from dockwarden.evidence import ids, merkle, notes
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.messages import LIMITS, Answer, Ask, Offer, Presence, Want
from dockwarden.wire.topics import DOWN, UP

TEXT = (Path(__file__).parents[2] / "docs" / "formats" / "wire.md").read_text("utf-8")
RECORD, SESSION = "aaaqeayeaudaocajbifqydiob4", "bbbqeayeaudaocajbifqydiob4"
AT = "2026-11-24T09:00:00.000Z"
ROOT = merkle.leaf_hash(b"abc").hex()


def test_the_examples_are_what_the_code_prints() -> None:
    assert ids.record_bytes(RECORD) == bytes(range(16))
    want = Want("st-01", SESSION, RECORD, 1, ROOT, 17, 0, 8 << 20, ((0, 1),))
    printed = [
        Presence("online", SESSION, AT, AT).encode(),
        Ask(RECORD, "status").encode(),
        Answer(RECORD, AT, {"station": "st-01"}).encode(),
        Offer(SESSION, RECORD, 1, 0, 3, ROOT, None).encode(),
        want.sign(notes.SigningKey("centre", bytes(32))),
        Chunk(RECORD, 1, 17, 1, 0, (), b"abc").encode().hex().encode(),
    ]
    for payload in printed:
        assert payload.decode().strip() in TEXT


def test_every_lane_and_its_limit_stand_in_the_table() -> None:
    for lane in {*UP, *DOWN}:
        (row,) = re.findall(rf"^\|[^|]*`{lane}`.*$", TEXT, re.MULTILINE)
        assert "reserved" in row or f"{LIMITS[lane]:,}" in row
