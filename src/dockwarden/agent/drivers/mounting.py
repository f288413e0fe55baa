"""Mounting what a plugged disk holds: each volume read-only in a folder of its own.

A block device is made read-only in the kernel before anything is mounted from it: `mount -o ro` alone replays a
journal. What cannot be mounted is told, and keeps the bay amber.
"""

import array
import fcntl
import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dockwarden.agent.drivers.occupancy import Left, Volume
from dockwarden.agent.drivers.usb import BlockNode
from dockwarden.service.logs import log

MOUNT_S = 60.0
_BLKROSET = 0x125D  # linux/fs.h
_OPTIONS = "ro,nosuid,nodev,noexec"


@dataclass(frozen=True)
class Owner:
    """Who reads what is mounted: user and group by number."""

    uid: int
    gid: int


def mount_volumes(nodes: Iterable[BlockNode], folder: Path, owner: Owner) -> tuple[list[Volume], list[Left]]:
    """Mount every volume among the nodes below `folder`, for `owner` to read; returns also what could not be."""
    mounted: list[Volume] = []
    left: list[Left] = []
    for number, node in enumerate(node for node in nodes if node.size and not node.container):
        found = _mount(node, folder / str(number), owner)
        if isinstance(found, Left):
            left.append(found)
        else:
            taken = {each.name for each in mounted}
            name = f"{found.name}-{number}" if found.name in taken else found.name
            mounted.append(Volume(name, found.point, found.label))
    return mounted, left


def unmount_below(folder: Path) -> None:
    """Unmount whatever is mounted in the folders below `folder`, also of a run that was killed, and remove them.

    A device that was pulled out and files that are still open do not hinder it.
    """
    for point in sorted(folder.iterdir()) if folder.is_dir() else []:
        if os.path.ismount(point):
            done = subprocess.run(["umount", "--lazy", point], capture_output=True, timeout=MOUNT_S, check=False)
            if done.returncode:
                log("mounting").warning("a volume could not be unmounted", exit=done.returncode)
        with suppress(OSError):
            point.rmdir()
    with suppress(OSError):
        folder.rmdir()


def set_read_only(node: Path, on: bool = True) -> None:
    """Have the kernel refuse every write to a block device, or no longer (blockdev --setro). Raises OSError."""
    fd = os.open(node, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, _BLKROSET, array.array("i", [int(on)]))
    finally:
        os.close(fd)


def _mount(node: BlockNode, point: Path, owner: Owner) -> Volume | Left:
    how = _how(node.filesystem or "", owner)
    if how is None:
        what = f"a file system that is not taken: {node.filesystem}" if node.filesystem else "no file system is found"
        return Left(node.node.name, what)
    kind, options = how
    point.mkdir(parents=True, exist_ok=True, mode=0o755)
    wanted = ",".join(filter(None, (_OPTIONS, options)))
    command: list[str | Path] = ["mount", "-t", kind, "-o", wanted, node.node, point]
    try:
        set_read_only(node.node)
        done = subprocess.run(command, capture_output=True, timeout=MOUNT_S, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Left(node.node.name, f"a volume that cannot be mounted: {type(error).__name__}")
    if done.returncode:
        return Left(node.node.name, f"a volume that cannot be mounted ({kind}, mount ended with {done.returncode})")
    return Volume(node.uuid or node.label or node.node.name, point, node.label)


def _how(filesystem: str, owner: Owner) -> tuple[str, str] | None:
    """The kernel's name of a file system and its options.

    FAT keeps local time without a zone, and short names in the code page of its maker: GBK on Chinese cameras. Wall
    clock times come out as they are stored (protocols: time); the camera's zone is applied by the profile.
    """
    own = f"uid={owner.uid},gid={owner.gid},fmask=0177,dmask=0077"
    known = {
        "vfat": ("vfat", f"codepage=936,utf8=1,tz=UTC,{own}"),
        "exfat": ("exfat", f"iocharset=utf8,time_offset=0,{own}"),
        "ext4": ("ext4", "noload"),
        "ext3": ("ext4", "noload"),
        "ext2": ("ext4", "noload"),
        "iso9660": ("iso9660", f"uid={owner.uid},gid={owner.gid}"),
        "udf": ("udf", f"uid={owner.uid},gid={owner.gid}"),
    }
    return known.get(filesystem)
