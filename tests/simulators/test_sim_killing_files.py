"""Files that kill, fail and count: at the step that was asked for, and nowhere else."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dockwarden.durable.files import DurableError, Files, OsFiles, make_folder, publish, write_durably
from dockwarden.simulators.killing_files import (
    FAIL,
    KILL,
    STEPS,
    CountingFiles,
    FailingFiles,
    KillingFiles,
    WatchedFiles,
    files_from_environment,
)

STEPS_OF_A_WRITE = ["create .ID.part", "pwrite .ID.part", "fdatasync .ID.part", "replace note", "fsync_folder folder"]

PROGRAM = """
import os, sys
from pathlib import Path
from dockwarden.durable.files import OsFiles, write_durably
from dockwarden.simulators.killing_files import files_from_environment
files = files_from_environment(os.environ, OsFiles())
write_durably(files, Path(sys.argv[1]), b"new")
"""


def work(files: Files, root: Path) -> None:
    """Every durable call at least once."""
    staged, target = root / "staged", root / "vault" / ("a" * 26)
    make_folder(files, staged)
    write_durably(files, staged / "seal.note", b"seal")
    fd = files.open(staged / "original", os.O_RDWR | os.O_CREAT)
    files.fallocate(fd, 8192)
    files.pwrite(fd, b"bytes", 0)
    files.truncate(fd, 5)
    files.fdatasync(fd)
    assert files.pread(fd, memoryview(bytearray(5)), 0) == 5
    files.close(fd)
    publish(files, staged, target)
    files.unlink(target / "seal.note")
    files.rmtree(target)
    with closing(sqlite3.connect(root / "db")) as connection:
        connection.execute("CREATE TABLE t (a)")
        files.commit(connection)


def test_a_durable_write_has_five_steps_that_are_named_without_what_is_drawn(tmp_path: Path) -> None:
    files = CountingFiles(OsFiles())
    folder = tmp_path / "folder"
    folder.mkdir()
    write_durably(files, folder / "note", b"old")
    assert files.steps == STEPS_OF_A_WRITE
    write_durably(files, folder / "note", b"new")
    assert files.steps == STEPS_OF_A_WRITE * 2


def test_all_calls_go_through_and_every_one_that_changes_the_disk_is_a_step(tmp_path: Path) -> None:
    files = CountingFiles(OsFiles(), tmp_path / "steps")
    work(files, tmp_path)
    calls = {name.split()[0] for name in files.steps}
    assert calls == {
        *("create", "pwrite", "truncate", "fallocate", "fdatasync", "fsync_folder"),
        *("replace", "rename_new", "mkdir", "unlink", "rmtree", "commit"),
    }
    assert "rename_new ID" in files.steps
    assert (tmp_path / "steps").read_text("utf-8").splitlines() == files.steps


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(1, len(STEPS_OF_A_WRITE) + 1))
def test_a_process_is_killed_at_just_the_step_and_the_file_is_old_or_new(
    tmp_path: Path, step: int, when: str
) -> None:
    note, steps = tmp_path / "note", tmp_path / "steps"
    note.write_bytes(b"old")
    environ = {**os.environ, KILL: f"{step}:{when}", STEPS: str(steps)}
    ran = subprocess.run([sys.executable, "-c", PROGRAM, str(note)], env=environ, check=False, timeout=120)
    assert ran.returncode == -signal.SIGKILL
    assert len(steps.read_text("utf-8").splitlines()) == step
    renamed = step > 4 or (step == 4 and when == "after")
    assert note.read_bytes() == (b"new" if renamed else b"old")


def test_a_program_without_the_variables_runs_on_the_real_files() -> None:
    real = OsFiles()
    assert files_from_environment({}, real) is real


@pytest.mark.parametrize("text", ["0:before", "x", "3", "3:during", "-1:after", "3:before:"])
def test_a_variable_that_cannot_be_read_is_an_error_that_names_it(text: str) -> None:
    for variable in (KILL, FAIL):
        with pytest.raises(ValueError, match=variable):
            files_from_environment({variable: text}, OsFiles())


def test_a_step_can_be_chosen_among_those_of_a_name(tmp_path: Path) -> None:
    files = FailingFiles(OsFiles(), 2, "before", "replace note*")
    write_durably(files, tmp_path / "note", b"1")
    write_durably(files, tmp_path / "other", b"2")
    with pytest.raises(DurableError):
        write_durably(files, tmp_path / "note", b"3")
    write_durably(files, tmp_path / "note", b"4")
    assert (tmp_path / "note").read_bytes() == b"4"


@pytest.mark.parametrize(("when", "kept"), [("before", b"old"), ("after", b"new")])
def test_a_step_fails_or_fails_although_it_was_done(tmp_path: Path, when: str, kept: bytes) -> None:
    (tmp_path / "note").write_bytes(b"old")
    files = files_from_environment({FAIL: f"1:{when}:replace*"}, OsFiles())
    with pytest.raises(DurableError) as caught:
        write_durably(files, tmp_path / "note", b"new")
    assert caught.value.code == "io-error"
    assert (tmp_path / "note").read_bytes() == kept


def test_a_full_disk_can_be_played_too(tmp_path: Path) -> None:
    files = FailingFiles(OsFiles(), 1, "before", "pwrite*", errno.ENOSPC)
    with pytest.raises(DurableError) as caught:
        write_durably(files, tmp_path / "note", b"new")
    assert caught.value.code == "disk-full"


def test_steps_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        KillingFiles(OsFiles(), 0, "before")


def test_a_wrapper_that_only_watches_changes_nothing(tmp_path: Path) -> None:
    work(WatchedFiles(OsFiles()), tmp_path)
    assert (tmp_path / "vault").is_dir()
