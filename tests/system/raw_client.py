"""A client of the broker that says whatever it likes, with anybody's certificate or none."""

import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from dockwarden.centre.certificates import issue_client, new_authority
from dockwarden.evidence.notes import SigningKey
from dockwarden.simulators.world import World
from dockwarden.wire import enrolment

NOT_AUTHORISED = 0x87
WAIT_S = 20.0


class Raw:
    """A connected client; use it as a context. `heard` are the topics and payloads that came. `certificate` and `key`
    are PEM files, None for none. Raises ConnectionError where the broker does not let it in."""

    def __init__(self, world: World, name: str, certificate: Path | None, key: Path | None) -> None:
        context = ssl.create_default_context(cafile=world.centre_root / "keys" / "ca.crt")
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        self.heard: list[tuple[str, bytes, bool]] = []
        self._reasons: dict[int, int] = {}
        self._changed = threading.Condition()
        self._up: bool | None = None
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        self._client.tls_set_context(context)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_publish = self._published
        self._client.on_message = self._heard
        try:
            self._client.connect("localhost", world.broker.port, 30, clean_start=True)
        except (OSError, ssl.SSLError) as error:
            raise ConnectionError(str(error)) from error
        self._client.loop_start()
        if not self._wait(lambda: self._up is not None) or not self._up:
            self.close()
            raise ConnectionError("the broker did not let it in")

    def __enter__(self) -> "Raw":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()
        socket = self._client.socket()
        if socket is not None:
            socket.close()

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int | None:
        """Publish with QoS 1; the broker's reason, None where it hung up instead."""
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        self._wait(lambda: info.mid in self._reasons or self._up is False)
        return self._reasons.get(info.mid)

    def subscribe(self, *topics: str) -> None:
        """Ask for topics; whether anything comes is another question."""
        for topic in topics:
            self._client.subscribe(topic, qos=1)

    def _wait(self, ready: Callable[[], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(ready, WAIT_S)

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._set(not reason.is_failure)

    def _disconnected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._set(False)

    def _set(self, up: bool) -> None:
        with self._changed:
            self._up = up
            self._changed.notify_all()

    def _published(self, client: Any, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._reasons[mid] = reason.value
            self._changed.notify_all()

    def _heard(self, client: Any, userdata: Any, message: Any) -> None:
        self.heard.append((message.topic, bytes(message.payload), message.retain))


def enrolled(world: World, key: SigningKey) -> tuple[Path, Path]:
    """Enrol a further station as people would; its certificate and TLS key."""
    tls = enrolment.new_tls_key()
    asked = enrolment.Request(key.name, key.verifier, enrolment.certificate_request(key.name, tls).decode())
    request = enrolment.sign_request(asked, key).decode()
    found = world.centre.call("enrol", {"request": request, "fingerprint": key.verifier.fingerprint})
    answer = found["answer"].encode()
    opened = enrolment.open_answer(answer, [enrolment.centre_key_of(answer)])
    return _written(world, key.name, opened.certificate.encode(), tls)


def strangers(world: World, name: str) -> tuple[Path, Path]:
    """A certificate for a name by an authority that is not the centre's."""
    tls = enrolment.new_tls_key()
    now = datetime.now(UTC)
    certificate = issue_client(new_authority("centre", now), name, enrolment.certificate_request(name, tls), now)
    return _written(world, f"stranger-{name}", certificate, tls)


def _written(world: World, name: str, certificate: bytes, key: bytes) -> tuple[Path, Path]:
    paths = world.root / f"{name}.crt", world.root / f"{name}.key"
    for path, data in zip(paths, (certificate, key), strict=True):
        path.write_bytes(data)
    return paths


def is_let_in(world: World, name: str, certificate: Path | None, key: Path | None) -> bool:
    """Whether the broker lets a client in."""
    with suppress(ConnectionError), Raw(world, name, certificate, key):
        return True
    return False
