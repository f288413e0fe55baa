"""Messages: strict forms, accepted only if they print back, bounded in size; only MalformedError may escape."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.wire_samples import CENTRE, RECORD, SEAL, SESSION, STATION, STATION_KEY, sample, want

from dockwarden.evidence import canonical, checkpoints, facts, ids, merkle, notes, seals, statements
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.digests import Digests
from dockwarden.wire.ledgers import FactBatch, HeadMessage, LogSize, fact_batch
from dockwarden.wire.messages import (
    LIMITS,
    MAX_RANGES,
    ORIGINAL,
    PREVIEW,
    Answer,
    Ask,
    Offer,
    Presence,
    Want,
)

AT = "2026-11-24T08:00:00.000Z"
LOG = "station-1.abcdefgh"
ASK_ID = ids.new_record_id(b"question........")
ROOT = "ab" * 32
BOOT = "0" * 32


def entry(seq: int, body: canonical.Object | None = None, log: str = LOG) -> facts.Entry:
    at = facts.Instant(AT, BOOT, seq, True)
    data = facts.seal_body(body or {"v": 1, "n": seq}, bytes(16))
    by = facts.By("intake", "stage", "dockwarden/0.1.0 intake")
    envelope = facts.Envelope(log, seq, at, "sealed", "done", by, facts.body_digest(data), RECORD, "station")
    return facts.Entry(envelope.encode(), data)


HEAD = checkpoints.sign_head(checkpoints.Head(LOG, 7, merkle.leaf_hash(b"")), STATION_KEY)
CENTRE_HEAD = checkpoints.sign_head(checkpoints.Head("centre.abcdefgh", 3, merkle.leaf_hash(b"")), CENTRE)

PRESENCE = Presence("online", SESSION, AT, AT)
OFFER = Offer(SESSION, RECORD, ORIGINAL, 0, 12, ROOT, SEAL)
BATCH = FactBatch(LOG, 3, (entry(3), facts.Entry(entry(4).envelope_bytes, None)))
HEAD_MESSAGE = HeadMessage(HEAD, LogSize("centre.abcdefgh", 3), CENTRE.cosign(CENTRE_HEAD, 1), (bytes(32), bytes(32)))
ASK = Ask(ASK_ID, "status")
ANSWER = Answer(ASK_ID, AT, {"bays": [1, 2], "state": "空"})

PLAIN = [
    (PRESENCE, Presence.decode),
    (OFFER, Offer.decode),
    (replace(OFFER, part=PREVIEW, seal=None), Offer.decode),
    (BATCH, FactBatch.decode),
    (HEAD_MESSAGE, HeadMessage.decode),
    (HeadMessage(HEAD), HeadMessage.decode),
    (ASK, Ask.decode),
    (ANSWER, Answer.decode),
]
DECODERS = [Presence.decode, Offer.decode, FactBatch.decode, HeadMessage.decode, Ask.decode, Answer.decode]


@pytest.mark.parametrize(("message", "decode"), PLAIN)
def test_a_message_reads_back_as_it_was_said(message: Presence, decode: Callable[[bytes], object]) -> None:
    assert decode(message.encode()) == message


@pytest.mark.parametrize(("message", "decode"), PLAIN)
def test_no_field_may_be_missing_or_added(message: Presence, decode: Callable[[bytes], object]) -> None:
    body = json.loads(message.encode())
    bent = [{k: v for k, v in body.items() if k != gone} for gone in body]
    bent += [{**body, "zz": 1}, {**body, "v": 2}, {**body, "v": True}, [body]]
    for value in bent:
        with pytest.raises(MalformedError):
            decode(canonical.encode(value))


@pytest.mark.parametrize(("message", "decode"), PLAIN)
def test_another_form_of_the_same_value_is_not_accepted(message: Presence, decode: Callable[[bytes], object]) -> None:
    for data in (
        b" " + message.encode(),
        message.encode() + b"\n",
        json.dumps(json.loads(message.encode())).encode(),
    ):
        with pytest.raises(MalformedError):
            decode(data)


@given(st.sampled_from(PLAIN), st.data())
def test_a_mutated_message_is_malformed_or_another_message(
    pair: tuple[Presence, Callable[[bytes], Presence]], data: st.DataObject
) -> None:
    message, decode = pair
    raw = bytearray(message.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(raw))
    except MalformedError:
        return
    assert found.encode() == bytes(raw)


@given(st.binary(max_size=200), st.sampled_from([*DECODERS, lambda data: Want.open(data, [CENTRE.verifier])]))
def test_any_bytes_are_read_or_malformed(data: bytes, decode: Callable[[bytes], object]) -> None:
    with pytest.raises(MalformedError):
        decode(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    st.sampled_from(PLAIN),
    st.data(),
)
def test_a_field_of_any_other_value_is_read_or_malformed(
    value: object, pair: tuple[Presence, Callable[[bytes], Presence]], data: st.DataObject
) -> None:
    message, decode = pair
    body = json.loads(message.encode())
    body[data.draw(st.sampled_from(sorted(body)))] = value
    try:
        raw = canonical.encode(body)
        found = decode(raw)
    except MalformedError:
        return
    assert found.encode() == raw


def test_what_is_too_large_is_not_even_parsed() -> None:
    data = canonical.encode({"answer": {"x": "y" * LIMITS["answer"]}, "at": AT, "id": ASK_ID, "v": 1})
    with pytest.raises(MalformedError, match="larger"):
        Answer.decode(data)


def test_a_seal_goes_with_the_original_and_with_nothing_else() -> None:
    for bad in (replace(OFFER, seal=None), replace(OFFER, part=PREVIEW), replace(OFFER, seal=b"no note")):
        with pytest.raises(MalformedError):
            Offer.decode(bad.encode())


def test_an_offer_agrees_with_the_seal_of_its_item_alone() -> None:
    name = seals.SourceName("a", b"a", "ascii").to_object()
    seal = seals.Seal(
        *(RECORD, LOG, "1-1", SESSION, {}, {"name": name}, {}, None),
        *(Digests(12, "00" * 32, "00" * 32, ROOT), "direct", AT),
    )
    assert OFFER.agrees(seal)
    for other in (replace(OFFER, size=13), replace(OFFER, leaves_root="ac" * 32), replace(OFFER, record=ASK_ID)):
        assert not other.agrees(seal)


def test_a_want_is_read_only_as_the_centre_signed_it() -> None:
    said = want(sample(100), 5, ((0, 2), (4, 1)))
    raw = said.sign(CENTRE)
    assert Want.open(raw, [CENTRE.verifier]) == said
    with pytest.raises(notes.SignatureError):
        Want.open(raw, [STATION_KEY.verifier])
    with pytest.raises(notes.SignatureError):
        Want.open(raw.replace(b'"epoch":5', b'"epoch":6'), [CENTRE.verifier])
    with pytest.raises(MalformedError):
        Want.open(statements.sign("receipt", said.to_object(), CENTRE), [CENTRE.verifier])


@pytest.mark.parametrize(
    "changes",
    [
        {"ranges": [[0, 1], [1, 1]]},
        {"ranges": [[3, 2], [0, 1]]},
        {"ranges": [[0, 0]]},
        {"ranges": [[-1, 1]]},
        {"ranges": [[0, 1, 2]]},
        {"ranges": [0]},
        {"ranges": [[2 * n, 1] for n in range(MAX_RANGES + 1)]},
        {"epoch": 0},
        {"epoch": 2**32},
        {"seen": -1},
        {"credit": True},
        {"part": 3},
        {"complete": True},
        {"complete": 0},
        {"station": "Station"},
        {"session": "x"},
        {"leaves_root": "AB" * 32},
        {"more": 1},
        {"v": 2},
    ],
)
def test_a_want_that_cannot_be_is_malformed_although_it_is_signed(changes: canonical.Object) -> None:
    body = {**want(sample(100), 5, ((0, 2),)).to_object(), **changes}
    with pytest.raises(MalformedError):
        Want.open(statements.sign("want", body, CENTRE), [CENTRE.verifier])


def test_facts_travel_in_the_order_of_their_log() -> None:
    for bad in (
        FactBatch(LOG, 2, BATCH.entries),
        FactBatch(LOG, 3, (entry(3), entry(5))),
        FactBatch("station-2.abcdefgh", 3, BATCH.entries),
        FactBatch(LOG, 3, ()),
    ):
        with pytest.raises(MalformedError):
            FactBatch.decode(bad.encode())


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=12), st.integers(500, 9000))
def test_a_batch_takes_what_fits_and_at_least_one(sizes: list[int], limit: int) -> None:
    entries = [entry(seq, {"text": "x" * size}) for seq, size in enumerate(sizes, 10)]
    batch = fact_batch(LOG, 10, iter(entries), limit)
    taken = len(batch.entries)
    assert batch.entries == tuple(entries[:taken])
    assert taken >= 1
    assert taken == 1 or len(batch.encode()) <= limit
    if taken < len(entries):
        assert len(FactBatch(LOG, 10, tuple(entries[: taken + 1])).encode()) > limit


def test_a_fact_with_the_largest_body_fits_into_a_batch() -> None:
    body: canonical.Object = {"text": "x" * (facts.MAX_BODY - 16 - 11)}
    batch = fact_batch(LOG, 0, [entry(0, body)])
    assert FactBatch.decode(batch.encode()) == batch


def test_a_head_must_be_a_checkpoint() -> None:
    with pytest.raises(MalformedError):
        HeadMessage.decode(HeadMessage(SEAL).encode())
    with pytest.raises(MalformedError):
        HeadMessage.decode(HeadMessage(HEAD, consistency=(bytes(31),)).encode())


def test_nothing_in_a_want_or_topic_says_more_than_ids() -> None:
    said = want(sample(100), 5, ()).to_object()
    assert (said["station"], said["record"]) == (STATION, RECORD)
    assert sorted(said) == sorted(
        ["complete", "credit", "epoch", "leaves_root", "part", "ranges", "record", "seen", "session", "station", "v"]
    )
