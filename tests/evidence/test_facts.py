"""Facts: envelopes that are one form only, and bodies that can be left out."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence import canonical, facts, merkle, packages
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.facts import Entry, Envelope
from evidence import verifier, world
from evidence.strategies import envelopes, hashes, objects

ENTRY = world.Log(world.STATION_LOG).append("sealed", {"a": 1}, world.record_id("1"), "station")
ENVELOPE = canonical.decode_object(ENTRY.envelope_bytes, "envelope")
SALT = bytes(range(16))


@given(envelopes)
def test_an_envelope_reads_back_and_prints_back_for_both_readers(envelope: Envelope) -> None:
    data = envelope.encode()
    assert Envelope.decode(data) == envelope
    assert Envelope.decode(data).encode() == data
    assert verifier.load().parse_envelope(data)["seq"] == envelope.seq


@given(envelopes, st.data())
def test_of_bent_envelopes_only_malformed_escapes_and_both_readers_judge_alike(
    envelope: Envelope, data: st.DataObject
) -> None:
    bent = bytearray(envelope.encode())
    bent[data.draw(st.integers(0, len(bent) - 1))] = data.draw(st.integers(0, 127))
    try:
        ours = Envelope.decode(bytes(bent)).encode()
    except MalformedError:
        ours = None
    try:
        verifier.load().parse_envelope(bytes(bent))
        theirs = bytes(bent)
    except verifier.load().Malformed:
        theirs = None
    assert ours == theirs


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"later": 1},
        {"outcome": "perhaps"},
        {"place": "moon"},
        {"place": None},
        {"record": None},
        {"record": "x"},
        {"seq": -1},
        {"seq": True},
        {"log": "station-1"},
        {"kind": "Sealed"},
        {"kind": "x" * 65},
        {"body_sha256": "0"},
        {"by": {"how": "x", "id": "a b", "kind": "stage"}},
        {"by": {"how": "x" * 129, "id": "a", "kind": "stage"}},
        {"by": {"how": "x", "id": "a", "kind": "ghost"}},
        {"by": {"how": "x", "id": "a", "kind": "stage", "later": 1}},
        {"at": {"boot": "0" * 31, "mono": 1, "synchronised": True, "utc": "2026-11-24T08:00:00.000Z"}},
        {"at": {"boot": "0" * 32, "mono": 1, "synchronised": 1, "utc": "2026-11-24T08:00:00.000Z"}},
        {"at": {"boot": "0" * 32, "mono": 1, "synchronised": True, "utc": "2026-11-24T08:00:00Z"}},
        {"at": {"boot": "0" * 32, "mono": 1, "synchronised": True, "utc": "2026-02-30T08:00:00.000Z"}},
    ],
    ids=repr,
)
def test_an_envelope_of_another_form_is_malformed_to_both_readers(change: Object) -> None:
    data = canonical.encode({**ENVELOPE, **change})
    with pytest.raises(MalformedError):
        Envelope.decode(data)
    with pytest.raises(verifier.load().Malformed):
        verifier.load().parse_envelope(data)


@pytest.mark.parametrize("lost", sorted(set(ENVELOPE) - {"record", "place"}))
def test_an_envelope_without_one_of_its_fields_is_malformed(lost: str) -> None:
    data = canonical.encode({name: value for name, value in ENVELOPE.items() if name != lost})
    with pytest.raises(MalformedError):
        Envelope.decode(data)
    with pytest.raises(verifier.load().Malformed):
        verifier.load().parse_envelope(data)


@given(objects, st.binary(min_size=16, max_size=16))
def test_a_body_reads_back_under_its_digest_alone(body: Object, salt: bytes) -> None:
    data = facts.seal_body(body, salt)
    assert data[:16] == salt
    digest = facts.body_digest(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert facts.open_body(data, digest) == body
    with pytest.raises(MalformedError):
        facts.open_body(bytes([data[0] ^ 1]) + data[1:], digest)


def test_the_same_body_has_another_digest_each_time() -> None:
    assert facts.body_digest(facts.seal_body({}, SALT)) != facts.body_digest(facts.seal_body({}, SALT[::-1]))


def test_a_body_that_is_too_large_or_not_salted_is_refused() -> None:
    with pytest.raises(MalformedError):
        facts.seal_body({"a": "x" * facts.MAX_BODY}, SALT)
    with pytest.raises(ValueError):
        facts.seal_body({}, SALT[:15])
    for data in (b"", SALT, SALT + b"[]", SALT + b"{ }", b"x" * (facts.MAX_BODY + 1)):
        with pytest.raises(MalformedError):
            facts.open_body(data, facts.body_digest(data))


@given(envelopes, objects, st.booleans(), st.lists(hashes, max_size=5))
def test_an_entry_travels_and_comes_back(
    envelope: Envelope, body: Object, withheld: bool, proof: list[bytes]
) -> None:
    data = facts.seal_body(body, SALT)
    bound = replace(envelope, body_sha256=facts.body_digest(data))
    entry = Entry(bound.encode(), None if withheld else data)
    source = facts.entry_to_object(entry)
    assert facts.entry_from_object(source) == entry
    assert facts.entry_to_object(facts.entry_from_object(source)) == source
    assert entry.body == (None if withheld else body)
    assert entry.leaf == merkle.leaf_hash(bound.encode())
    line = canonical.encode(packages.entry_line(source, proof))
    assert packages.read_entry_line(line) == (entry, tuple(proof))
    assert verifier.load().parse_envelope(entry.envelope_bytes)["log"] == bound.log


@pytest.mark.parametrize(
    "change",
    [
        {"envelope": None},
        {"envelope": "{}"},
        {"envelope": "\ud800"},
        {"envelope": "x" * (facts.MAX_ENVELOPE + 1)},
        {"body": 5},
        {"body": "AAAA"},
        {"body": "A"},
    ],
    ids=lambda change: repr(change)[:40],
)
def test_an_entry_of_another_form_is_malformed(change: Object) -> None:
    with pytest.raises(MalformedError):
        facts.entry_from_object({**facts.entry_to_object(ENTRY), **change})


def test_a_withheld_body_is_null_and_not_just_absent() -> None:
    source = facts.entry_to_object(ENTRY)
    assert facts.entry_from_object({**source, "body": None}).body is None
    del source["body"]
    with pytest.raises(MalformedError):
        facts.entry_from_object(source)


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b'{"body":null,"envelope":"","proof":[]}', b'{"proof":5}'], ids=repr
)
def test_a_line_of_another_form_is_malformed(line: bytes) -> None:
    with pytest.raises(MalformedError):
        packages.read_entry_line(line)
    good: Object = packages.entry_line(facts.entry_to_object(ENTRY), [])
    for proof in ([5], ["A"], "AAAA", [""] * 65):
        with pytest.raises(MalformedError):
            packages.read_entry_line(canonical.encode({**good, "proof": proof}))
