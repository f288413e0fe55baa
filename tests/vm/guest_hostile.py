"""Runs in the guest: tears volumes, has the real kernel mount them, and the agent's own driver list and read them.

    guest_hostile.py FOLDER SEED CASE…

FOLDER holds whole volumes, `fat12.img` and so on; the empty ones get their files here. A case is a number, or a way
to tear and a number, as in `doubling:2`. Prints a line of JSON for each case (`watching.Played`). Exit 3 where the
kernel holds a process that cannot be ended: then the machine is of no more use.
"""

import ctypes
import fcntl
import hashlib
import json
import mmap
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

from tests.hostile.watching import Case, Stuck, watched
from tests.vm.hostile_files import FILES

from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.drivers.mounting import Owner, mount_volumes, unmount_below
from dockwarden.agent.drivers.occupancy import Left, Volume
from dockwarden.agent.drivers.source import Device, SourceError, SourceInfo
from dockwarden.agent.drivers.usb import BlockNode
from dockwarden.agent.metadata.noticing import notice
from dockwarden.service.errors import ServiceError
from dockwarden.simulators.mutating import case
from dockwarden.simulators.vm.images import System
from dockwarden.simulators.vm.tearing import Torn, tear

SYSTEMS: tuple[System, ...] = ("fat12", "fat16", "fat32", "exfat")
WORK = Path("/tmp/hostile")
STEP = 524_288
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
PROFILES = profiles.load().profiles
LOOP, NUMBER = Path("/dev/loop7"), (7, 7)
_SET, _CLEAR = 0x4C00, 0x4C01  # linux/loop.h
_LIBC, _DETACH = ctypes.CDLL(None), 2  # umount2(2)
_TAINTED = re.compile(r"(?:BUG|Oops|WARNING): .*|general protection fault.*|kernel panic.*|blocked for more than.*")


class Bench:
    """The volumes, in files of this process, and the kernel's log from now on."""

    def __init__(self, folder: Path) -> None:
        unmount(WORK / "mounts")
        with suppress(OSError), LOOP.open("rb") as loop:
            fcntl.ioctl(loop, _CLEAR)
        self.torn: dict[System, Torn] = {}
        for system in SYSTEMS:
            shutil.copyfile(folder / f"{system}.img", self.image(system))
            with self.image(system).open("r+b") as file:
                self.torn[system] = Torn(mmap.mmap(file.fileno(), 0), system)
        self._log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._log, 0, os.SEEK_END)

    def image(self, system: System) -> Path:
        return WORK / f"{system}.img"

    def complaint(self) -> str | None:
        """What the kernel has said since it was last asked that tells of a defect of its own."""
        found = None
        while True:
            try:
                line = os.read(self._log, 8192).decode("utf-8", "replace")
            except BrokenPipeError:  # what was to be read has been overwritten
                continue
            except BlockingIOError:
                return found
            said = _TAINTED.search(line)
            found = found or (said.group().strip() if said else None)


@cache
def bench(folder: Path, process: int) -> Bench:
    """The bench of this process: one that was killed leaves its volumes torn."""
    return Bench(folder)


def play(folder: Path, seed: int, asked: Case) -> str:
    """Tear a volume, use it as a station does, and return what came of it."""
    way, _, figures = str(asked).rpartition(":")
    number = int(figures)
    at = bench(folder, os.getpid())
    system = SYSTEMS[number % len(SYSTEMS)]
    torn = at.torn[system]
    ways = tear(torn, case(seed, "images", number), way or None)
    try:
        with attached(at.image(system)):
            outcome = docked(system, len(torn.volume))
    finally:
        torn.mend()
    complaint = at.complaint()
    return f"{system} {ways} {outcome}" if complaint is None else f"{system} {ways} kernel: {complaint}"


@contextmanager
def attached(image: Path) -> Iterator[None]:
    """An image as the disk LOOP, which cannot be written."""
    with image.open("rb") as file, LOOP.open("rb") as loop:
        fcntl.ioctl(loop, _SET, file.fileno())
        try:
            yield
        finally:
            fcntl.ioctl(loop, _CLEAR)


def docked(system: System, size: int) -> str:
    """Mount it as the bay service does, and list and read it."""
    kind = "exfat" if system == "exfat" else "vfat"
    node = BlockNode(LOOP, NUMBER, size, container=False, known=True, filesystem=kind, uuid="1", label=None)
    folder = WORK / "mounts"
    try:
        volumes, left = mount_volumes([node], folder, Owner(0, 0))
        if not volumes:
            assert all(isinstance(each, Left) and each.reason for each in left)
            return "not-mounted"
        return taken(volumes[0], size)
    finally:
        unmount(folder)


def fill(folder: Path) -> None:
    """Put the files into the volumes that came empty."""
    point = WORK / "fill"
    point.mkdir()
    for system in ("fat32", "exfat"):
        kind = "exfat" if system == "exfat" else "vfat"
        image = folder / f"{system}.img"
        subprocess.run(["mount", "-t", kind, "-o", "loop", image, point], check=True)
        for name, data in FILES.items():
            (point / name).parent.mkdir(parents=True, exist_ok=True)
            (point / name).write_bytes(data)
        subprocess.run(["umount", point], check=True)


def unmount(folder: Path) -> None:
    """What `unmount_below` does, without a process for it: under emulation that takes longer than all the rest."""
    for point in folder.glob("*"):
        _LIBC.umount2(os.fsencode(point), _DETACH)
    unmount_below(folder)


def taken(volume: Volume, size: int) -> str:
    """List and read a mounted volume."""
    try:
        device = recognise(volume.point, PROFILES, model="disk", serial=None, volume=volume.name)
    except ServiceError as error:
        return error.code
    with closing(device):
        try:
            sources, unlisted = device.sources(), device.unlisted()
        except SourceError as error:
            return error.code
        check(sources, size)
        notice(sources, next(each for each in PROFILES if each.name == device.info.profile))
        right, codes = 0, set[str]()
        for source in sources:
            try:
                one, two = (reading(device, source, uncached) for uncached in (False, True))
                right += one == two == DIGESTS.get(source.name.text)
            except SourceError as error:
                codes.add(error.code)
        with suppress(SourceError):
            device.sources()
    if not sources and not unlisted:
        return "empty"
    whole = right == len(DIGESTS) == len(sources) and not unlisted
    return "whole" if whole else "amber" if unlisted or codes else "altered"


def check(sources: list[SourceInfo], size: int) -> None:
    """What a listing promises, whatever the file system says."""
    names = [source.name.raw for source in sources]
    assert len(names) == len(set(names)), "a name is listed twice"
    assert names == sorted(names)
    total = sum(source.size for source in sources)
    assert total <= size, f"{total} bytes are listed of a disk of {size}"


def reading(device: Device, source: SourceInfo, uncached: bool) -> str:
    """The digest of a source. Raises SourceError."""
    digest, reader = hashlib.sha256(), device.open(source, uncached)
    with closing(reader):
        for offset in range(0, source.size + 1, STEP):
            digest.update(reader.read(offset, STEP))
    return digest.hexdigest()


def prepare() -> None:
    """Modules, quiet, and nobody else who looks at the disk."""
    commands = (
        ("modprobe", "--all", "loop", "vfat", "exfat", "nls_cp936", "nls_utf8"),
        ("dmesg", "--console-level", "1"),
        ("udevadm", "control", "--stop-exec-queue"),
    )
    for command in commands:
        subprocess.run(command, check=True)
    quick = WORK / "bin"
    quick.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        (quick / "mount").symlink_to("/bin/busybox")  # the same call of the kernel, by a smaller program
    os.environ["PATH"] = f"{quick}:{os.environ['PATH']}"
    if not LOOP.exists():
        os.mknod(LOOP, 0o60600, os.makedev(*NUMBER))


def main() -> int:
    given, seed = Path(sys.argv[1]), int(sys.argv[2])
    cases = [int(word) if word.isdigit() else word for word in sys.argv[3:]]
    prepare()
    folder = WORK / "whole"
    if not folder.exists():  # near, as each process begins with a copy
        shutil.copytree(given, folder)
        fill(folder)
    try:
        for played in watched(partial(play, folder, seed), cases):
            print(json.dumps(asdict(played)), flush=True)
    except Stuck as stuck:
        print(json.dumps(asdict(stuck.played)), flush=True)
        return 3
    finally:
        subprocess.run(["udevadm", "control", "--start-exec-queue"], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
