"""The plan of a rescue reads all that can be read, gives up just what cannot, and ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.durable.rescue_map import BLOCK, RescueMap
from dockwarden.evidence import canonical
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.digests import LEAF_SIZE

SIZES = st.one_of(st.integers(1, 3 * BLOCK), st.integers(1, 40 * LEAF_SIZE))


def bad_blocks(plan: RescueMap, bad: set[int]) -> list[tuple[int, int]]:
    """Follow a plan to its end on a disk with these bad blocks; the ranges that were tried."""
    tried = []
    while (found := plan.next()) is not None:
        offset, length = found
        assert length > 0 and offset + length <= plan.size
        assert offset // LEAF_SIZE == (offset + length - 1) // LEAF_SIZE
        touched = range(offset // BLOCK, (offset + length - 1) // BLOCK + 1)
        plan.note(offset, length, good=not bad.intersection(touched))
        tried.append(found)
    return tried


@given(SIZES, st.data())
def test_the_holes_are_just_the_blocks_that_cannot_be_read(size: int, data: st.DataObject) -> None:
    blocks = -(-size // BLOCK)
    bad = data.draw(st.sets(st.integers(0, blocks - 1), max_size=30))
    good = min(size, data.draw(st.integers(0, 3)) * LEAF_SIZE)
    plan = RescueMap(size, good)
    tried = bad_blocks(plan, bad)
    for span in plan.spans:
        assert span.state == ("bad" if span.start >= good and span.start // BLOCK in bad else "good")
    lost = [span for span in plan.spans if span.state == "bad"]
    given_up = {block for span in lost for block in range(span.start // BLOCK, -(-span.end // BLOCK))}
    assert given_up == {block for block in bad if block * BLOCK >= good}
    assert plan.good_bytes == size - sum(span.end - span.start for span in lost)
    assert len(tried) == len(set(tried)) or size <= BLOCK


@given(SIZES, st.data())
def test_a_plan_that_is_read_again_goes_on_where_it_was(size: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, -(-size // BLOCK) - 1), max_size=10))
    plan, steps = RescueMap(size), data.draw(st.integers(0, 60))
    for _ in range(steps):
        found = plan.next()
        if found is None:
            break
        touched = range(found[0] // BLOCK, (sum(found) - 1) // BLOCK + 1)
        plan.note(*found, good=not bad.intersection(touched))
    again = RescueMap.read(canonical.decode_object(canonical.encode(plan.to_object()), "map"), size)
    assert again.spans == plan.spans
    bad_blocks(plan, bad)
    bad_blocks(again, bad)
    assert again.spans == plan.spans


def test_good_leaves_come_before_anything_is_insisted_on() -> None:
    plan = RescueMap(100 * LEAF_SIZE)
    tried = bad_blocks(plan, set(range(10 * LEAF_SIZE // BLOCK, 14 * LEAF_SIZE // BLOCK)))
    first_block = next(number for number, (_, length) in enumerate(tried) if length == BLOCK)
    # Eleven leaves, two more failures while it leaps, and all behind the bad area: then what was leapt over.
    assert {offset for offset, _ in tried[:first_block]} == {leaf * LEAF_SIZE for leaf in range(100)}
    leaves = [offset // LEAF_SIZE for offset, _ in tried[:first_block]]
    assert leaves.index(99) < leaves.index(12)


@pytest.mark.parametrize(
    "spans", [[], [[0, 5, "good"]], [[0, 9, "odd"], [9, 10, "good"]], [[1, 10, "good"]], [["0", 10, 1]]]
)
def test_a_map_of_another_source_is_refused(spans: list[list[object]]) -> None:
    with pytest.raises(MalformedError):
        RescueMap.read({"size": 10, "spans": spans, "v": 1}, 10)  # type: ignore[dict-item]
