"""A tool in the sandbox sees its inputs and nothing else, changes nothing, and ends when it must."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyseccomp
import pytest
from tests.media.media_samples import as_ordinary_user

from dockwarden.media import sandbox, syscalls
from dockwarden.media.errors import MediaError
from dockwarden.media.sandbox import Finished, Limits, run_confined

pytestmark = pytest.mark.system

QUICK = Limits(wall_s=20, cpu_s=20)
MIB = 1 << 20


@pytest.fixture(params=["whoever runs this", "an ordinary user"])
def user(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "an ordinary user":
        as_ordinary_user(monkeypatch)
    return str(request.param)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "original"
    path.write_bytes(b"evidence")
    path.chmod(0o644)
    return path


def python(code: str, *, limits: Limits = QUICK, **files: dict[str, Path]) -> Finished:
    inputs, outputs = files.get("inputs", {}), files.get("outputs", {})
    return run_confined(["python3", "-I", "-S", "-c", code], inputs=inputs, outputs=outputs, limits=limits)


def printed(code: str, **files: dict[str, Path]) -> str:
    done = python(code, **files)
    assert (done.returncode, done.reason) == (0, None), done
    return done.stdout.decode()


def test_the_tool_reads_its_input_and_sees_no_other_file(user: str, original: Path) -> None:
    if user == "an ordinary user" and os.geteuid() == 0:
        open_to_all(original)
    code = "import os; print(sorted(os.listdir('/')), os.listdir('/etc'), open('/in').read(), dict(os.environ))"
    seen = printed(code, inputs={"/in": original})
    assert seen.startswith("['dev', 'etc', 'in', 'lib', 'lib64', 'usr'] ")
    assert "passwd" not in seen
    assert "evidence" in seen
    assert str(original.parent) not in seen
    assert set(eval(seen[seen.index("{") :])) == {"PATH", "LC_ALL", "PWD"}  # noqa: S307 - our own text


def open_to_all(path: Path) -> None:
    """Let nobody reach a file of root's temporary folder."""
    for folder in path.parents:
        if folder.owner() == "root" and folder != Path("/") and "pytest" in folder.as_posix():
            folder.chmod(0o755)


def test_the_tool_has_its_three_streams_open_and_no_other_descriptor(original: Path) -> None:
    code = """
import os
for fd in range(64):
    try: os.fstat(fd); print(fd)
    except OSError: pass
"""
    assert printed(code, inputs={"/in": original}).split() == ["0", "1", "2"]


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/in', 'r+')",
        "os.truncate('/in', 0)",
        "os.chmod('/in', 0o777)",
        "os.utime('/in')",
        "os.unlink('/in')",
        "os.rename('/in', '/x')",
        "os.setxattr('/in', 'user.x', b'y')",
        "open('/new', 'w')",
        "open('/out/new', 'w')",
        "open('/dev/new', 'w')",
        "open('/usr/new', 'w')",
        "os.mkdir('/new')",
        "os.open('/in', os.O_RDWR | os.O_CREAT)",
        "open('/proc/self/mem')",
        "open('/etc/passwd')",
        "os.listdir('/sys')",
    ],
)
def test_the_tool_can_change_nothing_but_its_outputs(attempt: str, original: Path, tmp_path: Path) -> None:
    before = original.stat()
    code = f"import os\ntry: {attempt}\nexcept OSError: print('refused')\nelse: print('done')"
    assert printed(code, inputs={"/in": original}, outputs={"/out/a": tmp_path / "a"}) == "refused\n"
    assert original.read_bytes() == b"evidence"
    after = original.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "original"]


def test_what_the_tool_writes_into_its_output_arrives(tmp_path: Path) -> None:
    done = python("open('/out/a', 'w').write('made')", outputs={"/out/a": tmp_path / "a"})
    assert done == Finished(0, b"", "", None)
    assert (tmp_path / "a").read_text() == "made"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_an_output_that_exists_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(FileExistsError):
        python("open('/out/a', 'w').write('made')", outputs={"/out/a": tmp_path / "a"})
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX", "AF_PACKET"])
def test_there_is_no_socket_of_any_family(family: str) -> None:
    code = f"import socket\ntry: socket.socket(socket.{family})\nexcept OSError as e: print(e.errno)"
    assert printed(code) == "38\n"


DANGEROUS = [
    *("ptrace", "process_vm_readv", "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "bpf"),
    *("keyctl", "add_key", "request_key", "userfaultfd", "io_uring_setup", "perf_event_open", "socket"),
    *("socketpair", "open_by_handle_at", "name_to_handle_at", "init_module", "kexec_load", "fork", "vfork"),
    *("clone3", "memfd_create", "shmget", "msgget", "mknodat", "fsopen", "move_mount", "landlock_create_ruleset"),
    *("ioctl", "setuid", "setsid", "personality", "pidfd_getfd", "seccomp", "modify_ldt", "splice", "vmsplice"),
]


def test_dangerous_system_calls_do_not_exist_inside() -> None:
    numbers = {name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in DANGEROUS}
    known = {name: number for name, number in numbers.items() if number >= 0}
    assert len(known) > 30
    code = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for name, number in {known!r}.items():
    ctypes.set_errno(0)
    if libc.syscall(number, 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 38: print(name)
"""
    assert printed(code) == ""


def test_namespaces_and_other_processes_limits_stay_out_of_reach() -> None:
    numbers = [pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in ("clone", "prlimit64", "prctl")]
    code = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
clone, prlimit, prctl = {numbers!r}
for call in ((clone, 0x10000000), (clone, 0x00010000 | 0x10000000), (prlimit, 1, 7, 0, 0), (prctl, 22, 1)):
    ctypes.set_errno(0)
    print(libc.syscall(*call), ctypes.get_errno())
"""
    assert printed(code).split("\n")[:-1] == ["-1 38"] * 4


def test_a_fork_bomb_cannot_even_fork(user: str) -> None:
    code = "import os\ntry: os.fork()\nexcept OSError as e: print(e.errno)"
    assert printed(code) == "38\n"


def test_threads_are_bounded_for_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    as_ordinary_user(monkeypatch)
    code = """
import os, threading
gate, count = threading.Event(), 0
try:
    while count < 200:
        threading.Thread(target=gate.wait, daemon=True).start()
        count += 1
except RuntimeError: pass
print(count, flush=True)
os._exit(0)
"""
    done = python(code, limits=Limits(wall_s=20, memory=16 << 30, tasks=20))
    assert 10 < int(done.stdout) < 20


def test_memory_is_bounded() -> None:
    done = python("b = bytearray(300 << 20)", limits=Limits(wall_s=20, memory=200 * MIB))
    assert done.returncode == 1
    assert "MemoryError" in done.stderr_tail


def test_processor_time_is_bounded() -> None:
    done = python("while True: pass", limits=Limits(wall_s=30, cpu_s=1))
    assert done.reason == "timeout"


def test_standard_output_is_cut_at_its_limit_and_the_tool_killed() -> None:
    code = "import sys\nwhile True: sys.stdout.write('x' * 65536)"
    done = python(code, limits=Limits(wall_s=20, stdout=100_000))
    assert (done.reason, done.stdout) == ("output-limit", b"x" * 100_000)


def test_of_standard_error_the_end_is_kept() -> None:
    done = python("import sys; sys.stderr.write('x' * 300_000 + 'the end')")
    assert done.stderr_tail == "x" * (sandbox.STDERR_TAIL - 7) + "the end"


def test_an_output_file_is_bounded(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); open('/a', 'wb').write(bytes(9 << 20))"
    done = python(code, limits=Limits(wall_s=20, file_size=MIB), outputs={"/a": tmp_path / "a"})
    assert done.reason == "output-limit"
    assert (tmp_path / "a").stat().st_size == MIB


@pytest.mark.parametrize("closing", ["", "os.closerange(0, 64)"])
def test_the_wall_clock_kills_and_leaves_no_process(closing: str, user: str) -> None:
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    code = f"import os, time; {closing or 'pass'}; time.sleep(600) # {mark}"
    done = python(code, limits=Limits(wall_s=1))
    assert done.reason == "timeout"
    assert not running(mark)


def running(mark: str) -> list[bytes]:
    """Command lines on this machine that hold `mark`; a dying one has none left."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [line for line in found if mark.encode() in line]


def test_ignored_signals_do_not_save_the_tool() -> None:
    code = "import signal, time\nfor n in (1, 2, 3, 13, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(600)"
    assert python(code, limits=Limits(wall_s=1)).reason == "timeout"


def test_the_caller_can_stop_a_run() -> None:
    asked = threading.Event()
    timer = threading.Timer(0.5, asked.set)
    timer.start()
    done = run_confined(["sleep", "600"], inputs={}, limits=Limits(wall_s=60), stop=asked.is_set)
    timer.join()
    assert done.reason == "stopped"


def test_an_error_while_waiting_kills_the_tool_as_well() -> None:
    def stop() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_confined(["sleep", "600"], inputs={}, limits=Limits(wall_s=60), stop=stop)


def test_a_tool_that_a_signal_ends_says_which() -> None:
    done = python("import os; os.kill(os.getpid(), 9)")
    assert (done.returncode, done.reason) == (128 + signal.SIGKILL, None)


HOSTILE = {
    "newline": b"a\nb\n.mp4",
    "option": b"--ro-bind",
    "short option": b"-i",
    "gbk": "录".encode("gb18030") * 127 + b"x",
    "emoji": "🎥🚓".encode(),
    "lone bytes": b"\xff\xfe\x80",
    "shell": b"$(touch x); `id` | & ' \" \\",
    "escape": b"\\012\\040 \t\x1b[31m",
    "protocol": b"http:__x|concat:y",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_name_is_only_bytes_and_on_no_command_line(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / os.fsdecode(name) / os.fsdecode(name)
    path.parent.mkdir()
    path.write_bytes(b"evidence")
    commands = []
    start = subprocess.Popen

    def noting(command: list[str], **options: object) -> "subprocess.Popen[bytes]":
        commands.append(command)
        return start(command, **options)  # type: ignore[call-overload,no-any-return]  # passed on as they came

    monkeypatch.setattr(sandbox.subprocess, "Popen", noting)
    target = path.with_name(os.fsdecode(name[:-3] + b"out"))
    done = python("open('/o', 'w').write(open('/in').read())", inputs={"/in": path}, outputs={"/o": target})
    assert (done.returncode, target.read_bytes()) == (0, b"evidence")
    assert len(commands) == 1
    assert not [word for word in commands[0] if str(tmp_path) in word or word in ("--ro-bind", "-i")]


def test_a_path_relative_to_the_working_folder_is_found(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(original.parent)
    assert printed("print(open('/in').read())", inputs={"/in": Path("original")}) == "evidence\n"


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, original: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(original)
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "link", tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(MediaError) as caught:
            run_confined(["true"], inputs={"/in": path}, limits=QUICK)
        assert caught.value.code == "unreadable"


def test_no_descriptor_is_left_open(original: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    run_confined(["true"], inputs={"/in": original}, limits=QUICK)
    run_confined(["sleep", "9"], inputs={"/in": original}, limits=Limits(wall_s=0))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tools that takes the place of the machine's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("true", "nice", "prlimit", "bwrap"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setattr(sandbox, "TOOL_PATH", str(folder))
    return folder


@pytest.mark.parametrize("missing", ["bwrap", "prlimit", "nice"])
def test_without_a_part_of_the_sandbox_nothing_runs(
    missing: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / missing).unlink()
    monkeypatch.setattr(sandbox.subprocess, "Popen", None)
    with pytest.raises(MediaError, match=missing) as caught:
        run_confined(["true"], inputs={}, limits=QUICK)
    assert caught.value.code == "no-sandbox"


def test_a_machine_that_allows_no_namespaces_runs_nothing(machine: Path) -> None:
    (machine / "bwrap").unlink()
    (machine / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    (machine / "bwrap").chmod(0o755)
    with pytest.raises(MediaError, match="No permissions") as caught:
        run_confined(["true"], inputs={}, limits=QUICK)
    assert caught.value.code == "no-sandbox"


def test_without_libseccomp_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    monkeypatch.setattr(sandbox.subprocess, "Popen", None)
    syscalls.compiled_filter.cache_clear()
    with pytest.raises(MediaError) as caught:
        run_confined(["true"], inputs={}, limits=QUICK)
    assert caught.value.code == "no-sandbox"


def test_a_tool_that_is_not_installed_is_named() -> None:
    with pytest.raises(MediaError, match="ffmpeg9 is not installed") as caught:
        run_confined(["ffmpeg9"], inputs={}, limits=QUICK)
    assert caught.value.code == "no-decoder"
    assert caught.value.to_object()["do"] == "Install ffmpeg."


def test_the_filter_is_whole_instructions_for_this_machine() -> None:
    code = syscalls.compiled_filter()
    assert len(code) % 8 == 0
    assert 50 < len(code) // 8 < 4096  # BPF_MAXINSNS
    assert (
        ctypes.c_uint16.from_buffer_copy(code).value == 0x20
    )  # loads the architecture first: BPF_LD | BPF_W | BPF_ABS
