"""SHA-256, SM3 and leaves: the same whatever the pieces."""

import hashlib
import mmap
import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence import digests, merkle
from dockwarden.evidence.digests import LEAF_SIZE, Hash, Measure
from evidence import verifier

# GB/T 32905-2016, appendix A.
ABC = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
ABCD_16 = "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"

LIBRARY = digests._gcrypt()


def gcrypt_sm3() -> Hash:
    """SM3 by libgcrypt."""
    assert LIBRARY is not None
    return digests._GcryptSm3(LIBRARY)


def hashlib_sm3() -> Hash:
    """SM3 by OpenSSL."""
    return hashlib.new("sm3")


MAKERS = [
    pytest.param(gcrypt_sm3, marks=pytest.mark.skipif(LIBRARY is None, reason="no libgcrypt20"), id="libgcrypt"),
    pytest.param(
        hashlib_sm3,
        marks=pytest.mark.skipif("sm3" not in hashlib.algorithms_available, reason="no SM3"),
        id="hashlib",
    ),
    pytest.param(digests.new_sm3, id="default"),
]


@pytest.mark.parametrize("new", MAKERS)
@pytest.mark.parametrize(("data", "expected"), [(b"abc", ABC), (b"abcd" * 16, ABCD_16)], ids=["abc", "abcd16"])
def test_sm3_gives_the_examples_of_the_standard(new: Callable[[], Hash], data: bytes, expected: str) -> None:
    sm3 = new()
    sm3.update(data)
    assert sm3.digest().hex() == expected


def test_the_verifiers_plain_sm3_gives_them_too() -> None:
    for data, expected in ((b"abc", ABC), (b"abcd" * 16, ABCD_16)):
        sm3 = verifier.load().PlainSm3()
        sm3.update(data)
        assert sm3.hexdigest() == expected


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_sm3_is_the_same_by_all_means_and_for_any_pieces(pieces: list[bytes]) -> None:
    one, other, plain = digests.new_sm3(), hashlib.new("sm3"), verifier.load().PlainSm3()
    for number, piece in enumerate(pieces):
        forms: list[bytes | memoryview] = [piece, memoryview(piece), memoryview(bytearray(piece))]
        one.update(forms[number % 3])
        other.update(piece)
        plain.update(piece)
        # Reading in between takes nothing away.
        assert one.digest() == other.digest() == bytes.fromhex(plain.hexdigest())


@pytest.mark.parametrize("new", MAKERS)
def test_sm3_takes_whatever_holds_bytes_and_refuses_the_rest(new: Callable[[], Hash]) -> None:
    data = random.Random(1).randbytes(4096)
    with mmap.mmap(-1, 4096) as mapped:
        mapped[:] = data
        for pieces in ([data], [bytearray(data)], [mapped], [memoryview(data)[:100], memoryview(mapped)[100:]]):
            sm3 = new()
            for piece in pieces:
                sm3.update(piece)  # type: ignore[arg-type]  # a map holds bytes, though no annotation says so
            assert sm3.digest() == hashlib.new("sm3", data).digest()
        del pieces, piece
    sm3 = new()
    with pytest.raises(BufferError):
        sm3.update(memoryview(data)[::2])
    with pytest.raises(TypeError):
        sm3.update("text")  # type: ignore[arg-type]  # on purpose


@pytest.mark.skipif(LIBRARY is None, reason="no libgcrypt20")
@pytest.mark.parametrize("wrap", [bytes, memoryview, bytearray], ids=lambda wrap: wrap.__name__)
def test_sm3_does_not_copy_what_it_reads(wrap: Callable[[bytes], bytes]) -> None:
    data = wrap(bytes(4 << 20))
    sm3 = gcrypt_sm3()
    tracemalloc.start()
    try:
        sm3.update(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_a_library_whose_number_326_is_another_hash_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    sha3_256 = 313
    monkeypatch.setattr(digests, "_GCRY_MD_SM3", sha3_256)
    assert LIBRARY is None or not digests._knows_sm3(LIBRARY)


def measured(data: bytes, cuts: list[int]) -> tuple[digests.Digests, list[bytes]]:
    """Measure bytes in pieces that end at `cuts`."""
    measure, start = Measure(), 0
    for end in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        measure.update(memoryview(data)[start:end])
        start = end
    return measure.finish(), measure.leaves


@pytest.mark.parametrize("size", [0, 1, LEAF_SIZE - 1, LEAF_SIZE, LEAF_SIZE + 1, 3 * LEAF_SIZE + 17])
def test_measuring_is_the_same_for_any_pieces_and_for_plain_hashes(size: int) -> None:
    data = random.Random(size).randbytes(size)
    leaves = [merkle.leaf_hash(data[start : start + LEAF_SIZE]) for start in range(0, size, LEAF_SIZE)]
    expected = digests.Digests(
        size, hashlib.sha256(data).hexdigest(), hashlib.new("sm3", data).hexdigest(), merkle.root(leaves).hex()
    )
    for seed in range(4):
        cuts = [random.Random(seed).randrange(size + 1) for _ in range(seed * 3)]
        assert measured(data, cuts) == (expected, leaves)
    assert digests.leaf_count(size) == len(leaves)
    assert sum(digests.leaf_length(size, index) for index in range(len(leaves))) == size
    for outside in (-1, len(leaves)):
        with pytest.raises(IndexError):
            digests.leaf_length(size, outside)


def test_a_view_of_larger_items_is_measured_by_its_bytes() -> None:
    data = bytes(range(256)) * 4
    measure = Measure()
    measure.update(memoryview(data).cast("I"))
    assert (measure.finish(), measure.leaves) == measured(data, [])
