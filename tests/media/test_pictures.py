"""Picture hashes: exact on known pictures, blind to brightness, bounded in size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence import canonical
from dockwarden.media.pictures import FRAME_BYTES, MOST_HASHES, Pictures, difference_hash, distance, from_frames

GREY = st.binary(min_size=FRAME_BYTES, max_size=FRAME_BYTES)


def test_the_bits_run_by_rows_from_the_top_left_highest_first() -> None:
    falling, flat = bytes(range(90, 0, -10)), bytes(9)
    assert difference_hash(falling * 8) == 2**64 - 1
    assert difference_hash(flat * 8) == 0
    assert difference_hash(falling + flat * 7) == 0xFF << 56
    assert difference_hash(bytes([1]) + bytes(71)) == 1 << 63
    assert difference_hash(bytes(70) + bytes([1, 0])) == 1


@given(GREY, st.integers(1, 100))
def test_a_brighter_picture_has_the_same_hash(grey: bytes, more: int) -> None:
    halved = bytes(value // 2 for value in grey)
    assert difference_hash(bytes(value + more for value in halved)) == difference_hash(halved)


@given(GREY, GREY)
def test_distance_counts_differing_bits(one: bytes, other: bytes) -> None:
    a, b = difference_hash(one), difference_hash(other)
    assert distance(a, b) == distance(b, a) == bin(a ^ b).count("1")
    assert distance(a, a) == 0


@given(st.binary(max_size=FRAME_BYTES * 5))
def test_every_whole_picture_gives_sixteen_digits(frames: bytes) -> None:
    found = from_frames(frames)
    if len(frames) < FRAME_BYTES:
        assert found is None
        return
    assert found is not None
    body = found.to_body()
    assert body["fps"] == "2"
    assert len(str(body["hashes"])) == len(frames) // FRAME_BYTES * 16


@pytest.mark.parametrize(("count", "fps"), [(1, "2"), (MOST_HASHES, "2"), (MOST_HASHES + 1, "1"), (86400, "2/3")])
def test_a_long_recording_is_thinned_so_that_its_fact_stays_small(count: int, fps: str) -> None:
    found = from_frames(bytes(FRAME_BYTES) * count)
    assert found is not None
    assert found.fps == fps
    assert len(found.hashes) <= MOST_HASHES
    assert len(canonical.encode(found.to_body())) < 500_000


def test_a_still_has_one_hash_and_no_rate() -> None:
    assert from_frames(bytes(FRAME_BYTES), still=True) == Pictures("0", (0,))
