"""The running station: the one place that wires all parts."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from dockwarden.agent import setup
from dockwarden.agent.backup.drill import run_drill
from dockwarden.agent.backup.nightly import run_backup
from dockwarden.agent.bays import Bays, Progress, Stay
from dockwarden.agent.derivatives import media_stages
from dockwarden.agent.docking import dock, undock
from dockwarden.agent.drivers import profiles as known_profiles
from dockwarden.agent.drivers.hotplug import HotPlug
from dockwarden.agent.drivers.occupancy import FOLDER as OCCUPANCIES
from dockwarden.agent.drivers.served_bays import ServedBays
from dockwarden.agent.drivers.source import Device
from dockwarden.agent.metadata.completion import Labelling, label_by_person, label_record
from dockwarden.agent.metadata.registry import Registry
from dockwarden.agent.metadata.rosters import only, parse_given, parse_roster
from dockwarden.agent.metadata.secrecy import Unmarked, must_stay, tell_again, tell_all_gone
from dockwarden.agent.panel.app import panel_app
from dockwarden.agent.pipeline import Pipeline, Stage
from dockwarden.agent.release import Rules, Witness
from dockwarden.agent.releasing import Releases
from dockwarden.agent.sessions import Desk
from dockwarden.agent.settings import Settings
from dockwarden.agent.settling import settle
from dockwarden.agent.status import StatusView, quarantined, records, status
from dockwarden.agent.stores import Folders, Stores, alone, named_keys, open_stores
from dockwarden.agent.sync.session import Sync
from dockwarden.durable.files import Files, OsFiles, explained
from dockwarden.durable.generations import own_log
from dockwarden.durable.instants import now
from dockwarden.durable.ledger import Ledger
from dockwarden.durable.queries import Work
from dockwarden.durable.tables import open_engine
from dockwarden.evidence import fields
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.facts import By
from dockwarden.evidence.notes import VerifierKey
from dockwarden.offsite.errors import OffsiteError
from dockwarden.offsite.restic import Repository
from dockwarden.rules.deadlines import Policy
from dockwarden.service import notify
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import configure, log
from dockwarden.service.pages import serve_http
from dockwarden.service.socket import serve


class Station:
    """A station with its bays fed by `hotplug`. `files` is the disk; simulators put faults below it."""

    def __init__(self, settings: Settings, hotplug: HotPlug | None = None, files: Files | None = None) -> None:
        self.settings = settings
        self.files = files or OsFiles()
        self.policy = Policy(hours=settings.deadline_hours)
        key = setup.station_key(settings)
        self.stores = open_stores(settings.root, settings.station, key, self.files, settings.readings, settings.known)
        self._empty_scratch()
        doubts = settle(self.stores)
        self.registry = Registry(self.stores.folders.registry, self.files)
        loaded = known_profiles.load((known_profiles.BUILT_IN, *settings.profiles))
        doubts += [str(error) for error in loaded.refused]
        self.profiles = loaded.profiles
        desk = Desk(self.stores, {profile.name: profile for profile in loaded.profiles})
        self.bays = Bays(settings.bays, partial(self._visit, desk), self._refuse)
        self.view = StatusView(self.stores, self.policy, self.bays.snapshot, doubts, settings.release)
        self._stopping = threading.Event()
        self._labelling = Labelling(self.stores, self.registry, dict(desk.profiles))
        labelled = Work("labelled", ("sealed",), retry_after_s=(1,))
        tell_again(self.stores)
        unmarked = Unmarked(self.stores, self.registry)
        self._labels = Stage(labelled, partial(label_record, self._labelling), silent=True, also=unmarked)
        media = media_stages(self.stores, self._stopping.is_set) if settings.media else []
        self.pipeline = Pipeline(self.stores, [self._labels])
        self.media = Pipeline(self.stores, media)
        self.sync = self._make_sync()
        self.releases = Releases(self._rules)
        self._offsite = threading.Lock()
        self._snapshot_halt = threading.Event()
        self._hotplug = hotplug or ServedBays(OCCUPANCIES, loaded.profiles, unknown=settings.unknown_storage)

    def start(self) -> None:
        """Begin: labels and media, then the line to the centre, then page and door, the bays last."""
        self.pipeline.start()
        self.media.start()
        if self.sync is not None:
            self.sync.start()
        panel = self.settings.panel
        app = panel_app(lambda: dict(status(self.view)))
        self._page = serve_http(app, panel.host, panel.port) if panel is not None else None
        self._door = serve(self.stores.folders.socket, self._handlers())
        self._hotplug.start(self.bays.put)

    def stop(self) -> None:
        """End in order: no new devices, sessions where they are, then everything else. Nothing is lost by it."""
        self._stopping.set()
        self._snapshot_halt.set()
        self._hotplug.stop()
        self.bays.stop()
        self._door.close()
        if self._page is not None:
            self._page.close()
        if self.sync is not None:
            self.sync.stop()
        self.media.stop()
        self.pipeline.stop()
        self.registry.close()
        self.stores.close()

    @property
    def alive(self) -> bool:
        """Whether the line to the centre still works, where there is one."""
        return self.sync is None or self.sync.alive

    @property
    def page(self) -> str | None:
        """The address of the station's page."""
        return self._page.url if self._page is not None else None

    def label(self, asked: dict[str, Any]) -> Object:
        """What a person says of a record: `{record, given, by}`; raises ServiceError, MalformedError."""
        only(asked, {"record", "given", "by"})
        record, given = fields.text(asked, "record"), parse_given(fields.obj(asked, "given"))
        person = _person(asked)
        if ("sealed", "station") not in self.stores.ledger.latest(record):
            raise ServiceError("no-such-record", "no record of this id is here", record[:40], "See `records`.")
        with self._labels.lock:
            found = label_by_person(self._labelling, record, given, person)
        if must_stay(self.stores, self.registry, record):
            self._snapshot_halt.set()
        return found.to_object()

    def take_roster(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Take bindings, tasks and marks into the registry, all or none, and look at what they change.

        Raises MalformedError, DurableError.
        """
        roster = parse_roster(asked, frozenset(self.settings.bays))
        with self._labels.lock:  # nobody labels by the old marks once the new ones are there
            before = self.registry.marks()
            self.registry.take(roster)
            changed = self.registry.marks() != before
        if changed:
            self._snapshot_halt.set()
        self.pipeline.wake(restless=True)
        return {"bindings": len(roster.bindings), "tasks": len(roster.tasks), "marks": len(roster.marks)}

    def backup(self, new_repository: bool = False) -> dict[str, Any]:
        """Back up off-site and prove it; raises ServiceError where no repository is set, OffsiteError.

        A snapshot that is being made when something is marked with secrecy is given up, and made without it.
        """
        with self._offsite:
            try:
                while True:
                    self._snapshot_halt.clear()
                    try:
                        return self._back_up(new_repository)
                    except OffsiteError as error:
                        if error.code != "stopped" or self._stopping.is_set():
                            raise
            finally:
                tell_all_gone(self.stores)

    def _back_up(self, new_repository: bool) -> dict[str, Any]:
        if self._stopping.is_set():
            self._snapshot_halt.set()
        return run_backup(
            ledger=self.stores.ledger,
            vault_path=self.stores.folders.vault,
            key=self.stores.key,
            repository=self._repository(),
            scratch=self.stores.folders.scratch,
            by=self.stores.by("backup"),
            is_secret=partial(must_stay, self.stores, self.registry),
            new_repository=new_repository,
            halt=self._snapshot_halt,
        )

    def drill(self) -> dict[str, Any]:
        """Restore what is off-site and verify it; raises as `backup`."""
        with self._offsite:
            return run_drill(
                ledger=self.stores.ledger,
                keys=self._drill_keys(),
                repository=self._repository(),
                scratch=self.stores.folders.scratch,
                by=self.stores.by("drill"),
            )

    def _drill_keys(self) -> list[VerifierKey]:
        """Every key that this station has sealed with, and the centre's, which has cosigned its heads."""
        keys = [*named_keys(self.stores), self.stores.key.verifier]
        if setup.is_enrolled(self.stores.folders):
            keys.append(setup.read_enrolment(self.stores.folders).centre_key)
        return list(dict.fromkeys(keys))

    def _visit(self, desk: Desk, bay: str, device: Device, progress: Progress, stay: Stay) -> None:
        session = dock(desk, bay, device, progress, stay)
        self.releases.serve(session, device)
        if stay.left:
            undock(session)

    def release(self, bay: str | None) -> dict[str, Any]:
        """Clear the devices of one bay, or of all whose devices have their verdict, or say why not."""
        return {
            "bays": self.releases.ask_all([bay] if bay is not None else self.settings.bays, given=bay is not None)
        }

    def _rules(self) -> Rules:
        witnesses: list[Witness] = []
        if self.sync is not None:
            keys = [setup.read_enrolment(self.stores.folders).centre_key]
            witnesses.append(Witness("centre", keys, self.sync.proofs.collect))
        return Rules(self.settings.release, partial(must_stay, self.stores, self.registry), witnesses)

    def _refuse(self, bay: str, error: ServiceError) -> None:
        body: Object = {"bay": bay, "reason": {"code": error.code, "what": error.what}}
        self.stores.ledger.append("refused", by=self.stores.by("intake"), body=body)

    def _make_sync(self) -> Sync | None:
        if not setup.is_enrolled(self.stores.folders):
            return None
        enrolled = setup.read_enrolment(self.stores.folders)
        answers: dict[str, Callable[[], Object]] = {"status": lambda: status(self.view)}
        return Sync(self.stores, self.registry, self.policy, enrolled, answers)

    def _repository(self) -> Repository:
        offsite = self.settings.offsite
        if offsite is None:
            raise ServiceError(
                "no-offsite", "no off-site repository is set", "[offsite]", "Set repository_file and password_file."
            )
        cache = self.stores.folders.root / "cache"
        return Repository(offsite.repository_file, offsite.password_file, cache, stop=self._stopping)

    def _empty_scratch(self) -> None:
        scratch = self.stores.folders.scratch
        with explained(scratch):
            for left in scratch.iterdir():
                self.files.rmtree(left) if left.is_dir() else self.files.unlink(left)

    def _handlers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """What the local door answers."""
        return {
            "status": lambda asked: dict(status(self.view)),
            "records": lambda asked: {"records": records(self.view, limit=int(asked.get("limit", 1000)))},
            "label": lambda asked: dict(self.label(asked)),
            "roster": self.take_roster,
            "quarantined": lambda asked: {"quarantined": quarantined(self.view)},
            "backup": lambda asked: self.backup(asked.get("new_repository") is True),
            "drill": lambda asked: self.drill(),
            "release": lambda asked: self.release(fields.optional_text(asked, "bay", 32)),
            "info": lambda asked: {
                "station": self.settings.station,
                "page": self.page,
                "online": self.sync is not None and self.sync.up,
                "rejected": self.sync.refused if self.sync is not None else {},
            },
        }


def _person(asked: dict[str, Any]) -> By:
    """Who labels, by their officer number; raises MalformedError."""
    try:
        return By.from_object({"id": asked.get("by"), "kind": "person", "how": "cli"})
    except MalformedError as error:
        raise MalformedError("by", f"{error.what}: an officer number, never a name") from error


def run_station(settings: Settings, hotplug: HotPlug | None = None, files: Files | None = None) -> None:
    """Run a station until SIGTERM or SIGINT. Raises ServiceError `already-running` where one works on its folder."""
    configure("agent")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    setup.station_key(settings)  # where there is no station yet, that is what has to be said
    with alone(settings.root):
        _run(Station(settings, hotplug, files), stop)


def _run(station: Station, stop: threading.Event) -> None:
    station.start()
    log("station").info("running", station=station.settings.station, page=station.page)
    notify.ready("running")
    try:
        notify.watch(lambda: station.alive, stop, station.settings.station)
    finally:
        notify.stopping()
        station.stop()


@contextmanager
def read_only_view(settings: Settings) -> Iterator[StatusView]:
    """The status of a station that does not run, from its ledger, without writing. Raises DurableError."""
    folders = Folders(settings.root)
    engine = open_engine(folders.ledger, read_only=True)
    try:
        files = OsFiles()
        ledger = Ledger(engine, own_log(engine, settings.station), now, files)
        key, policy = setup.station_key(settings), (settings.readings, settings.known)
        stores = Stores(settings.station, folders, files, ledger, key, now, *policy)
        yield StatusView(stores, Policy(hours=settings.deadline_hours), list, release=settings.release)
    finally:
        engine.dispose()
