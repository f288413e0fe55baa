"""What waits for the office's thread: bounded in bytes for each station, so that none can starve the others."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from dockwarden.wire.topics import Topic

STATION_BYTES = 32 << 20
"""Bytes of one station's messages that wait: twice what it may have in flight. What is more is dropped: all of it
is said again."""
ALL_BYTES = 512 << 20
STATION_MESSAGES = 2000

Message: TypeAlias = tuple[Topic, bytes]
Call: TypeAlias = Callable[[], None]


@dataclass
class _Waiting:
    messages: deque[Message] = field(default_factory=deque)
    size: int = 0


class Inbox:
    """Messages of stations, in turn, each station's in their order; and calls of our own, which come first."""

    def __init__(self, station_bytes: int = STATION_BYTES, all_bytes: int = ALL_BYTES) -> None:
        self._station_bytes, self._all_bytes = station_bytes, all_bytes
        self._changed = threading.Condition()
        self._calls: deque[Call] = deque()
        self._stations: OrderedDict[str, _Waiting] = OrderedDict()
        self._size = 0
        self._closed = False

    def put(self, topic: Topic, payload: bytes) -> bool:
        """Add a message; False where there is no room for it."""
        with self._changed:
            waiting = self._stations.get(topic.station) or _Waiting()
            size = len(payload)
            full = waiting.size + size > self._station_bytes or len(waiting.messages) >= STATION_MESSAGES
            if full or self._size + size > self._all_bytes:
                return False
            self._stations[topic.station] = waiting
            waiting.messages.append((topic, payload))
            waiting.size += size
            self._size += size
            self._changed.notify()
            return True

    def call(self, work: Call) -> None:
        """Have something done in the office's thread, soon."""
        with self._changed:
            self._calls.append(work)
            self._changed.notify()

    def take(self, timeout: float) -> Message | Call | None:
        """The next; None where nothing comes in `timeout` seconds, or the inbox was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._calls or self._stations, timeout)
            if self._closed:
                return None
            if self._calls:
                return self._calls.popleft()
            return self._next_message()

    @property
    def empty(self) -> bool:
        """Whether nothing waits just now."""
        with self._changed:
            return not self._calls and not self._stations

    def close(self) -> None:
        """Let go of everything; `take` does not wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next_message(self) -> Message | None:
        if not self._stations:
            return None
        station, waiting = self._stations.popitem(last=False)
        topic, payload = waiting.messages.popleft()
        waiting.size -= len(payload)
        self._size -= len(payload)
        if waiting.messages:
            self._stations[station] = waiting
        return topic, payload
