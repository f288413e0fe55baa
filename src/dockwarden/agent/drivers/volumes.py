"""A plugged disk's volumes: mounted read-only, each in a folder of its own, and shown as one device.

A block device is made read-only in the kernel before anything is mounted from it: `mount -o ro` alone replays a
journal. What cannot be mounted is told as unlisted, which keeps the bay amber.
"""

import array
import fcntl
import os
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dockwarden.agent.drivers import profiles as known
from dockwarden.agent.drivers.descriptors import DescriptorError
from dockwarden.agent.drivers.mass_storage import MassStorage, look
from dockwarden.agent.drivers.profiles import Profile, Seen
from dockwarden.agent.drivers.source import (
    ClockReading,
    DeviceInfo,
    Reader,
    SourceError,
    SourceInfo,
    Unlisted,
    decode_name,
    device_key,
)
from dockwarden.agent.drivers.usb import BlockNode, UsbDevice
from dockwarden.service.logs import log

MOUNT_S = 60.0
_BLKROSET = 0x125D  # linux/fs.h
_OPTIONS = "ro,nosuid,nodev,noexec"

# FAT keeps local time without a zone, and short names in the code page of its maker: GBK on Chinese cameras. Wall
# clock times come out as they are stored (protocols: time); the camera's zone is applied by the profile.
_OWN = f"uid={os.geteuid()},gid={os.getegid()},fmask=0177,dmask=0077"
_KNOWN = {
    "vfat": ("vfat", f"codepage=936,utf8=1,tz=UTC,{_OWN}"),
    "exfat": ("exfat", f"iocharset=utf8,time_offset=0,{_OWN}"),
    "ext4": ("ext4", "noload"),
    "ext3": ("ext4", "noload"),
    "ext2": ("ext4", "noload"),
    "iso9660": ("iso9660", ""),
    "udf": ("udf", ""),
}


@dataclass(frozen=True)
class Mounted:
    """A volume that is mounted: its name among those of its device, where, and what it calls itself."""

    volume: str
    point: Path
    label: str | None


class Volumes:
    """A Device over all volumes of one plugged disk. `close` unmounts them."""

    def __init__(
        self, info: DeviceInfo, parts: Sequence[MassStorage], left: Sequence[Unlisted], folder: Path
    ) -> None:
        self.info = info
        self._parts = parts
        self._left = tuple(left)
        self._folder = folder

    def sources(self) -> list[SourceInfo]:
        """See Device."""
        found = [source for part in self._parts for source in part.sources()]
        return sorted(found, key=lambda source: (source.name.raw, source.volume))

    def unlisted(self) -> list[Unlisted]:
        """See Device. Also the volumes that could not be mounted."""
        return [*self._left, *(each for part in self._parts for each in part.unlisted())]

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """See Device."""
        for part in self._parts:
            if part.volume == source.volume:
                return part.open(source, uncached)
        raise SourceError("vanished", f"device {self.info.key}")

    def clock(self) -> ClockReading | None:
        """See Device: as far as the newest file of any volume tells."""
        readings = [reading for part in self._parts if (reading := part.clock()) is not None]
        return max(readings, key=lambda reading: reading.device_ms, default=None)

    def close(self) -> None:
        """See Device."""
        for part in self._parts:
            part.close()
        unmount_all(self._folder)


def attach(device: UsbDevice, nodes: Iterable[BlockNode], folder: Path, profiles: tuple[Profile, ...]) -> Volumes:
    """Mount the volumes of a device below `folder` and return it with the profile that fits.

    Raises ProfileError where none fits, SourceError where it left meanwhile; then nothing is mounted any more.
    """
    unmount_all(folder)
    mounted: list[Mounted] = []
    left: list[Unlisted] = []
    try:
        for number, node in enumerate(node for node in nodes if node.size and not node.whole):
            found = _mount(node, folder / str(number))
            if isinstance(found, Unlisted):
                left.append(found)
            else:
                taken = {each.volume for each in mounted}
                volume = f"{found.volume}-{number}" if found.volume in taken else found.volume
                mounted.append(Mounted(volume, found.point, found.label))
        return _device(device, mounted, left, folder, profiles)
    except BaseException:
        unmount_all(folder)
        raise


def unmount_all(folder: Path) -> None:
    """Unmount whatever is mounted in the folders below `folder`, also of a run that was killed, and remove them.

    A device that was pulled out and files that are still open do not hinder it.
    """
    for point in sorted(folder.iterdir()) if folder.is_dir() else []:
        if os.path.ismount(point):
            done = subprocess.run(["umount", "--lazy", point], capture_output=True, timeout=MOUNT_S, check=False)
            if done.returncode:
                log("volumes").warning("a volume could not be unmounted", exit=done.returncode)
        with suppress(OSError):
            point.rmdir()


def set_read_only(node: Path) -> None:
    """Have the kernel refuse every write to a block device (blockdev --setro). Raises OSError."""
    fd = os.open(node, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, _BLKROSET, array.array("i", [1]))
    finally:
        os.close(fd)


def _mount(node: BlockNode, point: Path) -> Mounted | Unlisted:
    name = decode_name(os.fsencode(node.node.name))
    if node.filesystem not in _KNOWN:
        what = f"a file system that is not taken: {node.filesystem}" if node.filesystem else "no file system is found"
        return Unlisted(name, what)
    kind, options = _KNOWN[node.filesystem]
    point.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = ",".join(filter(None, (_OPTIONS, options)))
    command: list[str | Path] = ["mount", "-t", kind, "-o", wanted, node.node, point]
    try:
        set_read_only(node.node)
        done = subprocess.run(command, capture_output=True, timeout=MOUNT_S, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Unlisted(name, f"a volume that cannot be mounted: {type(error).__name__}")
    if done.returncode:
        return Unlisted(name, f"a volume that cannot be mounted ({kind}, mount ended with {done.returncode})")
    return Mounted(node.uuid or node.label or node.node.name, point, node.label)


def _device(
    device: UsbDevice,
    mounted: Sequence[Mounted],
    left: Sequence[Unlisted],
    folder: Path,
    profiles: tuple[Profile, ...],
) -> Volumes:
    profile = known.choose(profiles, _seen(device, mounted))
    model = device.product or "disk"
    volume = mounted[0].volume if mounted else "none"
    info = DeviceInfo(
        key=device_key(model, device.serial, volume),
        family=profile.family,
        profile=profile.name,
        kind=profile.kind,
        serial=device.serial,
        model=model,
    )
    parts: list[MassStorage] = []
    try:
        for each in mounted:
            parts.append(MassStorage(each.point, info, each.volume, profile))
    except SourceError:
        for part in parts:
            part.close()
        raise
    return Volumes(info, parts, left, folder)


def _seen(device: UsbDevice, mounted: Sequence[Mounted]) -> Seen:
    """What all volumes together show."""
    folders = frozenset(name for each in mounted for name in look(each.point).folders)
    label = next((each.label for each in mounted if each.label), None)
    usb = None if isinstance(device.descriptors, DescriptorError) else device.descriptors.usb_id
    return Seen(device.vendor, device.product, label, folders, usb)
