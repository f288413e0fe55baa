"""The bays: which device is in which, how far it is, and when it may be taken.

Each docked device has a thread of its own: whatever one device does, the other bays go on.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from dockwarden.agent.drivers.hotplug import Event, Plugged, Refused
from dockwarden.agent.drivers.source import Device
from dockwarden.durable.files import DurableError
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import log

State: TypeAlias = Literal["empty", "reading", "confirming", "safe", "copied", "incomplete", "releasing", "refused"]

RATE_WINDOW_S = 5.0


@dataclass(frozen=True)
class Finding:
    """Something that a person should know of a bay; `what` names no file and no person."""

    code: str
    what: str

    def to_object(self) -> dict[str, str]:
        """The finding as the status shows it."""
        return {"code": self.code, "what": self.what}


PULLED_OUT = Finding("pulled-out", "the device was taken before it was safe: dock it again in any bay")
STOPPED = Finding("stopped", "the station was stopped before the device was safe: it goes on at the next start")
RELEASE_CUT = Finding("release-cut", "the device was taken, or the station stopped, while it was being cleared")


@dataclass
class Progress:
    """A docked device's live figures. One docking thread writes, queries read; `snapshot` takes the lock."""

    bay: str
    device: str | None = None
    state: State = "empty"
    files_done: int = 0
    files_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    files_known: int | None = None
    cleared: int = 0
    findings: list[Finding] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _seen: deque[tuple[float, int]] = field(default_factory=deque, repr=False)

    def enter(self, state: State) -> None:
        """Change the state."""
        with self.lock:
            self.state = state

    def expect(self, files: int, size: int) -> None:
        """Begin a pass over so many files and bytes."""
        with self.lock:
            self.files_done, self.files_total = 0, files
            self.bytes_done, self.bytes_total = 0, size
            self._seen.clear()

    def recognise(self, files: int) -> None:
        """So many files seem to be records already: the first look at the card is done."""
        with self.lock:
            self.files_known = files

    def expect_again(self, size: int) -> None:
        """So many bytes that were counted are read once more in this pass."""
        with self.lock:
            self.bytes_total += size

    def add(self, size: int) -> None:
        """Count bytes that were read."""
        now = time.monotonic()
        with self.lock:
            self.bytes_done += size
            self._seen.append((now, self.bytes_done))
            while self._seen and now - self._seen[0][0] > RATE_WINDOW_S:
                self._seen.popleft()

    def file_done(self) -> None:
        """Count a file that is dealt with."""
        with self.lock:
            self.files_done += 1

    def count_cleared(self, files: int) -> None:
        """Count files that were cleared from the device."""
        with self.lock:
            self.cleared += files

    def find(self, finding: Finding) -> None:
        """Add a finding; the same one is said once."""
        with self.lock:
            if finding not in self.findings:
                self.findings.append(finding)

    def snapshot(self) -> dict[str, object]:
        """The bay as the status shows it: bytes, bytes a second, seconds left (None where unknown)."""
        with self.lock:
            rate = self._rate()
            left = max(0, self.bytes_total - self.bytes_done)
            busy = self.state in ("reading", "confirming", "releasing")
            return {
                "bay": self.bay,
                "state": self.state,
                "device": self.device,
                "files_done": self.files_done,
                "files_total": self.files_total,
                "files_known": self.files_known,
                "bytes_done": self.bytes_done,
                "bytes_total": self.bytes_total,
                "rate": rate if busy else 0,
                "eta_s": left // rate if busy and rate else None,
                "safe": self.state == "safe",
                "cleared": self.cleared,
                "findings": [finding.to_object() for finding in self.findings],
            }

    def _rate(self) -> int:
        if len(self._seen) < 2:
            return 0
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return int((after - before) / max(last - first, 0.05))


@dataclass
class Stay:
    """A device's stay: `ended` says that it is over, `left` that the device is gone (else the station stops)."""

    ended: threading.Event = field(default_factory=threading.Event)
    left: bool = False


Dock: TypeAlias = Callable[[str, Device, Progress, Stay], None]
"""Runs one docking session and returns when the stay has ended."""

Refuse: TypeAlias = Callable[[str, ServiceError], None]
"""Records that something in a bay was not taken."""


@dataclass(frozen=True)
class _Visit:
    stay: Stay
    thread: threading.Thread


class Bays:
    """Takes hot-plug events and runs a docking session for each device."""

    def __init__(self, names: Iterable[str], dock: Dock, refuse: Refuse) -> None:
        self._dock = dock
        self._refuse = refuse
        self._lock = threading.Lock()
        self._progress = {name: Progress(name) for name in names}
        self._visits: dict[str, _Visit] = {}
        self._stopping = False

    def put(self, event: Event) -> None:
        """Take an event from the hot-plug source, in its thread; returns at once."""
        with self._lock:
            known = event.bay in self._progress and not self._stopping
            if known:
                self._leave(event.bay)
            if isinstance(event, Plugged):
                if known:
                    self._enter(event.bay, event.device)
                else:
                    event.device.close()
            elif isinstance(event, Refused) and known:
                refused = Progress(event.bay, state="refused")
                refused.find(Finding(event.error.code, event.error.what))
                self._progress[event.bay] = refused
        if not known:
            log("bays").warning("an event of a bay that is not in the settings", bay=event.bay)
        elif isinstance(event, Refused):
            self._record_refusal(event)

    def snapshot(self) -> list[dict[str, object]]:
        """All bays as the status shows them."""
        with self._lock:
            progress = list(self._progress.values())
        return [each.snapshot() for each in progress]

    def stop(self) -> None:
        """End all sessions where they are and wait for them; what they staged stays."""
        with self._lock:
            self._stopping = True
            visits = list(self._visits.values())
        for visit in visits:
            visit.stay.ended.set()
        for visit in visits:
            visit.thread.join()

    def _enter(self, bay: str, device: Device) -> None:
        progress = Progress(bay, device=device.info.kind, state="reading")
        before, stay = self._visits.get(bay), Stay()

        def run() -> None:
            # The device before it in this bay may still be letting go of its files.
            if before is not None:
                before.thread.join()
            try:
                self._dock(bay, device, progress, stay)
            except Exception as error:
                progress.find(_told(bay, error))
                progress.enter("incomplete")
            finally:
                device.close()

        thread = threading.Thread(target=run, name=f"bay {bay}", daemon=True)
        self._progress[bay] = progress
        self._visits[bay] = _Visit(stay, thread)
        thread.start()

    def _record_refusal(self, event: Refused) -> None:
        """The bay shows it already; that it cannot be recorded must not end the thread that all bays hang on."""
        try:
            self._refuse(event.bay, event.error)
        except Exception as error:
            with self._lock:
                self._progress[event.bay].find(_told(event.bay, error))

    def _leave(self, bay: str) -> None:
        visit = self._visits.get(bay)
        if visit is not None:
            visit.stay.left = True
            visit.stay.ended.set()
        before, after = self._progress[bay], Progress(bay)
        # The person who pulled it out too early still stands there: say it until the next device comes.
        if before.state in ("reading", "confirming", "incomplete"):
            after.find(PULLED_OUT)
        elif before.state == "releasing":
            after.find(RELEASE_CUT)
        self._progress[bay] = after


def _told(bay: str, error: Exception) -> Finding:
    """What a bay shows of an error that ended its session."""
    if isinstance(error, DurableError | ServiceError):
        log("bays").error("a docking session ended", bay=bay, code=error.code, where=error.where, what=error.what)
        return Finding(error.code, f"{error.what}. {error.do}")
    log("bays").error("a docking session failed", bay=bay, error=type(error).__name__, exc_info=error)
    return Finding("internal", f"the station failed: {type(error).__name__}")
