"""Devices that show a disk: a directory tree, mounted read-only, is listed and read without trusting its names.

Names are bytes all the way. Nothing is followed that leads elsewhere: every file is opened step by step from the
root, each step refusing symbolic links, and only regular files of the same file system are read.
"""

import os
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dockwarden.agent.drivers import profiles as known
from dockwarden.agent.drivers.clearing import FolderClearing, MakeWritable, make_writable
from dockwarden.agent.drivers.profiles import Limits, Profile, Seen
from dockwarden.agent.drivers.reading import (
    Identity,
    broken,
    cause,
    has_lasting_inodes,
    has_lost_its_device,
    open_reader,
)
from dockwarden.agent.drivers.source import (
    Clearing,
    ClockReading,
    DeviceInfo,
    Mark,
    Reader,
    SourceError,
    SourceInfo,
    Unlisted,
    decode_name,
    device_key,
)
from dockwarden.agent.metadata.filenames import facts_of
from dockwarden.durable.files import DurableError
from dockwarden.evidence.seals import SourceName

SEEN_DEPTH = 2
SEEN_FOLDERS = 1000

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


@dataclass(frozen=True)
class _Found:
    """A file as the walk saw it."""

    raw: bytes
    status: os.stat_result


class MassStorage:
    """A Device over the directory `root`. Raises SourceError `unplugged` where the root is gone.

    `writable` opens the same tree so that files can be removed; without it nothing ever is.
    """

    def __init__(
        self, root: Path, info: DeviceInfo, volume: str, profile: Profile, writable: MakeWritable | None = None
    ) -> None:
        self.info = info
        self._where = f"device {info.key}"
        self.volume = volume
        self._profile = profile
        self._tree = root
        self._writable = writable
        self._listed: dict[bytes, Identity] = {}
        self._unlisted: list[Unlisted] = []
        self._newest_ms: int | None = None
        try:
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError("unplugged", self._where) from error
        self._lasting = has_lasting_inodes(self._root)

    def sources(self) -> list[SourceInfo]:
        """See Device."""
        unlisted: list[Unlisted] = []
        found = sorted(self._walk(unlisted), key=lambda file: file.raw)
        self._check_root()
        self._unlisted = unlisted
        self._listed = {file.raw: Identity.of(file.status, self._lasting) for file in found}
        newest = max((file.status.st_mtime_ns for file in found), default=None)
        self._newest_ms = None if newest is None else newest // 1_000_000
        return [self._source(file) for file in found]

    def unlisted(self) -> list[Unlisted]:
        """See Device."""
        self._check_root()
        return list(self._unlisted)

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """See Device. Also compares with what this object listed, so that a replaced file is noticed."""
        try:
            return open_reader(self._root, source, self._listed.get(source.name.raw), uncached, self._where)
        except (OSError, DurableError) as error:
            raise broken(cause(error), self._root, self._where, 0, source.size) from error

    def clock(self) -> ClockReading | None:
        """See Device. A disk cannot be asked; its newest file tells how far its clock had got."""
        if self._newest_ms is None:
            self.sources()
        if self._newest_ms is None:
            return None
        return ClockReading(self._newest_ms, time.time_ns() // 1_000_000, None, "newest-file")

    def clearing(self) -> Clearing | None:
        """See Device."""
        if self._writable is None:
            return None
        self._check_root()
        return FolderClearing(make_writable(self._writable, self._where), self._listed, self._where)

    def close(self) -> None:
        """See Device."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def _source(self, file: _Found) -> SourceInfo:
        name = decode_name(file.raw)
        return SourceInfo(
            volume=self.volume,
            name=name,
            size=file.status.st_size,
            modified_raw=file.status.st_mtime_ns // 1_000_000_000,
            marks=self._marks(name, file.status.st_mode),
        )

    def _marks(self, name: SourceName, mode: int) -> frozenset[Mark]:
        marks: set[Mark] = set()
        held = self._profile.layout.get(name.text.partition("/")[0])
        if held in ("log", "position"):
            marks.add(held)
        read_only = self._profile.important.read_only and not mode & stat.S_IWUSR
        if read_only or facts_of(name, self._profile).important:
            marks.add("important")
        return frozenset(marks)

    def _walk(self, unlisted: list[Unlisted]) -> Iterator[_Found]:
        """Every regular file below the root; what is left out goes to `unlisted`. Never raises for an entry."""
        limits = self._profile.limits
        volume = os.fstat(self._root).st_dev
        folders, count = [b""], 0
        while folders:
            folder = folders.pop()
            with closing(self._entries(folder, unlisted)) as entries:
                for raw, status in entries:
                    reason = _reason_to_leave(raw, status, volume, limits)
                    if reason is None and stat.S_ISDIR(status.st_mode):
                        folders.append(raw)
                    elif reason is None and count < limits.files:
                        count += 1
                        yield _Found(raw, status)
                    elif reason is None:
                        what = f"more than {limits.files} files: no more are listed"
                        unlisted.append(Unlisted(decode_name(raw), what))
                        return
                    else:
                        unlisted.append(Unlisted(decode_name(raw[: limits.name_bytes]), reason))

    def _entries(
        self, folder: bytes, unlisted: list[Unlisted]
    ) -> Generator[tuple[bytes, os.stat_result], None, None]:
        """The entries of a folder, never through a link; an entry that cannot be looked at is unlisted."""
        try:
            with os.scandir(_below(os.fsencode(self._tree), folder)) as entries:
                for entry in entries:
                    raw = _below(folder, entry.name)
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError as error:
                        unlisted.append(Unlisted(decode_name(raw), f"cannot be looked at: {error.strerror}"))
                        continue
                    yield raw, status
        except OSError as error:
            if not folder:
                raise broken(error, self._root, self._where, 0, 0) from error
            unlisted.append(Unlisted(decode_name(folder), f"a folder that cannot be read: {error.strerror}"))

    def _check_root(self) -> None:
        """Raise `unplugged` unless the root is there and is still the one that was opened."""
        try:
            opened, there = os.fstat(self._root), self._tree.stat()
        except OSError as error:
            raise SourceError("unplugged", self._where) from error
        same = (opened.st_dev, opened.st_ino) == (there.st_dev, there.st_ino)
        if not same or has_lost_its_device(opened.st_dev):
            raise SourceError("unplugged", self._where)


def look(root: Path, vendor: str | None = None, product: str | None = None, label: str | None = None) -> Seen:
    """What can be seen of a device before a profile is chosen."""
    tree = os.fsencode(root)
    level, folders = [b""], set[str]()
    for _ in range(SEEN_DEPTH):
        level = [_below(folder, name) for folder in level for name in _subfolders(_below(tree, folder))]
        level = level[: SEEN_FOLDERS - len(folders)]
        folders.update(decode_name(raw).text for raw in level)
    return Seen(vendor, product, label, frozenset(folders))


def recognise(
    root: Path,
    profiles: tuple[Profile, ...],
    *,
    model: str,
    serial: str | None,
    volume: str,
    vendor: str | None = None,
    label: str | None = None,
    writable: MakeWritable | None = None,
) -> MassStorage:
    """Choose the profile for a mounted device and return the Device. Raises ProfileError, SourceError."""
    profile = known.choose(profiles, look(root, vendor, model, label))
    info = DeviceInfo(
        key=device_key(model, serial, volume),
        family=profile.family,
        profile=profile.name,
        kind=profile.kind,
        serial=serial,
        model=model,
    )
    return MassStorage(root, info, volume, profile, writable)


def _subfolders(path: bytes) -> list[bytes]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []  # listing the sources will tell


def _below(folder: bytes, name: bytes) -> bytes:
    return b"/".join(part for part in (folder, name) if part)


def _reason_to_leave(raw: bytes, status: os.stat_result, volume: int, limits: Limits) -> str | None:
    if status.st_dev != volume:
        return "belongs to another file system"
    if len(raw) > limits.name_bytes:
        return f"its path is longer than {limits.name_bytes} bytes"
    if stat.S_ISDIR(status.st_mode):
        return f"lies more than {limits.depth} folders deep" if raw.count(b"/") >= limits.depth else None
    if stat.S_ISREG(status.st_mode):
        return None
    return f"is {_KINDS.get(stat.S_IFMT(status.st_mode), 'of an unknown kind')}, no file"
