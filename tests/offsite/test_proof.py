"""Read-back is pure over a stream: only the very bytes that were sealed prove a record."""

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.offsite.samples import record_files, tar_of

from dockwarden.evidence.digests import LEAF_SIZE
from dockwarden.offsite import proof
from dockwarden.offsite.errors import OffsiteError
from dockwarden.offsite.proof import Expected, Mismatch, ProvenRecord, ReadBack, Verdict

DATA = bytes(range(256)) * 4000
EXPECTED, FILES = record_files(DATA)
SMALL, SMALL_FILES = record_files(b"", number=2)


def placed(expected: Expected, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{expected.path}/{name}": content for name, content in files.items()}


def verdicts(data: bytes, *expected: Expected) -> list[Verdict]:
    reading = ReadBack(expected)
    return [*reading.read(io.BytesIO(data)), *reading.missing()]


def refusal(files: dict[str, bytes], expected: Expected = EXPECTED) -> Mismatch:
    (verdict,) = verdicts(tar_of(placed(expected, files)), expected)
    assert isinstance(verdict, Mismatch)
    assert verdict.record == expected.record
    return verdict


def test_what_was_sealed_is_proven_whatever_else_is_in_the_stream() -> None:
    files = {"log/entries.jsonl": b"{}\n", **placed(SMALL, SMALL_FILES), "x": b"y", **placed(EXPECTED, FILES)}
    found = verdicts(tar_of(files), EXPECTED, SMALL)
    assert found == [ProvenRecord(SMALL), ProvenRecord(EXPECTED)]


def test_the_order_of_the_parts_does_not_matter() -> None:
    files = dict(reversed(placed(EXPECTED, FILES).items()))
    assert verdicts(tar_of(files), EXPECTED) == [ProvenRecord(EXPECTED)]


def test_a_flipped_bit_in_any_part_is_a_mismatch_that_names_it() -> None:
    for part, content in FILES.items():
        bent = bytearray(content)
        bent[len(bent) // 2] ^= 1
        found = refusal({**FILES, part: bytes(bent)})
        assert (found.code, found.path) == ("differs", f"{EXPECTED.path}/{part}")


def test_a_shorter_or_longer_original_is_a_mismatch() -> None:
    for data in (DATA[:-1], DATA + b"\0", DATA[:LEAF_SIZE], b""):
        assert "bytes instead of" in refusal({**FILES, "original": data}).what


def test_another_records_files_under_this_ones_name_are_a_mismatch() -> None:
    assert refusal(SMALL_FILES).code == "differs"


def test_a_part_that_is_missing_is_named() -> None:
    for part in FILES:
        found = refusal({name: content for name, content in FILES.items() if name != part})
        assert (found.code, part in found.what) == ("missing", True)


def test_a_part_that_comes_twice_is_a_mismatch() -> None:
    data = tar_of(placed(EXPECTED, {"leaves": FILES["leaves"]}))[:1024]  # without the archive's end
    found = verdicts(data + tar_of(placed(EXPECTED, FILES)), EXPECTED)
    assert isinstance(found[0], Mismatch)
    assert found[0].code == "doubled"


def test_a_stream_that_breaks_off_leaves_pending_what_it_did_not_hold() -> None:
    data = tar_of({**placed(SMALL, SMALL_FILES), **placed(EXPECTED, FILES)})
    reading = ReadBack([SMALL, EXPECTED])
    assert list(reading.read(io.BytesIO(data[: len(data) // 2]))) == [ProvenRecord(SMALL)]
    assert list(reading.pending) == [EXPECTED.record]


def test_other_files_are_noted_only_when_read_in_full() -> None:
    data = tar_of({"log/entries.jsonl": b"a" * 5000})
    whole, torn = ReadBack([], ["log/entries.jsonl"]), ReadBack([], ["log/entries.jsonl"])
    assert list(whole.read(io.BytesIO(data))) == list(torn.read(io.BytesIO(data[:3000]))) == []
    assert list(whole.noted) == ["log/entries.jsonl"]
    assert torn.noted == {}


def test_a_large_file_is_hashed_in_threads_with_the_same_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "BUFFER", LEAF_SIZE)
    whole = tar_of(placed(EXPECTED, FILES))
    assert verdicts(whole, EXPECTED) == [ProvenRecord(EXPECTED)]
    assert refusal({**FILES, "original": DATA[:-1] + b"x"}).code == "differs"
    (torn,) = verdicts(whole[: len(whole) // 2], EXPECTED)
    assert isinstance(torn, Mismatch)
    assert torn.code == "missing"


class Failing:
    """A stream that ends with an error in the middle of a file."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        data = self._data.read(size)
        if not data:
            raise OffsiteError("timeout", "nothing moves", "here")
        return data


def test_an_error_of_the_stream_passes_through_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "BUFFER", LEAF_SIZE)
    reading = ReadBack([EXPECTED])
    with pytest.raises(OffsiteError):
        list(reading.read(Failing(tar_of(placed(EXPECTED, FILES))[:800_000])))
    assert list(reading.pending) == [EXPECTED.record]


class Pieces:
    """A stream that gives its bytes in pieces of any size."""

    def __init__(self, data: bytes, sizes: Iterator[int]) -> None:
        self._data = io.BytesIO(data)
        self._sizes = sizes

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, next(self._sizes, size)))


@given(st.lists(st.integers(1, 20000), max_size=50))
def test_pieces_of_any_size_give_the_same_verdict(sizes: list[int]) -> None:
    reading = ReadBack([EXPECTED])
    stream = Pieces(tar_of(placed(EXPECTED, FILES)), iter(sizes))
    assert list(reading.read(stream)) == [ProvenRecord(EXPECTED)]


TINY, TINY_FILES = record_files(b"0123456789" * 100, number=3)
TINY_TAR = tar_of(placed(TINY, TINY_FILES))
# Bytes that carry evidence; a flip elsewhere (a time, an owner, padding) changes nothing of it.
CONTENT = [
    (TINY_TAR.index(content), len(content)) for content in TINY_FILES.values()
]  # fmt: skip


@given(st.data())
def test_no_change_of_a_byte_of_a_part_is_ever_proven(data: st.DataObject) -> None:
    start, length = data.draw(st.sampled_from(CONTENT))
    bent = bytearray(TINY_TAR)
    bent[start + data.draw(st.integers(0, length - 1))] ^= data.draw(st.integers(1, 255))
    assert not [found for found in verdicts(bytes(bent), TINY) if isinstance(found, ProvenRecord)]


@given(
    st.lists(st.tuples(st.integers(0, len(TINY_TAR) - 1), st.integers(1, 255)), max_size=20), st.integers(0, 12000)
)
def test_a_bent_or_cut_stream_gives_one_verdict_and_no_error(bends: list[tuple[int, int]], end: int) -> None:
    bent = bytearray(TINY_TAR)
    for place, mask in bends:
        bent[place] ^= mask
    assert len(verdicts(bytes(bent[:end]), TINY)) == 1


@given(st.binary(max_size=3000))
def test_any_bytes_at_all_give_no_error_and_prove_nothing(data: bytes) -> None:
    (verdict,) = verdicts(data, TINY)
    assert isinstance(verdict, Mismatch)
