"""A child is watched: silence, endless words and a stop all end it, with everything it has started."""

import time
from pathlib import Path
from threading import Event, Timer

import pytest
from tests.offsite.samples import stub

from dockwarden.offsite.errors import OffsiteError
from dockwarden.offsite.process import MOST_LINES, started

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def run(tmp_path: Path, script: str, idle_s: float = 30, stop: Event | None = None) -> tuple[bytes, int, list[str]]:
    command = [stub(tmp_path / "command", script)]
    with started(command, ENVIRONMENT, tmp_path, "here", idle_s, stop or Event()) as child:
        return child.answer(), child.wait(), list(child.words)


def gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.mark.system
def test_output_words_and_exit_code_are_all_given(tmp_path: Path) -> None:
    assert run(tmp_path, "echo out; echo word >&2; exit 3") == (b"out\n", 3, ["word\n"])


@pytest.mark.system
def test_words_are_bounded_to_the_last_ones(tmp_path: Path) -> None:
    _, _, words = run(tmp_path, "seq 100000 >&2")
    assert (len(words), words[-1]) == (MOST_LINES, "100000\n")


@pytest.mark.system
def test_silence_ends_it_with_all_that_it_has_started(tmp_path: Path) -> None:
    with pytest.raises(OffsiteError) as raised:
        run(tmp_path, f"sleep 600 & echo $! > {tmp_path}/pid; trap '' INT; wait", idle_s=0.5)
    assert raised.value.code == "timeout"
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.system
def test_a_child_that_closes_its_output_and_stays_is_ended_too(tmp_path: Path) -> None:
    with pytest.raises(OffsiteError) as raised:
        run(tmp_path, "exec >&-; sleep 600", idle_s=0.5)
    assert raised.value.code == "timeout"


@pytest.mark.system
def test_a_stop_ends_it_although_it_goes_on_talking(tmp_path: Path) -> None:
    stop = Event()
    timer = Timer(0.3, stop.set)
    timer.start()
    with pytest.raises(OffsiteError) as raised:
        run(tmp_path, "while :; do echo on; sleep 0.01; done", stop=stop)
    timer.join()
    assert raised.value.code == "stopped"


@pytest.mark.system
def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with started(["/nowhere/restic"], ENVIRONMENT, tmp_path, "here", 30, Event()) as child:
        assert child.answer() == b""
        assert child.wait() != 0
        assert "failed to execute" in "".join(child.words)


@pytest.mark.system
def test_what_moves_slowly_is_left_alone(tmp_path: Path) -> None:
    began = time.monotonic()
    output, code, _ = run(tmp_path, "for i in 1 2 3 4; do echo $i; sleep 0.4; done", idle_s=1)
    assert (output, code) == (b"1\n2\n3\n4\n", 0)
    assert time.monotonic() - began > 1
