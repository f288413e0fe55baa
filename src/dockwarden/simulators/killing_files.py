"""Power cuts and failing disks, below everything that must not be lost: wrappers of `durable.files.Files`.

A *step* is a call that changes the disk; reading, closing and opening what is there are none. Each has a name, the
call and the last part of the path, in which drawn ids stand as `ID`: `fdatasync original`, `rename_new ID`, `commit`.
"""

import errno
import os
import re
import signal
import threading
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from dockwarden.durable.files import Commits, Files

When: TypeAlias = Literal["before", "after"]

KILL = "DOCKWARDEN_SIM_KILL"
"""`<step>:<before|after>[:<pattern of names>]`: kill this process there."""
FAIL = "DOCKWARDEN_SIM_FAIL"
"""The same, but the call fails (`before`), or fails although it was done (`after`)."""
STEPS = "DOCKWARDEN_SIM_STEPS"
"""A file to which the name of every step is appended, a line each."""

_ID = re.compile(r"[a-z2-7]{26}|[0-9a-f]{16,}")
_T = TypeVar("_T")


class WatchedFiles:
    """A Files whose steps go through `step(name, call)`, which calls `call` or does not."""

    def __init__(self, inner: Files) -> None:
        self._inner = inner
        self._names: dict[int, str] = {}

    def step(self, name: str, call: Callable[[], _T]) -> _T:
        """Do one step."""
        return call()

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """See OsFiles; making a file is a step."""
        if flags & os.O_CREAT and not path.exists():
            fd = self.step(_name("create", path), lambda: self._inner.open(path, flags, mode))
        else:
            fd = self._inner.open(path, flags, mode)
        self._names[fd] = path.name
        return fd

    def close(self, fd: int) -> None:
        """See OsFiles."""
        self._names.pop(fd, None)
        self._inner.close(fd)

    def pread(self, fd: int, buffer: memoryview, offset: int) -> int:
        """See OsFiles."""
        return self._inner.pread(fd, buffer, offset)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """See OsFiles."""
        self.step(self._of("pwrite", fd), lambda: self._inner.pwrite(fd, data, offset))

    def truncate(self, fd: int, size: int) -> None:
        """See OsFiles."""
        self.step(self._of("truncate", fd), lambda: self._inner.truncate(fd, size))

    def fallocate(self, fd: int, size: int) -> None:
        """See OsFiles."""
        self.step(self._of("fallocate", fd), lambda: self._inner.fallocate(fd, size))

    def fdatasync(self, fd: int) -> None:
        """See OsFiles; syncing a file that is open for reading only is a step too (publish does so)."""
        self.step(self._of("fdatasync", fd), lambda: self._inner.fdatasync(fd))

    def fsync_folder(self, path: Path) -> None:
        """See OsFiles."""
        self.step(_name("fsync_folder", path), lambda: self._inner.fsync_folder(path))

    def replace(self, source: Path, target: Path) -> None:
        """See OsFiles."""
        self.step(_name("replace", target), lambda: self._inner.replace(source, target))

    def rename_new(self, source: Path, target: Path) -> None:
        """See OsFiles."""
        self.step(_name("rename_new", target), lambda: self._inner.rename_new(source, target))

    def mkdir(self, path: Path) -> None:
        """See OsFiles."""
        self.step(_name("mkdir", path), lambda: self._inner.mkdir(path))

    def unlink(self, path: Path) -> None:
        """See OsFiles."""
        self.step(_name("unlink", path), lambda: self._inner.unlink(path))

    def rmtree(self, path: Path) -> None:
        """See OsFiles."""
        self.step(_name("rmtree", path), lambda: self._inner.rmtree(path))

    def commit(self, connection: Commits) -> None:
        """See OsFiles."""
        self.step("commit", lambda: self._inner.commit(connection))

    def _of(self, call: str, fd: int) -> str:
        return f"{call} {_ID.sub('ID', self._names.get(fd, '?'))}"


class CountingFiles(WatchedFiles):
    """Keeps the names of all steps in `steps`, and appends them to the file `log` where one is given."""

    def __init__(self, inner: Files, log: Path | None = None) -> None:
        super().__init__(inner)
        self.steps: list[str] = []
        self._log = log
        self._lock = threading.Lock()

    def step(self, name: str, call: Callable[[], _T]) -> _T:
        """See WatchedFiles. The name is kept before the step is done."""
        with self._lock:
            self.steps.append(name)
            if self._log is not None:
                with self._log.open("a", encoding="utf-8") as file:
                    file.write(f"{name}\n")
        return call()


class _CountedFiles(WatchedFiles):
    """Does something at the `step`-th (from 1) of the steps whose names fit `names` (fnmatch)."""

    def __init__(self, inner: Files, step: int, when: When, names: str = "*") -> None:
        if step < 1:
            raise ValueError("steps are counted from 1")
        super().__init__(inner)
        self._at, self._when, self._pattern = step, when, names
        self._count = 0
        self._lock = threading.Lock()

    def step(self, name: str, call: Callable[[], _T]) -> _T:
        """See WatchedFiles."""
        if not self._is_it(name):
            return call()
        if self._when == "before":
            self.strike(name)
        done = call()
        if self._when == "after":
            self.strike(name)
        return done

    def strike(self, name: str) -> None:
        """What happens at the step."""

    def _is_it(self, name: str) -> bool:
        if not fnmatchcase(name, self._pattern):
            return False
        with self._lock:
            self._count += 1
            return self._count == self._at


class KillingFiles(_CountedFiles):
    """Kills this process (SIGKILL: nothing is tidied up) before or after the step. What the kernel holds survives, as
    after a crash of the program; what a power cut would take is for the virtual machine to show."""

    def strike(self, name: str) -> None:
        """Does not return."""
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


class FailingFiles(_CountedFiles):
    """The step fails once with `code`: `before` it is done, or `after`, although it was done."""

    def __init__(self, inner: Files, step: int, when: When, names: str = "*", code: int = errno.EIO) -> None:
        super().__init__(inner, step, when, names)
        self._code = code

    def strike(self, name: str) -> None:
        """Raises OSError."""
        raise OSError(self._code, f"{os.strerror(self._code)} (simulated at: {name})")


def files_from_environment(environ: Mapping[str, str], inner: Files) -> Files:
    """Wrap `inner` as the variables KILL, FAIL and STEPS say. For `dockwarden-sim station` alone: the agent has no
    such setting. Raises ValueError for one that cannot be read."""
    files = inner
    if environ.get(KILL):
        step, when, names = _point(KILL, environ[KILL])
        files = KillingFiles(files, step, when, names)
    if environ.get(FAIL):
        step, when, names = _point(FAIL, environ[FAIL])
        files = FailingFiles(files, step, when, names)
    if environ.get(STEPS):
        files = CountingFiles(files, Path(environ[STEPS]))
    return files


def _point(variable: str, text: str) -> tuple[int, When, str]:
    found = re.fullmatch(r"([1-9][0-9]{0,8}):(before|after)(?::(.+))?", text)
    if not found:
        raise ValueError(f"{variable}: is not STEP:before or STEP:after, with an optional :PATTERN")
    return int(found[1]), "before" if found[2] == "before" else "after", found[3] or "*"


def _name(call: str, path: Path) -> str:
    return f"{call} {_ID.sub('ID', path.name)}"
