"""The transfer's table and its two ends, one message at a time."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.wire_samples import (
    OTHER_SESSION,
    RECEIPT,
    RECORD,
    SEAL,
    SESSION,
    SMALL_LEAF,
    STATION,
    Sample,
    sample,
    want,
)

from dockwarden.evidence import merkle
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.errors import LocalError, RemoteError
from dockwarden.wire.messages import MAX_EPOCH, PREVIEW, Offer, Want
from dockwarden.wire.receiver import Action, Complete, Receiver, SayReceipt, SayWant, Write
from dockwarden.wire.sender import Piece, Sender, make_chunk
from dockwarden.wire.transfer import (
    FIRST_WINDOW,
    LARGEST_WINDOW,
    LEAST_WINDOW,
    TABLE,
    Event,
    Item,
    Pace,
    State,
    Timers,
    backoff,
    offered_item,
    step,
)

SENDER_STATES = {State.APART, State.OFFERED, State.SENDING, State.STORED, State.DONE}
SENDER_EVENTS = {Event.CONNECTED, Event.DISCONNECTED, Event.WANT, Event.COMPLETE, Event.SETTLED, Event.SILENT}
PLENTY = 1 << 20


def sender_of(one: Sample, **more: int) -> Sender:
    sender = Sender(one.item, SEAL if one.item.part == 0 else None, SESSION, **more)
    sender.connected(0.0)
    return sender


def receiver_of(one: Sample, limit: int = PLENTY, **more: int) -> Receiver:
    return Receiver(one.item, STATION, limit=limit, **more)


def offer_of(one: Sample, epoch: int = 0, session: str = SESSION) -> Offer:
    seal = SEAL if one.item.part == 0 else None
    return Offer(session, one.item.record, one.item.part, epoch, one.item.size, one.item.leaves_root.hex(), seal)


def take_all(sender: Sender, now: float = 0.0) -> list[Piece]:
    pieces = []
    while (piece := sender.take(PLENTY, now)) is not None:
        pieces.append(piece)
    return pieces


def chunk_of(one: Sample, leaf: int, epoch: int, serial: int) -> Chunk:
    return Chunk(one.item.record, one.item.part, epoch, serial, leaf, tuple(one.tree.proof(leaf)), one.leaf(leaf))


def said(actions: list[Action]) -> Want:
    return next(action.want for action in actions if isinstance(action, SayWant))


def is_whole(actions: list[Action]) -> bool:
    return any(isinstance(action, Complete) for action in actions)


# --- the table


def test_each_end_stays_in_its_own_states() -> None:
    assert set(TABLE) == set(State)
    for state, row in TABLE.items():
        assert (set(row) <= SENDER_EVENTS) == (state in SENDER_STATES)
        assert {after in SENDER_STATES for after in row.values()} == {state in SENDER_STATES}


def test_every_state_can_be_reached_and_an_end_is_an_end() -> None:
    for start, ends in ((State.APART, {State.DONE}), (State.IDLE, {State.KEPT, State.REFUSED})):
        seen, todo = {start}, [start]
        while todo:
            for after in set(TABLE[todo.pop()].values()) - seen:
                seen.add(after)
                todo.append(after)
        assert seen == (SENDER_STATES if start in SENDER_STATES else set(State) - SENDER_STATES)
        for end in ends:
            assert set(TABLE[end].values()) == {end}


def test_what_is_not_in_the_table_is_our_own_mistake() -> None:
    with pytest.raises(LocalError, match="cannot happen while idle"):
        step(State.IDLE, Event.KEPT)


def test_the_documented_table_is_the_one_that_is_used() -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats" / "wire.md").read_text("utf-8")
    columns = {
        "station": ["CONNECTED", "DISCONNECTED", "WANT", "COMPLETE", "SETTLED", "SILENT"],
        "centre": ["OFFER", "CHUNK", "WHOLE", "LACKING", "KEPT", "QUIET", "REFUSED"],
    }
    documented: dict[State, dict[Event, State]] = {}
    for side, events in columns.items():
        table = re.search(rf"^\| {side} \|.*\n\|[ |-]+\n((?:\|.*\n)+)", text, re.MULTILINE)
        assert table is not None
        for row in table[1].splitlines():
            state, *cells = (cell.strip() for cell in row.strip("|").split("|"))
            documented[State(state)] = {
                Event[event]: State(cell) for event, cell in zip(events, cells, strict=True) if cell
            }
    used = {state: {event: after for event, after in row.items() if after != state} for state, row in TABLE.items()}
    assert documented == used


# --- items


def test_an_item_of_no_bytes_has_no_leaf_and_the_empty_root() -> None:
    assert Item(RECORD, 0, 0, merkle.EMPTY_ROOT).leaves == 0
    for size, root in ((0, bytes(32)), (1, merkle.EMPTY_ROOT), (1, b""), (2**42 + 1, bytes(32))):
        with pytest.raises(LocalError):
            Item(RECORD, 0, size, root)


def test_an_offer_that_contradicts_itself_is_the_peers_fault() -> None:
    with pytest.raises(RemoteError):
        offered_item(replace(offer_of(sample(10)), size=0))


def test_only_the_last_leaf_is_short() -> None:
    item = sample(2 * SMALL_LEAF + 5).item
    assert [(item.offset(leaf), item.length(leaf)) for leaf in range(item.leaves)] == [(0, 16), (16, 16), (32, 5)]
    with pytest.raises(IndexError):
        item.length(3)


# --- the sender


def test_the_sender_offers_at_once_and_then_ever_more_rarely() -> None:
    sender = sender_of(sample(100))
    times, now = [], 0.0
    while len(times) < 7:
        if sender.offer(now) is not None:
            times.append(now)
        assert sender.due() is not None
        now = max(now, sender.due() or 0.0)
    assert [after - before for before, after in itertools.pairwise(times)] == [5, 10, 20, 40, 80, 120]


def test_nothing_is_said_without_a_connection() -> None:
    sender = Sender(sample(100).item, SEAL, SESSION)
    assert (sender.offer(1e9), sender.due(), sender.take(PLENTY, 0.0)) == (None, None, None)
    assert not sender.on_want(want(sample(100), 1, ((0, 1),)), 0.0)


def test_the_sender_sends_what_is_wanted_within_credit_and_budget() -> None:
    one = sample(10 * SMALL_LEAF)
    sender = sender_of(one)
    assert sender.on_want(want(one, 4, ((1, 2), (5, 4)), credit=4 * SMALL_LEAF), 0.0)
    assert sender.take(SMALL_LEAF - 1, 0.0) is None
    pieces = take_all(sender)
    assert [(piece.leaf, piece.serial, piece.epoch) for piece in pieces] == [
        (1, 1, 4),
        (2, 2, 4),
        (5, 3, 4),
        (6, 4, 4),
    ]
    assert sender.in_flight == 4 * SMALL_LEAF
    assert sender.on_want(want(one, 4, ((5, 4),), credit=4 * SMALL_LEAF, seen=2), 0.0)
    assert [piece.leaf for piece in take_all(sender)] == [7, 8]


def test_what_was_seen_and_is_still_wanted_is_sent_again_and_checked_first() -> None:
    one = sample(4 * SMALL_LEAF)
    sender = sender_of(one)
    sender.on_want(want(one, 1, ((0, 4),)), 0.0)
    take_all(sender)
    sender.on_want(want(one, 1, ((1, 1),), seen=3), 0.0)
    (piece,) = take_all(sender)
    assert (piece.leaf, piece.serial, piece.doubted) == (1, 5, True)
    assert make_chunk(piece, one.leaf(1), one.tree).data == one.leaf(1)
    with pytest.raises(LocalError, match="not what was sealed"):
        make_chunk(piece, bytes(SMALL_LEAF), one.tree)
    with pytest.raises(LocalError):
        make_chunk(piece, b"short", one.tree)


def test_a_new_epoch_forgets_what_was_in_flight() -> None:
    one = sample(4 * SMALL_LEAF)
    sender = sender_of(one)
    sender.on_want(want(one, 1, ((0, 4),)), 0.0)
    take_all(sender)
    sender.on_want(want(one, 9, ((2, 2),)), 0.0)
    assert [(piece.leaf, piece.serial, piece.epoch) for piece in take_all(sender)] == [(2, 1, 9), (3, 2, 9)]


@pytest.mark.parametrize(
    "changes",
    [{"session": OTHER_SESSION}, {"epoch": 4}, {"leaves_root": "00" * 32}, {"seen": 0, "epoch": 5}],
)
def test_a_want_that_is_out_of_date_changes_nothing(changes: dict[str, object]) -> None:
    one = sample(4 * SMALL_LEAF)
    sender = sender_of(one)
    sender.on_want(want(one, 5, ((0, 4),)), 0.0)
    take_all(sender)
    sender.on_want(want(one, 5, ((3, 1),), seen=3), 0.0)
    assert not sender.on_want(want(one, **{"epoch": 5, "ranges": ((0, 4),), "seen": 3, **changes}), 0.0)  # type: ignore[arg-type]
    assert (sender.state, sender.in_flight) == (State.SENDING, SMALL_LEAF)


def test_a_want_below_the_floor_is_about_an_earlier_transfer() -> None:
    one = sample(100, part=PREVIEW)
    sender = sender_of(one, floor=7)
    first = sender.offer(0.0)
    assert first is not None and first.epoch == 7
    assert not sender.on_want(want(one, 7, (), complete=True, credit=0), 0.0)
    assert sender.on_want(want(one, 8, (), complete=True, credit=0), 0.0)
    assert sender.state is State.DONE


def test_after_an_offer_only_a_higher_epoch_is_taken_or_that_all_is_stored() -> None:
    one = sample(4 * SMALL_LEAF)
    sender = sender_of(one)
    sender.on_want(want(one, 5, ((0, 4),)), 0.0)
    take_all(sender)
    again = sender.offer(1000.0)
    assert again is not None and again.epoch == 5
    assert sender.in_flight == 0
    assert not sender.on_want(want(one, 5, ((2, 2),), seen=2), 1000.0)
    assert sender.on_want(want(one, 5, (), complete=True, credit=0), 1000.0)
    assert sender.state is State.STORED


def test_an_original_waits_for_its_receipt_and_asks_for_it_by_offering_again() -> None:
    one = sample(100)
    sender = sender_of(one)
    sender.on_want(want(one, 1, (), complete=True, credit=0), 0.0)
    assert sender.state is State.STORED
    assert sender.offer(1.0) is None
    assert sender.offer(100.0) is not None
    sender.on_receipt()
    assert sender.state is State.DONE
    assert sender.offer(1e9) is None
    with pytest.raises(LocalError):
        sender_of(sample(100, part=PREVIEW)).on_receipt()


def test_after_a_cut_the_sender_offers_before_it_sends() -> None:
    one = sample(4 * SMALL_LEAF)
    sender = sender_of(one)
    sender.on_want(want(one, 5, ((0, 4),)), 0.0)
    take_all(sender)
    sender.disconnected()
    assert (sender.in_flight, sender.take(PLENTY, 0.0)) == (0, None)
    sender.connected(3.0)
    assert sender.take(PLENTY, 3.0) is None
    offer = sender.offer(3.0)
    assert offer is not None and offer.epoch == 5


def test_a_slow_line_makes_the_sender_more_patient() -> None:
    one = sample(4 * SMALL_LEAF)
    sender = sender_of(one)
    sender.on_want(want(one, 5, ((0, 4),)), 0.0)
    take_all(sender, 0.0)
    sender.on_want(want(one, 5, ((1, 3),), seen=1), 60.0)
    assert sender.due() == 60.0 + 3 * 60.0


@pytest.mark.parametrize(("epoch", "seen"), [(5, 3), (6, 1)])
def test_a_want_that_has_seen_what_was_not_sent_is_answered_by_an_offer_above_it(epoch: int, seen: int) -> None:
    one = sample(4 * SMALL_LEAF)
    sender = sender_of(one)
    sender.on_want(want(one, 5, ((0, 2),)), 0.0)
    take_all(sender)
    assert not sender.on_want(want(one, epoch, ((0, 2),), seen=seen), 0.0)
    assert (sender.state, sender.epoch, sender.in_flight) == (State.OFFERED, epoch, 0)
    assert sender.take(SMALL_LEAF, 0.0) is None
    offer = sender.offer(sender.due() or 0.0)
    assert offer is not None
    assert offer.epoch == epoch


@pytest.mark.parametrize("changes", [{"ranges": ((3, 2),)}])
def test_a_want_that_cannot_be_is_the_peers_fault(changes: dict[str, object]) -> None:
    one = sample(4 * SMALL_LEAF)
    sender = sender_of(one)
    sender.on_want(want(one, 5, ((0, 2),)), 0.0)
    take_all(sender)
    with pytest.raises(RemoteError):
        sender.on_want(want(one, **{"epoch": 5, "ranges": ((0, 2),), **changes}), 0.0)  # type: ignore[arg-type]
    assert (sender.epoch, sender.in_flight) == (5, 2 * SMALL_LEAF)


def test_a_senders_misuse_is_our_own_fault() -> None:
    with pytest.raises(LocalError):
        Sender(sample(10).item, None, SESSION)
    with pytest.raises(LocalError):
        Sender(sample(10, part=PREVIEW).item, SEAL, SESSION)
    with pytest.raises(LocalError):
        sender_of(sample(10)).on_want(want(sample(10, part=PREVIEW), 1, ()), 0.0)


# --- the receiver


def test_the_receiver_asks_for_all_that_is_not_durable() -> None:
    one = sample(6 * SMALL_LEAF)
    receiver = Receiver(one.item, STATION, durable=[0, 3], limit=PLENTY)
    first = said(receiver.on_offer(offer_of(one, epoch=8), 0.0))
    assert (first.epoch, first.seen, first.ranges, first.credit) == (9, 0, ((1, 2), (4, 2)), PLENTY)
    assert (first.station, first.session, first.complete) == (STATION, SESSION, False)


def test_a_proven_leaf_is_written_and_after_its_sync_no_more_wanted() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = receiver_of(one)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    (write,) = receiver.on_chunk(chunk_of(one, 1, epoch, 1), 0.1)
    assert write == Write(1, SMALL_LEAF, one.leaf(1), one.tree.node(0, 1))
    assert receiver.pending == SMALL_LEAF
    after = said(receiver.on_durable([1]))
    assert (after.epoch, after.seen, after.ranges) == (epoch, 1, ((0, 1), (2, 1)))
    assert receiver.pending == 0


def test_the_credit_is_what_is_left_of_the_limit() -> None:
    one = sample(9 * SMALL_LEAF)
    receiver = receiver_of(one, limit=4 * SMALL_LEAF)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    for leaf in range(4):
        receiver.on_chunk(chunk_of(one, leaf, epoch, leaf + 1), 0.0)
    assert receiver.on_chunk(chunk_of(one, 4, epoch, 5), 0.0) == []
    assert (receiver.pending, receiver.dropped) == (4 * SMALL_LEAF, 1)
    after = said(receiver.on_durable([0, 2]))
    assert (after.credit, after.seen, after.ranges) == (2 * SMALL_LEAF, 5, ((4, 5),))


def test_when_all_is_durable_the_whole_is_checked_stored_and_receipted() -> None:
    one = sample(2 * SMALL_LEAF)
    receiver = receiver_of(one)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    for leaf in (1, 0):
        receiver.on_chunk(chunk_of(one, leaf, epoch, 2 - leaf), 0.0)
    actions = receiver.on_durable([0, 1])
    assert is_whole(actions)
    assert (said(actions).ranges, said(actions).seen, said(actions).complete) == ((), 2, False)
    assert receiver.state is State.CHECKING
    while_checking = receiver.on_offer(offer_of(one, epoch), 1.0)
    assert (said(while_checking).ranges, is_whole(while_checking)) == ((), False)
    stored = receiver.on_stored(RECEIPT)
    assert said(stored).complete
    assert stored[1] == SayReceipt(RECEIPT)
    again = receiver.on_offer(offer_of(one, receiver.epoch, OTHER_SESSION), 2.0)
    assert (said(again).complete, said(again).session, again[1]) == (True, OTHER_SESSION, SayReceipt(RECEIPT))


def test_the_whole_is_not_checked_while_a_leaf_is_only_written() -> None:
    one = sample(2 * SMALL_LEAF)
    receiver = receiver_of(one)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    for leaf in (0, 1):
        receiver.on_chunk(chunk_of(one, leaf, epoch, leaf + 1), 0.0)
    assert not is_whole(receiver.on_durable([0]))
    assert not is_whole(receiver.on_offer(offer_of(one, epoch), 1.0))
    assert is_whole(receiver.on_durable([1]))


def test_the_highest_serial_counts_as_seen_whatever_comes_after_it() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = receiver_of(one)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    receiver.on_chunk(chunk_of(one, 1, epoch, 2), 0.0)
    receiver.on_chunk(chunk_of(one, 0, epoch, 1), 0.0)
    assert said(receiver.on_durable([0, 1])).seen == 2


def test_an_item_of_no_bytes_is_whole_with_its_offer() -> None:
    assert is_whole(receiver_of(sample(0), limit=0).on_offer(offer_of(sample(0)), 0.0))


def test_a_derivative_is_stored_without_a_receipt() -> None:
    one = sample(0, part=PREVIEW)
    receiver = receiver_of(one)
    receiver.on_offer(offer_of(one), 0.0)
    with pytest.raises(LocalError):
        Receiver.kept(one.item, STATION, RECEIPT)
    assert len(receiver.on_stored(None)) == 1


def test_what_is_kept_answers_an_offer_after_a_restart() -> None:
    one = sample(100)
    receiver = Receiver.kept(one.item, STATION, RECEIPT)
    actions = receiver.on_offer(offer_of(one, epoch=3), 0.0)
    assert (said(actions).epoch, said(actions).complete, actions[1]) == (4, True, SayReceipt(RECEIPT))
    assert receiver.on_chunk(chunk_of(one, 0, 4, 1), 0.0) == []


@pytest.mark.parametrize(
    ("bend", "code"),
    [
        (lambda chunk: replace(chunk, data=bytes(SMALL_LEAF)), "wrong-proof"),
        (lambda chunk: replace(chunk, proof=chunk.proof[:-1]), "wrong-proof"),
        (lambda chunk: replace(chunk, proof=(*chunk.proof, bytes(32))), "wrong-proof"),
        (lambda chunk: replace(chunk, leaf=2), "wrong-proof"),
        (lambda chunk: replace(chunk, leaf=6), "no-such-leaf"),
        (lambda chunk: replace(chunk, leaf=5), "wrong-length"),
        (lambda chunk: replace(chunk, data=chunk.data[:-1]), "wrong-length"),
        (lambda chunk: replace(chunk, epoch=MAX_EPOCH), "not-wanted"),
    ],
)
def test_a_chunk_that_is_not_a_leaf_is_the_peers_fault_and_is_never_written(bend: object, code: str) -> None:
    one = sample(5 * SMALL_LEAF + 1)
    receiver = receiver_of(one)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    with pytest.raises(RemoteError) as caught:
        receiver.on_chunk(bend(chunk_of(one, 1, epoch, 1)), 0.0)  # type: ignore[operator]
    assert (caught.value.code, receiver.breaches, receiver.pending) == (code, 1, 0)
    assert len(receiver.on_chunk(chunk_of(one, 1, epoch, 2), 0.0)) == 1


def test_a_doubled_chunk_is_written_once() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = receiver_of(one)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    assert len(receiver.on_chunk(chunk_of(one, 1, epoch, 1), 0.0)) == 1
    assert receiver.on_chunk(chunk_of(one, 1, epoch, 1), 0.0) == []
    receiver.on_durable([1])
    assert receiver.on_chunk(chunk_of(one, 1, epoch, 1), 0.0) == []
    assert receiver.duplicates == 2
    # A repeat that moves `seen` on is told, or the sender would think it in flight for ever.
    assert said(receiver.on_chunk(chunk_of(one, 1, epoch, 7), 0.0)).seen == 7


def test_a_chunk_of_an_earlier_epoch_is_as_good_but_does_not_count_as_seen() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = receiver_of(one)
    old = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    new = said(receiver.on_offer(offer_of(one, old), 1.0)).epoch
    assert new > old
    assert len(receiver.on_chunk(chunk_of(one, 2, old, 9), 1.0)) == 1
    after = said(receiver.on_durable([2]))
    assert (after.seen, after.ranges) == (0, ((0, 2),))


def test_an_offer_that_our_want_has_overtaken_is_answered_in_the_same_epoch() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = receiver_of(one)
    first = said(receiver.on_offer(offer_of(one), 0.0))
    assert said(receiver.on_offer(offer_of(one), 1.0)) == first


def test_a_new_session_begins_a_new_epoch() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = receiver_of(one)
    first = said(receiver.on_offer(offer_of(one), 0.0))
    second = said(receiver.on_offer(offer_of(one, 0, OTHER_SESSION), 1.0))
    assert (second.session, second.epoch > first.epoch) == (OTHER_SESSION, True)


def test_another_centre_that_answers_later_wins_and_the_first_falls_silent() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = receiver_of(one)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    assert receiver.on_chunk(chunk_of(one, 0, epoch + 40, 1), 0.0) == []
    assert (receiver.state, receiver.due()) == (State.IDLE, None)
    assert said(receiver.on_offer(offer_of(one, epoch), 1.0)).epoch > epoch + 40


def test_one_record_has_one_seal() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = receiver_of(one)
    receiver.on_offer(offer_of(one), 0.0)
    with pytest.raises(RemoteError, match="another size or root"):
        receiver.on_offer(offer_of(sample(3 * SMALL_LEAF, seed=2)), 1.0)


def test_a_session_that_claims_the_last_epochs_is_refused() -> None:
    with pytest.raises(RemoteError, match="used up"):
        receiver_of(sample(10)).on_offer(offer_of(sample(10), MAX_EPOCH), 0.0)


def test_a_stall_begins_new_epochs_ever_more_rarely_and_then_rests() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = receiver_of(one)
    epochs, times, now = [said(receiver.on_offer(offer_of(one), 0.0)).epoch], [0.0], 0.0
    while (due := receiver.due()) is not None:
        now = due
        assert receiver.on_time(now - 0.01) == []
        actions = receiver.on_time(now)
        if actions:
            epochs.append(said(actions).epoch)
            times.append(now)
    assert epochs == sorted(set(epochs))
    assert [after - before for before, after in itertools.pairwise(times)] == [10, 20, 40, 60]
    assert receiver.state is State.IDLE
    assert len(receiver.on_chunk(chunk_of(one, 0, epochs[-1], 1), now)) == 1
    assert receiver.state is State.WANTING


def test_a_slow_line_is_no_stall() -> None:
    one = sample(9 * SMALL_LEAF)
    receiver = receiver_of(one)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    receiver.on_chunk(chunk_of(one, 0, epoch, 1), 26.0)
    receiver.on_durable([0])
    assert receiver.due() == 26.0 + 4 * 26.0


def test_a_full_disk_stops_the_sender_until_there_is_room_again() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = receiver_of(one)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    receiver.on_chunk(chunk_of(one, 0, epoch, 1), 0.0)
    stopped = said(receiver.on_write_failed([0]))
    assert (stopped.credit, stopped.ranges, stopped.epoch > epoch) == (0, ((0, 3),), True)
    assert receiver.due() is None
    assert receiver.on_chunk(chunk_of(one, 1, stopped.epoch, 1), 0.0) == []
    sender = sender_of(one)
    assert sender.on_want(stopped, 0.0)
    assert sender.take(PLENTY, 0.0) is None
    assert said(receiver.set_limit(PLENTY)).credit == PLENTY


def test_a_failed_store_is_tried_again_or_the_lacking_leaves_are_wanted_again() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = Receiver(one.item, STATION, durable=range(3), limit=PLENTY)
    assert is_whole(receiver.on_offer(offer_of(one), 0.0))
    assert receiver.on_store_failed([], 10.0) == []
    assert (receiver.due(), receiver.on_time(10.5)) == (11.0, [])
    assert receiver.on_time(11.0) == [Complete()]
    receiver.on_store_failed([], 11.0)
    assert receiver.due() == 13.0
    again = said(receiver.on_store_failed([1], 12.0))
    assert (again.ranges, receiver.state) == (((1, 1),), State.WANTING)
    receiver.on_chunk(chunk_of(one, 1, again.epoch, 1), 12.0)
    assert is_whole(receiver.on_durable([1]))


def test_bytes_that_are_not_what_their_own_seal_says_are_refused() -> None:
    one = sample(3 * SMALL_LEAF)
    receiver = Receiver(one.item, STATION, durable=range(3), limit=PLENTY)
    receiver.on_offer(offer_of(one), 0.0)
    receiver.refuse()
    assert receiver.on_offer(offer_of(one, 99), 0.0) == []
    assert receiver.on_chunk(chunk_of(one, 0, 1, 1), 0.0) == []


def test_a_receiver_rests_while_its_station_is_gone_and_still_takes_what_is_written() -> None:
    one = sample(2 * SMALL_LEAF)
    receiver = receiver_of(one)
    epoch = said(receiver.on_offer(offer_of(one), 0.0)).epoch
    receiver.on_chunk(chunk_of(one, 0, epoch, 1), 0.0)
    receiver.rest()
    assert receiver.on_durable([0]) == []
    assert receiver.due() is None
    assert said(receiver.on_offer(offer_of(one, epoch), 9.0)).ranges == ((1, 1),)


def test_chunks_before_any_offer_are_not_taken() -> None:
    one = sample(2 * SMALL_LEAF)
    assert receiver_of(one).on_chunk(chunk_of(one, 0, 1, 1), 0.0) == []


def test_a_receivers_misuse_is_our_own_fault() -> None:
    one, other = sample(2 * SMALL_LEAF), sample(2 * SMALL_LEAF, part=PREVIEW)
    receiver = receiver_of(one)
    receiver.on_offer(offer_of(one), 0.0)
    for misuse in (
        lambda: receiver.on_durable([0]),
        lambda: receiver.on_write_failed([1]),
        lambda: receiver.on_stored(RECEIPT),
        lambda: receiver.on_store_failed([], 0.0),
        lambda: receiver.set_limit(SMALL_LEAF - 1),
        lambda: receiver.on_offer(offer_of(other), 0.0),
        lambda: receiver.on_chunk(chunk_of(other, 0, 1, 1), 0.0),
        lambda: receiver_of(one, jump=0),
        lambda: Receiver(one.item, STATION, durable=[2]),
    ):
        with pytest.raises(LocalError):
            misuse()


def test_a_want_has_a_page_of_ranges_and_the_rest_later() -> None:
    one = sample(400 * SMALL_LEAF)
    receiver = Receiver(one.item, STATION, durable=range(1, 400, 2), limit=PLENTY)
    page = said(receiver.on_offer(offer_of(one), 0.0))
    assert page.ranges == tuple((2 * n, 1) for n in range(64))
    sender = sender_of(one)
    sender.on_want(page, 0.0)
    assert len(take_all(sender)) == 64


# --- timers and pace


@given(st.floats(0.001, 100), st.floats(0.001, 1000), st.integers(0, 10**9))
def test_waits_double_up_to_the_longest(first: float, longest: float, times: int) -> None:
    wait = backoff(first, longest, times)
    assert wait <= longest
    assert wait == longest or wait == first * 2**times


def test_the_window_is_half_a_second_of_the_line_within_bounds() -> None:
    pace = Pace()
    assert pace.window == FIRST_WINDOW
    for rate, window in ((20_000, LEAST_WINDOW), (10_000_000, 5_000_000), (10**9, LARGEST_WINDOW)):
        pace = Pace()
        pace.busy(0.0)
        for tick in range(1, 40):
            pace.arrived(rate // 10, tick / 10)
        assert pace.window == window


def test_a_rest_is_not_measured() -> None:
    pace = Pace()
    pace.busy(0.0)
    pace.arrived(10_000_000, 1.0)
    pace.rest(1.0)
    pace.busy(1000.0)
    pace.arrived(10_000_000, 1001.0)
    assert pace.rate == 10_000_000


def test_the_timers_are_settings() -> None:
    sender = Sender(sample(10).item, SEAL, SESSION, timers=Timers(offer_first=0.5))
    sender.connected(0.0)
    assert sender.offer(0.0) is not None
    assert sender.due() == 0.5
