"""Every file below the root of a mounted volume, found without trusting its file system.

A torn or hostile file system shows trees without end, folders that repeat themselves, and files that hold more than
the disk. None of it keeps the walk busy: each folder is entered once, near ones first, what is wrong is counted, and
all files together are never longer than the disk.
"""

import os
import stat
import time
from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from dockwarden.agent.drivers.profiles import Limits
from dockwarden.agent.drivers.reading import Identity, broken, disk_size
from dockwarden.agent.drivers.source import Unlisted, decode_name

MOST_TOLD = 1000
"""How many things that are no source are told by name; each goes into quarantine by itself."""

MOST_WRONG = 100
"""How many entries of one folder may be wrong: what has more is no folder, whatever its file system says."""

WRONG_S = 2.0
"""How many seconds may be spent on entries that turn out wrong. The kernel follows a chain of clusters that leads in
a circle for up to half a second, and each entry can have such a chain. What is right is never cut off by time."""

MOST_FOLDERS = 20_000
MOST_NAME_BYTES = 32 << 20
"""How long the paths of all files may be together: they are all kept in memory."""

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A file as the walk saw it; `raw` is its path below the root. There may be very many."""

    raw: bytes
    identity: Identity
    mode: int


class _Full(Exception):
    """No more is listed."""


@dataclass
class Walk:
    """What is below `tree`, open as `root`; `where` is what errors name. `run` fills `found` and `unlisted`."""

    tree: Path
    root: int
    limits: Limits
    where: str
    lasting: bool
    found: list[Found] = field(default_factory=list)
    unlisted: list[Unlisted] = field(default_factory=list)
    _untold: int = 0
    _bytes_left: int | None = None
    _name_bytes: int = 0
    _since: float = field(default_factory=time.monotonic)
    _wrong_s: float = 0.0
    _folders: deque[bytes] = field(default_factory=deque)
    _entered: set[int] = field(default_factory=set)

    def run(self) -> None:
        """List everything, or as much as the limits allow. Raises SourceError where the root cannot be listed."""
        status = os.fstat(self.root)
        self._bytes_left = disk_size(self.root)
        self._entered.add(status.st_ino)
        self._folders.append(b"")
        try:
            while self._folders:
                self._list(self._folders.popleft(), status.st_dev)
        except _Full as full:
            self.unlisted.append(Unlisted(decode_name(full.args[0]), full.args[1]))
        if self._untold:
            what = f"is one of {self._untold + 1} more that are no files or cannot be read"
            self.unlisted[-1] = Unlisted(self.unlisted[-1].name, what)

    def _list(self, folder: bytes, volume: int) -> None:
        seen, wrong = set[bytes](), 0
        with closing(self._entries(folder)) as entries:
            for raw, status in entries:
                if isinstance(status, OSError):
                    reason: str | None = f"cannot be looked at: {status.strerror}"
                elif raw in seen:
                    reason = "is shown twice by its folder"
                else:
                    reason = self._taken(raw, status, volume)
                seen.add(raw)
                if reason is not None:
                    self._leave(raw, reason)
                    wrong += 1
                if wrong > MOST_WRONG:
                    self._leave(folder, f"holds more than {MOST_WRONG} things that are no files: no more are listed")
                    return

    def _entries(self, folder: bytes) -> Generator[tuple[bytes, os.stat_result | OSError], None, None]:
        """The entries of a folder, never through a link."""
        try:
            with os.scandir(below(os.fsencode(self.tree), folder)) as entries:
                for entry in entries:
                    raw = below(folder, entry.name)
                    try:
                        yield raw, entry.stat(follow_symlinks=False)
                    except OSError as error:
                        yield raw, error
        except OSError as error:
            if not folder:
                raise broken(error, self.root, self.where, 0, 0) from error
            self._leave(folder, f"a folder that cannot be read: {error.strerror}")

    def _taken(self, raw: bytes, status: os.stat_result, volume: int) -> str | None:
        """Take a file to list or a folder to enter, or say why not."""
        if status.st_dev != volume:
            return "belongs to another file system"
        if len(raw) > self.limits.name_bytes:
            return f"its path is longer than {self.limits.name_bytes} bytes"
        if stat.S_ISDIR(status.st_mode):
            return self._enter(raw, status)
        if stat.S_ISREG(status.st_mode):
            return self._find(raw, status)
        return f"is {_KINDS.get(stat.S_IFMT(status.st_mode), 'of an unknown kind')}, no file"

    def _enter(self, raw: bytes, status: os.stat_result) -> str | None:
        if status.st_ino in self._entered:
            return "is a folder that lies elsewhere, too"
        if raw.count(b"/") >= self.limits.depth:
            return f"lies more than {self.limits.depth} folders deep"
        if len(self._entered) > MOST_FOLDERS:
            raise _Full(raw, f"more than {MOST_FOLDERS} folders: no more are listed")
        self._entered.add(status.st_ino)
        self._folders.append(raw)
        self._since = time.monotonic()
        return None

    def _find(self, raw: bytes, status: os.stat_result) -> str | None:
        if self._bytes_left is not None:
            if status.st_size > self._bytes_left:
                return f"claims {status.st_size} bytes, more than the disk has beside the other files"
            self._bytes_left -= status.st_size
        self._name_bytes += len(raw)
        if len(self.found) >= self.limits.files:
            raise _Full(raw, f"more than {self.limits.files} files: no more are listed")
        if self._name_bytes > MOST_NAME_BYTES:
            raise _Full(raw, f"the names are longer than {MOST_NAME_BYTES >> 20} MiB: no more are listed")
        self.found.append(Found(raw, Identity.of(status, self.lasting), status.st_mode))
        self._since = time.monotonic()
        return None

    def _leave(self, raw: bytes, reason: str) -> None:
        """Something is no source."""
        if len(self.unlisted) < MOST_TOLD:
            self.unlisted.append(Unlisted(decode_name(raw[: self.limits.name_bytes]), reason))
        else:
            self._untold += 1
        now = time.monotonic()
        self._wrong_s, self._since = self._wrong_s + now - self._since, now
        if self._wrong_s > WRONG_S:
            raise _Full(raw, "what is wrong with the file system takes too long: no more are listed")


def below(folder: bytes, name: bytes) -> bytes:
    """The path of something in a folder; either may be empty."""
    return b"/".join(part for part in (folder, name) if part)
