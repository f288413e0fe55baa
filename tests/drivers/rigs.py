"""Devices for the conformance suite: cards that can be filled, plugged, altered behind their driver, and pulled.

A factory of `RIGS` is a context manager that gets a new folder and gives a Rig (docs/conformance.md).
"""

import errno
import hashlib
import os
import queue
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dockwarden.agent.drivers import profiles, reading
from dockwarden.agent.drivers.clearing import open_folder
from dockwarden.agent.drivers.clearing_door import ClearingDoor, writable
from dockwarden.agent.drivers.hotplug import Plugged
from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.drivers.mounting import Owner, mount_volumes, set_read_only, unmount_below
from dockwarden.agent.drivers.occupancy import Occupancy
from dockwarden.agent.drivers.source import Device
from dockwarden.agent.drivers.usb import BlockNode
from dockwarden.agent.drivers.volumes import open_volumes, profile_of
from dockwarden.agent.drivers.writable import _reconfigure
from dockwarden.simulators import bus
from dockwarden.simulators.camera import at, names_in
from dockwarden.simulators.faults import Fault

PROFILES = profiles.load().profiles
MODEL, SERIAL = "BODYCAM", "CAM001"
PATIENCE_S = 30.0


class Rig(Protocol):
    """A card and the device that shows it.

    `any_bytes`: whether a name may be any bytes; else it is UTF-8 as Windows allows it. `step_s`: of times, in
    seconds.
    """

    any_bytes: bool
    step_s: int

    def fill(self, files: Mapping[bytes, bytes], modified: int) -> None:
        """Put files on the card while it is in no device; `modified` is their time (Device's wall clock)."""

    def plug(self, *faults: Fault) -> Device:
        """Put the card into a device and that into a bay. Faults: `unplug` and `unreadable`, as deep as can be."""

    def pull(self) -> None:
        """Pull the device out: nothing of it can be read, removed or listed any more."""

    def alter(self, act: Callable[[Path], None]) -> None:
        """Do something to the plugged card's files, below this folder, behind the driver's back."""

    def files(self) -> dict[bytes, bytes]:
        """What the card holds now, whoever asks."""

    def image(self) -> str:
        """A digest of all that is stored on the card: it changes with any write."""


class Below:
    """Faults below a driver that reads by the system's calls: patched here, for the files of one card alone."""

    def __init__(self, is_ours: Callable[[int], bool], empty: Path) -> None:
        self._is_ours, self._empty = is_ours, empty
        self._faults: Sequence[Fault] = ()
        self._bad: list[tuple[int, int, int]] = []
        self._read = 0
        self.gone = False
        self._real = {name: getattr(os, name) for name in ("pread", "preadv", "unlink")}
        self._devices = reading._BLOCK_DEVICES
        for name, patched in (("pread", self._pread), ("preadv", self._preadv), ("unlink", self._unlink)):
            setattr(os, name, patched)

    def begin(self, faults: Sequence[Fault], tree: Path) -> None:
        """A device is plugged with these faults."""
        self._faults, self._read, self.gone = faults, 0, False
        reading._BLOCK_DEVICES = self._devices
        self._bad = [
            (path.stat().st_ino, fault.at, fault.at + fault.length)
            for fault in faults
            if fault.kind == "unreadable"
            for path in tree.rglob("*")
            if path.is_file() and path.match(fault.source)
        ]

    def pull(self) -> None:
        """The kernel has let go of the disk: it lists what it has in its cache, and sysfs knows the disk no more."""
        self.gone = True
        reading._BLOCK_DEVICES = self._empty

    def end(self) -> None:
        """All as it was."""
        reading._BLOCK_DEVICES = self._devices
        for name, real in self._real.items():
            setattr(os, name, real)

    def _pread(self, fd: int, length: int, offset: int) -> bytes:
        if not self._is_ours(fd):
            return bytes(self._real["pread"](fd, length, offset))
        return bytes(self._real["pread"](fd, self._allowed(fd, offset, length), offset))

    def _preadv(self, fd: int, buffers: Sequence[memoryview], offset: int, *flags: int) -> int:
        if not self._is_ours(fd):
            return int(self._real["preadv"](fd, buffers, offset, *flags))
        (buffer,) = buffers
        allowed = self._allowed(fd, offset, buffer.nbytes)
        return int(self._real["preadv"](fd, [buffer[:allowed]], offset, *flags))

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        if self.gone and dir_fd is not None and self._is_ours(dir_fd):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._real["unlink"](path, dir_fd=dir_fd)

    def _allowed(self, fd: int, offset: int, length: int) -> int:
        """How much a reading may give: whole blocks before the cable is pulled, nothing where a sector is bad."""
        status = os.fstat(fd)
        end = min(offset + length, status.st_size)
        for inode, first, last in self._bad:
            if inode == status.st_ino and offset < last and first < end:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        for fault in self._faults:
            if fault.kind == "unplug" and self._read + (end - offset) > fault.at:
                length = (fault.at - self._read) // 4096 * 4096
                self.pull() if length <= 0 else None
        if self.gone:
            raise OSError(errno.EIO if os.major(status.st_dev) else errno.ENODEV, "gone")
        self._read += min(length, max(0, end - offset))
        return length


def tree_digest(root: Path) -> str:
    """A digest of names, bytes and times below a folder."""
    digest = hashlib.sha256()
    for raw in names_in(root):
        place = at(root, raw)
        digest.update(
            b"%d %s %d " % (len(raw), raw, place.stat().st_mtime_ns) + hashlib.sha256(place.read_bytes()).digest()
        )
    return digest.hexdigest()


def put(root: Path, files: Mapping[bytes, bytes], modified: int) -> None:
    """Write files below a folder, with this time."""
    for raw, data in files.items():
        place = at(root, raw)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        os.utime(place, (modified, modified))


class FolderRig:
    """A plain folder below the mass storage driver."""

    any_bytes, step_s = True, 1

    def __init__(self, folder: Path) -> None:
        self.root, empty = folder / "card", folder / "none"
        self.root.mkdir()
        empty.mkdir()
        self._prefix = str(self.root)
        self.below = Below(self._is_ours, empty)

    def _is_ours(self, fd: int) -> bool:
        with suppress(OSError):
            return str(Path(f"/proc/self/fd/{fd}").readlink()).startswith(self._prefix)
        return False

    def fill(self, files: Mapping[bytes, bytes], modified: int) -> None:
        """See Rig."""
        put(self.root, files, modified)

    def plug(self, *faults: Fault) -> Device:
        """See Rig."""
        self.below.begin(faults, self.root)
        return recognise(
            self.root, PROFILES, model=MODEL, serial=SERIAL, volume="1234-ABCD", writable=open_folder(self.root)
        )

    def pull(self) -> None:
        """See Rig."""
        self.below.pull()

    def alter(self, act: Callable[[Path], None]) -> None:
        """See Rig."""
        act(self.root)

    def files(self) -> dict[bytes, bytes]:
        """See Rig."""
        return {raw: at(self.root, raw).read_bytes() for raw in names_in(self.root)}

    def image(self) -> str:
        """See Rig."""
        return tree_digest(self.root)


class CameraRig:
    """The simulated camera, plugged into the simulated bus as a station gets it."""

    any_bytes, step_s = True, 1

    def __init__(self, folder: Path) -> None:
        self.root, self._bus = folder / "card", folder / "bus"
        self.root.mkdir()
        self._events: queue.Queue[Any] = queue.Queue()
        self._hotplug = bus.DirectoryBus(self._bus, PROFILES)
        self._hotplug.start(self._events.put)
        self._device: Any = None

    def fill(self, files: Mapping[bytes, bytes], modified: int) -> None:
        """See Rig."""
        put(self.root, files, modified)

    def plug(self, *faults: Fault) -> Device:
        """See Rig."""
        self.pull()
        bus.plug(self._bus, "1", self.root, model=MODEL, serial=SERIAL, volume="1234-ABCD", faults=faults)
        while not isinstance(event := self._events.get(timeout=PATIENCE_S), Plugged):
            pass
        self._device = event.device
        return event.device

    def pull(self) -> None:
        """See Rig."""
        if self._device is not None:
            self._device.pull()
        bus.unplug(self._bus, "1")

    def alter(self, act: Callable[[Path], None]) -> None:
        """See Rig."""
        act(self.root)

    def files(self) -> dict[bytes, bytes]:
        """See Rig."""
        return {raw: at(self.root, raw).read_bytes() for raw in names_in(self.root)}

    def image(self) -> str:
        """See Rig."""
        return tree_digest(self.root)

    def close(self) -> None:
        """End the bus."""
        self._hotplug.stop()


class MountedRig:
    """An image on a loop device, mounted by the bay service's own code, with its own way to make it writable."""

    def __init__(self, folder: Path, system: str) -> None:
        self.any_bytes, self.step_s = system == "ext4", 2 if system == "vfat" else 1
        self._system, self._folder = system, folder
        self._image, self._hidden, self._served = folder / "image", folder / "hidden", folder / "bays"
        self._number = 0
        for place in (self._hidden, self._served, folder / "none"):
            place.mkdir()
        with self._image.open("xb") as file:
            file.truncate(48 << 20)
        run(*MAKERS[system], self._image)
        self._node = Path(run("losetup", "--find", "--show", self._image).strip())
        set_read_only(self._node, False)  # an earlier user of this loop device may have left it so
        self._door = ClearingDoor(self._served, os.getuid(), self._find)
        self.below = Below(self._is_ours, folder / "none")

    def _is_ours(self, fd: int) -> bool:
        with suppress(OSError):
            return os.fstat(fd).st_dev == self._node.stat().st_rdev
        return False

    def _find(self, bay: str, stay: str, name: str) -> tuple[Path, Path] | None:
        point = self._served / bay / stay / name
        return (self._node, point) if point.is_dir() else None

    def fill(self, files: Mapping[bytes, bytes], modified: int) -> None:
        """See Rig."""
        self._leave()
        set_read_only(self._node, False)
        run(
            "mount",
            "-t",
            self._system,
            *(("-o", "utf8=1,tz=UTC") if self._system == "vfat" else ()),
            self._node,
            self._hidden,
        )
        try:
            (self._hidden / "lost+found").rmdir() if (self._hidden / "lost+found").exists() else None
            put(self._hidden, files, modified)
        finally:
            run("umount", self._hidden)

    def plug(self, *faults: Fault) -> Device:
        """See Rig."""
        self._leave()
        self._number += 1
        stay = f"stay-{self._number}"
        status = self._node.stat()
        number = (os.major(status.st_rdev), os.minor(status.st_rdev))
        node = BlockNode(self._node, number, self._image.stat().st_size, False, True, self._system, "1234-ABCD", None)
        mounted, left = mount_volumes([node], self._served / "1" / stay, Owner(os.getuid(), os.getgid()))
        assert not left, left
        (volume,) = mounted
        # A second mount of the same file system, for who alters it behind the driver's back and looks at it.
        run("mount", "--bind", volume.point, self._hidden)
        run("mount", "-o", "remount,bind,rw", self._hidden)
        self.below.begin(faults, self._hidden)
        seen = Occupancy(stay, None, None, MODEL, SERIAL, (volume,))
        return open_volumes(seen, profile_of(seen, PROFILES), partial(writable, self._served, "1", stay))

    def pull(self) -> None:
        """See Rig."""
        self.below.pull()

    def alter(self, act: Callable[[Path], None]) -> None:
        """See Rig."""
        if not os.statvfs(self._hidden).f_flag & os.ST_RDONLY:  # it is being cleared just now
            act(self._hidden)
            return
        set_read_only(self._node, False)
        _reconfigure(self._hidden, b"rw")
        try:
            act(self._hidden)
        finally:
            os.sync()
            _reconfigure(self._hidden, b"ro")
            set_read_only(self._node, True)

    def files(self) -> dict[bytes, bytes]:
        """See Rig."""
        return {raw: at(self._hidden, raw).read_bytes() for raw in names_in(self._hidden)}

    def image(self) -> str:
        """See Rig."""
        os.sync()
        return hashlib.sha256(self._image.read_bytes()).hexdigest()

    def close(self) -> None:
        """Unmount and detach."""
        self._door.close()
        self._leave()
        set_read_only(self._node, False)
        run("losetup", "--detach", self._node)

    def _leave(self) -> None:
        for stay in self._served.glob("*/*"):
            unmount_below(stay)
        while os.path.ismount(self._hidden):
            run("umount", "--lazy", self._hidden)


MAKERS = {
    # Without a journal: what is mounted without replaying one must not become writable.
    "ext4": ("mkfs.ext4", "-q", "-O", "^has_journal"),
    "vfat": ("mkfs.vfat", "-F", "32", "-s", "1"),
    "exfat": ("mkfs.exfat",),
}


def run(*words: str | Path) -> str:
    """Run a program; what it prints."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(words, check=False, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@contextmanager
def folder(place: Path) -> Iterator[Rig]:
    """A plain folder."""
    rig = FolderRig(place)
    try:
        yield rig
    finally:
        rig.below.end()


@contextmanager
def camera(place: Path) -> Iterator[Rig]:
    """The simulated camera."""
    rig = CameraRig(place)
    try:
        yield rig
    finally:
        rig.close()


@contextmanager
def mounted(place: Path, system: str) -> Iterator[Rig]:
    """A file system on a block device. Needs root."""
    rig = MountedRig(place, system)
    try:
        yield rig
    finally:
        rig.below.end()
        rig.close()


Factory = Callable[[Path], AbstractContextManager[Rig]]

RIGS: dict[str, Factory] = {"folder": folder, "camera": camera}
MOUNTED: dict[str, Factory] = {name: partial(mounted, system=name) for name in MAKERS}
WANTED = "DOCKWARDEN_RIGS"
"""An environment variable: the names of the rigs to run, with commas, whatever this kernel seems to have."""


def chosen() -> dict[str, Factory]:
    """The rigs to run: those that are asked for, else all that need no rights, and, as root, the file systems of this
    kernel. tests/vm runs the mounted ones in a machine that has them all."""
    wanted = os.environ.get(WANTED)
    if wanted:
        return {name: {**RIGS, **MOUNTED}[name] for name in wanted.split(",")}
    known = Path("/proc/filesystems").read_text("ascii").split()
    here = os.geteuid() == 0 and Path("/dev/loop-control").exists()
    return {**RIGS, **{name: rig for name, rig in MOUNTED.items() if here and name in known}}
