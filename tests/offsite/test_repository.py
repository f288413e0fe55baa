"""Real restic against a real append-only server: what it does, what it refuses, and what is never shown."""

import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.offsite.samples import repository, stub

from dockwarden.offsite.errors import OffsiteError
from dockwarden.offsite.process import Child
from dockwarden.offsite.restic import Repository
from dockwarden.simulators.offsite_server import OffsiteServer, serve_restic

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OffsiteServer]:
    with serve_restic(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="module")
def made_once(server: OffsiteServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new repository; making one takes seconds, copying it none."""
    repository(tmp_path_factory.mktemp("made"), server.repository("made-once")).ensure()
    return server.directory / "made-once"


@pytest.fixture
def repo(server: OffsiteServer, made_once: Path, tmp_path: Path) -> Repository:
    shutil.copytree(made_once, server.directory / tmp_path.name)
    return repository(tmp_path / "settings", server.repository(tmp_path.name))


def files(base: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(data)
    return base


def folder_of(server: OffsiteServer, repo: Repository) -> Path:
    return server.directory / repo.where.strip("/").rpartition("/")[2]


def code(raised: "pytest.ExceptionInfo[OffsiteError]") -> str:
    assert all(raised.value.to_object().values())
    return raised.value.code


def arguments(pid: int) -> list[str]:
    """The command lines of a process and all below it."""
    found, waiting = [], [pid]
    while waiting:
        here = Path("/proc") / str(waiting.pop())
        found.append((here / "cmdline").read_bytes().decode())
        for listing in here.glob("task/*/children"):
            waiting += [int(word) for word in listing.read_text().split()]
    return found


def test_a_snapshot_holds_relative_paths_and_nothing_of_this_machine(repo: Repository, tmp_path: Path) -> None:
    base = files(tmp_path / "here", {"vault/ab/x/original": b"1" * 1000, "log/entries.jsonl": b"{}\n", "other": b"2"})
    (base / "vault").rename(tmp_path / "elsewhere")
    (base / "vault").symlink_to(tmp_path / "elsewhere")
    made = repo.backup(base, ["vault/ab/x", "log"], "st-01", "tag")
    assert made.complete
    assert repo.snapshots() == [made.snapshot]
    with repo.dump_tar(made.snapshot) as child, tarfile.open(fileobj=child, mode="r|") as tar:  # type: ignore[call-overload]  # it only reads
        names = [member.name for member in tar if member.isfile()]
        assert repo.ended(child) is None
    assert names == ["log/entries.jsonl", "vault/ab/x/original"]
    described = subprocess.run(
        ["restic", "cat", "snapshot", made.snapshot],
        env=repo._environment(),
        capture_output=True,
        check=True,
    ).stdout
    assert os.fsencode(tmp_path) not in described
    assert os.uname().nodename.encode() not in described or os.uname().nodename in "st-01"


def test_what_is_missing_is_told_by_reading_back_not_by_restic(repo: Repository, tmp_path: Path) -> None:
    base = files(tmp_path / "here", {"a": b"1"})
    assert repo.backup(base, ["a", "b"], "st-01", "tag").complete
    with pytest.raises(OffsiteError):
        repo.backup(base, ["b"], "st-01", "tag")


def test_restore_gives_just_the_folders_that_are_named(repo: Repository, tmp_path: Path) -> None:
    base = files(tmp_path / "here", {"v/a/o": b"1", "v/b/o": b"2", "log/e": b"3"})
    made = repo.backup(base, ["v", "log"], "st-01", "tag")
    repo.restore(made.snapshot, tmp_path / "out", 3, ["v/a", "log"])
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == ["e", "o"]
    assert (tmp_path / "out/v/a/o").read_bytes() == b"1"


def test_the_server_keeps_what_it_has(server: OffsiteServer, repo: Repository, tmp_path: Path) -> None:
    made = repo.backup(files(tmp_path / "here", {"a": b"1"}), ["a"], "st-01", "tag")
    with closing(HTTPConnection(server.url.split("/")[2], timeout=30)) as asking:
        asking.request("DELETE", f"/{tmp_path.name}/snapshots/{made.snapshot}")
        assert asking.getresponse().status == 403
    with subprocess.Popen(
        ["restic", "forget", "--prune", made.snapshot], env=repo._environment(), stderr=subprocess.PIPE, text=True
    ) as forget:
        assert forget.stderr is not None
        assert any("403 Forbidden" in line for line in forget.stderr)
        forget.kill()  # it would try again for most of a minute
        forget.stderr.read()
    repo.unlock()
    assert repo.snapshots() == [made.snapshot]
    repo.check(read_data=True)


def test_a_lock_that_a_killed_process_left_is_taken_away(server: OffsiteServer, repo: Repository) -> None:
    locks = folder_of(server, repo) / "locks"
    with subprocess.Popen(["restic", "check"], env=repo._environment(), stdout=subprocess.DEVNULL) as check:
        while not list(locks.iterdir()):
            time.sleep(0.001)
        check.kill()
    assert len(list(locks.iterdir())) == 1
    repo.check()
    assert list(locks.iterdir()) == []


@contextmanager
def backing_up(server: OffsiteServer, repo: Repository) -> Iterator[None]:
    """A restic that holds its lock: it backs up what comes by a pipe, and nothing comes."""
    locks = folder_of(server, repo) / "locks"
    command = ["restic", "backup", "--stdin", "--host", "st-01", "--tag", "tag"]
    with subprocess.Popen(
        command, env=repo._environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as running:
        try:
            while not list(locks.iterdir()):
                assert running.poll() is None
                time.sleep(0.001)
            yield
            assert running.poll() is None
        finally:
            running.kill()


def test_a_lock_of_a_living_process_is_respected(server: OffsiteServer, repo: Repository) -> None:
    with backing_up(server, repo), pytest.raises(OffsiteError) as raised:
        repo.check()
    assert code(raised) == "locked"


def test_a_wrong_password_is_told(repo: Repository) -> None:
    repo.password_file.write_text("another")
    with pytest.raises(OffsiteError) as raised:
        repo.ensure()
    assert code(raised) == "wrong-password"


def test_no_repository_and_no_server_are_told_apart(server: OffsiteServer, tmp_path: Path) -> None:
    with pytest.raises(OffsiteError) as raised:
        repository(tmp_path, server.repository("nothing")).repository_id()
    assert code(raised) == "no-repository"
    with pytest.raises(OffsiteError) as raised:
        repository(tmp_path, "rest:http://127.0.0.1:1/nothing/").ensure()
    assert code(raised) == "unreachable"


def test_a_repository_is_made_once_and_keeps_its_id(server: OffsiteServer, tmp_path: Path) -> None:
    new = repository(tmp_path, server.repository("new"))
    assert len(new.ensure()) == 64
    assert new.ensure() == new.repository_id()


def test_missing_settings_and_a_missing_restic_are_told(repo: Repository, tmp_path: Path) -> None:
    with pytest.raises(OffsiteError) as raised:
        replace(repo, binary="/nowhere/restic").ensure()
    assert code(raised) == "no-restic"
    with pytest.raises(OffsiteError) as raised:
        replace(repo, password_file=tmp_path / "nowhere").ensure()
    assert code(raised) == "no-settings"


def test_users_and_passwords_of_the_server_count_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    hashed = subprocess.run(["openssl", "passwd", "-apr1", "geheim"], capture_output=True, text=True, check=True)
    (tmp_path / "users").write_text(f"u:{hashed.stdout}")
    with serve_restic(tmp_path / "served", htpasswd=tmp_path / "users") as server:
        assert repository(tmp_path / "right", server.repository("r", "u:geheim")).ensure()
        wrong = repository(tmp_path / "wrong", server.repository("r", "u:hemmelig"))
        with pytest.raises(OffsiteError) as raised:
            wrong.ensure()
    assert code(raised) == "refused"
    assert "hemmelig" not in f"{raised.value} {wrong.where}"


def test_neither_password_nor_address_is_in_a_command_line(repo: Repository, tmp_path: Path) -> None:
    """Seen from outside, while restic runs; the address could hold credentials."""
    made = repo.backup(files(tmp_path / "here", {"a": os.urandom(3 << 20)}), ["a"], "st-01", "tag")
    with repo.dump_tar(made.snapshot) as child:
        assert child.read(100)  # it waits now until somebody reads the rest
        seen = " ".join(arguments(child.pid))
    assert "restic" in seen and made.snapshot in seen
    assert "pass word" not in seen
    assert repo.where not in seen


def test_a_stop_ends_restic_and_the_next_call_works(repo: Repository, tmp_path: Path) -> None:
    base = files(tmp_path / "here", {"a": os.urandom(8 << 20)})
    stopping = replace(repo, stop=threading.Event())
    made = repo.backup(base, ["a"], "st-01", "tag")
    children: list[Child] = []
    with pytest.raises(OffsiteError) as raised, stopping.dump_tar(made.snapshot) as child:
        children.append(child)
        stopping.stop.set()
        while child.read(1 << 16):
            pass
    assert code(raised) == "stopped"
    assert not Path(f"/proc/{children[0].pid}").exists()
    assert repo.backup(base, ["a"], "st-01", "tag").complete


def test_a_backup_that_was_killed_is_done_by_the_next(
    server: OffsiteServer, repo: Repository, tmp_path: Path
) -> None:
    """kill -9 in the middle, by a stand-in that kills the real restic when its first data has arrived."""
    data = folder_of(server, repo) / "data"
    killing = stub(
        tmp_path / "restic",
        f'restic "$@" & child=$!\nwhile [ -z "$(find \'{data}\' -type f)" ]; do sleep 0.01; done\n'
        "kill -KILL $child; wait $child",
    )
    base = files(tmp_path / "here", {"a": os.urandom(40 << 20)})
    with pytest.raises(OffsiteError):
        replace(repo, binary=killing).backup(base, ["a"], "st-01", "tag")
    assert repo.snapshots() == []
    made = repo.backup(base, ["a"], "st-01", "tag")
    assert repo.snapshots() == [made.snapshot]
    repo.check(read_data=True)


def test_an_incomplete_snapshot_is_not_called_complete(repo: Repository, tmp_path: Path) -> None:
    made = repo.backup(files(tmp_path / "here", {"a": b"1"}), ["a"], "st-01", "tag")
    summary = f'{{"message_type":"summary","snapshot_id":"{made.snapshot}"}}'
    unread = replace(repo, binary=stub(tmp_path / "restic", f"echo '{summary}'; exit 3"))
    assert not unread.backup(tmp_path / "here", ["a"], "st-01", "tag").complete


def test_a_summary_does_not_make_a_failure_a_success(repo: Repository, tmp_path: Path) -> None:
    for script in ('echo \'{"message_type":"summary","snapshot_id":"abcdef01"}\'; exit 1', "exit 0", "echo '[]'"):
        with pytest.raises(OffsiteError) as raised:
            replace(repo, binary=stub(tmp_path / "restic", script)).backup(tmp_path, ["a"], "st-01", "tag")
        assert code(raised) == "failed"


def test_a_snapshot_that_is_not_there_after_the_backup_is_an_error(repo: Repository, tmp_path: Path) -> None:
    script = 'test "$1" = list || echo \'{"message_type":"summary","snapshot_id":"abcdef01"}\''
    with pytest.raises(OffsiteError) as raised:
        replace(repo, binary=stub(tmp_path / "restic", script)).backup(tmp_path, ["a"], "st-01", "tag")
    assert code(raised) == "failed"


def test_a_backup_in_which_nothing_moves_is_given_up(repo: Repository, tmp_path: Path) -> None:
    """Restic goes on printing its status while it waits for a server: the same figures are no movement."""
    status = '{"message_type":"status","bytes_done":5}'
    script = stub(tmp_path / "restic", f"while :; do echo '{status}'; sleep 0.1; done")
    with pytest.raises(OffsiteError) as raised:
        replace(repo, binary=script, idle_s=1).backup(tmp_path, ["a"], "st-01", "tag")
    assert code(raised) == "timeout"
