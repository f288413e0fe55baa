"""The pipeline: each stage asks which records have what it needs and lack its fact, does its job, appends its fact.

No stage calls another and none keeps a queue: the ledger is the queue. A crash leaves a fact missing, so the stage
runs again.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from dockwarden.agent.stores import Stores
from dockwarden.durable.due import Due
from dockwarden.durable.queries import Work
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.facts import Outcome
from dockwarden.service.logs import log

IDLE_S = 0.5
TROUBLE_S = 5.0
"""How long the pipeline waits after the log could not be written, or the like."""
PAGE = 100
"""Records that a stage does before the next one has its turn."""


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
    only a line in the log: of a kind that people say too, a fault must not be the latest word. `lost` gives the
    records whose fact is done and whose result is not there any more: it is asked at the start and every `lost_s`
    seconds, and their facts become void, so that they are due.
    `also` names records that are due for a reason that no fact tells; it is asked at every look.
    """

    work: Work
    do: Callable[[str], Said | None]
    rest_s: float = 60.0
    silent: bool = False
    lost: Callable[[], Sequence[str]] | None = None
    lost_s: float = 600.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    also: Callable[[], Sequence[str]] = no_more


class Pipeline:
    """Runs stages one after the other in one thread of its own, so that media work never starves intake."""

    def __init__(self, stores: Stores, stages: Sequence[Stage]) -> None:
        self._stores = stores
        self._stages = [(stage, Due(stores.ledger, stage.work)) for stage in stages]
        self._resting: dict[tuple[str, str], float] = {}
        self._looked: dict[str, float] = {}
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
        return sum(self._run_stage(stage, due) for stage, due in self._stages)

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

    def _run_stage(self, stage: Stage, due: Due) -> int:
        """Do what is due and does not rest: those that rest, however many, do not keep the others waiting."""
        count = self._void_lost(stage)
        wanted = chain(due.now(), stage.also())
        for record in islice((record for record in wanted if not self._rests(stage, record)), PAGE):
            if self._stopping:
                break
            count += self._do(stage, record)
        return count

    def _void_lost(self, stage: Stage) -> int:
        """Say of results that are lost that they are no more: then they are due."""
        now, looked = time.monotonic(), self._looked.get(stage.work.kind)
        if stage.lost is None or (looked is not None and now - looked < stage.lost_s):
            return 0
        lost = stage.lost()
        for record in lost:
            log("pipeline").warning("a result is lost", stage=stage.work.kind, record=record)
            reason: Object = {"code": "lost", "what": "what was made is not there any more"}
            self._append(stage, record, Said("void", {"reason": reason, "version": stage.work.version}))
        self._looked[stage.work.kind] = now
        return len(lost)

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
                self._append(stage, record, said)
        if said is None:
            self._resting[stage.work.kind, record] = time.monotonic() + stage.rest_s
        return int(said is not None)

    def _append(self, stage: Stage, record: str, said: Said) -> None:
        self._stores.ledger.append(
            stage.work.kind,
            record=record,
            place=stage.work.place,
            outcome=said.outcome,
            by=self._stores.by(stage.work.kind),
            body=said.body,
        )

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
