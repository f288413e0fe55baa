"""The broker: real, mutual TLS, the product's access rules, and it comes back after a restart."""

import queue
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from dockwarden.service.errors import ServiceError
from dockwarden.simulators.broker import Broker, free_port, running_broker, running_mosquitto
from dockwarden.wire.topics import ROOT

WAIT_S = 30

Heard: TypeAlias = queue.Queue[tuple[str, bytes]]

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@contextmanager
def connected(broker: Broker, name: str, heard: Heard | None = None) -> Iterator[mqtt.Client]:
    """A client with the certificate of `name`."""
    files = broker.client(name)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set(str(files.authority), str(files.certificate), str(files.key))
    up: queue.Queue[object] = queue.Queue()
    client.on_connect = lambda *arguments: up.put(arguments[3])
    client.on_subscribe = lambda *arguments: up.put("subscribed")
    if heard is not None:
        client.on_message = lambda _client, _data, message: heard.put((message.topic, message.payload))
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        assert not getattr(up.get(timeout=WAIT_S), "is_failure", True)
        if heard is not None:
            client.subscribe(f"{ROOT}/#", 1)
            assert up.get(timeout=WAIT_S) == "subscribed"
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def publish(client: mqtt.Client, topic: str, payload: bytes) -> None:
    client.publish(topic, payload, 1).wait_for_publish(WAIT_S)


def test_the_centre_hears_a_station_and_a_station_hears_only_what_is_for_it(broker: Broker) -> None:
    centre: Heard = queue.Queue()
    station: Heard = queue.Queue()
    with connected(broker, "centre", centre) as office, connected(broker, "st-01", station) as dock:
        publish(dock, f"{ROOT}/st-02/up/fact", b"in another's name")
        publish(dock, f"{ROOT}/st-01/down/do", b"a command to itself")
        publish(dock, f"{ROOT}/st-01/up/fact", b"mine")
        assert centre.get(timeout=WAIT_S) == (f"{ROOT}/st-01/up/fact", b"mine")
        publish(office, f"{ROOT}/st-02/down/ask", b"for another")
        publish(office, f"{ROOT}/st-01/down/ask", b"for you")
        assert station.get(timeout=WAIT_S) == (f"{ROOT}/st-01/down/ask", b"for you")
        assert centre.empty() and station.empty()


def test_after_a_restart_or_a_kill_it_listens_on_the_same_port(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        before = broker.pid
        broker.restart()
        assert broker.pid not in (None, before)
        with connected(broker, "st-01"):
            pass
        broker.kill()
        assert broker.pid is None
        broker.start()
        with connected(broker, "st-01"):
            pass


def test_a_broker_that_hangs_says_nothing_and_goes_on_afterwards(broker: Broker) -> None:
    heard: Heard = queue.Queue()
    with connected(broker, "centre", heard), connected(broker, "st-01") as dock:
        broker.pause()
        sent = dock.publish(f"{ROOT}/st-01/up/fact", b"late", 1)
        with pytest.raises(queue.Empty):
            heard.get(timeout=0.3)
        broker.resume()
        sent.wait_for_publish(WAIT_S)
        assert heard.get(timeout=WAIT_S)[1] == b"late"


def test_nobody_without_a_certificate_of_its_authority_gets_in(broker: Broker, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=str(broker.client("st-01").authority))
    plain = socket.create_connection((broker.host, broker.port), timeout=WAIT_S)
    with (
        plain,
        suppress(ssl.SSLError, ConnectionError),
        context.wrap_socket(plain, server_hostname=broker.host) as tls,
    ):
        tls.sendall(b"\x10\x00")
        assert tls.recv(1) == b""


def test_keys_are_for_their_owner_alone_and_a_client_keeps_its_files(broker: Broker) -> None:
    first, again = broker.client("st-07"), broker.client("st-07")
    assert first == again
    for path in (first.key, broker.folder / "server.key", broker.folder / "acl"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(broker.folder.glob("ca.key"))


def test_a_port_that_is_taken_is_told_and_a_process_is_not_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError) as caught, running_broker(tmp_path, port):
            pytest.fail("it started")
    assert caught.value.code == "broker"


def test_a_bad_configuration_is_told_with_what_mosquitto_says(tmp_path: Path) -> None:
    (tmp_path / "bad.conf").write_text("nonsense true\n", "utf-8")
    running = running_mosquitto(tmp_path / "bad.conf", free_port(), tmp_path / "log")
    with pytest.raises(ServiceError) as caught, running:
        pytest.fail("it started")
    assert "nonsense" in caught.value.what
