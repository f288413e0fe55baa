"""The station's line to its centre: the link's thread never waits for it, and a dead part of it is noticed."""

import queue
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent.cards import Room

from dockwarden.agent import station as station_module
from dockwarden.agent.metadata.registry import Registry
from dockwarden.agent.settings import Settings
from dockwarden.agent.setup import Enrolled, make_keys
from dockwarden.agent.station import Station
from dockwarden.agent.sync.arrivals import MOST_BYTES, MOST_MESSAGES, Arrivals
from dockwarden.agent.sync.session import Sync
from dockwarden.durable.files import OsFiles
from dockwarden.evidence.notes import SigningKey
from dockwarden.rules.deadlines import Policy
from dockwarden.service.errors import ServiceError
from dockwarden.simulators.broker import Broker, running_broker
from dockwarden.wire.link import Connection
from dockwarden.wire.topics import down

PATIENCE_S = 20.0
CENTRE = SigningKey("centre", bytes(range(1, 33)))
ASK = down("st-01", "ask")
UP, DOWN = Connection(True, "connected"), Connection(False, "gone")


def until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.01)


def opened(room: Room, broker: Broker) -> tuple[Sync, Registry]:
    files = broker.client("st-01")
    enrolled = Enrolled(CENTRE.verifier, broker.host, broker.port, files.certificate, files.key, files.authority)
    registry = Registry(room.stores.folders.registry, OsFiles())
    return Sync(room.stores, registry, Policy(), enrolled, {}), registry


def test_what_arrives_comes_in_its_order_and_news_of_the_link_first() -> None:
    arrivals = Arrivals()
    assert arrivals.take(0.0) is None
    assert arrivals.message(ASK, b"1")
    assert arrivals.message(ASK, b"2")
    arrivals.connection(UP)
    assert [arrivals.take(0.0) for _ in range(4)] == [UP, (ASK, b"1"), (ASK, b"2"), None]


def test_too_many_or_too_large_messages_are_refused_and_news_of_the_link_never() -> None:
    arrivals = Arrivals()
    assert sum(arrivals.message(ASK, b"") for _ in range(MOST_MESSAGES + 5)) == MOST_MESSAGES
    for _ in range(100):
        arrivals.connection(UP)
        arrivals.connection(DOWN)
    news = [found for found in iter(lambda: arrivals.take(0.0), None) if isinstance(found, Connection)]
    assert news[-1] == DOWN
    assert len(news) < 10
    assert arrivals.message(ASK, bytes(MOST_BYTES))
    assert not arrivals.message(ASK, b"x")
    assert arrivals.take(0.0) == (ASK, bytes(MOST_BYTES))
    assert arrivals.message(ASK, b"x")


def test_who_waits_is_woken_by_what_arrives() -> None:
    arrivals = Arrivals()
    threading.Timer(0.05, lambda: arrivals.message(ASK, b"1")).start()
    assert arrivals.take(PATIENCE_S) == (ASK, b"1")


@pytest.mark.system
def test_the_links_thread_never_waits_for_the_station(tmp_path: Path, room: Room) -> None:
    with running_broker(tmp_path / "broker") as broker:
        sync, registry = opened(room, broker)
    for _ in range(MOST_MESSAGES + 5):  # the station's thread does not run: nothing is taken away
        sync._on_message(ASK, b"{}")
    told = threading.Thread(target=lambda: [sync._link._on_connection(UP) for _ in range(100)], daemon=True)
    told.start()
    told.join(PATIENCE_S)
    assert not told.is_alive()
    assert sync.rejected["overflow"] == 5
    registry.close()


@pytest.mark.system
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_link_whose_thread_died_is_not_alive(tmp_path: Path, room: Room) -> None:
    with running_broker(tmp_path / "broker") as broker:
        sync, registry = opened(room, broker)
        assert sync.alive, "what has not begun is not dead"
        sync.start()
        try:
            until(lambda: sync.up)
            assert sync.alive
            kill_link(sync)
            until(lambda: not sync.alive)
        finally:
            sync.stop()
            registry.close()


@pytest.mark.system
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_station_whose_link_died_ends_so_that_it_is_started_again(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    settings = Settings(station="st-01", root=tmp_path / "root", bays=["1"], release="keep", media=False, panel=None)
    settings.root.mkdir()
    make_keys(settings, OsFiles())
    with running_broker(tmp_path / "broker") as broker:
        station = Station(settings)
        station.sync, registry = opened(room, broker)
        ended: queue.Queue[ServiceError] = queue.Queue()

        def run() -> None:
            try:
                station_module._run(station, threading.Event())
            except ServiceError as error:
                ended.put(error)

        running = threading.Thread(target=run)
        running.start()
        until(lambda: station.sync is not None and station.sync.up)
        assert ended.empty()
        kill_link(station.sync)
        assert ended.get(timeout=PATIENCE_S).code == "part-died"
        running.join(PATIENCE_S)
        registry.close()


def kill_link(sync: Sync) -> None:
    """End the thread of a link as a defect in it would."""
    client = sync._link._client
    assert client is not None
    client.on_disconnect = _defect
    connection = client.socket()
    assert isinstance(connection, socket.socket)
    connection.shutdown(socket.SHUT_RDWR)


def _defect(*_: object) -> None:
    raise RuntimeError("a defect that nobody catches")
