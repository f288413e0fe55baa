"""Presence: the station says that it is there, and its will says when it is not."""

from dockwarden.agent.stores import Stores
from dockwarden.wire.messages import Presence, PresenceState

HEARTBEAT_S = 5.0
"""A will alone is slow: a frozen line shows only after one and a half times the keepalive."""


class Heartbeat:
    """When to say what of this station's presence. `session` is drawn at each start of the program."""

    def __init__(self, stores: Stores, session: str) -> None:
        self._stores = stores
        self._session = session
        self._since = stores.clock().utc
        self._said: float | None = None

    def connected(self) -> None:
        """The link is up (again): say it at once."""
        self._since, self._said = self._stores.clock().utc, None

    def next(self, now: float) -> Presence | None:
        """The presence to publish now, if it is time."""
        if self._said is not None and now - self._said < HEARTBEAT_S:
            return None
        self._said = now
        return self._presence("online")

    def farewell(self) -> Presence:
        """What to publish before an orderly end, and what the broker says if there is none."""
        return self._presence("offline")

    def _presence(self, state: PresenceState) -> Presence:
        return Presence(state, self._session, self._since, self._stores.clock().utc)
