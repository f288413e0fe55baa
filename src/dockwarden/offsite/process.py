"""A child process that is watched: bounded words, no silence without end, and nothing left when it is given up."""

import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import IO, cast

from dockwarden.offsite.errors import OffsiteError

MOST_LINES = 200
LONGEST_LINE = 4096
LONGEST_ANSWER = 16 << 20
_STEP_S = 0.25
_GRACE_S = 5.0
# The kernel kills the child when the thread that started it dies: a killed agent leaves no orphan at work.
_TIED = ("setpriv", "--pdeathsig", "KILL", "--")


class Child:
    """A running command in a process group of its own; only `started` makes one.

    `idle_s` bounds the seconds in which nothing moves (`moved` was not called; `read` calls it for each piece).
    Reading raises OffsiteError: `timeout`, and `stopped` once `stop` is set.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        output: IO[bytes],
        errors: IO[bytes],
        where: str,
        idle_s: float,
        stop: Event,
    ) -> None:
        self.pid = process.pid
        self.words: deque[str] = deque(maxlen=MOST_LINES)
        self._process = process
        self._where = where
        self._idle_s = idle_s
        self._stop = stop
        self._output = output
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN | select.POLLHUP)
        self._listener = Thread(target=self._listen, args=(errors,), name="restic's words", daemon=True)
        self._listener.start()
        self.moved()

    def moved(self) -> None:
        """Something has gone on: the wait begins anew."""
        self._until = time.monotonic() + self._idle_s

    def read(self, size: int) -> bytes:
        """At most `size` bytes of what the command prints, none only at the end."""
        data = self._read(size)
        if data:
            self.moved()
        return data

    def lines(self) -> Iterator[bytes]:
        """Whole lines of what the command prints; the caller says when something has moved."""
        held = bytearray()
        while data := self._read(1 << 16):
            held += data
            *whole, rest = held.split(b"\n")
            yield from map(bytes, whole)
            held = bytearray(rest)
            if len(held) > LONGEST_ANSWER:
                raise OffsiteError("failed", "restic printed a line without end", self._where)
        if held:
            yield bytes(held)

    def answer(self) -> bytes:
        """All that the command prints."""
        held = bytearray()
        while data := self.read(1 << 16):
            held += data
            if len(held) > LONGEST_ANSWER:
                raise OffsiteError("failed", "restic printed without end", self._where)
        return bytes(held)

    def wait(self) -> int:
        """The exit code, once the command has ended by itself."""
        while True:
            self._check()
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(_STEP_S)
                self._listener.join(_GRACE_S)
                return code

    def close(self) -> None:
        """End the command and all that it has started, if it is still there."""
        for number in (signal.SIGINT, signal.SIGKILL):  # at SIGINT restic takes its lock away
            if self._process.poll() is not None:
                break
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
        self._process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._listener.join(_GRACE_S)
        self._output.close()

    def _read(self, size: int) -> bytes:
        while True:
            self._check()
            if self._poll.poll(_STEP_S * 1000):
                return os.read(self._output.fileno(), size)

    def _check(self) -> None:
        if self._stop.is_set():
            raise OffsiteError("stopped", "the work was stopped", self._where)
        if time.monotonic() > self._until:
            raise OffsiteError("timeout", f"nothing moved for {self._idle_s:g} s", self._where)

    def _listen(self, errors: IO[bytes]) -> None:
        with errors:
            while line := errors.readline(LONGEST_LINE):
                self.words.append(line.decode("utf-8", "replace"))


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, where: str, idle_s: float, stop: Event
) -> Iterator[Child]:
    """Start a command (an argument list) for the length of a block; `where` is what errors name.

    Raises OffsiteError `no-restic` where a program is missing.
    """
    try:
        process = subprocess.Popen(
            [*_TIED, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        raise OffsiteError("no-restic", f"cannot start restic: {error.strerror}", where) from error
    output, errors = cast(IO[bytes], process.stdout), cast(IO[bytes], process.stderr)
    child = Child(process, output, errors, where, idle_s, stop)
    try:
        yield child
    finally:
        child.close()
