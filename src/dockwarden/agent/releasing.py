"""When devices are cleared: under `clear-on-proof` by itself once there is proof, and when somebody asks.

A session's own thread does it, so that nothing else is done with its device meanwhile.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dockwarden.agent.drivers.source import Device
from dockwarden.agent.release import Outcome, Rules, release
from dockwarden.agent.sessions import Session, told
from dockwarden.durable.files import DurableError
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import log

FIRST_S, LONGEST_S = 5.0, 600.0
"""After how many seconds a try that cleared nothing is made again: the first time, and the longest."""
LOOK_S = 0.2
PATIENCE_S = 12 * 3600.0
"""How long who asked waits: a full card is read twice."""


@dataclass
class _Asked:
    """Somebody's question, and what came of it: an outcome or an error."""

    done: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None
    error: BaseException | None = None


class Releases:
    """Clears the devices of sessions that have their verdict. `rules` are asked for at each try."""

    def __init__(self, rules: Callable[[], Rules]) -> None:
        self._rules = rules
        self._lock = threading.Lock()
        self._bays: dict[str, list[_Asked]] = {}

    def serve(self, session: Session, device: Device) -> None:
        """Serve a session until its stay ends; for the thread of its bay."""
        bay, ended = session.docking.bay, session.stay.ended
        asked: list[_Asked] = []
        with self._lock:
            self._bays[bay] = asked
        try:
            self._serve(session, device, asked)
        finally:
            with self._lock:
                if self._bays.get(bay) is asked:
                    del self._bays[bay]
                left = [*asked]
            for question in left:
                question.error = _nothing_there(bay)
                question.done.set()
            ended.wait()

    def ask(self, bay: str, seconds: float) -> Outcome:
        """Have the device in a bay cleared now, and wait for what comes of it. Raises ServiceError, DurableError."""
        question = _Asked()
        with self._lock:
            waiting = self._bays.get(bay)
            if waiting is None:
                raise _nothing_there(bay)
            waiting.append(question)
        if not question.done.wait(seconds):
            raise ServiceError("timeout", "it takes longer: it goes on", f"bay {bay}", "Look at it with `bays`.")
        if question.outcome is None:
            raise question.error or _nothing_there(bay)
        return question.outcome

    def ask_all(self, bays: Sequence[str], *, given: bool) -> list[dict[str, object]]:
        """The same of several bays, one after the other; those without a device are left out unless `given`."""
        found: list[dict[str, object]] = []
        for bay in bays:
            try:
                found.append({"bay": bay, **self.ask(bay, PATIENCE_S).to_object()})
            except ServiceError as error:
                if given or error.code != "no-verdict":
                    raise
        return found

    def _serve(self, session: Session, device: Device, asked: list[_Asked]) -> None:
        pause, due = FIRST_S, time.monotonic()
        while not session.stay.ended.wait(LOOK_S):
            with self._lock:
                question = asked[0] if asked else None
            if question is None and not (self._by_itself(session) and time.monotonic() >= due):
                continue
            try:
                outcome = self._release(session, device, question)
            except DurableError as error:
                session.progress.find(told(error))
                return
            pause = FIRST_S if outcome.cleared else min(2 * pause, LONGEST_S)
            due = time.monotonic() + pause
            if question is not None:
                with self._lock:
                    asked.remove(question)
                question.outcome = outcome
                question.done.set()

    def _by_itself(self, session: Session) -> bool:
        return self._rules().policy == "clear-on-proof" and session.progress.state == "safe"

    def _release(self, session: Session, device: Device, question: _Asked | None) -> Outcome:
        try:
            outcome = release(session, device, self._rules())
        except DurableError as error:
            if question is not None:
                question.error = error
            raise
        if outcome.cleared or question is not None:
            codes = [finding.code for finding in outcome.why]
            log("release").info("release", bay=session.docking.bay, cleared=outcome.cleared, why=codes)
        return outcome


def _nothing_there(bay: str) -> ServiceError:
    what = "no device sits there that has its verdict"
    return ServiceError("no-verdict", what, f"bay {bay}", "Wait until its bay says that it is done.")
