"""The pipeline: each stage asks which records have what it needs and lack its fact, does its job, appends its fact.

No stage calls another and none keeps a queue: the ledger is the queue. A crash leaves a fact missing, so the stage
runs again.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dockwarden.agent.stores import Stores
from dockwarden.durable.queries import Work
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.facts import Outcome
from dockwarden.service.logs import log

IDLE_S = 0.5
TROUBLE_S = 5.0
"""How long the pipeline waits after the log could not be written, or the like."""
PAGE = 100


@dataclass(frozen=True)
class Said:
    """What a stage has to say of a record: the outcome and the body of its fact."""

    outcome: Outcome
    body: Object


def no_more() -> Sequence[str]:
    """No records beside those of which the ledger tells."""
    return ()


@dataclass(frozen=True)
class Stage:
    """A small job over one record: `work` says which records it is for and which fact it gives, `do` does it.

    None from `do` means that there is nothing new to say: the record then rests for `rest_s` seconds. Whoever else
    appends the same kind holds `lock` from look to append. What `do` raises is a failed fact, or, where `silent`,
    only a line in the log: of a kind that people say too, a fault must not be the latest word. `also` names records
    that are due for a reason that no fact tells; it is asked at every look.
    """

    work: Work
    do: Callable[[str], Said | None]
    rest_s: float = 60.0
    silent: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    also: Callable[[], Sequence[str]] = no_more


class Pipeline:
    """Runs stages one after the other in one thread of its own, so that media work never starves intake."""

    def __init__(self, stores: Stores, stages: Sequence[Stage]) -> None:
        self._stores = stores
        self._stages = stages
        self._resting: dict[tuple[str, str], float] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self, restless: bool = False) -> None:
        """Look for work now; `restless` ends the rest of records (the registry has changed)."""
        if restless:
            self._resting.clear()
        self._wake.set()

    def stop(self) -> None:
        """End after the record at hand."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def run_due(self) -> int:
        """Do all that is due now, each stage in turn; returns the number of facts appended."""
        return sum(self._run_stage(stage) for stage in self._stages)

    def _run(self) -> None:
        while not self._stopping:
            try:
                busy = self.run_due()
                rest_s = IDLE_S
            except Exception as error:
                log("pipeline").exception("the pipeline failed", error=type(error).__name__)
                busy, rest_s = 0, TROUBLE_S
            if not busy and not self._stopping:
                self._wake.wait(rest_s)
                self._wake.clear()

    def _run_stage(self, stage: Stage) -> int:
        count = 0
        for record in self._due(stage):
            if self._stopping:
                break
            count += self._do(stage, record)
        return count

    def _due(self, stage: Stage) -> list[str]:
        """Records that are due and do not rest: those that rest, however many, do not keep the others waiting."""
        limit, more = PAGE, stage.also()
        while True:
            found = self._stores.ledger.due(stage.work, limit=limit)
            awake = [record for record in dict.fromkeys([*found, *more]) if not self._rests(stage, record)]
            if awake or len(found) < limit:
                return awake
            limit *= 4

    def _do(self, stage: Stage, record: str) -> int:
        with stage.lock:
            try:
                said = stage.do(record)
            except Exception as error:
                log("pipeline").exception("a stage failed", stage=stage.work.kind, record=record)
                said = None if stage.silent else _internal(stage, error)
                if stage.silent:
                    self._stores.doubts.say(f"record {record} cannot get its fact {stage.work.kind} now")
            if said is not None:
                self._stores.ledger.append(
                    stage.work.kind,
                    record=record,
                    place=stage.work.place,
                    outcome=said.outcome,
                    by=self._stores.by(stage.work.kind),
                    body=said.body,
                )
        if said is None:
            self._resting[stage.work.kind, record] = time.monotonic() + stage.rest_s
        return int(said is not None)

    def _rests(self, stage: Stage, record: str) -> bool:
        until = self._resting.get((stage.work.kind, record))
        if until is None:
            return False
        if time.monotonic() >= until:
            del self._resting[stage.work.kind, record]
            return False
        return True


def _internal(stage: Stage, error: Exception) -> Said:
    """The fact of a stage that failed in a way that it does not know. It is of the stage's version: one of an older
    version would be due again at once, for ever."""
    reason: Object = {"code": "internal", "what": type(error).__name__}
    return Said("failed", {"reason": reason, "version": stage.work.version})
