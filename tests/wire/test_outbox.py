"""Several transfers under one window, and their order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.wire_samples import SEAL, SESSION, STATION, Sample, sample, want

from dockwarden.evidence import ids, merkle
from dockwarden.wire.errors import LocalError, RemoteError
from dockwarden.wire.messages import ORIGINAL, PREVIEW, SHEET, Offer
from dockwarden.wire.outbox import Outbox, Waiting, in_order
from dockwarden.wire.sender import Piece
from dockwarden.wire.transfer import FIRST_WINDOW, State

BIG_LEAF = 512 * 1024
RECORDS = [ids.new_record_id(bytes([n]) * 16) for n in range(4)]


def outbox_with(*samples: Sample, most: int = 8) -> Outbox:
    outbox = Outbox(STATION, SESSION, most)
    outbox.connected(0.0)
    for one in samples:
        outbox.add(one.item, SEAL if one.item.part == ORIGINAL else None, one.tree, 0.0)
    return outbox


def all_offers(outbox: Outbox) -> list[Offer]:
    offers = []
    while isinstance(todo := outbox.next(0.0), Offer):
        offers.append(todo)
    return offers


def all_pieces(outbox: Outbox, now: float = 0.0) -> list[Piece]:
    pieces = []
    while isinstance(todo := outbox.next(now), Piece):
        pieces.append(todo)
    return pieces


def test_the_first_item_has_the_first_turn_and_one_window_holds_for_all() -> None:
    first, second = (sample(20 * BIG_LEAF, record=record, leaf_size=BIG_LEAF) for record in RECORDS[:2])
    outbox = outbox_with(first, second)
    assert [offer.record for offer in all_offers(outbox)] == RECORDS[:2]
    outbox.on_want(want(second, 3, ((0, 20),), credit=2 * BIG_LEAF), 0.0)
    outbox.on_want(want(first, 5, ((0, 20),), credit=5 * BIG_LEAF), 0.0)
    pieces = all_pieces(outbox)
    assert [(piece.item.record, piece.leaf) for piece in pieces] == [
        *((RECORDS[0], leaf) for leaf in range(5)),
        *((RECORDS[1], leaf) for leaf in range(2)),
    ]
    outbox.on_want(want(second, 3, ((2, 18),), seen=2, credit=1 << 30), 0.0)
    assert {piece.item.record for piece in all_pieces(outbox)} == {RECORDS[1]}
    assert outbox.in_flight == FIRST_WINDOW


def test_the_window_follows_the_line() -> None:
    one = sample(60 * BIG_LEAF, leaf_size=BIG_LEAF)
    outbox = outbox_with(one)
    all_offers(outbox)
    outbox.on_want(want(one, 1, ((0, 60),), credit=1 << 30), 0.0)
    assert len(all_pieces(outbox)) == 8
    outbox.on_want(want(one, 1, ((8, 52),), seen=8, credit=1 << 30), 1.0)
    assert outbox.pace.window == FIRST_WINDOW // 2
    assert len(all_pieces(outbox, 1.0)) == 4


def test_an_item_that_waits_for_its_turn_does_not_offer_again() -> None:
    one = sample(9 * 16)
    outbox = outbox_with(one)
    all_offers(outbox)
    outbox.on_want(want(one, 1, ((0, 9),)), 0.0)
    assert outbox.due() is None
    assert isinstance(outbox.next(1000.0), Piece)
    assert outbox.due() == 1010.0


def test_a_later_transfer_in_a_session_is_offered_above_all_earlier_epochs() -> None:
    old, new = sample(40, part=PREVIEW), sample(40, part=PREVIEW, seed=2)
    outbox = outbox_with(old)
    all_offers(outbox)
    assert outbox.on_want(want(old, 70, (), complete=True, credit=0), 0.0) is State.DONE
    outbox.drop(*old.item.key)
    outbox.add(new.item, None, new.tree, 0.0)
    assert all_offers(outbox)[0].epoch == 70
    # Neither a repeat of the old word nor a late one makes the new preview look stored.
    assert outbox.on_want(want(old, 70, (), complete=True, credit=0), 0.0) is None
    assert outbox.on_want(want(old, 71, (), complete=True, credit=0), 0.0) is None
    assert outbox.stale == 2
    assert outbox.items() == {new.item.key: State.OFFERED}


def test_an_original_is_done_with_its_receipt() -> None:
    one = sample(40)
    outbox = outbox_with(one)
    all_offers(outbox)
    assert outbox.on_want(want(one, 1, (), complete=True, credit=0), 0.0) is State.STORED
    assert outbox.on_receipt(one.item.record)
    assert outbox.items() == {one.item.key: State.DONE}
    assert not outbox.on_receipt(RECORDS[0])


def test_a_want_for_another_station_is_the_peers_fault() -> None:
    one = sample(40)
    with pytest.raises(RemoteError):
        outbox_with(one).on_want(want(one, 1, (), station="station-2"), 0.0)


def test_the_outbox_takes_no_more_than_it_has_room_for_and_no_wrong_tree() -> None:
    one, other = sample(40), sample(40, record=RECORDS[0])
    outbox = outbox_with(one, most=1)
    assert outbox.room == 0
    with pytest.raises(LocalError):
        outbox.add(other.item, SEAL, other.tree, 0.0)
    outbox.drop(*one.item.key)
    with pytest.raises(LocalError):
        outbox.add(one.item, SEAL, merkle.Tree([bytes(32)]), 0.0)


def test_the_chunk_of_an_item_that_was_let_go_is_not_made() -> None:
    one = sample(40)
    outbox = outbox_with(one)
    all_offers(outbox)
    outbox.on_want(want(one, 1, ((0, 3),)), 0.0)
    piece = all_pieces(outbox)[0]
    assert outbox.chunk(piece, one.leaf(0)).data == one.leaf(0)
    outbox.drop(*one.item.key)
    with pytest.raises(LocalError):
        outbox.chunk(piece, one.leaf(0))


def test_derivatives_go_first_then_marked_and_near_originals_then_the_rest() -> None:
    waiting = [
        Waiting("late", ORIGINAL, 9, 1, deadline=9e5),
        Waiting("none", ORIGINAL, 9, 2),
        Waiting("near", ORIGINAL, 9, 3, deadline=1000.0),
        Waiting("marked", ORIGINAL, 9, 4, marked=True, deadline=9e5),
        Waiting("overdue", ORIGINAL, 9, 5, deadline=-5.0),
        Waiting("preview", PREVIEW, 500, 6),
        Waiting("sheet", SHEET, 20, 7),
    ]
    order = [item.record for item in in_order(waiting, now=0.0)]
    assert order == ["sheet", "preview", "overdue", "near", "marked", "late", "none"]


@given(
    st.lists(
        st.builds(
            Waiting,
            record=st.just("r"),
            part=st.integers(0, 2),
            size=st.integers(0, 9),
            number=st.integers(0, 9),
            marked=st.booleans(),
            deadline=st.none() | st.floats(-1e6, 1e6),
        )
    )
)
def test_the_order_loses_nothing_and_does_not_depend_on_how_it_is_asked(waiting: list[Waiting]) -> None:
    once = in_order(waiting, 0.0)
    assert sorted(map(repr, once)) == sorted(map(repr, waiting))
    parts = [item.part == ORIGINAL for item in once]
    assert parts == sorted(parts)
