"""What a link may say now: paho's queues have no bound in bytes, these windows have.

Control messages are bounded by what the broker has not acknowledged, chunks by what is not yet written to the socket.
"""

import threading
import time
from collections import deque

from paho.mqtt import client as paho

from dockwarden.wire.errors import LocalError
from dockwarden.wire.messages import LIMITS, MAX_PACKET
from dockwarden.wire.topics import Topic

CONTROL_BYTES = 8 << 20
CONTROL_MESSAGES = 1000
"""What may wait for the broker's acknowledgement; beyond it nothing is taken."""
IN_FLIGHT = 20
"""Control messages that we send before the broker has acknowledged one, if it does not ask for fewer."""
_PACKET_HEAD = 128
"""Bytes that the topic and MQTT's own header add to a payload, at most."""


class Outgoing:
    """Publishes through `client` while the connection is open. `window`: bytes of chunks that paho may hold."""

    def __init__(self, client: paho.Client, window: int) -> None:
        client.max_queued_messages_set(CONTROL_MESSAGES)
        client.max_inflight_messages_set(IN_FLIGHT)
        self.open = False
        """The broker has accepted the connection: things may be published."""
        self.max_packet = MAX_PACKET
        self._client: paho.Client | None = client
        self._window = window
        self._receive_maximum = IN_FLIGHT
        self._thread: threading.Thread | None = None
        self._chunks: deque[tuple[paho.MQTTMessageInfo, int]] = deque()
        self._chunks_lock = threading.Lock()
        self._control: deque[tuple[paho.MQTTMessageInfo, int]] = deque()
        self._control_lock = threading.Lock()

    def opened(self, max_packet: int, receive_maximum: int) -> None:
        """The broker has accepted the connection and says what it takes; called in paho's thread."""
        self.max_packet = min(max_packet, MAX_PACKET)
        self._receive_maximum = receive_maximum
        self._thread = threading.current_thread()
        # What an earlier connection left unacknowledged is said anew by its owner if it still holds. Besides,
        # paho would send it while it holds a lock that a callback of ours could need.
        if self._client is not None:
            self._client.drop_out_messages()
        with self._control_lock:
            self._control.clear()
        self.open = True

    def end(self) -> None:
        """Say nothing any more, and hold paho's client no longer."""
        self.open = False
        self._client = None

    def control(self, topic: Topic, payload: bytes, retain: bool) -> bool:
        """Publish with QoS 1; False where the connection is not open or too much waits already."""
        self._check_size(topic, payload)
        client = self._client
        if client is None or not self.open:
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

    def chunk(self, topic: Topic, payload: bytes, timeout: float) -> bool:
        """Publish with QoS 0; waits up to `timeout` seconds for room, but never in paho's own thread."""
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
            if not self.open or time.monotonic() > ends:
                return False
            time.sleep(0.005)

    @property
    def held(self) -> int:
        """Bytes of chunks that paho may not have written yet."""
        return sum(size for _, size in self._chunks)

    def _check_size(self, topic: Topic, payload: bytes) -> None:
        if len(payload) > min(LIMITS[topic.lane], self.max_packet - _PACKET_HEAD):
            raise LocalError("too-large", f"{len(payload)} bytes are more than may be said here", topic.text)

    def _waiting_control(self) -> int:
        """Bytes of control messages that the broker has not acknowledged; their lock is held."""
        self._control = deque((info, size) for info, size in self._control if not _is_out(info))
        return sum(size for _, size in self._control)

    def _wait_for_room(self, size: int, ends: float) -> bool:
        """Whether the window has room; the lock of the chunks is held."""
        while self.open:
            while self._chunks and _is_out(self._chunks[0][0]):
                self._chunks.popleft()
            if not self._chunks or self.held + size <= self._window:
                return True
            left = ends - time.monotonic()
            if left <= 0 or threading.current_thread() is self._thread:
                return False
            _wait(self._chunks[0][0], min(left, 0.5))
        return False


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
