"""Devices that show a disk: a directory tree, mounted read-only, is listed and read without trusting its names.

Names are bytes all the way. Nothing is followed that leads elsewhere: every file is opened step by step from the
root, each step refusing symbolic links, and only regular files of the same file system are read.
"""

import os
import stat
import time
from itertools import islice
from pathlib import Path

from dockwarden.agent.drivers import profiles as known
from dockwarden.agent.drivers.clearing import FolderClearing, MakeWritable, make_writable
from dockwarden.agent.drivers.profiles import Profile, Seen
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
from dockwarden.agent.drivers.walking import WRONG_S, Found, Walk, below
from dockwarden.agent.metadata.filenames import facts_of
from dockwarden.durable.files import DurableError
from dockwarden.evidence.seals import SourceName

SEEN_DEPTH = 2
SEEN_FOLDERS = 1000
SEEN_ENTRIES = 20_000
"""How much of a folder is looked at to find a profile."""


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
        walk = Walk(self._tree, self._root, self._profile.limits, self._where, self._lasting)
        walk.run()
        found = sorted(walk.found, key=lambda file: file.raw)
        self._check_root()
        self._unlisted = walk.unlisted
        self._listed = {file.raw: file.identity for file in found}
        newest = max((file.identity.modified_ns for file in found), default=None)
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

    def _source(self, file: Found) -> SourceInfo:
        name = decode_name(file.raw)
        return SourceInfo(
            volume=self.volume,
            name=name,
            size=file.identity.size,
            modified_raw=file.identity.modified_ns // 1_000_000_000,
            marks=self._marks(name, file.mode),
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
    level, folders, wrong_s = [b""], set[str](), 0.0
    for _ in range(SEEN_DEPTH):
        found: list[bytes] = []
        for folder in level:
            began = time.monotonic()
            names = _subfolders(below(tree, folder))
            wrong_s += time.monotonic() - began if names is None else 0.0
            if wrong_s > WRONG_S:
                break
            found += [below(folder, name) for name in names or ()]
        level = found[: SEEN_FOLDERS - len(folders)]
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


def _subfolders(path: bytes) -> list[bytes] | None:
    """The names of a folder's folders; None where it cannot be read: listing the sources will tell."""
    try:
        with os.scandir(path) as entries:
            shown = islice(entries, SEEN_ENTRIES)  # a torn folder can be without end
            return sorted({entry.name for entry in shown if entry.is_dir(follow_symlinks=False)})
    except OSError:
        return None
