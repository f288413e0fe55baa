"""The host's end of the command channel into the guest; `guest.py` is the other."""

import itertools
import json
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockwarden.simulators.vm.errors import VmError


@dataclass
class _Waiting:
    """A request whose answer has not come yet."""

    answered: threading.Event = field(default_factory=threading.Event)
    answer: Mapping[str, Any] = field(default_factory=dict)


class Channel:
    """Asks the guest, from any number of threads. `close` ends its thread."""

    def __init__(self, place: Path) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(place))
        self._numbers = itertools.count(1)
        self._ready = _Waiting()
        self._waiting: dict[int, _Waiting] = {0: self._ready}
        self._lock = threading.Lock()
        self._broken = False
        self._thread = threading.Thread(target=self._listen, name="the guest's answers", daemon=True)
        self._thread.start()

    def await_ready(self, wait_s: float) -> float | None:
        """The guest's own age in seconds, once it answers; None while it does not."""
        if self._ready.answered.wait(wait_s) and "uptime_s" in self._ready.answer:
            return float(self._ready.answer["uptime_s"])
        return None

    def ask(self, do: str, limit_s: float, **asked: Any) -> Mapping[str, Any]:
        """The guest's answer to a request. Raises VmError: `refused` with its words, `no-answer`."""
        number, waiting = next(self._numbers), _Waiting()
        with self._lock:
            if self._broken:
                raise VmError("no-answer", "the guest is gone", do)
            self._waiting[number] = waiting
            self._line.sendall(json.dumps({**asked, "id": number, "do": do}).encode() + b"\n")
        if not waiting.answered.wait(limit_s):
            raise VmError("no-answer", f"the guest does not answer within {limit_s:g} s", do)
        if "error" in waiting.answer:
            raise VmError("refused", str(waiting.answer["error"]), do)
        return {name: value for name, value in waiting.answer.items() if name != "id"}

    def close(self) -> None:
        """Let go of the line; who still waits is told that the guest is gone."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._line.close()

    def _listen(self) -> None:
        with suppress(OSError), self._line.makefile("rb") as lines:
            for line in lines:
                with suppress(ValueError):  # a torn line of a guest that is dying
                    answer = json.loads(line)
                    self._hand_out(self._waiting.pop(answer["id"], None), answer)
        with self._lock:
            self._broken = True
            left, self._waiting = list(self._waiting.values()), {}
        for waiting in left:
            self._hand_out(waiting, {"error": "the guest is gone"})

    @staticmethod
    def _hand_out(waiting: _Waiting | None, answer: Mapping[str, Any]) -> None:
        if waiting is not None:
            waiting.answer = answer
            waiting.answered.set()
