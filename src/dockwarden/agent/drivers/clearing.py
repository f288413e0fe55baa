"""Removing files from a mounted device: one by one, each read once more while nobody can write to it.

A read lease (fcntl(2), F_SETLEASE) is had only where no program has the file open for writing, and a program that
wants to has to wait until it is given back; that it still holds is asked just before the file is removed. It does not
cover the name: between the last look at it and its removal another file could take it. On a volume that the bay
service made writable only the station can reach that view of it (docs/decisions/0013). In a plain folder anybody can;
then the removed file's own count of names tells, and `another-removed` says so.
"""

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from dockwarden.agent.drivers.reading import FileReader, Identity, broken, cause, open_reader
from dockwarden.agent.drivers.source import Reader, SourceError, SourceInfo
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.service.errors import ServiceError


@dataclass(frozen=True)
class WritableView:
    """A volume's root, opened so that names below it can be removed. `end` closes it and makes the volume read-only
    again; it raises OSError or ServiceError where that fails."""

    root: int
    end: Callable[[], None]


MakeWritable: TypeAlias = Callable[[], WritableView]
"""Raises OSError or ServiceError where the volume cannot be made writable."""


def open_folder(root: Path) -> MakeWritable:
    """For a device that is a plain folder: it is writable to whoever may write there."""

    def make() -> WritableView:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return WritableView(fd, lambda: os.close(fd))

    return make


def make_writable(make: MakeWritable, where: str) -> WritableView:
    """Make a volume writable. Raises SourceError `not-writable`."""
    try:
        return make()
    except (OSError, ServiceError) as error:
        raise SourceError("not-writable", where) from error


class FolderClearing:
    """A Clearing (see `source.Clearing`) of a mounted tree; `listed` is what the device showed of it last."""

    def __init__(self, view: WritableView, listed: Mapping[bytes, Identity], where: str) -> None:
        self._view = view
        self._listed = dict(listed)
        self._where = where
        self._open = True

    def remove(self, source: SourceInfo, proven: Callable[[Reader], bool]) -> None:
        """See Clearing."""
        listed = self._listed.get(source.name.raw)
        if listed is None:
            raise SourceError("vanished", self._where)
        try:
            with closing(open_reader(self._view.root, source, listed, True, self._where)) as reader:
                fd, _, _ = reader.place
                _take_lease(fd, self._where)
                if not proven(reader):
                    raise SourceError("changed", self._where)
                reader.check()
                self._remove(reader, source)
        except (OSError, DurableError) as error:
            raise broken(cause(error), self._view.root, self._where, 0, source.size) from error

    def close(self) -> None:
        """See Clearing."""
        if not self._open:
            return
        self._open = False
        try:
            self._view.end()
        except (OSError, ServiceError) as error:
            raise SourceError("not-writable", self._where) from error

    def _remove(self, reader: FileReader, source: SourceInfo) -> None:
        fd, folder, base = reader.place
        names = os.fstat(fd).st_nlink
        if fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
            raise SourceError("held-open", self._where)
        try:
            synced = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
            try:
                os.unlink(base, dir_fd=folder)
                if os.fstat(fd).st_nlink >= names:
                    raise SourceError("another-removed", self._where)
                OsFiles().fsync_folder(Path(f"/proc/self/fd/{synced}"))
            finally:
                os.close(synced)
        except OSError as error:
            found = broken(error, self._view.root, self._where, 0, source.size)
            if found.code in ("unplugged", "vanished"):
                raise found from error
            raise SourceError("not-removed", self._where) from error


def _take_lease(fd: int, where: str) -> None:
    """Keep others from writing to an open file until it is closed. Raises SourceError `held-open`."""
    try:
        # The kernel tells that somebody waits by a signal; the usual one would end the process, this one is ignored.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EIO):
            raise
        raise SourceError("held-open", where) from error
