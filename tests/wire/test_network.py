"""The transfer over an arbitrary network: whatever is lost, doubled, reordered, bent, cut or replayed from an old
session, whoever is restarted when, stored bytes are sealed bytes, and in the end they are stored."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.wire.wire_samples import CENTRE, RECEIPT, SEAL, SMALL_LEAF, STATION, sample

from dockwarden.evidence import ids
from dockwarden.evidence.canonical import MalformedError
from dockwarden.wire.chunks import HEADER, Chunk
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.messages import ORIGINAL, PREVIEW, Offer, Want
from dockwarden.wire.outbox import Outbox
from dockwarden.wire.receiver import Action, Complete, Receiver, SayReceipt, SayWant, Write
from dockwarden.wire.transfer import State, offered_item

Key = tuple[str, int]
LIMIT_LEAVES = 3
SAMPLES = {one.item.key: one for one in (sample(6 * SMALL_LEAF + 3), sample(2 * SMALL_LEAF, part=PREVIEW, seed=2))}
WINDOW_LEAVES = LIMIT_LEAVES * len(SAMPLES)
"""All that may be in flight: the outbox's own window is far larger than these items."""


@dataclass(frozen=True)
class Message:
    """A message on its way; `lane` tells how to read it."""

    lane: str
    payload: bytes
    key: Key


@dataclass
class Disk:
    """What a centre's machine keeps of one item: what was only written may be lost with the power."""

    durable: dict[int, bytes] = field(default_factory=dict)
    written: dict[int, bytes] = field(default_factory=dict)
    stored: bytes | None = None


class Centre:
    """A centre: its disks outlive it, its receivers do not."""

    def __init__(self, jump: int) -> None:
        self.jump = jump
        self.disks = {key: Disk() for key in SAMPLES}
        self.receivers: dict[Key, Receiver] = {}
        self.to_check: set[Key] = set()

    def crash(self, survives: int) -> None:
        """Lose all that was not synced, but for `survives` leaves that the disk had taken meanwhile; those are not
        in the list of durable leaves, so they are asked for again."""
        for disk in self.disks.values():
            for leaf in list(disk.written)[survives:]:
                del disk.written[leaf]
            disk.written.clear()
        self.receivers.clear()
        self.to_check.clear()

    def hear(self, message: Message, now: float) -> list[Message]:
        """Take a message that came up."""
        try:
            if message.lane == "offer":
                offer = Offer.decode(message.payload)
                return self.act(message.key, self.receiver(offer).on_offer(offer, now))
            chunk = Chunk.decode(message.payload)
            receiver = self.receivers.get((chunk.record, chunk.part))
            return [] if receiver is None else self.act(receiver.item.key, receiver.on_chunk(chunk, now))
        except (MalformedError, RemoteError):
            return []

    def receiver(self, offer: Offer) -> Receiver:
        """The receiver of an offered item, made anew after a restart."""
        key = (offer.record, offer.part)
        if key not in self.receivers:
            item, disk = offered_item(offer, SMALL_LEAF), self.disks[key]
            if disk.stored is None:
                limit = LIMIT_LEAVES * SMALL_LEAF
                self.receivers[key] = Receiver(item, STATION, disk.durable, limit, self.jump)
            else:
                self.receivers[key] = Receiver.kept(item, STATION, receipt_for(key), self.jump)
        return self.receivers[key]

    def act(self, key: Key, actions: list[Action]) -> list[Message]:
        """Do what a receiver asks for; what is to be said goes down."""
        out = []
        for action in actions:
            if isinstance(action, Write):
                self.disks[key].written[action.leaf] = bytes(action.data)
            elif isinstance(action, Complete):
                self.to_check.add(key)
            elif isinstance(action, SayWant):
                out.append(Message("want", action.want.sign(CENTRE), key))
            elif isinstance(action, SayReceipt):
                out.append(Message("receipt", action.note, key))
        return out

    def sync(self, key: Key, most: int = 99) -> list[Message]:
        """One fdatasync for what was written (its first `most` leaves), then the list of durable leaves."""
        disk, receiver = self.disks[key], self.receivers.get(key)
        leaves = list(disk.written)[:most]
        disk.durable.update({leaf: disk.written.pop(leaf) for leaf in leaves})
        return [] if receiver is None or not leaves else self.act(key, receiver.on_durable(leaves))

    def fail(self, key: Key) -> list[Message]:
        """The disk is full: nothing of what was written is there, and then there is room again."""
        disk, receiver = self.disks[key], self.receivers.get(key)
        leaves = list(disk.written)
        disk.written.clear()
        if receiver is None or not leaves:
            return []
        said = self.act(key, receiver.on_write_failed(leaves))
        return said + self.act(key, receiver.set_limit(LIMIT_LEAVES * SMALL_LEAF))

    def check(self, key: Key, answers: bool) -> list[Message]:
        """Read the whole again and store it; without `answers` the power goes between store and receipt."""
        self.to_check.discard(key)
        disk = self.disks[key]
        whole = b"".join(disk.durable[leaf] for leaf in sorted(disk.durable))
        assert whole == SAMPLES[key].data, "what is durable is not what was sealed"
        disk.stored = whole
        if not answers:
            self.crash(0)
            return []
        return self.act(key, self.receivers[key].on_stored(receipt_for(key)))

    def tick(self, now: float) -> list[Message]:
        """Let the receivers look at the clock."""
        return [message for key, one in self.receivers.items() for message in self.act(key, one.on_time(now))]


def receipt_for(key: Key) -> bytes | None:
    return RECEIPT if key[1] == ORIGINAL else None


class Network(RuleBasedStateMachine):
    """One station, one or two centres, and everything that can go wrong between them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.starts = 0
        self.up: list[Message] = []
        self.down: list[Message] = []
        self.past: list[tuple[str, Message]] = []
        self.arrived: set[Key] = set()
        self.sent = 0
        self.centres: list[Centre] = []

    @initialize(jumps=st.lists(st.integers(1, 3), min_size=1, max_size=2), exchanges=st.integers(0, 3))
    def open(self, jumps: list[int], exchanges: int) -> None:
        self.centres = [Centre(jump) for jump in jumps]
        self.start_station()
        for _ in range(exchanges):
            self.the_sides_talk(3, self.centres)

    def start_station(self) -> None:
        self.starts += 1
        self.session = ids.new_record_id(self.starts.to_bytes(16, "big"))
        self.outbox = Outbox(STATION, self.session)
        self.add_missing()
        self.connected = True
        self.outbox.connected(self.now)

    def add_missing(self) -> None:
        for key, one in SAMPLES.items():
            if key not in self.arrived and key not in self.outbox.items():
                self.outbox.add(one.item, SEAL if one.item.part == ORIGINAL else None, one.tree, self.now)

    # --- the two ends do what is theirs

    @rule(steps=st.integers(1, 5))
    def the_station_speaks(self, steps: int) -> None:
        for _ in range(steps):
            todo = self.outbox.next(self.now)
            if todo is None:
                return
            if isinstance(todo, Offer):
                self.say_up(Message("offer", todo.encode(), (todo.record, todo.part)))
            else:
                self.sent += 1
                chunk = self.outbox.chunk(todo, SAMPLES[todo.item.key].leaf(todo.leaf))
                self.say_up(Message("chunk", chunk.encode(), todo.item.key))

    def say_up(self, message: Message) -> None:
        self.up.append(message)
        self.past.append(("up", message))

    def say_down(self, messages: list[Message]) -> None:
        self.down += messages
        self.past += [("down", message) for message in messages]

    def hear_down(self, message: Message) -> None:
        record, part = message.key
        if message.lane == "receipt":
            assert any(centre.disks[message.key].stored is not None for centre in self.centres)
            self.arrived.add(message.key)
            self.outbox.on_receipt(record)
            return
        if self.outbox.on_want(Want.open(message.payload, [CENTRE.verifier]), self.now) is State.DONE:
            self.arrived.add((record, part))

    def hear_up(self, message: Message, centres: list[Centre]) -> None:
        for centre in centres:
            self.say_down(centre.hear(message, self.now))

    @rule(pick=st.data(), most=st.integers(1, 3))
    def a_centre_syncs(self, pick: st.DataObject, most: int) -> None:
        centre, key = pick.draw(st.sampled_from(self.centres)), pick.draw(st.sampled_from(sorted(SAMPLES)))
        self.say_down(centre.sync(key, most))

    @rule(answers=st.booleans())
    def a_centre_checks(self, answers: bool) -> None:
        for centre in self.centres:
            for key in sorted(centre.to_check):
                self.say_down(centre.check(key, answers))
                if not answers:
                    return

    @rule(seconds=st.sampled_from([0.1, 3.0, 11.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for centre in self.centres:
            self.say_down(centre.tick(self.now))

    # --- the network

    @precondition(lambda self: self.up)
    @rule(pick=st.data(), in_order=st.booleans(), doubled=st.booleans(), to_all=st.booleans())
    def a_message_arrives_above(self, pick: st.DataObject, in_order: bool, doubled: bool, to_all: bool) -> None:
        place = 0 if in_order else pick.draw(st.integers(0, len(self.up) - 1))
        message = self.up[place] if doubled else self.up.pop(place)
        self.hear_up(message, self.centres if to_all else self.centres[:1])

    @precondition(lambda self: self.down)
    @rule(pick=st.data(), in_order=st.booleans(), doubled=st.booleans())
    def a_message_arrives_below(self, pick: st.DataObject, in_order: bool, doubled: bool) -> None:
        place = 0 if in_order else pick.draw(st.integers(0, len(self.down) - 1))
        self.hear_down(self.down[place] if doubled else self.down.pop(place))

    @rule(above=st.booleans(), below=st.booleans())
    def messages_are_lost(self, above: bool, below: bool) -> None:
        if above:
            self.up.clear()
        if below:
            self.down.clear()

    @precondition(lambda self: self.past)
    @rule(pick=st.data())
    def an_old_message_comes_again(self, pick: st.DataObject) -> None:
        way, message = self.past[pick.draw(st.integers(0, len(self.past) - 1))]
        if way == "up":
            self.hear_up(message, self.centres)
        else:
            self.hear_down(message)

    @precondition(lambda self: any(message.lane == "chunk" for message in self.up))
    @rule(pick=st.data())
    def a_chunk_is_bent(self, pick: st.DataObject) -> None:
        places = [place for place, message in enumerate(self.up) if message.lane == "chunk"]
        message = self.up.pop(pick.draw(st.sampled_from(places)))
        raw = bytearray(message.payload)
        first = pick.draw(st.sampled_from([0, HEADER.size, len(raw) - SMALL_LEAF // 4]))
        raw[pick.draw(st.integers(first, len(raw) - 1))] ^= pick.draw(st.integers(1, 255))
        self.hear_up(Message("chunk", bytes(raw), message.key), self.centres)

    @rule(back=st.booleans())
    def the_link_is_cut(self, back: bool) -> None:
        self.connected = back
        self.outbox.disconnected(self.now)
        if back:
            self.outbox.connected(self.now)

    @rule(steps=st.integers(1, 4), first_alone=st.booleans())
    def messages_arrive_in_order(self, steps: int, first_alone: bool) -> None:
        self.the_sides_talk(steps, self.centres[:1] if first_alone else self.centres)

    def the_sides_talk(self, steps: int, centres: list[Centre]) -> None:
        self.the_station_speaks(steps)
        while self.up:
            self.hear_up(self.up.pop(0), centres)
        while self.down:
            self.hear_down(self.down.pop(0))

    @rule(rounds=st.integers(1, 2))
    def all_goes_well_for_a_while(self, rounds: int) -> None:
        for _ in range(rounds):
            self.a_working_round()

    # --- restarts and disks

    @rule()
    def the_station_restarts(self) -> None:
        self.start_station()

    @rule(pick=st.data(), survives=st.integers(0, 3))
    def a_centre_restarts(self, pick: st.DataObject, survives: int) -> None:
        pick.draw(st.sampled_from(self.centres)).crash(survives)

    @rule(pick=st.data())
    def a_disk_is_full(self, pick: st.DataObject) -> None:
        centre, key = pick.draw(st.sampled_from(self.centres)), pick.draw(st.sampled_from(sorted(SAMPLES)))
        self.say_down(centre.fail(key))

    @rule()
    def an_item_is_let_go_and_taken_up_again(self) -> None:
        for key in SAMPLES:
            self.outbox.drop(*key)
        self.add_missing()

    # --- what always holds

    @invariant()
    def only_sealed_bytes_are_written_and_stored(self) -> None:
        for centre in self.centres:
            for key, disk in centre.disks.items():
                for leaf, data in {**disk.durable, **disk.written}.items():
                    assert data == SAMPLES[key].leaf(leaf)
                assert disk.stored in (None, SAMPLES[key].data)

    @invariant()
    def what_counts_as_arrived_is_stored(self) -> None:
        for key in self.arrived:
            assert any(centre.disks[key].stored is not None for centre in self.centres)

    @invariant()
    def all_stays_within_its_window(self) -> None:
        limit = LIMIT_LEAVES * SMALL_LEAF
        if self.centres:
            assert self.outbox.in_flight <= WINDOW_LEAVES * SMALL_LEAF
        for centre in self.centres:
            assert all(0 <= receiver.pending <= limit for receiver in centre.receivers.values())

    def teardown(self) -> None:
        """From any state, a network that works again brings everything home, resending at most a window."""
        if not self.centres:
            return
        self.up.clear()
        self.down.clear()
        # A cut that was not seen is found by the timers alone.
        if len(self.past) % 2 or not self.connected:
            self.the_link_is_cut(True)
        self.add_missing()
        missing, before = self.missing(), self.sent
        for _ in range(100):
            self.a_working_round(11.0)
            if self.arrived == set(SAMPLES):
                break
        assert self.arrived == set(SAMPLES)
        if len(self.centres) == 1:
            assert self.sent - before <= missing + WINDOW_LEAVES

    def missing(self) -> int:
        """Leaves that the first centre neither has nor is about to have."""
        disks = self.centres[0].disks
        here = {key: set(disk.durable) | set(disk.written) for key, disk in disks.items() if disk.stored is None}
        return sum(SAMPLES[key].item.leaves - len(leaves) for key, leaves in here.items())

    def a_working_round(self, seconds: float = 1.0) -> None:
        self.time_passes(seconds)
        self.the_sides_talk(100, self.centres)
        for centre in self.centres:
            for key in SAMPLES:
                self.say_down(centre.sync(key))
        self.a_centre_checks(True)
        while self.down:
            self.hear_down(self.down.pop(0))


TestNetwork = Network.TestCase
TestNetwork.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_without_faults_every_leaf_travels_once() -> None:
    world = Network()
    world.open([1], 0)
    while world.arrived != set(SAMPLES):
        world.a_working_round()
    assert world.sent == sum(one.item.leaves for one in SAMPLES.values())
