"""Chunks: the one binary message."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.wire_samples import RECORD

from dockwarden.evidence import ids, merkle
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.digests import LEAF_SIZE
from dockwarden.wire.chunks import HEADER, MAX_PROOF, Chunk
from dockwarden.wire.messages import LIMITS, MAX_SIZE

PROOF = (b"a" * 32, b"b" * 32)
CHUNK = Chunk(RECORD, 1, 2, 3, 4, PROOF, b"data")


def test_the_layout_is_the_one_that_is_documented() -> None:
    assert CHUNK.encode().hex() == (
        "44574331"  # DWC1
        + bytes(range(16)).hex()
        + "01"
        + "00000002"
        + "0000000000000003"
        + "0000000000000004"
        + "02"
        + "61" * 32
        + "62" * 32
        + "64617461"
    )


def test_the_largest_leaf_with_the_longest_proof_fits() -> None:
    assert 2 ** (MAX_PROOF - 1) < MAX_SIZE // LEAF_SIZE <= 2**MAX_PROOF
    chunk = Chunk(RECORD, 0, 2**32 - 1, 2**53 - 1, 2**23 - 1, (b"p" * 32,) * MAX_PROOF, bytes(LEAF_SIZE))
    assert Chunk.decode(chunk.encode()) == chunk
    assert len(chunk.encode()) <= LIMITS["chunk"]


def test_the_leaf_hash_is_that_of_the_tree() -> None:
    assert Chunk.decode(CHUNK.encode()).leaf_hash() == merkle.leaf_hash(b"data")


@pytest.mark.parametrize(
    "chunk",
    [
        replace(CHUNK, part=3),
        replace(CHUNK, epoch=0),
        replace(CHUNK, serial=0),
        replace(CHUNK, serial=2**53),
        replace(CHUNK, leaf=2**53),
        replace(CHUNK, proof=(b"p" * 32,) * (MAX_PROOF + 1)),
        replace(CHUNK, proof=(b"p" * 31,)),
        replace(CHUNK, data=b""),
        replace(CHUNK, data=bytes(LEAF_SIZE + 1)),
        replace(CHUNK, record="x"),
    ],
)
def test_a_chunk_that_cannot_be_is_not_made(chunk: Chunk) -> None:
    with pytest.raises(MalformedError):
        chunk.encode()


def test_every_truncation_is_malformed_or_shorter_data() -> None:
    raw = CHUNK.encode()
    for end in range(len(raw)):
        if end <= HEADER.size + 64:
            with pytest.raises(MalformedError):
                Chunk.decode(raw[:end])
        else:
            assert Chunk.decode(raw[:end]).encode() == raw[:end]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_chunk_or_malformed(rest: bytes) -> None:
    for raw in (rest, b"DWC1" + rest):
        try:
            chunk = Chunk.decode(raw)
        except MalformedError:
            continue
        assert chunk.encode() == raw


@given(
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2),
    st.integers(1, 2**32 - 1),
    st.integers(1, 2**53 - 1),
    st.integers(0, 2**53 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PROOF),
    st.binary(min_size=1, max_size=100),
)
def test_a_chunk_reads_back_as_it_was_made(
    record: bytes, part: int, epoch: int, serial: int, leaf: int, proof: list[bytes], data: bytes
) -> None:
    chunk = Chunk(ids.new_record_id(record), part, epoch, serial, leaf, tuple(proof), data)
    assert Chunk.decode(chunk.encode()) == chunk
