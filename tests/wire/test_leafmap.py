"""The map of leaves: what is missing, written, durable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence.canonical import MalformedError
from dockwarden.wire.errors import LocalError
from dockwarden.wire.leafmap import DURABLE, MISSING, WRITTEN, LeafMap


@given(st.integers(0, 60), st.lists(st.tuples(st.integers(0, 59), st.sampled_from([MISSING, WRITTEN, DURABLE]))))
def test_it_says_what_a_plain_list_says(count: int, marks: list[tuple[int, int]]) -> None:
    leaves, plain = LeafMap(count), [MISSING] * count
    for leaf, state in marks:
        if leaf < count:
            leaves.mark(leaf, state)
            plain[leaf] = state
            leaves.gaps(3)
    gone = [leaf for first, many in leaves.gaps(count + 1) for leaf in range(first, first + many)]
    assert gone == [leaf for leaf, state in enumerate(plain) if state == MISSING]
    assert leaves.missing == len(gone)
    assert [leaves.state(leaf) for leaf in range(count)] == plain
    assert len(leaves.gaps(2)) <= 2
    for (first, many), (after, _) in zip(leaves.gaps(99), leaves.gaps(99)[1:], strict=False):
        assert first + many < after


@given(st.integers(0, 60), st.sets(st.integers(0, 59)))
def test_the_bitmap_restores_what_was_durable(count: int, durable: set[int]) -> None:
    leaves = LeafMap(count, [leaf for leaf in durable if leaf < count])
    if count:
        leaves.mark(0, WRITTEN)
    again = LeafMap.from_bitmap(count, leaves.bitmap())
    assert again.bitmap() == leaves.bitmap()
    assert [again.state(leaf) == DURABLE for leaf in range(count)] == [
        leaf in durable and leaf > 0 for leaf in range(count)
    ]
    assert again.missing == sum(again.state(leaf) == MISSING for leaf in range(count))


def test_the_bitmap_has_a_bit_a_leaf_the_lowest_first() -> None:
    assert LeafMap(10, [0, 3, 9]).bitmap() == bytes([0b00001001, 0b00000010])
    assert len(LeafMap(131072, range(131072)).bitmap()) == 16384


@pytest.mark.parametrize("bitmap", [b"", bytes(3), bytes([0, 0b100])])
def test_a_bitmap_of_another_item_is_refused(bitmap: bytes) -> None:
    with pytest.raises(MalformedError):
        LeafMap.from_bitmap(10, bitmap)


def test_a_leaf_that_is_not_there_is_our_own_mistake() -> None:
    for leaf in (-1, 10):
        with pytest.raises(LocalError):
            LeafMap(10).state(leaf)
