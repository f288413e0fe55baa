"""Stations that start in no time: a process that has imported everything once, and forks.

Each child is `dockwarden-sim` as its command line would make it, in a process of its own; only the two seconds of
importing are saved. A table of a thousand rows starts three thousand of them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Forker:
    """The process that forks; used as a context, which ends it and whatever it has started."""

    def __enter__(self) -> "Forker":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.forking"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def start(self, arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> int:
        """Start `dockwarden-sim` with arguments; what it says goes to the file `log`. Returns its process id."""
        pid = self._ask({"start": list(arguments), "environ": dict(environ), "log": str(log)})
        assert isinstance(pid, int)
        return pid

    def code(self, pid: int) -> int | None:
        """The exit code of a process, negative for a signal; None while it runs. Told once."""
        return self._ask({"code": pid})

    def end(self, pid: int, number: signal.Signals) -> int:
        """Send a signal and wait for the end; a process that does not end in half a minute is killed."""
        os.kill(pid, number)
        ends = time.monotonic() + 30
        while (code := self.code(pid)) is None:
            if time.monotonic() > ends:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        return code

    def _ask(self, what: dict[str, object]) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer


def serve() -> None:
    """Fork for each request, and tell exit codes, until there are no requests any more."""
    import dockwarden.simulators.cli

    running: set[int] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            answer: int | None = os.fork()
            if not answer:
                _become(asked)
            running.add(answer or 0)
        else:
            answer = _code(asked["code"], running)
        print(json.dumps(answer), flush=True)
    for pid in running:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    del dockwarden


def _become(asked: dict[str, object]) -> None:
    """Be `dockwarden-sim`; does not return."""
    from dockwarden.simulators.cli import main

    code = 1
    try:
        log = os.open(str(asked["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for old, new in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(old, new)
        os.environ.update(asked["environ"])  # type: ignore[arg-type]
        sys.argv = ["dockwarden-sim", *asked["start"]]  # type: ignore[misc]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _code(pid: int, running: set[int]) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        return None
    running.discard(pid)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    serve()
