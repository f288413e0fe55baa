"""Bays as a folder: a file `<bay>.json` is a device in that bay, its removal is pulling the device out.

```
{"root": "/absolute/folder", "model": "DCAM X3", "serial": "ZB2041" | null,
 "vendor": text | null, "label": text | null, "volume": text | null,
 "clock": {"offset_ms": 0, "uncertainty_ms": 1000, "unset": false} | null,
 "faults": [{"kind": …, see faults.py}]}
```
All but `root` and `model` may be left out. `clock: null` is a device whose clock cannot be asked. `volume` names the
card; without it the folder itself does, so that one card in two bodies is the same volume. The file must appear as a
whole (`plug` does so).
"""

import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from watchdog.events import (
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from dockwarden.agent.drivers import mass_storage, profiles
from dockwarden.agent.drivers.clearing import open_folder
from dockwarden.agent.drivers.hotplug import Event, Plugged, Refused, Unplugged
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.service.errors import ServiceError
from dockwarden.simulators.faults import Clock, Fault, FaultyDevice

RESCAN_S = 1.0
"""The folder is looked at again after this many seconds, whatever was or was not heard of it."""

_BAY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_HEARD = (FileCreatedEvent, FileDeletedEvent, FileModifiedEvent, FileMovedEvent, FileClosedEvent)


@dataclass(frozen=True)
class Body:
    """What a bus file says of the device in a bay."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    root: str
    model: str
    serial: str | None = None
    vendor: str | None = None
    label: str | None = None
    volume: str | None = None
    clock: Clock | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class _Present:
    """A bus file that was there at the newest look, and its device; None where it was refused."""

    stamp: tuple[int, int]
    device: FaultyDevice | None


class DirectoryBus:
    """A HotPlug over a folder, which is made where it is missing."""

    def __init__(self, folder: Path, known: tuple[Profile, ...] | None = None) -> None:
        self._folder = folder
        self._profiles = profiles.load().profiles if known is None else known
        self._present: dict[str, _Present] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._observer: BaseObserver | None = None

    def start(self, put: Callable[[Event], None]) -> None:
        """See HotPlug."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._observer = Observer()  # not earlier: watchdog starts a thread when one is made
        self._observer.schedule(_Waker(self._wake), str(self._folder))
        self._observer.start()
        self._thread = threading.Thread(target=self._run, args=(put,), name="bus")
        self._thread.start()

    def stop(self) -> None:
        """See HotPlug."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _run(self, put: Callable[[Event], None]) -> None:
        while not self._stopping:
            self._wake.clear()
            self._look(put)
            self._wake.wait(RESCAN_S)

    def _look(self, put: Callable[[Event], None]) -> None:
        there = _stamps(self._folder)
        for bay, present in list(self._present.items()):
            if there.get(bay) != present.stamp:
                del self._present[bay]
                if present.device is not None:
                    present.device.pull()
                    put(Unplugged(bay, present.device.info.key))
        for bay, stamp in sorted(there.items()):
            if bay not in self._present:
                put(self._plug(bay, stamp))

    def _plug(self, bay: str, stamp: tuple[int, int]) -> Event:
        path = self._folder / f"{bay}.json"

        def pulled() -> None:
            if _stamps(self._folder).get(bay) == stamp:
                path.unlink(missing_ok=True)
            self._wake.set()

        try:
            device = _device(path, self._profiles, pulled)
        except ServiceError as error:
            self._present[bay] = _Present(stamp, None)
            return Refused(bay, error)
        self._present[bay] = _Present(stamp, device)
        return Plugged(bay, device)


class _Waker(FileSystemEventHandler):
    """Wakes the bus on a change. Reading a file is an event too: to hear that would be to wake oneself for ever."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog in a thread of its own."""
        if isinstance(event, _HEARD):
            self._wake.set()


def plug(
    folder: Path,
    bay: str,
    root: Path,
    *,
    model: str = "DCAM X3",
    serial: str | None = None,
    clock: Clock | None = Clock(),  # noqa: B008 (frozen)
    faults: Sequence[Fault] = (),
    volume: str | None = None,
    vendor: str | None = None,
    label: str | None = None,
) -> None:
    """Put the card `root` into a bay. Raises ServiceError `bay-taken` where one is there already."""
    if not _BAY.fullmatch(bay):
        raise ServiceError("bad-bay", "is no name for a bay", "bus", "Use letters, digits and .-_ only.")
    body = Body(str(root.absolute()), model, serial, vendor, label, volume, clock, tuple(faults))
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{secrets.token_hex(8)}.part"
    part.write_text(json.dumps(asdict(body), indent=1), "utf-8")
    try:
        os.link(part, folder / f"{bay}.json")
    except FileExistsError as error:
        raise ServiceError("bay-taken", "there is a device in this bay", f"bay {bay}", "Unplug it first.") from error
    finally:
        part.unlink()


def unplug(folder: Path, bay: str) -> None:
    """Pull out what is in a bay; nothing happens where nothing is."""
    (folder / f"{bay}.json").unlink(missing_ok=True)


def read_body(path: Path) -> Body:
    """Read a bus file. Raises ServiceError `bad-bus-file`."""
    try:
        body = TypeAdapter(Body).validate_json(path.read_bytes())
        if not Path(body.root).is_absolute():
            raise ValueError("root: is no absolute path")
        return body
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = f"{'.'.join(str(part) for part in first['loc']) or '-'}: {first['msg']}"
        raise _bad_file(path, what) from error
    except (OSError, ValueError) as error:
        raise _bad_file(path, str(error)) from error


def _device(path: Path, known: tuple[Profile, ...], pulled: Callable[[], None]) -> FaultyDevice:
    body = read_body(path)
    root = Path(body.root)
    inner = mass_storage.recognise(
        root,
        known,
        model=body.model,
        serial=body.serial,
        volume=body.volume or _volume(root),
        vendor=body.vendor,
        label=body.label,
        writable=open_folder(root),
    )
    return FaultyDevice(inner, root, body.faults, body.clock, pulled)


def _volume(root: Path) -> str:
    """A card's name where none is given: the folder that it is."""
    try:
        status = root.stat()
    except OSError as error:
        raise ServiceError(
            "no-card", "there is no card in the device", "bus", "Give a folder that is there."
        ) from error
    return f"sim-{status.st_dev:x}-{status.st_ino:x}"


def _stamps(folder: Path) -> Mapping[str, tuple[int, int]]:
    """What tells one bus file from the next, by bay."""
    found: dict[str, tuple[int, int]] = {}
    for path in folder.glob("*.json"):
        if _BAY.fullmatch(path.stem):
            with suppress(OSError):
                status = path.stat()
                found[path.stem] = (status.st_ino, status.st_mtime_ns)
    return found


def _bad_file(path: Path, what: str) -> ServiceError:
    return ServiceError("bad-bus-file", what, f"bus file {path.name}", "Write it as bus.py says.")
