"""The backup engine: restic, driven so that no secret is in an argument and no failure passes for success.

The server is append-only: what is there stays. Nothing here forgets, prunes or overwrites; `unlock` takes away only
the locks that a killed process of this machine has left (the server allows that for locks alone).
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from dockwarden.offsite.errors import OffsiteError, explain, without_credentials
from dockwarden.offsite.process import Child, started

PATHS = "paths"
"""The list of what to back up, a line each, in the folder that a backup runs in."""

Result = TypeVar("Result")

_SOME_UNREAD = 3
_SLOWEST = 1_000_000  # bytes a second; a restore tells nothing of how far it is
_ID = re.compile(r"[0-9a-f]{64}")
_SHORT_ID = re.compile(r"[0-9a-f]{8,64}")
_PASSED = ("PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
# Restic keeps absolute paths in a snapshot's description, made with $PWD where that names the working folder.
# This name does so on every machine, so no path of ours gets into the repository.
_ANYWHERE = "/proc/self/cwd"


@dataclass(frozen=True)
class Made:
    """A snapshot's id; `complete` is False where some files could not be read (restic's exit code 3)."""

    snapshot: str
    complete: bool


@dataclass(frozen=True)
class Repository:
    """A restic repository. `repository_file` holds its address (which may hold credentials), `password_file` its
    password, `ca_file` the authority of the server's certificate; `cache` is a folder for restic's index cache and
    temporary files. `idle_s` bounds the seconds in which nothing moves; setting `stop` ends what runs.

    Every method raises OffsiteError. Opening a repository costs about half a second, so calls are few.
    """

    repository_file: Path
    password_file: Path
    cache: Path
    binary: str = "restic"
    ca_file: Path | None = None
    idle_s: float = 900.0
    stop: Event = field(default_factory=Event, compare=False, repr=False)

    @property
    def where(self) -> str:
        """The address as errors show it, without credentials."""
        for path in (self.repository_file, self.password_file):
            if not os.access(path, os.R_OK):
                raise OffsiteError(
                    "no-settings", "a file with the off-site address or password is missing", str(path)
                )
        return without_credentials(self.repository_file.read_text("utf-8", "replace").strip())

    def repository_id(self) -> str:
        """The repository's id, 64 hexadecimal digits: its generation. Raises `no-repository` where there is none."""
        found = _parse(self._ask("cat", "config", "--no-lock"))
        identity = found.get("id") if isinstance(found, dict) else None
        if not isinstance(identity, str) or not _ID.fullmatch(identity):
            raise OffsiteError("failed", "restic gave no repository id", self.where)
        return identity

    def ensure(self) -> str:
        """The repository's id; the repository is made where there is none."""
        try:
            return self.repository_id()
        except OffsiteError as error:
            if error.code != "no-repository":
                raise
        self._ask("init")
        return self.repository_id()

    def snapshots(self) -> list[str]:
        """The ids of all snapshots, 64 hexadecimal digits each, in no order."""
        lines = self._ask("list", "snapshots", "--no-lock").decode("ascii", "replace").split()
        return [line for line in lines if _ID.fullmatch(line)]

    def backup(self, base: Path, paths: Sequence[str], host: str, tag: str) -> Made:
        """Make one snapshot of `paths`, which are relative to the folder `base` and stand so in the snapshot.

        `host` and `tag` stand in its description. A path that is missing or unreadable is left out by restic, so
        only a read-back says what a snapshot holds. `base` must be writable: it takes the list of paths.
        """
        (base / PATHS).write_text("".join(f"{path}\n" for path in paths), "utf-8")
        command = ("backup", "--json", "--force", "--host", host, "--tag", tag, "--files-from-verbatim", PATHS)
        return self._unlocked(lambda: self._backup(base, command))

    @contextmanager
    def dump_tar(self, snapshot: str, path: str = "/") -> Iterator[Child]:
        """Stream a snapshot, or one folder of it, as tar; see `ended` for how it ended.

        Everything comes from the server: the local cache, which holds folder lists, is not used.
        """
        with self._started("dump", "--archive", "tar", "--no-cache", "--no-lock", snapshot, path) as child:
            yield child

    def ended(self, child: Child) -> OffsiteError | None:
        """How a stream ended that was read to its end: None where restic says that it gave all."""
        code = child.wait()
        return explain(code, child.words, self.where) if code else None

    def restore(self, snapshot: str, target: Path, size: int, paths: Sequence[str] = ()) -> None:
        """Restore a snapshot, or just these folders of it, below `target`; all of it comes from the server.

        `size`, about how many bytes that will be, decides how long it may take. Raises `damaged` where restic
        could not restore every file; it restores what it can.
        """
        only = [word for path in paths for word in ("--include", f"/{path}")]
        command = ("restore", "--no-cache", "--no-lock", "--target", str(target.absolute()), *only, snapshot)
        self._ask(*command, idle_s=self.idle_s + size / _SLOWEST)

    def check(self, read_data: bool = False) -> None:
        """Check the repository's structure, and with `read_data` every byte of it. Raises `damaged`."""
        self._unlocked(lambda: self._ask("check", "--no-cache", *(("--read-data",) if read_data else ())))

    def unlock(self) -> None:
        """Take stale locks away: of killed processes of this machine, or older than half an hour."""
        self._ask("unlock")

    def _unlocked(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except OffsiteError as error:
            if error.code != "locked":
                raise
        self.unlock()
        return work()

    def _backup(self, base: Path, command: Sequence[str]) -> Made:
        found: dict[str, Any] = {}
        with self._started(*command, folder=base) as child:
            moved: object = None
            for line in child.lines():
                message = _parse(line)
                if not isinstance(message, dict):
                    continue
                if message.get("message_type") == "summary":
                    found = message
                now = (message.get("bytes_done"), message.get("files_done"), message.get("message_type"))
                if now != moved:
                    moved = now
                    child.moved()
            code = child.wait()
            short = found.get("snapshot_id")
            if code not in (0, _SOME_UNREAD) or not isinstance(short, str) or not _SHORT_ID.fullmatch(short):
                raise explain(code, child.words, self.where)
        return Made(self._full_id(short), code == 0)

    def _full_id(self, short: str) -> str:
        if _ID.fullmatch(short):
            return short
        found = [snapshot for snapshot in self.snapshots() if snapshot.startswith(short)]
        if len(found) != 1:
            raise OffsiteError("failed", f"the snapshot {short} is not there after the backup", self.where)
        return found[0]

    def _ask(self, *command: str, idle_s: float | None = None) -> bytes:
        with self._started(*command, idle_s=idle_s) as child:
            answer = child.answer()
            code = child.wait()
            if code:
                raise explain(code, child.words, self.where)
            return answer

    @contextmanager
    def _started(self, *command: str, folder: Path | None = None, idle_s: float | None = None) -> Iterator[Child]:
        where = self.where
        self.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = () if self.ca_file is None else ("--cacert", str(self.ca_file.absolute()))
        words = (self.binary, *command[:1], *authority, *command[1:])
        wait_s = self.idle_s if idle_s is None else idle_s
        with started(words, self._environment(), folder or self.cache, where, wait_s, self.stop) as child:
            yield child

    def _environment(self) -> dict[str, str]:
        cache = str(self.cache.absolute())
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        return {
            **passed,
            "HOME": cache,
            "LANG": "C.UTF-8",
            "PWD": _ANYWHERE,
            "RESTIC_CACHE_DIR": cache,
            "RESTIC_PASSWORD_FILE": str(self.password_file.absolute()),
            "RESTIC_PROGRESS_FPS": "1",
            "RESTIC_REPOSITORY_FILE": str(self.repository_file.absolute()),
            "TMPDIR": cache,
        }


def _parse(text: bytes) -> Any:
    """What restic printed as JSON; None where it is something else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
