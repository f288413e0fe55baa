"""The link on a real broker: what comes through, what does not, and what a broker's restart costs."""

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dockwarden.evidence.canonical import MalformedError
from dockwarden.simulators.broker import Broker, running_broker
from dockwarden.wire.link import Connection, Link
from dockwarden.wire.messages import Ask
from dockwarden.wire.tls import TlsFiles
from dockwarden.wire.topics import Direction, Topic, centre_subscriptions, down, station_subscriptions, up

pytestmark = pytest.mark.system
PATIENCE_S = 30.0
ASK = Ask("aaaqeayeaudaocajbifqydiob4", "status").encode()


@dataclass
class Heard:
    """What a link has brought so far."""

    link: Link
    messages: "queue.Queue[tuple[Topic, bytes]]" = field(default_factory=queue.Queue)

    def next(self) -> tuple[str, bytes]:
        topic, payload = self.messages.get(timeout=PATIENCE_S)
        return topic.text, payload


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@contextmanager
def linked(
    broker: Broker, name: str, hears: Direction, subscriptions: list[str], client: str = ""
) -> Iterator[Heard]:
    """A link that is up, under the certificate of `name`; `client` is the client id, if it is another."""
    files = broker.client(name)
    messages: queue.Queue[tuple[Topic, bytes]] = queue.Queue()
    connections: queue.Queue[Connection] = queue.Queue()
    link = Link(
        broker.host,
        broker.port,
        client or name,
        TlsFiles(files.authority, files.certificate, files.key),
        subscriptions=subscriptions,
        hears=hears,
        on_message=lambda topic, payload: messages.put((topic, payload)),
        on_connection=connections.put,
    )
    link.start()
    try:
        while not connections.get(timeout=PATIENCE_S).up:
            continue
        yield Heard(link, messages)
    finally:
        link.close()


def test_control_goes_both_ways_and_chunks_are_never_retained(broker: Broker) -> None:
    with (
        linked(broker, "centre", "up", centre_subscriptions()) as centre,
        linked(broker, "st-01", "down", station_subscriptions("st-01")) as station,
    ):
        said = 0
        while station.messages.empty():  # the link is up before the broker has taken the subscription
            assert said < 100
            assert centre.link.publish_control(down("st-01", "ask"), ASK)
            said += 1
            time.sleep(0.1)
        assert station.next() == ("dockwarden/1/st-01/down/ask", ASK)
        assert station.link.publish_chunk(up("st-01", "chunk"), b"DWC1 leaf")
        assert centre.next() == ("dockwarden/1/st-01/up/chunk", b"DWC1 leaf")
    with linked(broker, "centre", "up", centre_subscriptions()) as late:
        assert late.link.publish_control(down("st-01", "ask"), ASK)
        assert late.link.flush(PATIENCE_S)
        assert late.messages.empty()


def test_a_station_is_heard_below_its_own_topics_alone(broker: Broker) -> None:
    with (
        linked(broker, "centre", "up", centre_subscriptions()) as centre,
        linked(broker, "st-02", "down", station_subscriptions("st-02")) as other,
        linked(broker, "st-01", "down", station_subscriptions("st-02")) as thief,
    ):
        thief.link.publish_control(up("st-02", "offer"), b"{}")
        thief.link.publish_control(down("st-02", "ask"), ASK)
        assert thief.link.publish_control(up("st-01", "offer"), b"its own")
        assert centre.next() == ("dockwarden/1/st-01/up/offer", b"its own")
        assert centre.link.publish_control(down("st-02", "ask"), ASK)
        assert other.next() == ("dockwarden/1/st-02/down/ask", ASK)
        assert thief.link.flush(PATIENCE_S)
        assert other.messages.empty(), "a station spoke as the centre"
        read = [thief.next()[0] for _ in range(thief.messages.qsize())]
        assert [topic for topic in read if "st-02" in topic] == [], "a station read what is another's"


def test_a_certificate_decides_the_name_whatever_client_id_is_claimed(broker: Broker) -> None:
    with (
        linked(broker, "centre", "up", centre_subscriptions()) as centre,
        linked(broker, "st-02", "down", station_subscriptions("st-02")) as real,
        linked(broker, "st-01", "down", station_subscriptions("st-01"), client="st-02") as thief,
    ):
        assert thief.link.publish_control(up("st-01", "offer"), b"as itself")
        assert centre.next() == ("dockwarden/1/st-01/up/offer", b"as itself")
        assert real.link.up
        assert real.link.publish_control(up("st-02", "offer"), b"still here")
        assert centre.next() == ("dockwarden/1/st-02/up/offer", b"still here")


def test_the_link_comes_back_after_the_broker(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path) as broker,
        linked(broker, "centre", "up", centre_subscriptions()) as centre,
        linked(broker, "st-01", "down", station_subscriptions("st-01")) as station,
    ):
        broker.restart()
        ends = time.monotonic() + PATIENCE_S
        while not (station.link.publish_control(up("st-01", "offer"), b"again") and station.link.flush(1.0)):
            assert time.monotonic() < ends, "the link stayed down"
            time.sleep(0.1)
        while centre.messages.empty():
            assert time.monotonic() < ends, "the centre stayed deaf"
            station.link.publish_control(up("st-01", "offer"), b"again")
            time.sleep(0.1)
        assert centre.next() == ("dockwarden/1/st-01/up/offer", b"again")


def test_a_handler_that_refuses_a_message_does_not_end_the_link(broker: Broker) -> None:
    def refuse(topic: Topic, payload: bytes) -> None:
        raise MalformedError("offer", "is refused")

    with (
        linked(broker, "centre", "up", centre_subscriptions()) as centre,
        linked(broker, "st-01", "down", station_subscriptions("st-01")) as station,
    ):
        kept, centre.link._on_message = centre.link._on_message, refuse
        assert station.link.publish_control(up("st-01", "offer"), b"refused")
        ends = time.monotonic() + PATIENCE_S
        while not centre.link.rejected:
            assert time.monotonic() < ends
            time.sleep(0.05)
        centre.link._on_message = kept
        assert station.link.publish_control(up("st-01", "offer"), b"taken")
        assert centre.next() == ("dockwarden/1/st-01/up/offer", b"taken")
