"""The thin MQTT 5 link: one connection to the broker, by paho-mqtt, with mutual TLS.

`on_message` and `on_connection` run in paho's thread, one at a time. While they run nothing is read or written:
hand work on and return within a fraction of `keepalive`. They may publish. What cannot be taken (`wire/incoming.py`)
is acknowledged too, since it would not be better the next time; what may be said is bounded by `wire/outgoing.py`.
"""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from dockwarden.wire.errors import LocalError
from dockwarden.wire.incoming import Incoming, OnMessage
from dockwarden.wire.messages import MAX_PACKET
from dockwarden.wire.outgoing import IN_FLIGHT, Outgoing
from dockwarden.wire.tls import TlsFiles, client_context
from dockwarden.wire.topics import Direction, Topic
from dockwarden.wire.transfer import FIRST_WINDOW

KEEPALIVE_S = 15
SESSION_EXPIRY_S = 3600
"""How long the broker keeps what waits for an absent side: a short loss need not say it all again, a long one may."""
_CALLBACKS = (
    *("on_pre_connect", "on_socket_open", "on_connect", "on_connect_fail", "on_subscribe"),
    *("on_disconnect", "on_message", "on_publish"),
)
_NO_MATCHING_SUBSCRIBERS = 0x10


@dataclass(frozen=True)
class Connection:
    """The link came up, or it is down. `reason` is a word for people. `resumed`: the broker still had our session;
    `max_packet`: bytes of the largest packet that it takes."""

    up: bool
    reason: str
    resumed: bool = False
    max_packet: int = MAX_PACKET


OnConnection: TypeAlias = Callable[[Connection], None]


class Link:
    """A link for `client_id`, which must be the name in the certificate. Nothing happens before `start`.

    `hears` is the direction of the topics that this side hears; `will` (topic and payload) is published and
    retained by the broker when this side vanishes. `window` bounds the bytes of chunks that paho holds and has
    not yet written to the socket. `delays` are the first and the longest pause between two attempts to connect,
    in seconds. `tls` None is for tests in clear. Raises LocalError for unfit TLS files.
    """

    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        tls: TlsFiles | None,
        *,
        subscriptions: Sequence[str],
        hears: Direction,
        on_message: OnMessage,
        on_connection: OnConnection,
        will: tuple[Topic, bytes] | None = None,
        keepalive: int = KEEPALIVE_S,
        window: int = FIRST_WINDOW,
        delays: tuple[int, int] = (1, 30),
    ) -> None:
        self._address = (host, port, keepalive)
        self._subscriptions = [(topic, 1) for topic in subscriptions]
        self._on_connection = on_connection
        self._incoming = Incoming(hears, on_message)
        self._up = False
        """The broker has accepted the connection and our subscriptions: things are heard."""
        self._resumed = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        client = self._new_client(client_id, tls, delays)
        if will is not None:
            client.will_set(will[0].text, will[1], qos=1, retain=True)
        self._outgoing = Outgoing(client, window)
        self._client: paho.Client | None = client

    def start(self) -> None:
        """Begin to connect, in paho's thread, and again after each loss."""
        if self._client is None:
            raise LocalError("closed", "a closed link does not start again", "link")
        host, port, keepalive = self._address
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no types here
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.MaximumPacketSize = MAX_PACKET
        self._client.connect_async(host, port, keepalive, clean_start=False, properties=properties)
        self._client.loop_start()

    def close(self, timeout: float = 2.0) -> None:
        """Disconnect (the will is not published then) and end the thread; what is still queued is dropped."""
        client, self._client = self._client, None
        if client is None:
            return
        was_open = self._outgoing.open
        self._outgoing.end()
        client.disconnect()
        if was_open and not self._ended.wait(timeout):
            _shut(client.socket())
        client.drop_out_messages()
        client.loop_stop()
        self._up = False
        # paho closes its last sockets when it is let go: nothing may hold it in a circle.
        for name in _CALLBACKS:
            setattr(client, name, None)

    @property
    def rejected(self) -> Counter[str]:
        """Messages that were dropped, by reason; and `unheard`, `not-authorised`: ours that the broker did not
        pass on."""
        return self._incoming.rejected

    @property
    def up(self) -> bool:
        """Whether the broker has accepted our connection and subscriptions, and is not known to be lost."""
        return self._up

    @property
    def alive(self) -> bool:
        """Whether the link still tries: False only if paho's thread has died of a defect. For watchdogs."""
        return self._thread is None or self._thread.is_alive()

    def publish_control(self, topic: Topic, payload: bytes) -> bool:
        """Publish with QoS 1; False where the link is down or too much waits already.

        True promises nothing: with the connection all is lost that the broker has not acknowledged. Who still
        has something to say says it again when the link comes up, and by its own timers.
        """
        if topic.lane == "chunk":
            raise LocalError("wrong-lane", "a chunk is not control", topic.text)
        return self._outgoing.control(topic, payload, retain=False)

    def publish_retained(self, topic: Topic, payload: bytes) -> bool:
        """Publish presence, the one thing that the broker retains; False as for `publish_control`."""
        if topic.lane != "presence":
            raise LocalError("wrong-lane", "only presence is retained", topic.text)
        return self._outgoing.control(topic, payload, retain=True)

    def publish_chunk(self, topic: Topic, payload: bytes, timeout: float = 30.0) -> bool:
        """Publish with QoS 0, never retained; waits up to `timeout` seconds for room in the window.

        False where the link is down or there was no room in time. In a callback of this link it never waits.
        """
        if topic.lane != "chunk":
            raise LocalError("wrong-lane", "only a chunk may be lost", topic.text)
        return self._outgoing.chunk(topic, payload, timeout)

    def flush(self, timeout: float) -> bool:
        """Wait until the broker has acknowledged all control messages; False if it has not in time."""
        return self._outgoing.flush(timeout)

    def _new_client(self, client_id: str, tls: TlsFiles | None, delays: tuple[int, int]) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5, manual_ack=True)
        if tls is not None:
            client.tls_set_context(client_context(tls))
            if not tls.check_hostname:
                client.tls_insecure_set(True)
        client.reconnect_delay_set(*delays)
        client.on_pre_connect = self._pre_connect
        client.on_socket_open = _no_delay
        client.on_connect = self._connected
        client.on_connect_fail = self._connect_failed
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.on_message = self._received
        client.on_publish = self._published
        return client

    def _pre_connect(self, client: paho.Client, userdata: Any) -> None:
        self._thread = threading.current_thread()

    def _connected(
        self, client: paho.Client, userdata: Any, flags: paho.ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._tell(Connection(False, f"the broker refused us: {reason}"))
            return
        max_packet = getattr(properties, "MaximumPacketSize", MAX_PACKET)
        self._outgoing.opened(max_packet, getattr(properties, "ReceiveMaximum", IN_FLIGHT))
        self._resumed = flags.session_present
        self._ended.clear()
        client.subscribe(self._subscriptions)

    def _subscribed(
        self, client: paho.Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                self._incoming.reject("not-authorised", f"a subscription, by the broker: {reason}")
        self._up = True
        self._tell(Connection(True, "connected", self._resumed, self._outgoing.max_packet))

    def _connect_failed(self, client: paho.Client, userdata: Any) -> None:
        self._tell(Connection(False, "the broker cannot be reached, or TLS failed"))

    def _disconnected(
        self, client: paho.Client, userdata: Any, flags: paho.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        was_open, self._outgoing.open, self._up = self._outgoing.open, False, False
        self._ended.set()
        when = "the connection ended" if was_open else "the broker ended the connection before it took us"
        self._tell(Connection(False, f"{when}: {reason}"))

    def _tell(self, connection: Connection) -> None:
        try:
            self._on_connection(connection)
        except Exception as error:
            self._incoming.reject("defect", "on_connection", error)

    def _received(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            self._incoming.hand_on(message)
        finally:
            client.ack(message.mid, message.qos)

    def _published(self, client: paho.Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        if reason.value == _NO_MATCHING_SUBSCRIBERS:
            self._incoming.rejected["unheard"] += 1
        elif reason.is_failure:
            self._incoming.reject("not-authorised", f"by the broker: {reason}")


def _no_delay(client: paho.Client, userdata: Any, opened: Any) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _shut(connection: object) -> None:
    """End a connection whose broker does not answer."""
    with contextlib.suppress(OSError):
        if isinstance(connection, socket.socket):
            connection.shutdown(socket.SHUT_RDWR)
