"""The centre as a service: opening its stores, its local door, its pages, and its end."""

import resource
import signal
import threading
from datetime import timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from dockwarden.centre import enrol, records
from dockwarden.centre.archive import Archive
from dockwarden.centre.catalogue import Catalogue
from dockwarden.centre.enrol import Folders
from dockwarden.centre.handing_over import check_target
from dockwarden.centre.office import Office
from dockwarden.centre.settings import Settings
from dockwarden.centre.store.ocfl import find_store
from dockwarden.centre.web.app import web_app
from dockwarden.durable.files import DurableError, Files, OsFiles
from dockwarden.durable.generations import own_log
from dockwarden.durable.instants import now
from dockwarden.durable.ledger import Ledger
from dockwarden.durable.tables import open_engine
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.facts import By
from dockwarden.evidence.notes import SignatureError
from dockwarden.service import notify
from dockwarden.service.errors import ServiceError
from dockwarden.service.pages import serve_http
from dockwarden.service.socket import Handler, serve
from dockwarden.wire.errors import RemoteError

ASK_S = 5.0
MOST_RECORDS = 100_000
PAGE = 1000


class View:
    """The centre as its pages see it (web.view.OfficeView)."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def stations(self) -> list[dict[str, Any]]:
        """See OfficeView."""
        return records.station_states(self._office.archive, self._office.hearing)

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
    """Open the centre's stores; raises DurableError, ServiceError where the centre or its store is not there."""
    folders = Folders(settings.root)
    key = enrol.centre_key(settings)
    folders.make(files)
    store = find_store(folders.store, files, settings.centre)
    engine = open_engine(folders.database)
    catalogue = Catalogue(engine, files, settings.centre)
    ledger = Ledger(engine, catalogue.own_log() or own_log(engine, settings.centre), now, files)
    if ledger.size() == 0:
        by = By(settings.centre, "stage", "dockwarden/0.1.0 setup")
        ledger.append("key-rotated", by=by, body={"purpose": "log", "vkey": key.verifier.text()})
    return Archive(
        catalogue=catalogue,
        ledger=ledger,
        store=store,
        incoming=folders.incoming,
        derivatives=folders.derivatives,
        files=files,
        key=key,
        clock=now,
    )


def run_office(settings: Settings, files: Files | None = None) -> None:
    """Run the centre until SIGTERM or SIGINT."""
    _allow_open_files()
    office = Office(settings, open_archive(settings, files or OsFiles()))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    web = None
    if settings.web is not None:
        zone = timezone(timedelta(minutes=settings.zone_minutes))
        web = serve_http(web_app(View(office), zone=zone), settings.web.host, settings.web.port)
    left = list(Folders(settings.root).packages.iterdir())
    door = serve(Folders(settings.root).socket, handlers(office, web.url if web is not None else None))
    for package in left:  # whoever asked for it is gone; not before the door shows that no other centre is at work
        office.archive.files.rmtree(package)
    office.start()
    notify.ready("running")
    try:
        notify.watch(lambda: office.alive, stop, settings.centre)
    finally:
        notify.stopping()
        office.hush()
        door.close()
        if web is not None:
            web.close()
        office.stop()


def handlers(office: Office, url: str | None) -> dict[str, Handler]:
    """What the local door answers."""
    answers: dict[str, Handler] = {
        "ask": partial(_ask, office),
        "stations": lambda asked: {"stations": records.station_states(office.archive, office.hearing)},
        "records": partial(_records, office),
        "enrol": partial(_enrol, office),
        "package": partial(_package, office),
        "question": lambda asked: office.question(_text(asked, "id")),
        "info": lambda asked: {
            "centre": office.settings.centre,
            "web": url,
            "link": office.up,
            "log": office.archive.ledger.log,
            "rejected": office.rejected,
        },
    }
    return {name: partial(_told, answer) for name, answer in answers.items()}


def _told(answer: Handler, asked: dict[str, Any]) -> dict[str, Any]:
    """An answer, or an error that a person can act on."""
    try:
        return answer(asked)
    except (MalformedError, SignatureError) as error:
        raise ServiceError("malformed", str(error), "the request", "Correct it and try again.") from error
    except (DurableError, RemoteError) as error:
        raise ServiceError(error.code, error.what, error.where, error.do) from error


def _ask(office: Office, asked: dict[str, Any]) -> dict[str, Any]:
    return office.ask(_text(asked, "station"), _text(asked, "what", "status"), _number(asked, "wait_s", ASK_S))


def _records(office: Office, asked: dict[str, Any]) -> dict[str, Any]:
    station = _text(asked, "station") if asked.get("station") is not None else None
    before = _text(asked, "before") if asked.get("before") is not None else None
    limit = int(min(max(_number(asked, "limit", PAGE), 1), MOST_RECORDS))
    return {"records": records.list_records(office.archive, office.policy, station, limit, before)}


def _enrol(office: Office, asked: dict[str, Any]) -> dict[str, Any]:
    request = _text(asked, "request").encode("utf-8", "replace")
    return office.enrol(request, _text(asked, "fingerprint"))


def _package(office: Office, asked: dict[str, Any]) -> dict[str, Any]:
    wanted = asked.get("records", [])
    if not isinstance(wanted, list) or not all(isinstance(record, str) for record in wanted):
        raise _bad("records", "is not a list of record ids")
    target = Path(_text(asked, "target"))
    if not target.is_absolute():
        raise _bad("target", "is not an absolute path")
    check_target(target)
    found = list(wanted)
    if asked.get("case") is not None:
        found += office.of_case(_text(asked, "case"))
        if not found:
            raise ServiceError("no-records", "no record is labelled with this case", "the case", "Check its number.")
    return office.package(found, target)


def _text(asked: dict[str, Any], key: str, otherwise: str | None = None) -> str:
    value = asked.get(key, otherwise)
    if not isinstance(value, str):
        raise _bad(key, "is not text")
    return value


def _number(asked: dict[str, Any], key: str, otherwise: float) -> float:
    value = asked.get(key, otherwise)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _bad(key, "is not a number")
    return float(value)


def _bad(key: str, what: str) -> ServiceError:
    return ServiceError("bad-request", what, key, "Ask as docs/formats/cli.md says.")


def _allow_open_files() -> None:
    """Each station may have some files open: take as many as the system gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
