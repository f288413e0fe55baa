"""The running centre: wires all parts, and gives each message of a station to the part that takes it."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from dockwarden.centre import enrol, records
from dockwarden.centre.archive import Archive
from dockwarden.centre.cases import make_package
from dockwarden.centre.enrol import Folders
from dockwarden.centre.hearing import Hearing
from dockwarden.centre.inbox import Inbox
from dockwarden.centre.proving import Proving
from dockwarden.centre.questions import Questions
from dockwarden.centre.receiver import Receiving
from dockwarden.centre.settings import Settings
from dockwarden.centre.stations import StationLine
from dockwarden.durable.files import DurableError
from dockwarden.durable.ledger import ForkError
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.facts import By
from dockwarden.evidence.merkle import ProofError
from dockwarden.evidence.notes import SignatureError
from dockwarden.rules.deadlines import Policy
from dockwarden.rules.labels import parse_case_number
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import log
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.link import Connection, Link
from dockwarden.wire.messages import Ask
from dockwarden.wire.tls import TlsFiles
from dockwarden.wire.topics import Lane, Topic, centre_subscriptions, down

TICK_S = 0.2
LONGEST_WAIT_S = 300.0


class Office:
    """Everything of the centre. One thread handles messages, each station's in their order; long checks run beside
    it. `rejected` counts what was refused, by lane and reason."""

    def __init__(self, settings: Settings, archive: Archive) -> None:
        self.settings = settings
        self.archive = archive
        self.policy = Policy(hours=settings.deadline_hours)
        self.questions = Questions(archive.catalogue.engine, archive.files)
        self.hearing = Hearing(archive.monotonic)
        self._rejected: Counter[str] = Counter()
        self._inbox = Inbox()
        self._lines: dict[str, StationLine] = {}
        self._receiving: dict[str, Receiving] = {}
        self._proving: dict[str, Proving] = {}
        self._checks = ThreadPoolExecutor(1, thread_name_prefix="check")
        self._packing = threading.Lock()
        self._stopping = False
        self._told: tuple[bool, str] | None = None
        folders = Folders(settings.root)
        self._link = Link(
            settings.broker.host,
            settings.broker.port,
            settings.centre,
            TlsFiles(folders.keys / "ca.crt", folders.keys / "tls.crt", folders.keys / "tls.key"),
            subscriptions=centre_subscriptions(),
            hears="up",
            on_message=self._on_message,
            on_connection=self._on_connection,
        )
        self._thread = threading.Thread(target=self._run, name="office", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._link.start()

    def hush(self) -> None:
        """Let nobody wait for an answer any longer: the end is near."""
        self.questions.close()

    def stop(self) -> None:
        """End in order: nothing new, what was written made durable, all closed."""
        self.hush()
        self._link.close()
        self._stopping = True
        self._inbox.close()
        if self._thread.is_alive():
            self._thread.join()
        self._checks.shutdown(cancel_futures=True)
        for receiving in self._receiving.values():
            self._guarded("flush", partial(receiving.flush, self.archive.monotonic()))
            receiving.close()
        self.archive.catalogue.engine.dispose()

    @property
    def rejected(self) -> dict[str, int]:
        """What was refused since the start: by us by lane and reason, by the link with `link` before the reason."""
        refused = {f"link:{reason}": count for reason, count in self._link.rejected.items()}
        return {**self._rejected, **refused}

    @property
    def alive(self) -> bool:
        """Whether its own thread and the link's still work; without one of them the centre must restart."""
        return self._link.alive and self._thread.is_alive()

    @property
    def up(self) -> bool:
        """Whether the broker is there."""
        return self._link.up

    def ask(self, station: str, what: str, wait_s: float) -> dict[str, Any]:
        """Ask a station; returns its answer, or, after `wait_s` seconds, what it last said and since when it is
        gone. The question stays open and is put again when the station comes back. Raises ServiceError."""
        if station not in self.archive.catalogue.station_keys():
            raise ServiceError(
                "no-such-station", "no station of this name is enrolled", station[:40], "See `stations`."
            )
        question = self.questions.put(station, _word(what), self.archive.clock().utc)
        state = records.station_state(self.archive, self.hearing, station)["state"]
        if state == "online" or (state == "unknown" and self.up):
            self._inbox.call(lambda: self._line(station).ask_again())
            found = self.questions.wait(question.id, min(max(wait_s, 0.0), LONGEST_WAIT_S))
        else:
            found = self.questions.get(question.id)
        if found is not None and found.answer is not None:
            return {**found.answer, "as_of": found.answered_at, "answered_by": "station", "question": question.id}
        known = self.questions.status(station)
        shown = records.station_state(self.archive, self.hearing, station)
        last: dict[str, Any] = dict(known.body) if known is not None else {"station": station}
        gone = {"state": shown["state"], "since": shown["since"], "question": question.id}
        return {**last, **gone, "as_of": known.as_of if known else None, "answered_by": "last-known"}

    def question(self, wanted: str) -> dict[str, Any]:
        """A question that was asked, and whether it is answered by now; raises ServiceError."""
        found = self.questions.get(wanted)
        if found is None:
            raise ServiceError("no-such-question", "nobody has asked that", wanted[:40], "Ask again.")
        return {"id": found.id, "asked_at": found.asked_at, "answered_at": found.answered_at, "answer": found.answer}

    def enrol(self, request: bytes, fingerprint: str) -> dict[str, Any]:
        """Take a station in whose key a person has compared by `fingerprint`; raises ServiceError, MalformedError,
        SignatureError, and then nothing was changed."""
        asked = enrol.read_request(self.settings, request, fingerprint)
        answer = enrol.answer_request(self.settings, asked)
        self.archive.catalogue.enrol(asked.key, self.archive.clock().utc)
        centre = self.archive.key.verifier.fingerprint
        return {"station": asked.station, "answer": answer.decode(), "fingerprint": centre}

    def of_case(self, number: str) -> list[str]:
        """The records whose label names a case, whatever way it was typed; raises MalformedError."""
        return self.archive.catalogue.records_of_case(parse_case_number(number).key)

    def package(self, wanted: list[str], target: Path) -> dict[str, Any]:
        """Write the case package of the records `wanted` to `target`, and say that it was exported.

        Where that cannot be said there is no package. Raises ServiceError, DurableError.
        """
        distinct = list(dict.fromkeys(wanted))
        with self._packing:
            digest = make_package(self.archive, self.policy, distinct, target, self.archive.clock().utc)
            by = By(self.archive.key.name, "stage", "dockwarden/0.1.0 package")
            body: Object = {"package_sha256": digest, "records": [*distinct]}
            try:
                self.archive.ledger.append("exported", by=by, body=body)
            except BaseException:
                self.archive.files.rmtree(target)
                raise
        fingerprint = self.archive.key.verifier.fingerprint
        return {
            "package": str(target),
            "package_sha256": digest,
            "fingerprint": fingerprint,
            "records": len(distinct),
        }

    def _on_message(self, topic: Topic, payload: bytes) -> None:
        """Called in the link's thread."""
        if not self._inbox.put(topic, payload):
            self._rejected["overflow"] += 1

    def _on_connection(self, connection: Connection) -> None:
        """Called in the link's thread. Stations say everything again, so nothing else needs to be done."""
        self.hearing.link(connection.up)
        if not connection.up:
            self._inbox.call(self._rest)
        if (connection.up, connection.reason) != self._told:  # each try that fails is not news
            self._told = connection.up, connection.reason
            log("office").info("the link is up" if connection.up else "the link is down", reason=connection.reason)

    def _run(self) -> None:
        ticked = 0.0
        while not self._stopping:
            taken = self._inbox.take(TICK_S)
            if isinstance(taken, tuple):
                topic, payload = taken
                self._guarded(topic.lane, partial(self._take, topic, payload))
            elif taken is not None:
                self._guarded("call", taken)
            due = time.monotonic() - ticked >= TICK_S
            if due or self._inbox.empty:
                self._each("flush", lambda receiving: receiving.flush(self.archive.monotonic()))
            if due:
                ticked = time.monotonic()
                self._each("tick", lambda receiving: receiving.on_time(self.archive.monotonic()))

    def _each(self, lane: str, work: Callable[[Receiving], None]) -> None:
        """Do something for each station: what goes wrong with one is not the others' business."""
        for receiving in list(self._receiving.values()):
            self._guarded(lane, partial(work, receiving))

    def _guarded(self, lane: str, work: Callable[[], None]) -> None:
        """Whatever a message does, the office goes on: what is wrong is counted, told and dropped."""
        try:
            work()
        except RemoteError as error:
            self._reject(f"{lane}:{error.code}", error)
        except (MalformedError, SignatureError, ProofError) as error:
            self._reject(f"{lane}:{type(error).__name__}", error)
        except ForkError as error:
            self._reject(f"{lane}:fork", error)
        except DurableError as error:
            log("office").error("the disk failed", lane=lane, code=error.code, where=error.where)
        except Exception as error:
            self._rejected[f"{lane}:defect"] += 1
            log("office").exception("a message could not be handled", lane=lane, error=type(error).__name__)

    def _reject(self, reason: str, error: Exception) -> None:
        """Count; tell of the first, second, fourth, eighth … of a kind, so that a flood does not fill the log."""
        self._rejected[reason] += 1
        count = self._rejected[reason]
        if not count & (count - 1):
            log("office").warning("a message was refused", kind=reason, reason=str(error), so_far=count)

    def _take(self, topic: Topic, payload: bytes) -> None:
        line, receiving = self._line(topic.station), self._receiving[topic.station]
        now = self.archive.monotonic()
        match topic.lane:
            case "presence":
                if line.on_presence(payload).state == "offline":
                    receiving.rest()
            case "fact":
                line.on_facts(payload)
            case "head":
                line.on_head(payload)
            case "answer":
                line.on_answer(payload)
            case "offer":
                receiving.on_offer(payload, now)
            case "chunk":
                receiving.on_chunk(payload, now)
            case "prove":
                self._proving[topic.station].on_prove(payload)
            case _:
                raise RemoteError("not-spoken", "nothing is said on this lane yet", topic.text)

    def _line(self, station: str) -> StationLine:
        """The line of an enrolled station; raises RemoteError for any other."""
        if station not in self._lines:
            key = self.archive.catalogue.station_keys().get(station)
            if key is None:
                raise RemoteError("not-enrolled", "a station that is not enrolled speaks", station)

            def publish(lane: Lane, payload: bytes) -> None:
                self._link.publish_control(down(station, lane), payload)

            self._proving[station] = Proving(station, self.archive, publish, self._check)
            self._receiving[station] = Receiving(station, self.archive, key, publish, self._check)
            self._lines[station] = StationLine(key, self.archive, self.questions, self.hearing, publish)
        return self._lines[station]

    def _rest(self) -> None:
        for receiving in self._receiving.values():
            receiving.rest()

    def _check(self, work: Callable[[], object], use: Callable[[object], None]) -> None:
        def run() -> None:
            result: object
            try:
                result = work()
            except Exception as error:  # whatever it is, the office's thread has to hear of it
                result = error
            self._inbox.call(lambda: use(result))

        self._checks.submit(run)


def _word(what: str) -> str:
    """A question's word, checked as a station checks it; raises ServiceError."""
    try:
        return Ask.decode(Ask("a" * 26, what).encode()).what
    except MalformedError as error:
        raise ServiceError("no-question", f"what is asked {error.what}", "what", "Ask for `status`.") from error
