"""The log's copy in a snapshot leads to its signed head, with secret bodies left out; any change is found."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.offsite.samples import LOG, STATION

from dockwarden.evidence import facts, ids, merkle
from dockwarden.evidence.checkpoints import Head, sign_head
from dockwarden.evidence.facts import By, Entry, Envelope, Instant
from dockwarden.evidence.notes import SigningKey
from dockwarden.offsite.logcopy import ENTRIES, HEAD, verify_log, write_log

KEYS = [STATION.verifier]
OPEN, SECRET = (ids.new_record_id(bytes([number]) * 16) for number in (1, 2))


def entry(seq: int, record: str | None, log: str = LOG) -> Entry:
    body = facts.seal_body({"party": "李某", "seal_sha256": f"{seq:064d}"}, bytes(16))
    envelope = Envelope(
        log=log,
        seq=seq,
        at=Instant("2026-11-24T20:00:00.000Z", "0" * 32, seq, True),
        kind="sealed",
        outcome="done",
        by=By("st-01", "stage", "test"),
        body_sha256=facts.body_digest(body),
        record=record,
    )
    return Entry(envelope.encode(), body)


def log_of(size: int) -> list[Entry]:
    return [entry(seq, (None, OPEN, SECRET)[seq % 3]) for seq in range(size)]


def head_of(entries: list[Entry], key: SigningKey = STATION) -> bytes:
    return sign_head(Head(LOG, len(entries), merkle.root([item.leaf for item in entries])), key)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 64, 100])
def test_a_copy_leads_to_its_head(tmp_path: Path, size: int) -> None:
    entries = log_of(size)
    write_log(tmp_path, iter(entries), head_of(entries), lambda record: record == SECRET)
    copy = verify_log(tmp_path, KEYS)
    assert copy.findings == ()
    assert copy.head is not None and copy.head.size == size


def test_bodies_about_a_withheld_record_stay_out_and_the_log_verifies_without_them(tmp_path: Path) -> None:
    entries = log_of(6)
    write_log(tmp_path, entries, head_of(entries), lambda record: record == SECRET)
    lines = (tmp_path / ENTRIES).read_text("utf-8").splitlines()
    assert [("null" in line[:12], SECRET in line) for line in lines] == [(seq % 3 == 2,) * 2 for seq in range(6)]
    assert verify_log(tmp_path, KEYS).seals == {OPEN: f"{4:064d}", SECRET: None}


def test_a_head_that_another_key_signed_is_found(tmp_path: Path) -> None:
    entries = log_of(3)
    write_log(tmp_path, entries, head_of(entries, SigningKey.generate("st-01")), lambda record: False)
    assert [found.code for found in verify_log(tmp_path, KEYS).findings] == ["head"]


def test_a_missing_head_or_list_is_found(tmp_path: Path) -> None:
    entries = log_of(3)
    assert [found.code for found in verify_log(tmp_path, KEYS).findings] == ["head"]
    write_log(tmp_path, entries, head_of(entries), lambda record: False)
    (tmp_path / ENTRIES).unlink()
    assert [found.code for found in verify_log(tmp_path, KEYS).findings] == ["entries"]


@pytest.mark.parametrize("change", ["cut", "swap", "drop", "double", "foreign"])
def test_an_entry_that_is_missing_moved_or_anothers_is_found(tmp_path: Path, change: str) -> None:
    entries = log_of(5)
    bent = {
        "cut": entries[:4],
        "swap": [entries[1], entries[0], *entries[2:]],
        "drop": [*entries[:2], *entries[3:]],
        "double": [*entries, entries[4]],
        "foreign": [*entries[:4], entry(4, OPEN, "st-01.bbbbbbbb")],
    }[change]
    write_log(tmp_path, bent, head_of(entries), lambda record: False)
    assert [found.code for found in verify_log(tmp_path, KEYS).findings] == ["entries"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_byte_is_found(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / ENTRIES).exists():
        entries = log_of(4)
        write_log(tmp_path, entries, head_of(entries), lambda record: record == SECRET)
    path = tmp_path / data.draw(st.sampled_from([ENTRIES, HEAD]))
    whole = path.read_bytes()
    bent = bytearray(whole)
    bent[data.draw(st.integers(0, len(bent) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bent)
    assert verify_log(tmp_path, KEYS).findings
    path.write_bytes(whole)
