"""An off-site server on loopback: `rclone serve restic`, append-only, as a bureau would run it."""

import re
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import IO, cast

_SERVING = re.compile(r"Serving restic REST API on (http\S+)")
_READY_S = 30.0
_GRACE_S = 10.0


@dataclass(frozen=True)
class OffsiteServer:
    """A running server: its base address (with a slash at the end), its process id and its folder."""

    url: str
    pid: int
    directory: Path

    def repository(self, name: str, user: str | None = None) -> str:
        """The address, as restic takes it, of the repository `name`; `user` is `name:password`."""
        base = self.url if user is None else self.url.replace("://", f"://{user}@", 1)
        return f"rest:{base}{name}/"


@contextmanager
def serve_restic(directory: Path, port: int = 0, htpasswd: Path | None = None) -> Iterator[OffsiteServer]:
    """Serve restic repositories below `directory` for the length of a block; port 0 takes a free one.

    `htpasswd` is a file of users and bcrypt or APR1 passwords; without it everybody on this machine may write.
    Raises RuntimeError where the server does not start.
    """
    command = ["rclone", "serve", "restic", "--append-only", "--config=", "--addr", f"127.0.0.1:{port}"]
    command += ["--htpasswd", str(htpasswd)] if htpasswd is not None else []
    process = subprocess.Popen(
        [*command, str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    words = _Words(cast(IO[str], process.stderr))
    try:
        yield OffsiteServer(words.wait_for_url(), process.pid, directory)
    finally:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        words.close()


class _Words:
    """Reads what the server says to the end, so that it never waits for a reader."""

    def __init__(self, source: IO[str]) -> None:
        self._last: deque[str] = deque(maxlen=20)
        self._url = ""
        self._told = Event()
        self._source = source
        self._thread = Thread(target=self._listen, name="the off-site server's words", daemon=True)
        self._thread.start()

    def wait_for_url(self) -> str:
        end = time.monotonic() + _READY_S
        while not self._told.wait(0.05) and time.monotonic() < end:
            pass
        if not self._url:
            raise RuntimeError(f"the off-site server does not start: {' '.join(self._last)[-500:]}")
        return self._url if self._url.endswith("/") else f"{self._url}/"

    def close(self) -> None:
        self._thread.join()
        self._source.close()

    def _listen(self) -> None:
        for line in self._source:
            self._last.append(line.strip())
            found = _SERVING.search(line)
            if found:
                self._url = found[1]
                self._told.set()
        self._told.set()
