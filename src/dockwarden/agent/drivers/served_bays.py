"""Bays as the bay service shows them: the station's side of hot-plug, without any right over devices."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from watchdog.events import FileDeletedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from dockwarden.agent.drivers.admission import RefusedDevice
from dockwarden.agent.drivers.clearing_door import writable
from dockwarden.agent.drivers.hotplug import Event, Plugged, Refused, Unplugged
from dockwarden.agent.drivers.occupancy import Occupancy, read_occupancies
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.drivers.volumes import open_volumes, profile_of
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import log

RESCAN_S = 2.0
"""The folder is looked at again after this many seconds, whatever was heard of it."""


class ServedBays:
    """Hot-plug events from the files of the bay service. `unknown` is what becomes of a disk that no profile fits."""

    def __init__(self, folder: Path, profiles: tuple[Profile, ...], *, unknown: Literal["refuse", "intake"]) -> None:
        self._folder = folder
        self._profiles = profiles
        self._unknown = unknown
        self._present: dict[str, tuple[str, str]] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self, put: Callable[[Event], None]) -> None:
        """See HotPlug."""
        self._thread = threading.Thread(target=self._run, args=(put,), name="bays", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """See HotPlug."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, put: Callable[[Event], None]) -> None:
        observer = None
        try:
            while not self._stopping:
                self._wake.clear()
                if observer is None and self._folder.is_dir():  # the service makes it, perhaps after we have begun
                    observer = Observer()
                    observer.schedule(_Waker(self._wake), str(self._folder))
                    observer.start()
                self._look(put)
                self._wake.wait(RESCAN_S)
        finally:
            if observer is not None:
                observer.stop()
                observer.join()

    def _look(self, put: Callable[[Event], None]) -> None:
        now = read_occupancies(self._folder)
        for bay, (stay, key) in list(self._present.items()):
            if bay not in now or now[bay].stay != stay:
                del self._present[bay]
                put(Unplugged(bay, key))
        for bay, occupancy in now.items():
            if bay not in self._present:
                event = self._event(bay, occupancy)
                self._present[bay] = occupancy.stay, event.device.info.key if isinstance(event, Plugged) else ""
                put(event)

    def _event(self, bay: str, occupancy: Occupancy) -> Plugged | Refused:
        try:
            return self._let_in(bay, occupancy)
        except ServiceError as error:
            return Refused(bay, error)
        except Exception as error:
            log("bays").exception("a device could not be opened", bay=bay)
            what = f"the station failed to open the device: {type(error).__name__}"
            return Refused(bay, RefusedDevice("internal", what, f"bay {bay}", "Plug it in again."))

    def _let_in(self, bay: str, occupancy: Occupancy) -> Plugged:
        refusal = occupancy.refusal
        if refusal is not None:
            raise ServiceError(refusal.code, refusal.what, refusal.where, refusal.do)
        profile = profile_of(occupancy, self._profiles)
        if not profile.match and self._unknown == "refuse":
            do = "Write a profile for it, or let unknown disks in (unknown_storage)."
            raise RefusedDevice("unknown-device", "no profile fits this device", f"bay {bay}", do)
        return Plugged(bay, open_volumes(occupancy, profile, partial(writable, self._folder, bay, occupancy.stay)))


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Look, where a file has come or gone; reading one is an event too."""
        if isinstance(event, FileMovedEvent | FileDeletedEvent):
            self._wake.set()
