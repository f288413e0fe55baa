"""Who is there: what is heard of stations while our own line to the broker is up, by the monotonic clock."""

import time
from collections.abc import Callable

from dockwarden.centre.catalogue import KnownPresence

SILENT_S = 15.0
"""A station that has said nothing for so long counts as offline, whatever it said last."""


class Hearing:
    """What was heard since our line came up. Written by the office, read by anybody."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._up_since: float | None = None
        self._heard: dict[str, tuple[float, str]] = {}

    def link(self, up: bool) -> None:
        """Our line came up or went down; while it is down nothing is known of anybody."""
        self._up_since = self._monotonic() if up else None

    @property
    def up(self) -> bool:
        """Whether our line is up."""
        return self._up_since is not None

    def heard(self, station: str, utc: str) -> None:
        """A station has just said that it is there."""
        self._heard[station] = self._monotonic(), utc

    def gone(self, station: str) -> None:
        """A station, or the broker for it, has just said that it is not there any more."""
        self._heard.pop(station, None)

    def is_live(self, station: str) -> bool:
        """Whether a station has said lately that it is there."""
        moment, _ = self._heard.get(station, (None, ""))
        return moment is not None and self._monotonic() - moment <= SILENT_S

    def state(self, station: str, known: KnownPresence | None) -> tuple[str, str | None]:
        """`online`, `offline` or `unknown`, and since when; unless it is online, when it was last heard."""
        if known is None:
            return "unknown", None
        moment, utc = self._heard.get(station, (None, known.heard_at))
        last = max(utc, known.heard_at)
        up_since = self._up_since
        if up_since is None:
            return "unknown", last
        if known.state != "online":
            return "offline", known.heard_at
        if self.is_live(station):
            return "online", known.since
        heard_since_then = moment is not None and moment >= up_since
        just_begun = not heard_since_then and self._monotonic() - up_since <= SILENT_S
        return ("unknown" if just_begun else "offline"), last
