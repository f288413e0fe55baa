"""The link over a real mosquitto: what arrives, what comes back after a loss, and what the broker forbids."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.wire.wire_tls import tls_files

from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import SignatureError
from dockwarden.simulators.broker import HOST, Broker, running_broker
from dockwarden.wire.errors import LocalError, RemoteError
from dockwarden.wire.link import Connection, Link
from dockwarden.wire.messages import LIMITS, MAX_PACKET
from dockwarden.wire.tls import TlsFiles, client_context
from dockwarden.wire.topics import Topic, centre_subscriptions, down, station_subscriptions, up

pytestmark = pytest.mark.system
PATIENCE_S = 20.0


class Side:
    """One side of the wire: a link, and all that it heard."""

    def __init__(self, broker: Broker, name: str, tls: TlsFiles | None, hears: str, **more: object) -> None:
        self.heard: list[tuple[Topic, bytes]] = []
        self.connections: list[Connection] = []
        self.trouble: Exception | None = None
        subscriptions = more.pop("subscriptions", None) or (
            centre_subscriptions() if hears == "up" else station_subscriptions(name)
        )
        self.link = Link(
            HOST,
            broker.port,
            name,
            tls,
            subscriptions=subscriptions,  # type: ignore[arg-type]
            hears=hears,  # type: ignore[arg-type]
            on_message=self.on_message,
            on_connection=self.connections.append,
            **more,  # type: ignore[arg-type]
        )

    def on_message(self, topic: Topic, payload: bytes) -> None:
        self.heard.append((topic, payload))
        if self.trouble is not None:
            raise self.trouble


def until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.01)


@contextmanager
def side(broker: Broker, name: str, hears: str = "down", **more: object) -> Iterator[Side]:
    one = Side(broker, name, tls_files(broker, name), hears, **more)
    one.link.start()
    try:
        until(lambda: one.link.up)
        yield one
    finally:
        one.link.close()


@contextmanager
def centre(broker: Broker) -> Iterator[Side]:
    with side(broker, "centre", "up") as one:
        yield one


def cut(one: Side) -> None:
    """End a side's connection as a pulled cable and a reset do: without a word to the broker."""
    client = one.link._client
    assert client is not None
    connection = client.socket()
    assert isinstance(connection, socket.socket)
    connection.shutdown(socket.SHUT_RDWR)
    until(lambda: not one.connections[-1].up or len(one.connections) > 2)


def settled(sender: Side, receiver: Side, mark: Topic) -> list[tuple[Topic, bytes]]:
    """All that `receiver` heard before a mark that `sender` publishes last."""
    assert sender.link.publish_control(mark, b"mark")
    until(lambda: (mark, b"mark") in receiver.heard)
    return [message for message in receiver.heard if message != (mark, b"mark")]


def test_control_and_chunks_go_both_ways(broker: Broker) -> None:
    with centre(broker) as office, side(broker, "station-1") as station:
        assert station.link.publish_control(up("station-1", "offer"), b"offer")
        assert station.link.publish_chunk(up("station-1", "chunk"), bytes(600_000))
        assert office.link.publish_control(down("station-1", "want"), b"want")
        until(lambda: len(office.heard) == 2 and station.heard)
        assert sorted(office.heard, key=lambda message: message[0].lane) == [
            (up("station-1", "chunk"), bytes(600_000)),
            (up("station-1", "offer"), b"offer"),
        ]
        assert station.heard == [(down("station-1", "want"), b"want")]
        assert station.link.flush(PATIENCE_S)
        assert station.link.alive


def test_the_connection_tells_the_brokers_largest_packet(broker: Broker) -> None:
    with side(broker, "station-1") as station:
        assert station.connections[-1] == Connection(True, "connected", False, MAX_PACKET)
    config = broker.folder / "mosquitto.conf"
    config.write_text(config.read_text().replace("max_packet_size 2000000", "max_packet_size 300000"))
    broker.restart()
    with side(broker, "station-1") as station:
        assert station.connections[-1].max_packet == 300_000
        with pytest.raises(LocalError, match="more than may be said"):
            station.link.publish_chunk(up("station-1", "chunk"), bytes(300_000))


def test_a_broker_that_takes_few_messages_at_once_is_not_overrun(broker: Broker) -> None:
    config = broker.folder / "mosquitto.conf"
    config.write_text(config.read_text() + "max_inflight_messages 2\n")
    broker.restart()
    with centre(broker) as office, side(broker, "station-1") as station:
        topic, said = up("station-1", "offer"), 0
        for number in range(200):
            said += station.link.publish_control(topic, str(number).encode())
        assert 0 < said < 200
        assert station.link.flush(PATIENCE_S)
        assert len(settled(station, office, up("station-1", "fact"))) == said
        assert [connection.up for connection in station.connections] == [True]


def test_what_was_said_to_a_side_while_it_was_away_waits_for_it(broker: Broker) -> None:
    with side(broker, "station-2"):
        pass
    with centre(broker) as office:
        office.link.publish_control(down("station-2", "receipt"), b"receipt")
        assert office.link.flush(PATIENCE_S)
        with side(broker, "station-2") as station:
            until(lambda: station.heard)
            assert station.heard == [(down("station-2", "receipt"), b"receipt")]
            assert station.connections[0].resumed


def test_what_waits_for_an_absent_side_is_bounded_and_later_messages_still_come(broker: Broker) -> None:
    size, bound = 1_000_000, 32 << 20
    with centre(broker):
        pass
    with side(broker, "station-1") as station:
        for _ in range(bound // size + 10):
            until(lambda: station.link.publish_control(up("station-1", "fact"), bytes(size)))
        assert station.link.flush(PATIENCE_S)
        with centre(broker) as office:
            waited = settled(station, office, up("station-1", "offer"))
            assert 0 < len(waited) * size <= bound + size
            assert settled(station, office, up("station-1", "head")) == [*waited, (up("station-1", "offer"), b"mark")]


def test_a_chunk_is_neither_retained_nor_kept_for_who_is_away(broker: Broker) -> None:
    with centre(broker):
        pass
    with side(broker, "station-1") as station:
        assert station.link.publish_chunk(up("station-1", "chunk"), b"chunk")
        assert station.link.publish_control(up("station-1", "offer"), b"offer")
        assert station.link.flush(PATIENCE_S)
        with centre(broker) as office:
            assert settled(station, office, up("station-1", "fact")) == [(up("station-1", "offer"), b"offer")]


def test_the_link_comes_back_by_itself_after_the_broker_does(broker: Broker) -> None:
    with centre(broker) as office, side(broker, "station-1") as station:
        broker.stop()
        until(lambda: not station.link.up and not office.link.up)
        assert not station.link.publish_control(up("station-1", "offer"), b"never said")
        assert not station.link.publish_chunk(up("station-1", "chunk"), b"never said")
        broker.start()
        until(lambda: station.link.up and office.link.up)
        assert station.link.publish_chunk(up("station-1", "chunk"), b"chunk")
        assert settled(station, office, up("station-1", "offer")) == [(up("station-1", "chunk"), b"chunk")]
        assert [connection.up for connection in station.connections][:2] == [True, False]
        assert station.connections[-1].resumed


def test_the_will_is_published_when_a_side_vanishes_and_not_when_it_leaves(broker: Broker) -> None:
    topic = up("station-3", "presence")
    with centre(broker) as office:
        with side(broker, "station-3", will=(topic, b"gone")) as station:
            assert station.link.publish_retained(topic, b"here")
            assert station.link.flush(PATIENCE_S)
        with side(broker, "station-3", will=(topic, b"gone")) as station:
            cut(station)
            until(lambda: (topic, b"gone") in office.heard)
            until(lambda: station.link.up)
        assert office.heard == [(topic, b"here"), (topic, b"gone")]
    with centre(broker) as office:
        until(lambda: office.heard)
        assert office.heard == [(topic, b"gone")]


def test_a_station_cannot_speak_outside_its_own_up(broker: Broker) -> None:
    with (
        centre(broker) as office,
        side(broker, "station-2") as victim,
        side(broker, "station-1") as station,
    ):
        for foreign in (up("station-2", "offer"), down("station-2", "want"), down("station-1", "want")):
            station.link.publish_control(foreign, b"forged")
        station.link.publish_chunk(up("station-2", "chunk"), b"forged")
        station.link.publish_retained(up("station-2", "presence"), b"forged")
        assert settled(station, office, up("station-1", "fact")) == []
        assert settled(office, victim, down("station-2", "ask")) == []
        assert station.heard == []
        assert station.link.rejected["not-authorised"] == 4


def test_a_station_cannot_hear_what_is_said_to_others(broker: Broker) -> None:
    everything = ["dockwarden/1/station-2/down/#", "dockwarden/1/+/up/#", "dockwarden/#", "#"]
    with (
        centre(broker) as office,
        side(broker, "station-2") as other,
        side(broker, "station-1", subscriptions=everything) as station,
    ):
        assert office.link.publish_control(down("station-2", "want"), b"want")
        assert other.link.publish_control(up("station-2", "offer"), b"offer")
        until(lambda: office.heard and other.heard)
        # It is in vain that it asked: it hears what is said to itself, and nothing else.
        assert settled(office, station, down("station-1", "ask")) == []
        assert station.link.rejected == {}


def test_a_station_cannot_take_the_client_id_of_another(broker: Broker) -> None:
    with centre(broker) as office, side(broker, "station-2") as victim:
        thief = Side(broker, "station-2", tls_files(broker, "station-1"), "down")
        thief.link.start()
        try:
            until(lambda: thief.link.up)
            office.link.publish_control(down("station-2", "want"), b"want")
            until(lambda: victim.heard)
            thief.link.publish_control(up("station-2", "offer"), b"forged")
            assert settled(thief, office, up("station-1", "fact")) == []
            assert (thief.heard, len(victim.connections)) == ([], 1)
        finally:
            thief.link.close()


def test_who_has_no_certificate_of_our_authority_gets_nowhere(broker: Broker, tmp_path: Path) -> None:
    with running_broker(tmp_path / "foreign") as elsewhere:
        foreign = tls_files(elsewhere, "station-1")
    ours = tls_files(broker, "station-9")
    for tls in (
        TlsFiles(ours.authority, foreign.certificate, foreign.key),
        TlsFiles(foreign.authority, ours.certificate, ours.key),
        None,
    ):
        stranger = Side(broker, "station-1", tls, "down")
        stranger.link.start()
        try:
            until(lambda: len(stranger.connections) > 1)  # noqa: B023
            assert not any(connection.up for connection in stranger.connections)
        finally:
            stranger.link.close()


def test_the_brokers_certificate_must_name_the_host(broker: Broker) -> None:
    good = tls_files(broker, "station-1")
    assert client_context(good).check_hostname
    assert client_context(good).minimum_version >= ssl.TLSVersion.TLSv1_2
    lax = TlsFiles(good.authority, good.certificate, good.key, check_hostname=False)
    one = Side(broker, "station-1", lax, "down")
    one.link.start()
    try:
        until(lambda: one.link.up)
    finally:
        one.link.close()


def test_missing_certificates_are_told_at_once(tmp_path: Path) -> None:
    nowhere = TlsFiles(tmp_path / "ca", tmp_path / "crt", tmp_path / "key")
    with pytest.raises(LocalError, match="cannot be loaded"):
        client_context(nowhere)


def test_what_cannot_be_taken_is_counted_and_ends_nothing(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    troubles: list[tuple[Exception, str]] = [
        (MalformedError("offer", "is not an object"), "malformed"),
        (SignatureError("no known key"), "signature"),
        (RemoteError("wrong-proof", "leaf 1", "item"), "wrong-proof"),
        (KeyError("张三"), "defect"),
    ]
    with side(broker, "station-1") as station, centre(broker) as office:
        for trouble, reason in troubles:
            office.trouble = trouble
            before = len(office.heard)
            assert station.link.publish_control(up("station-1", "offer"), b"secret payload")
            until(lambda: len(office.heard) > before)  # noqa: B023
            until(lambda: office.link.rejected[reason] == 1)  # noqa: B023
        office.trouble = None
        assert office.link.alive
        settled(station, office, up("station-1", "fact"))
    assert "secret payload" not in caplog.text
    assert "张三" not in caplog.text
    assert "dockwarden/1/station-1/up/offer" in caplog.text
    # All were acknowledged: none comes again.
    with centre(broker) as office, side(broker, "station-1") as station:
        assert settled(station, office, up("station-1", "fact")) == []


def test_foreign_retained_and_oversized_messages_are_dropped(broker: Broker) -> None:
    with side(broker, "station-1") as station:
        client = station.link._client
        assert client is not None
        for topic, size, retain in (
            ("dockwarden/1/station-1/up/want", 1, False),
            ("dockwarden/1/station-1/up/offer/more", 1, False),
            ("dockwarden/1/station-1/up/ask", LIMITS["ask"], False),
            ("dockwarden/1/station-1/up/presence", LIMITS["presence"] + 1, False),
            ("dockwarden/1/station-1/up/offer", 5, True),
        ):
            client.publish(topic, bytes(size), qos=1, retain=retain)
        with centre(broker) as office:
            until(lambda: office.link.rejected["retained"] == 1)
            assert settled(station, office, up("station-1", "fact")) == []
            client.publish("dockwarden/1/station-1/up/offer", b"", qos=1, retain=True)
            for topic in ("want", "offer/more", "ask"):
                client.publish(f"dockwarden/1/station-1/up/{topic}", b"x", qos=1)
            client.publish("dockwarden/1/station-1/up/presence", bytes(LIMITS["presence"] + 1), qos=1)
            until(lambda: office.link.rejected["too-large"] == 1)
            assert office.link.rejected["malformed"] == 3
        with side(broker, "centre", "down", subscriptions=centre_subscriptions()) as deaf:
            station.link.publish_control(up("station-1", "offer"), b"x")
            until(lambda: deaf.link.rejected["wrong-direction"] == 1)


def test_each_lane_has_its_way_of_being_said(broker: Broker) -> None:
    with side(broker, "station-1") as station:
        for wrong in (
            lambda: station.link.publish_control(up("station-1", "chunk"), b"x"),
            lambda: station.link.publish_chunk(up("station-1", "offer"), b"x"),
            lambda: station.link.publish_retained(up("station-1", "offer"), b"x"),
            lambda: station.link.publish_control(up("station-1", "offer"), bytes(LIMITS["offer"] + 1)),
        ):
            with pytest.raises(LocalError):
                wrong()


def test_chunks_wait_for_room_in_the_window(broker: Broker) -> None:
    with centre(broker) as office, side(broker, "station-1", window=1_000_000) as station:
        for _ in range(40):
            assert station.link.publish_chunk(up("station-1", "chunk"), bytes(500_000))
            held = station.link._outgoing.held
            assert held <= 1_000_000
        until(lambda: len(office.heard) == 40)


def test_a_callback_never_waits_for_room(broker: Broker) -> None:
    results: list[bool] = []
    done = threading.Event()
    with centre(broker) as office, side(broker, "station-1", window=600_000) as station:

        def say(topic: Topic, payload: bytes) -> None:
            results.extend(station.link.publish_chunk(up("station-1", "chunk"), bytes(500_000)) for _ in range(3))
            done.set()

        station.link._incoming._on_message = say
        office.link.publish_control(down("station-1", "ask"), b"go")
        assert done.wait(PATIENCE_S)
        assert results == [True, False, False]


def test_closing_twice_or_before_a_connection_is_harmless(broker: Broker) -> None:
    one = Side(broker, "station-1", tls_files(broker, "station-1"), "down")
    one.link.close()
    with pytest.raises(LocalError, match="closed"):
        one.link.start()
    two = Side(broker, "station-1", tls_files(broker, "station-1"), "down")
    broker.stop()
    two.link.start()
    until(lambda: two.connections)
    assert two.connections[0] == Connection(False, "the broker cannot be reached, or TLS failed")
    two.link.close()
    two.link.close()
    assert not two.link.publish_control(up("station-1", "offer"), b"offer")
