"""A record over a real broker: both ends as their owners drive them, with cuts and restarts on the way."""

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.wire.wire_samples import CENTRE, RECORD, SEAL, SESSION, STATION
from tests.wire.wire_tls import tls_files

from dockwarden.evidence import merkle
from dockwarden.evidence.digests import LEAF_SIZE, Digests, Measure
from dockwarden.evidence.receipts import Receipt, open_receipt, sign_receipt
from dockwarden.simulators.broker import HOST, Broker
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.link import Connection, Link
from dockwarden.wire.messages import ORIGINAL, Offer, Want
from dockwarden.wire.outbox import Outbox
from dockwarden.wire.receiver import Action, Complete, Receiver, SayReceipt, SayWant, Write
from dockwarden.wire.topics import Topic, centre_subscriptions, down, station_subscriptions, up
from dockwarden.wire.transfer import FIRST_WINDOW, Item, State, Timers, offered_item

pytestmark = pytest.mark.system
PATIENCE_S = 60.0
QUICK = Timers(offer_first=0.3, offer_longest=1.0, stall_first=0.5, stall_longest=1.0)
SEAL_SHA256 = "5e" * 32


class Station:
    """The station's side: reads pieces of a file and sends them."""

    def __init__(self, broker: Broker, file: Path, measure: Measure, digests: Digests, timers: Timers) -> None:
        self.receipt: Receipt | None = None
        self.sent = 0
        self._digests = digests
        self._file = os.open(file, os.O_RDONLY)
        self._outbox = Outbox(STATION, SESSION, timers=timers)
        item = Item(RECORD, ORIGINAL, digests.size, bytes.fromhex(digests.leaves_root))
        self._outbox.add(item, SEAL, merkle.Tree(measure.leaves), time.monotonic())
        self._news = threading.Condition()
        self._ended = False
        tls, hear = tls_files(broker, STATION), station_subscriptions(STATION)
        self.link = Link(
            *(HOST, broker.port, STATION, tls),
            subscriptions=hear,
            hears="down",
            on_message=self._on_message,
            on_connection=self._on_connection,
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.link.start()

    def close(self) -> None:
        with self._news:
            self._ended = True
            self._news.notify()
        self._thread.join()
        self.link.close()
        os.close(self._file)

    def _on_connection(self, connection: Connection) -> None:
        with self._news:
            now = time.monotonic()
            self._outbox.connected(now) if connection.up else self._outbox.disconnected(now)
            self._news.notify()

    def _on_message(self, topic: Topic, payload: bytes) -> None:
        with self._news:
            if topic.lane == "want":
                self._outbox.on_want(Want.open(payload, [CENTRE.verifier]), time.monotonic())
            elif topic.lane == "receipt":
                receipt = open_receipt(payload, [CENTRE.verifier])
                if receipt.agrees(RECORD, SEAL_SHA256, self._digests):
                    self.receipt = receipt
                    self._outbox.on_receipt(receipt.record)
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                if self._ended or State.DONE in self._outbox.items().values():
                    return
                todo = self._outbox.next(time.monotonic())
                if todo is None:
                    due = self._outbox.due()
                    self._news.wait(0.5 if due is None else min(0.5, max(0.0, due - time.monotonic())))
                    continue
            if isinstance(todo, Offer):
                self.link.publish_control(up(STATION, "offer"), todo.encode())
            else:
                data = os.pread(self._file, todo.length, todo.offset)
                chunk = self._outbox.chunk(todo, data).encode()
                self.sent += self.link.publish_chunk(up(STATION, "chunk"), chunk)


class Office:
    """The centre's side: writes what it hears in groups, each with one fdatasync, and keeps a list of them."""

    def __init__(self, broker: Broker, folder: Path, digests: Digests, timers: Timers) -> None:
        self.stored = threading.Event()
        self._digests, self._timers = digests, timers
        self._path = folder / "staged"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        self._list = folder / "durable"
        self._list.touch()
        self._receiver: Receiver | None = None
        self._written: list[int] = []
        self._heard: queue.Queue[tuple[Topic, bytes] | None] = queue.Queue(64)
        self.link = Link(
            *(HOST, broker.port, "centre", tls_files(broker, "centre")),
            subscriptions=centre_subscriptions(),
            hears="up",
            on_message=lambda topic, payload: self._heard.put((topic, payload)),
            on_connection=lambda _: None,
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.link.start()

    def close(self) -> None:
        self.link.close()
        self._heard.put(None)
        self._thread.join()
        os.close(self._file)

    def _run(self) -> None:
        while True:
            try:
                group = [self._heard.get(timeout=0.1)]
            except queue.Empty:
                if self._receiver is not None:
                    self._act(self._receiver.on_time(time.monotonic()))
                continue
            with contextlib.suppress(queue.Empty):
                while True:
                    group.append(self._heard.get_nowait())
            for heard in group:
                if heard is None:
                    return
                self._take(*heard)
            self._sync()

    def _take(self, topic: Topic, payload: bytes) -> None:
        now = time.monotonic()
        if topic.lane == "offer":
            offer = Offer.decode(payload)
            if self._receiver is None:
                durable = [int(line) for line in self._list.read_text().split()]
                self._receiver = Receiver(
                    offered_item(offer), topic.station, durable, FIRST_WINDOW, timers=self._timers
                )
            self._act(self._receiver.on_offer(offer, now))
        elif topic.lane == "chunk" and self._receiver is not None:
            self._act(self._receiver.on_chunk(Chunk.decode(payload), now))

    def _sync(self) -> None:
        if not self._written or self._receiver is None:
            return
        os.fdatasync(self._file)
        with self._list.open("a") as listed:
            listed.writelines(f"{leaf}\n" for leaf in self._written)
        leaves, self._written = self._written, []
        self._act(self._receiver.on_durable(leaves))

    def _act(self, actions: list[Action]) -> None:
        assert self._receiver is not None
        for action in actions:
            if isinstance(action, Write):
                os.pwrite(self._file, action.data, action.offset)
                self._written.append(action.leaf)
            elif isinstance(action, SayWant):
                self.link.publish_control(down(STATION, "want"), action.want.sign(CENTRE))
            elif isinstance(action, SayReceipt):
                self.link.publish_control(down(STATION, "receipt"), action.note)
            elif isinstance(action, Complete):
                self._store()

    def _store(self) -> None:
        assert self._receiver is not None
        measure = Measure()
        with self._path.open("rb") as whole:
            while piece := whole.read(1 << 20):
                measure.update(piece)
        found = measure.finish()
        assert found == self._digests
        receipt = Receipt(
            *(RECORD, SEAL_SHA256, found.size, found.sha256, found.sm3, "centre", "abcdefgh", "centre"),
            at="2026-11-24T08:00:00.000Z",
        )
        self.stored.set()
        self._act(self._receiver.on_stored(sign_receipt(receipt, CENTRE)))


@pytest.fixture
def footage(tmp_path: Path) -> tuple[Path, Measure, Digests]:
    """A file of 12 MiB and a bit, its leaves and its digests."""
    path, measure = tmp_path / "original", Measure()
    data = os.urandom(24 * LEAF_SIZE + 12345)
    path.write_bytes(data)
    measure.update(data)
    return path, measure, measure.finish()


@contextlib.contextmanager
def closing(*sides: Station | Office) -> Iterator[None]:
    try:
        yield
    finally:
        for one in sides:
            one.close()


def until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.002)


def cut(link: Link) -> None:
    client = link._client
    connection = None if client is None else client.socket()
    if isinstance(connection, socket.socket):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def test_a_record_travels_once_and_its_receipt_comes_back(
    broker: Broker, tmp_path: Path, footage: tuple[Path, Measure, Digests]
) -> None:
    office = Office(broker, tmp_path, footage[2], Timers())
    until(lambda: office.link.up)
    station = Station(broker, *footage, Timers())
    with closing(station, office):
        until(lambda: station.receipt)
    assert (tmp_path / "staged").read_bytes() == footage[0].read_bytes()
    assert station.sent == 25
    assert not office.link.rejected and not station.link.rejected


def test_it_arrives_although_links_are_cut_and_the_broker_and_the_centre_restart(
    broker: Broker, tmp_path: Path, footage: tuple[Path, Measure, Digests]
) -> None:
    office = Office(broker, tmp_path, footage[2], QUICK)
    station = Station(broker, *footage, QUICK)
    with closing(station):
        with closing(office):
            until(lambda: station.sent >= 4)
            cut(station.link)
            until(lambda: station.sent >= 9)
            cut(office.link)
            until(lambda: station.sent >= 14)
            broker.restart()
            until(lambda: station.sent >= 18 or station.receipt)
        second = Office(broker, tmp_path, footage[2], QUICK)
        with closing(second):
            until(lambda: station.receipt)
    assert (tmp_path / "staged").read_bytes() == footage[0].read_bytes()
    # 25 leaves, and for each of the four breaks at most the eight that were in flight.
    assert station.sent <= 25 + 4 * 8
