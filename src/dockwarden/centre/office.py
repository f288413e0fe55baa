"""The running centre: wires all parts, and gives each message of a station to the part that takes it."""

import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

from dockwarden.centre import enrol, records
from dockwarden.centre.archive import Archive
from dockwarden.centre.cases import make_package
from dockwarden.centre.catalogue import Catalogue, Question
from dockwarden.centre.enrol import Folders
from dockwarden.centre.receiver import Receiving
from dockwarden.centre.settings import Settings
from dockwarden.centre.stations import StationLine
from dockwarden.centre.store.ocfl import open_store
from dockwarden.centre.web.app import web_app
from dockwarden.durable.files import DurableError, Files, OsFiles
from dockwarden.durable.generations import own_log
from dockwarden.durable.instants import now
from dockwarden.durable.ledger import ForkError, Ledger
from dockwarden.durable.tables import open_engine
from dockwarden.evidence import ids
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.facts import By
from dockwarden.evidence.merkle import ProofError
from dockwarden.evidence.notes import SignatureError
from dockwarden.rules.deadlines import Policy
from dockwarden.rules.labels import parse_case_number
from dockwarden.service import notify
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import log
from dockwarden.service.pages import serve_http
from dockwarden.service.socket import serve
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.link import Connection, Link
from dockwarden.wire.tls import TlsFiles
from dockwarden.wire.topics import Lane, Topic, centre_subscriptions, down

MOST_WAITING = 4096
"""Messages that wait to be handled. Chunks are bounded by what was credited; all else is said again."""
TICK_S = 0.2
ASK_S = 5.0


@dataclass(frozen=True)
class _Checked:
    """The result of a long job, to be used in the office's thread."""

    use: Callable[[object], None]
    result: object


Event = tuple[Topic, bytes] | _Checked | None


class Office:
    """Everything of the centre. One thread handles messages in their order; long checks run beside it."""

    def __init__(self, settings: Settings, archive: Archive) -> None:
        self.settings = settings
        self.archive = archive
        self.policy = Policy(hours=settings.deadline_hours)
        self.rejected: Counter[str] = Counter()
        self._events: queue.Queue[Event] = queue.Queue(MOST_WAITING)
        self._lines: dict[str, StationLine] = {}
        self._receiving: dict[str, Receiving] = {}
        self._answered: dict[str, threading.Event] = {}
        self._checks = ThreadPoolExecutor(1, thread_name_prefix="check")
        self._stopping = False
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

    def stop(self) -> None:
        """End in order: nothing new, what was written made durable, all closed."""
        self._link.close()
        self._stopping = True
        self._events.put(None)
        self._thread.join()
        self._checks.shutdown()
        for receiving in self._receiving.values():
            receiving.close()
        self.archive.catalogue.engine.dispose()

    def ask(self, station: str, what: str, wait_s: float) -> dict[str, Any]:
        """Ask a station; returns its answer, or, after `wait_s` seconds, what it last said and since when it is
        gone. The question stays open and is put again when the station comes back. Raises ServiceError."""
        if station not in self.archive.catalogue.station_keys():
            raise ServiceError("no-such-station", "no station of this name is enrolled", station, "See `stations`.")
        question = Question(ids.new_record_id(os.urandom(16)), station, what, self.archive.clock().utc, None, None)
        answered = self._answered.setdefault(question.id, threading.Event())
        self.archive.catalogue.ask(question)
        if records.station_state(self.archive, station)["state"] == "online":
            self._events.put(_Checked(lambda _: self._line(station).ask_again(), None))
            answered.wait(wait_s)
        self._answered.pop(question.id, None)
        found = self.archive.catalogue.question(question.id)
        if found is not None and found.answer is not None:
            return {**found.answer, "as_of": found.answered_at, "answered_by": "station", "question": question.id}
        known = self.archive.catalogue.status(station)
        state = records.station_state(self.archive, station)
        last: dict[str, Any] = dict(known.body) if known is not None else {"station": station}
        gone = {"state": state["state"], "since": state["since"], "question": question.id}
        return {**last, **gone, "as_of": known.as_of if known else None, "answered_by": "last-known"}

    def question(self, wanted: str) -> dict[str, Any]:
        """A question that was asked, and whether it is answered by now; raises ServiceError."""
        found = self.archive.catalogue.question(wanted)
        if found is None:
            raise ServiceError("no-such-question", "nobody has asked that", wanted[:40], "Ask again.")
        return {"id": found.id, "asked_at": found.asked_at, "answered_at": found.answered_at, "answer": found.answer}

    def enrol(self, request: bytes, fingerprint: str) -> dict[str, Any]:
        """Take a station in whose key a person has compared by `fingerprint`; raises ServiceError, MalformedError,
        SignatureError."""
        asked, answer = enrol.answer_request(self.settings, request)
        if asked.key.fingerprint != fingerprint.lower().replace(":", ""):
            what = f"the request comes from another key: {asked.key.fingerprint}"
            do = "Compare the fingerprint that the station's screen shows."
            raise ServiceError("fingerprint", what, asked.station, do)
        self.archive.catalogue.enrol(asked.key, self.archive.clock().utc)
        centre = self.archive.key.verifier.fingerprint
        return {"station": asked.station, "answer": answer.decode(), "fingerprint": centre}

    def of_case(self, number: str) -> list[str]:
        """The records whose label names a case, whatever way it was typed; raises MalformedError."""
        return records.records_of_case(self.archive, parse_case_number(number).key)

    def package(self, wanted: list[str], target: Path) -> dict[str, Any]:
        """Write the case package of the records `wanted` to `target`, and say that it was exported."""
        made_at = self.archive.clock().utc
        digest = make_package(self.archive, wanted, target, made_at)
        by = By(self.archive.key.name, "stage", "dockwarden/0.1.0 package")
        self.archive.ledger.append("exported", by=by, body={"package_sha256": digest, "records": list(wanted)})
        fingerprint = self.archive.key.verifier.fingerprint
        return {"package": str(target), "package_sha256": digest, "fingerprint": fingerprint, "records": len(wanted)}

    def _on_message(self, topic: Topic, payload: bytes) -> None:
        """Called in the link's thread."""
        try:
            self._events.put_nowait((topic, payload))
        except queue.Full:
            self.rejected["overflow"] += 1

    def _on_connection(self, connection: Connection) -> None:
        """Called in the link's thread. Nothing needs to be done: stations say everything again."""
        log("office").info("the link is up" if connection.up else "the link is down", reason=connection.reason)

    def _run(self) -> None:
        ticked = 0.0
        while not self._stopping:
            try:
                event = self._events.get(timeout=TICK_S)
            except queue.Empty:
                event = None
            self._handle(event)
            if self._events.empty():
                self._guarded("flush", self._flush)
            if time.monotonic() - ticked >= TICK_S:
                ticked = time.monotonic()
                self._guarded("tick", self._tick)

    def _handle(self, event: Event) -> None:
        if isinstance(event, _Checked):
            self._guarded("check", lambda: event.use(event.result))
        elif isinstance(event, tuple):
            topic, payload = event
            self._guarded(topic.lane, lambda: self._take(topic, payload))

    def _guarded(self, lane: str, work: Callable[[], None]) -> None:
        """Whatever a message does, the office goes on: what is wrong is counted, told and dropped."""
        try:
            work()
        except (MalformedError, SignatureError, ProofError, RemoteError) as error:
            self.rejected[f"{lane}:{type(error).__name__}"] += 1
            log("office").warning("a message was refused", lane=lane, reason=str(error))
        except ForkError as error:
            self.rejected["fork"] += 1
            log("office").error("a log was forked", lane=lane, code=error.code, where=error.where)
        except DurableError as error:
            log("office").error("the disk failed", lane=lane, code=error.code, where=error.where)
        except Exception as error:
            log("office").exception("a message could not be handled", lane=lane, error=type(error).__name__)

    def _take(self, topic: Topic, payload: bytes) -> None:
        line, receiving = self._line(topic.station), self._receiving[topic.station]
        now_s = time.monotonic()
        match topic.lane:
            case "presence":
                if line.on_presence(payload).state == "offline":
                    receiving.rest()
            case "fact":
                line.on_facts(payload)
            case "head":
                line.on_head(payload)
            case "answer":
                self._wake(line.on_answer(payload))
            case "offer":
                receiving.on_offer(payload, now_s)
            case "chunk":
                receiving.on_chunk(payload, now_s)
            case _:
                raise MalformedError("lane", "is not spoken yet")

    def _line(self, station: str) -> StationLine:
        """The line of an enrolled station; raises RemoteError for any other."""
        if station not in self._lines:
            key = self.archive.catalogue.station_keys().get(station)
            if key is None:
                raise RemoteError("not-enrolled", "a station that is not enrolled speaks", station)

            def publish(lane: Lane, payload: bytes) -> None:
                self._link.publish_control(down(station, lane), payload)

            self._lines[station] = StationLine(
                key,
                self.archive.catalogue,
                self.archive.ledger,
                self.archive.key,
                files=self.archive.files,
                clock=self.archive.clock,
                publish=publish,
            )
            self._receiving[station] = Receiving(station, self.archive, key, publish, self._check)
        return self._lines[station]

    def _check(self, work: Callable[[], object], use: Callable[[object], None]) -> None:
        def run() -> None:
            self._events.put(_Checked(use, work()))

        self._checks.submit(run)

    def _wake(self, question: str | None) -> None:
        waiting = self._answered.get(question) if question is not None else None
        if waiting is not None:
            waiting.set()

    def _flush(self) -> None:
        for receiving in self._receiving.values():
            receiving.flush()

    def _tick(self) -> None:
        for receiving in self._receiving.values():
            receiving.on_time(time.monotonic())


class View:
    """The centre as its pages see it (web.view.OfficeView)."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def stations(self) -> list[dict[str, Any]]:
        """See OfficeView."""
        return records.station_states(self._office.archive)

    def records(self, station: str | None, limit: int, before: str | None) -> list[dict[str, Any]]:
        """See OfficeView."""
        return records.list_records(self._office.archive, self._office.policy, station, limit, before)

    def record(self, record: str) -> dict[str, Any] | None:
        """See OfficeView."""
        return records.describe_record(self._office.archive, self._office.policy, record)

    def file(self, record: str, part: str) -> Path | None:
        """See OfficeView."""
        names = {"original": "original", "preview": "preview.mp4", "sheet": "sheet.jpg"}
        return records.part_file(self._office.archive, record, names.get(part, part))


def open_archive(settings: Settings, files: Files) -> Archive:
    """Open the centre's stores; raises ServiceError where it is not set up, DurableError."""
    folders = Folders(settings.root)
    key = enrol.centre_key(settings)
    folders.make(files)
    engine = open_engine(folders.database)
    ledger = Ledger(engine, own_log(engine, settings.centre), now, files)
    if ledger.size() == 0:
        by = By(settings.centre, "stage", "dockwarden/0.1.0 setup")
        ledger.append("key-rotated", by=by, body={"purpose": "log", "vkey": key.verifier.text()})
    return Archive(
        catalogue=Catalogue(engine, files),
        ledger=ledger,
        store=open_store(folders.store, folders.incoming / "records", files, settings.centre),
        incoming=folders.incoming,
        derivatives=folders.derivatives,
        files=files,
        key=key,
        clock=now,
    )


def run_office(settings: Settings) -> None:
    """Run the centre until SIGTERM or SIGINT."""
    office = Office(settings, open_archive(settings, OsFiles()))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    web = None
    if settings.web is not None:
        zone = timezone(timedelta(minutes=settings.zone_minutes))
        web = serve_http(web_app(View(office), zone=zone), settings.web.host, settings.web.port)
    door = serve(Folders(settings.root).socket, _handlers(office, web.url if web is not None else None))
    office.start()
    notify.ready("running")
    try:
        while not stop.wait(notify.watchdog_interval() or 3600.0):
            notify.watchdog()
    finally:
        notify.stopping()
        door.close()
        if web is not None:
            web.close()
        office.stop()


def _handlers(office: Office, url: str | None) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """What the local door answers."""
    archive = office.archive
    return {
        "ask": lambda asked: office.ask(asked["station"], asked.get("what", "status"), asked.get("wait_s", ASK_S)),
        "stations": lambda asked: {"stations": records.station_states(archive)},
        "records": lambda asked: {
            "records": records.list_records(
                archive, office.policy, asked.get("station"), asked.get("limit", 1000), asked.get("before")
            )
        },
        "enrol": lambda asked: office.enrol(asked["request"].encode(), asked["fingerprint"]),
        "package": lambda asked: office.package(
            [*asked["records"], *(office.of_case(asked["case"]) if "case" in asked else [])], Path(asked["target"])
        ),
        "question": lambda asked: office.question(asked["id"]),
        "info": lambda asked: {"centre": office.settings.centre, "web": url, "rejected": dict(office.rejected)},
    }
