"""What every test here rests on: one Hypothesis profile, and nothing left running."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadfile import LoadFileScheduling

# Two busy cores make no promise about time: pytest-timeout bounds a test, Hypothesis does not.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

GRACE_S = 5.0
VM = "tests/vm/"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """With `--dist=loadfile`, tests of a file stay together, and all of `tests/vm` do: their machine boots once."""
    return Together(config, log) if config.getvalue("dist") == "loadfile" else None


class Together(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return VM if nodeid.startswith(VM) else str(super()._split_scope(nodeid))


def children() -> set[int]:
    """The process ids of this process's children, those that nobody has waited for included."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in listing.read_text("ascii").split())
        except FileNotFoundError:  # the thread has ended meanwhile
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail a test that leaves a thread or a child process behind.

    Fixtures of wider scope (a module's broker) are set up before this one, so what they start is not the test's.
    """
    threads, processes = set(threading.enumerate()), children()
    yield
    ends = time.monotonic() + GRACE_S
    while True:
        left_threads = set(threading.enumerate()) - threads
        left_processes = children() - processes
        if not left_threads and not left_processes:
            return
        if time.monotonic() > ends:
            break
        time.sleep(0.02)
    pytest.fail(f"left running: threads {[t.name for t in left_threads]}, processes {sorted(left_processes)}")
