"""Devices that the operating system mounts, read-only, one folder a bay: `<folder>/<bay>`.

This is what a station without a profile for its hardware runs on: a udev rule mounts what is plugged into a port
(`ro,nosuid,nodev,noexec`, block device set read-only first), and this source sees the mount appear and vanish.
"""

import os
import select
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dockwarden.agent.drivers.hotplug import Event, Plugged, Refused, Unplugged
from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.drivers.profiles import Profile, ProfileError
from dockwarden.agent.drivers.source import SourceError

MOUNTS = Path("/proc/self/mountinfo")
RESCAN_S = 5.0
_MARKED = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


@dataclass(frozen=True)
class Mount:
    """A line of the mount table: its number (new for each mount), where, whether read-only, and of what."""

    number: str
    point: str
    read_only: bool
    source: str


class MountedBays:
    """Hot-plug events from the mount table (proc(5): it can be polled)."""

    def __init__(self, folder: Path, bays: Iterable[str], profiles: tuple[Profile, ...]) -> None:
        self._points = {str(folder.absolute() / bay): bay for bay in bays}
        self._profiles = profiles
        self._present: dict[str, tuple[Mount, str]] = {}
        self._stop_read, self._stop_write = os.pipe()
        self._thread: threading.Thread | None = None

    def start(self, put: Callable[[Event], None]) -> None:
        """See HotPlug."""
        self._thread = threading.Thread(target=self._run, args=(put,), name="mounts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """See HotPlug."""
        os.write(self._stop_write, b"x")
        if self._thread is not None:
            self._thread.join()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _run(self, put: Callable[[Event], None]) -> None:
        with MOUNTS.open("rb") as table:
            poll = select.poll()
            poll.register(table, select.POLLERR | select.POLLPRI)
            poll.register(self._stop_read, select.POLLIN)
            while True:
                table.seek(0)
                self._compare(parse_mounts(table.read()), put)
                ready = poll.poll(RESCAN_S * 1000)
                if any(fd == self._stop_read for fd, _ in ready):
                    return

    def _compare(self, mounts: list[Mount], put: Callable[[Event], None]) -> None:
        now = {self._points[mount.point]: mount for mount in mounts if mount.point in self._points}
        for bay, (mount, key) in list(self._present.items()):
            if now.get(bay) != mount:
                del self._present[bay]
                put(Unplugged(bay, key))
        for bay, mount in now.items():
            if bay not in self._present:
                self._present[bay] = mount, self._plug(bay, mount, put)

    def _plug(self, bay: str, mount: Mount, put: Callable[[Event], None]) -> str:
        try:
            if not mount.read_only:
                what = "the device is mounted for writing"
                raise ProfileError("writable", what, f"bay {bay}", "Mount it read-only.")
            device = recognise(
                Path(mount.point), self._profiles, model="disk", serial=None, volume=volume_of(mount.source)
            )
        except (ProfileError, SourceError) as error:
            put(Refused(bay, error))
            return ""
        put(Plugged(bay, device))
        return device.info.key


def parse_mounts(table: bytes) -> list[Mount]:
    """Read a mount table (proc(5), mountinfo); lines of another form are left out."""
    found = []
    for line in table.decode("utf-8", "surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        head, tail = left.split(" "), right.split(" ")
        if len(head) >= 6 and len(tail) >= 2:
            found.append(Mount(head[0], _unmark(head[4]), "ro" in head[5].split(","), _unmark(tail[1])))
    return found


def volume_of(source: str) -> str:
    """The identifier of a mounted volume: its file system's UUID, else its device's name."""
    by_uuid = Path("/dev/disk/by-uuid")
    try:
        wanted = os.path.realpath(source)
        for link in by_uuid.iterdir():
            if os.path.realpath(link) == wanted:
                return link.name
    except OSError:
        pass
    return Path(source).name or "unknown"


def _unmark(text: str) -> str:
    for mark, letter in _MARKED.items():
        text = text.replace(mark, letter)
    return text
