"""Plays cases in a process of their own that may crash, hang or grow: each is told, and the next ones go on."""

import json
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

LIMIT_S = 10.0
MOST_BYTES = 300 << 20
STATION_BYTES = 100 << 20
"""What a station has before it does anything; only what a case adds is measured here, since the process is a copy of
whatever started it."""
_ADDRESSES = 2 << 30
"""Address space of the playing process: what grows without end fails in it and not in the machine."""

_GONE_S, _GRACE_S = 20.0, 2.0


Case: TypeAlias = int | str


@dataclass(frozen=True)
class Played:
    """One case: how it ended, what is wrong (None: nothing), seconds, and a station's peak of memory with it."""

    case: Case
    outcome: str
    wrong: str | None = None
    seconds: float = 0.0
    rss_bytes: int = 0


class Stuck(Exception):
    """A process that even SIGKILL does not end: the kernel holds it."""

    def __init__(self, played: Played) -> None:
        super().__init__(played.wrong)
        self.played = played


def watched(play: Callable[[Any], str], cases: Sequence[Case], limit_s: float = LIMIT_S) -> Iterator[Played]:
    """Play the cases in turn. `play` returns the outcome's name; what it raises is wrong. Raises Stuck."""
    left = list(cases)
    while left:
        for played in _run(play, left, limit_s):
            left.remove(played.case)
            yield played


def _run(play: Callable[[Any], str], cases: Sequence[Case], limit_s: float) -> Iterator[Played]:
    """Play until all is done or the process ends; the case that ended it is told last."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _play_all(play, cases, writing)
    os.close(writing)
    current: Case | None = cases[0]
    where, hangs, status = "", False, 0
    try:
        for line in _lines(reading, limit_s):
            if line is None:
                hangs, where = True, _where(pid)
                break
            told = json.loads(line)
            if "begun" in told:
                current = told["begun"]
            else:
                current = None
                yield Played(**told)
    finally:
        os.close(reading)
        status = _end(pid, at_once=hangs)
        if status is None:
            raise Stuck(Played(-1 if current is None else current, "stuck", f"SIGKILL does not end it: {where}"))
    if current is not None:
        what = f"no end within {limit_s:g} s: {where}" if hangs else f"the process ended with status {status}"
        yield Played(current, "hang" if hangs else "crash", what)


def _play_all(play: Callable[[Any], str], cases: Sequence[Case], writing: int) -> None:
    """In the playing process; never returns."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _forget_peak()
    before = _peak()
    for case in cases:
        os.write(writing, json.dumps({"begun": case}).encode() + b"\n")
        _forget_peak()
        began, outcome, wrong = time.monotonic(), "error", None
        try:
            outcome = play(case)
        except BaseException:
            wrong = traceback.format_exc()[-2000:]
        seconds, peak = time.monotonic() - began, STATION_BYTES + max(0, _peak() - before)
        if wrong is None and (seconds > LIMIT_S or peak > MOST_BYTES):
            wrong = f"{seconds:.1f} s, {peak >> 20} MiB"
        os.write(writing, json.dumps(asdict(Played(case, outcome, wrong, round(seconds, 3), peak))).encode() + b"\n")
    os._exit(0)


def _lines(reading: int, limit_s: float) -> Iterator[bytes | None]:
    """Lines as they come, until the end of the pipe; None where none comes within `limit_s`."""
    rest = b""
    while True:
        if not select.select([reading], [], [], limit_s)[0]:
            yield None
        piece = os.read(reading, 1 << 16)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def _end(pid: int, at_once: bool) -> int | None:
    """Wait for the process, end it where it does not by itself; its status, None where even SIGKILL does nothing."""
    began = time.monotonic()
    while time.monotonic() < began + _GONE_S:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if at_once or time.monotonic() > began + _GRACE_S:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return None


def _where(pid: int) -> str:
    """Where in the kernel a process stands, as far as that may be known."""
    found = []
    for name in ("wchan", "stack"):
        with suppress(OSError):
            found.append(Path(f"/proc/{pid}/{name}").read_text("ascii", "replace").strip())
    return " ".join(found)


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def _peak() -> int:
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
