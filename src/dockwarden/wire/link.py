"""The thin MQTT 5 link: one connection to the broker, by paho-mqtt, with mutual TLS.

`on_message` and `on_connection` run in paho's thread, one at a time. While they run nothing is read or written:
hand work on and return within a fraction of `keepalive`. They may publish. Nothing that arrives can end that
thread: what cannot be taken is counted by its reason, named in a log (never with its payload), and acknowledged,
since it would not be better the next time.
"""

import contextlib
import logging
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import SignatureError
from dockwarden.wire.errors import LocalError, RemoteError
from dockwarden.wire.messages import LIMITS, MAX_PACKET
from dockwarden.wire.tls import TlsFiles, client_context
from dockwarden.wire.topics import Direction, Topic
from dockwarden.wire.transfer import FIRST_WINDOW

KEEPALIVE_S = 15
SESSION_EXPIRY_S = 7 * 24 * 3600
CONTROL_BYTES = 8 << 20
CONTROL_MESSAGES = 1000
"""What may wait for the broker's acknowledgement; beyond it nothing is taken."""
IN_FLIGHT = 20
"""Control messages that we send before the broker has acknowledged one, if it does not ask for fewer."""
_PACKET_HEAD = 128
"""Bytes that the topic and MQTT's own header add to a payload, at most."""
_CALLBACKS = (
    *("on_pre_connect", "on_socket_open", "on_connect", "on_connect_fail", "on_subscribe"),
    *("on_disconnect", "on_message", "on_publish"),
)
_NO_MATCHING_SUBSCRIBERS = 0x10

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Connection:
    """The link came up, or it is down. `reason` is a word for people. `resumed`: the broker still had our session;
    `max_packet`: bytes of the largest packet that it takes."""

    up: bool
    reason: str
    resumed: bool = False
    max_packet: int = MAX_PACKET


OnMessage: TypeAlias = Callable[[Topic, bytes], None]
"""Takes one message. It may raise MalformedError, SignatureError or RemoteError for a message that it refuses."""
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
        self.rejected: Counter[str] = Counter()
        """Messages that were dropped, by reason; and `unheard`, `not-authorised`: ours that the broker did not
        pass on."""
        self._address = (host, port, keepalive)
        self._subscriptions = [(topic, 1) for topic in subscriptions]
        self._hears = hears
        self._on_message, self._on_connection = on_message, on_connection
        self._window = window
        self._open = False
        """The broker has accepted the connection: things may be published."""
        self._up = False
        """And it has taken our subscriptions: things are heard."""
        self._resumed = False
        self._max_packet = MAX_PACKET
        self._receive_maximum = IN_FLIGHT
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._chunks: deque[tuple[paho.MQTTMessageInfo, int]] = deque()
        self._chunks_lock = threading.Lock()
        self._control: deque[tuple[paho.MQTTMessageInfo, int]] = deque()
        self._control_lock = threading.Lock()
        client = self._new_client(client_id, tls, delays)
        if will is not None:
            client.will_set(will[0].text, will[1], qos=1, retain=True)
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
        client.disconnect()
        if self._open and not self._ended.wait(timeout):
            _shut(client.socket())
        client.drop_out_messages()
        client.loop_stop()
        self._open = self._up = False
        # paho closes its last sockets when it is let go: nothing may hold it in a circle.
        for name in _CALLBACKS:
            setattr(client, name, None)

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
        return self._publish_control(topic, payload, retain=False)

    def publish_retained(self, topic: Topic, payload: bytes) -> bool:
        """Publish presence, the one thing that the broker retains; False as for `publish_control`."""
        if topic.lane != "presence":
            raise LocalError("wrong-lane", "only presence is retained", topic.text)
        return self._publish_control(topic, payload, retain=True)

    def publish_chunk(self, topic: Topic, payload: bytes, timeout: float = 30.0) -> bool:
        """Publish with QoS 0, never retained; waits up to `timeout` seconds for room in the window.

        False where the link is down or there was no room in time. In a callback of this link it never waits.
        """
        if topic.lane != "chunk":
            raise LocalError("wrong-lane", "only a chunk may be lost", topic.text)
        self._check_size(topic, payload)
        with self._chunks_lock:
            client = self._client
            if client is None or not self._wait_for_room(len(payload), time.monotonic() + timeout):
                return False
            info = client.publish(topic.text, payload, qos=0, retain=False)
            if info.rc != paho.MQTT_ERR_SUCCESS:
                return False
            self._chunks.append((info, len(payload)))
            return True

    def flush(self, timeout: float) -> bool:
        """Wait until the broker has acknowledged all control messages; False if it has not in time."""
        ends = time.monotonic() + timeout
        while True:
            with self._control_lock:
                if not self._waiting_control():
                    return True
            if not self._open or time.monotonic() > ends:
                return False
            time.sleep(0.005)

    def _publish_control(self, topic: Topic, payload: bytes, retain: bool) -> bool:
        self._check_size(topic, payload)
        client = self._client
        if client is None or not self._open:
            return False
        with self._control_lock:
            if self._waiting_control() + len(payload) > CONTROL_BYTES:
                return False
            # paho sends IN_FLIGHT whatever the broker asks for, and cannot be told otherwise while connected.
            if self._receive_maximum < IN_FLIGHT and len(self._control) >= self._receive_maximum:
                return False
            info = client.publish(topic.text, payload, qos=1, retain=retain)
            if info.rc != paho.MQTT_ERR_SUCCESS:
                return False
            self._control.append((info, len(payload)))
            return True

    def _check_size(self, topic: Topic, payload: bytes) -> None:
        if len(payload) > min(LIMITS[topic.lane], self._max_packet - _PACKET_HEAD):
            raise LocalError("too-large", f"{len(payload)} bytes are more than may be said here", topic.text)

    def _waiting_control(self) -> int:
        """Bytes of control messages that the broker has not acknowledged; their lock is held."""
        self._control = deque((info, size) for info, size in self._control if not _is_out(info))
        return sum(size for _, size in self._control)

    def _wait_for_room(self, size: int, ends: float) -> bool:
        """Whether the window has room; the lock of the chunks is held."""
        while self._open:
            while self._chunks and _is_out(self._chunks[0][0]):
                self._chunks.popleft()
            if not self._chunks or sum(held for _, held in self._chunks) + size <= self._window:
                return True
            left = ends - time.monotonic()
            if left <= 0 or threading.current_thread() is self._thread:
                return False
            _wait(self._chunks[0][0], min(left, 0.5))
        return False

    def _new_client(self, client_id: str, tls: TlsFiles | None, delays: tuple[int, int]) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5, manual_ack=True)
        if tls is not None:
            client.tls_set_context(client_context(tls))
            if not tls.check_hostname:
                client.tls_insecure_set(True)
        client.max_queued_messages_set(CONTROL_MESSAGES)
        client.max_inflight_messages_set(IN_FLIGHT)
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
        self._max_packet = min(getattr(properties, "MaximumPacketSize", MAX_PACKET), MAX_PACKET)
        self._receive_maximum = getattr(properties, "ReceiveMaximum", IN_FLIGHT)
        # What an earlier connection left unacknowledged is said anew by its owner if it still holds. Besides,
        # paho would send it while it holds a lock that a callback of ours could need.
        client.drop_out_messages()
        with self._control_lock:
            self._control.clear()
        self._resumed = flags.session_present
        self._ended.clear()
        self._open = True
        client.subscribe(self._subscriptions)

    def _subscribed(
        self, client: paho.Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                self._reject("not-authorised", f"a subscription, by the broker: {reason}")
        self._up = True
        self._tell(Connection(True, "connected", self._resumed, self._max_packet))

    def _connect_failed(self, client: paho.Client, userdata: Any) -> None:
        self._tell(Connection(False, "the broker cannot be reached, or TLS failed"))

    def _disconnected(
        self, client: paho.Client, userdata: Any, flags: paho.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        was_open, self._open, self._up = self._open, False, False
        self._ended.set()
        when = "the connection ended" if was_open else "the broker ended the connection before it took us"
        self._tell(Connection(False, f"{when}: {reason}"))

    def _tell(self, connection: Connection) -> None:
        try:
            self._on_connection(connection)
        except Exception as error:
            self._reject("defect", "on_connection", error)

    def _received(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            self._hand_on(message)
        finally:
            client.ack(message.mid, message.qos)

    def _hand_on(self, message: paho.MQTTMessage) -> None:
        where = "a topic that is not of ours"
        try:
            topic = Topic.parse(message.topic)
            where = topic.text
            if topic.direction != self._hears:
                self._reject("wrong-direction", where)
            elif message.retain and topic.lane != "presence":
                self._reject("retained", where)
            elif len(message.payload) > LIMITS[topic.lane]:
                self._reject("too-large", where)
            else:
                self._on_message(topic, bytes(message.payload))
        except UnicodeDecodeError:
            self._reject("malformed", where)
        except MalformedError as error:
            self._reject("malformed", where, error)
        except SignatureError:
            self._reject("signature", where)
        except RemoteError as error:
            self._reject(error.code, where, error)
        except Exception as error:
            self._reject("defect", where, error)

    def _reject(self, reason: str, where: str, error: Exception | None = None) -> None:
        """Count; log the first, second, fourth, eighth … of each reason, so that a flood does not fill the log."""
        self.rejected[reason] += 1
        count = self.rejected[reason]
        if count & (count - 1):
            return
        what = _description(error)
        _log.warning("message dropped: %s, %s (%s); %d so far", reason, where, what, count)

    def _published(self, client: paho.Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        if reason.value == _NO_MATCHING_SUBSCRIBERS:
            self.rejected["unheard"] += 1
        elif reason.is_failure:
            self._reject("not-authorised", f"by the broker: {reason}")


def _description(error: Exception | None) -> str:
    """What may be said of an error: its text only where it is one of ours, which hold no data of people."""
    if isinstance(error, RemoteError | MalformedError):
        return str(error)
    if error is None:
        return "no more is known"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    line = "" if place is None else f" at line {place.tb_lineno} of {place.tb_frame.f_code.co_name}"
    return type(error).__name__ + line


def _no_delay(client: paho.Client, userdata: Any, opened: Any) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _is_out(info: paho.MQTTMessageInfo) -> bool:
    """Whether paho holds a message no more: written, acknowledged, or lost with its connection."""
    try:
        return info.is_published()
    except (RuntimeError, ValueError):
        return True


def _wait(info: paho.MQTTMessageInfo, seconds: float) -> None:
    try:
        info.wait_for_publish(seconds)
    except (RuntimeError, ValueError):
        return


def _shut(connection: object) -> None:
    """End a connection whose broker does not answer."""
    with contextlib.suppress(OSError):
        if isinstance(connection, socket.socket):
            connection.shutdown(socket.SHUT_RDWR)
