"""Topics `dockwarden/1/{station}/{up|down}/{lane}`: one type builds and parses them all.

The depth is fixed, so that the broker's access list is a few pattern lines; no part of a topic says anything
about a person, a case or a record.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from dockwarden.evidence import ids
from dockwarden.evidence.canonical import MalformedError

Direction: TypeAlias = Literal["up", "down"]
"""`up` is from the station to the centre, `down` from the centre to the station."""
Lane: TypeAlias = Literal[
    "presence",
    "offer",
    "chunk",
    "answer",
    "done",
    "fact",
    "head",
    "prove",
    "want",
    "receipt",
    "ask",
    "do",
    "roster",
]

ROOT = "dockwarden/1"
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
UP: tuple[Lane, ...] = ("presence", "offer", "chunk", "answer", "done", "fact", "head", "prove")
DOWN: tuple[Lane, ...] = ("want", "receipt", "ask", "do", "roster", "head", "prove")

MAX_TOPIC = 64
"""Characters of the longest topic that we read."""


@dataclass(frozen=True)
class Topic:
    """A topic of ours. Making one that cannot be raises MalformedError."""

    station: str
    direction: Direction
    lane: Lane

    def __post_init__(self) -> None:
        if not ids.PLACE_NAME.fullmatch(self.station):
            raise MalformedError("topic", "names no station")
        if self.direction not in DIRECTIONS:
            raise MalformedError("topic", "goes neither up nor down")
        if self.lane not in (UP if self.direction == "up" else DOWN):
            raise MalformedError("topic", f"has a lane that does not go {self.direction}")

    @property
    def text(self) -> str:
        """The topic as the broker sees it."""
        return f"{ROOT}/{self.station}/{self.direction}/{self.lane}"

    @staticmethod
    def parse(text: str) -> "Topic":
        """Read a topic; raises MalformedError unless it is exactly what `text` prints."""
        if len(text) > MAX_TOPIC:
            raise MalformedError("topic", "is too long")
        parts = text.split("/")
        if len(parts) != 5 or "/".join(parts[:2]) != ROOT:
            raise MalformedError("topic", "is not of ours")
        return Topic(parts[2], cast(Direction, parts[3]), cast(Lane, parts[4]))


def up(station: str, lane: Lane) -> Topic:
    """The topic on which `station` speaks to the centre."""
    return Topic(station, "up", lane)


def down(station: str, lane: Lane) -> Topic:
    """The topic on which the centre speaks to `station`."""
    return Topic(station, "down", lane)


def station_subscriptions(station: str) -> list[str]:
    """What a station subscribes to, with QoS 1."""
    if not ids.PLACE_NAME.fullmatch(station):
        raise MalformedError("topic", "names no station")
    return [f"{ROOT}/{station}/down/#"]


def centre_subscriptions() -> list[str]:
    """What a centre subscribes to, with QoS 1; chunks arrive with QoS 0, as they are sent."""
    return [f"{ROOT}/+/up/#"]


def acl_lines(centre: str = "centre") -> list[str]:
    """The lines of mosquitto's `acl_file`.

    A station writes below its own `up` and reads below its own `down`, where `%u` is the name in its certificate;
    the centre reads all that goes up and writes all that goes down. Nobody else may do anything.
    """
    if not ids.PLACE_NAME.fullmatch(centre):
        raise MalformedError("topic", "names no centre")
    return [
        f"user {centre}",
        f"topic read {ROOT}/+/up/#",
        f"topic write {ROOT}/+/down/#",
        f"pattern write {ROOT}/%u/up/#",
        f"pattern read {ROOT}/%u/down/#",
    ]
