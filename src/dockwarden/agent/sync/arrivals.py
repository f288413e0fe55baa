"""What the link brought and nobody has handled yet: bounded, and who brings never waits."""

import threading
from collections import deque
from typing import TypeAlias

from dockwarden.wire.link import Connection
from dockwarden.wire.topics import Topic

MOST_MESSAGES = 1000
MOST_BYTES = 32 << 20
"""What waits at most; more is refused, which every lane survives: all of it is said again."""
_NEWS = 4

Message: TypeAlias = tuple[Topic, bytes]


class Arrivals:
    """Messages in their order, and news of the connection, which come first; for one taker."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: deque[Message] = deque()
        self._size = 0
        self._news: deque[Connection] = deque(maxlen=_NEWS)  # only how it ends matters

    def message(self, topic: Topic, payload: bytes) -> bool:
        """Add a message; False where there is no room for it."""
        with self._changed:
            if len(self._messages) >= MOST_MESSAGES or self._size + len(payload) > MOST_BYTES:
                return False
            self._messages.append((topic, payload))
            self._size += len(payload)
            self._changed.notify()
            return True

    def connection(self, connection: Connection) -> None:
        """The link came up or went down."""
        with self._changed:
            self._news.append(connection)
            self._changed.notify()

    def take(self, timeout: float) -> Connection | Message | None:
        """The next; None where nothing comes in `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._news or self._messages, timeout)
            if self._news:
                return self._news.popleft()
            if not self._messages:
                return None
            topic, payload = self._messages.popleft()
            self._size -= len(payload)
            return topic, payload
