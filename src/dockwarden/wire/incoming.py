"""What a link lets in: each message checked by its topic and size, and all that cannot be taken counted.

Nothing that arrives can end the link's thread. What cannot be taken is counted by its reason and named in a log,
never with its payload.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from paho.mqtt import client as paho

from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import SignatureError
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.messages import LIMITS
from dockwarden.wire.topics import Direction, Topic

OnMessage: TypeAlias = Callable[[Topic, bytes], None]
"""Takes one message. It may raise MalformedError, SignatureError or RemoteError for a message that it refuses."""

_log = logging.getLogger(__name__)


class Incoming:
    """Hands on to `on_message` what comes in the direction that this side `hears`."""

    def __init__(self, hears: Direction, on_message: OnMessage) -> None:
        self.rejected: Counter[str] = Counter()
        self._hears = hears
        self._on_message = on_message

    def hand_on(self, message: paho.MQTTMessage) -> None:
        """Take a message or count why not; never raises."""
        where = "a topic that is not of ours"
        try:
            topic = Topic.parse(message.topic)
            where = topic.text
            if topic.direction != self._hears:
                self.reject("wrong-direction", where)
            elif message.retain and topic.lane != "presence":
                self.reject("retained", where)
            elif len(message.payload) > LIMITS[topic.lane]:
                self.reject("too-large", where)
            else:
                self._on_message(topic, bytes(message.payload))
        except UnicodeDecodeError:
            self.reject("malformed", where)
        except MalformedError as error:
            self.reject("malformed", where, error)
        except SignatureError:
            self.reject("signature", where)
        except RemoteError as error:
            self.reject(error.code, where, error)
        except Exception as error:
            self.reject("defect", where, error)

    def reject(self, reason: str, where: str, error: Exception | None = None) -> None:
        """Count; log the first, second, fourth, eighth … of each reason, so that a flood does not fill the log."""
        self.rejected[reason] += 1
        count = self.rejected[reason]
        if count & (count - 1):
            return
        what = _description(error)
        _log.warning("message dropped: %s, %s (%s); %d so far", reason, where, what, count)


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
