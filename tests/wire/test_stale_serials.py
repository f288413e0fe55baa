"""A chunk of a station's earlier session may bear an epoch of the new one: nobody is to blame, and it goes on."""

from tests.wire.wire_samples import OTHER_SESSION, SEAL, SESSION, SMALL_LEAF, STATION, Sample, sample

from dockwarden.wire.chunks import Chunk
from dockwarden.wire.messages import Offer
from dockwarden.wire.receiver import Action, Receiver, SayWant, Write
from dockwarden.wire.sender import Sender
from dockwarden.wire.transfer import State


def wants(actions: list[Action]) -> list[SayWant]:
    return [action for action in actions if isinstance(action, SayWant)]


def late_chunk_of(one: Sample, epoch: int, serial: int) -> Chunk:
    return Chunk(one.item.record, one.item.part, epoch, serial, 0, tuple(one.tree.proof(0)), one.leaf(0))


def offered() -> tuple[Sample, Sender, Receiver, Offer]:
    """An item of ten leaves that its station has just offered."""
    one = sample(10 * SMALL_LEAF)
    sender = Sender(one.item, SEAL, SESSION)
    sender.connected(0.0)
    offer = sender.offer(0.0)
    assert offer is not None
    return one, sender, Receiver(one.item, STATION, limit=100 * SMALL_LEAF, jump=1), offer


def test_a_serial_of_an_earlier_session_makes_the_station_offer_above_its_epoch() -> None:
    one, sender, receiver, offer = offered()
    receiver.on_offer(offer, 0.0)
    # Sent by the station before it was started anew; the centre, also started anew, has just come to the same epoch.
    (write,) = receiver.on_chunk(late_chunk_of(one, receiver.epoch, serial=7), 0.1)
    assert isinstance(write, Write)
    (mistaken,) = wants(receiver.on_durable([0]))
    assert mistaken.want.seen == 7
    assert not sender.on_want(mistaken.want, 0.2)
    assert sender.state is State.OFFERED
    again = sender.offer(sender.due() or 0.0)
    assert again is not None
    assert again.epoch == mistaken.want.epoch
    (sound,) = wants(receiver.on_offer(again, 6.0))
    assert (sound.want.seen, sound.want.epoch) == (0, mistaken.want.epoch + 1)
    assert sender.on_want(sound.want, 6.1)
    assert sender.take(SMALL_LEAF, 6.1) is not None


def test_a_mistaken_want_while_sending_forgets_what_is_in_flight() -> None:
    one, sender, receiver, offer = offered()
    (first,) = wants(receiver.on_offer(offer, 0.0))
    assert sender.on_want(first.want, 0.0)
    assert sender.take(SMALL_LEAF, 0.0) is not None
    receiver.on_chunk(late_chunk_of(one, receiver.epoch, serial=7), 0.1)
    (mistaken,) = wants(receiver.on_durable([0]))
    assert not sender.on_want(mistaken.want, 0.2)
    assert (sender.state, sender.in_flight) == (State.OFFERED, 0)


def test_a_mistaken_want_of_another_session_is_out_of_date_and_no_more() -> None:
    one, _, receiver, offer = offered()
    sender = Sender(one.item, SEAL, OTHER_SESSION)
    receiver.on_offer(offer, 0.0)
    receiver.on_chunk(late_chunk_of(one, receiver.epoch, serial=7), 0.1)
    (mistaken,) = wants(receiver.on_durable([0]))
    sender.connected(0.0)
    assert not sender.on_want(mistaken.want, 0.2)
    assert sender.epoch == 0
