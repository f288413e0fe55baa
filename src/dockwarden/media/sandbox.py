"""Run one decoder confined: no network, nothing in sight but its inputs, every resource bounded.

`nice` and `prlimit` start `bwrap`, which starts the tool in namespaces of its own behind the filter of
`syscalls.py`. Inputs are bound read-only and outputs, one file each, under fixed inside names; their real
names travel to bwrap through a file descriptor, so that no name of a file or folder reaches any command line.
The tool sees /usr read-only, a read-only root, two device nodes, no /proc, no home, no environment. It can create no
file: what it may write are the named outputs, so the disk it can fill is their number times `file_size`.

It works as root and as an ordinary user. Where a part is missing it raises; it never runs unconfined.
"""

import contextlib
import json
import os
import select
import selectors
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Literal

from dockwarden.media.errors import MediaError
from dockwarden.media.syscalls import compiled_filter

TOOL_PATH = "/usr/local/bin:/usr/bin"
"""Where tools are looked for, outside and inside; both lie below /usr, which is what the sandbox shows."""

STDERR_TAIL = 4096
_TICK_S = 0.25
_END_S = 10.0
_CHUNK = 65536

Reason = Literal["timeout", "output-limit", "stopped"]


@dataclass(frozen=True)
class Limits:
    """Bounds of one run: seconds, bytes, counts.

    `memory` bounds the address space of the process (there is only one: it cannot fork). `tasks` bounds its
    threads; the kernel does not apply that to root, there only memory and time bound them.
    """

    wall_s: int = 60
    cpu_s: int = 120
    memory: int = 2 << 30
    file_size: int = 64 << 20
    stdout: int = 1 << 20
    tasks: int = 64
    open_files: int = 64


@dataclass(frozen=True)
class Finished:
    """What came of a run. `returncode` is the tool's, 128 + n where signal n ended it.

    `stderr_tail` is the last 4 KiB, written by the tool and so, in part, by whoever made the file.
    `reason` says why the run was cut short, None where the tool ended by itself.
    """

    returncode: int
    stdout: bytes
    stderr_tail: str
    reason: Reason | None


def run_forever() -> bool:
    """The `stop` of a caller that never stops."""
    return False


def run_confined(
    argv: Sequence[str],
    *,
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path] | None = None,
    limits: Limits,
    stop: Callable[[], bool] = run_forever,
) -> Finished:
    """Run the tool `argv[0]` and wait for it.

    `inputs` maps inside names such as "/in" to regular files, bound read-only. `outputs` maps inside names
    to files that must not exist yet: they are created empty (mode 0600), and what the tool left in them is
    the caller's to judge, also after a failure. `stop` is asked four times a second.

    Raises MediaError no-sandbox, no-decoder, unreadable. Every other end is a Finished.
    """
    _require_tool(argv[0])
    filter_code = compiled_filter()
    sources = {inside: _regular_file(path) for inside, path in inputs.items()}
    targets = {inside: _new_file(path) for inside, path in (outputs or {}).items()}
    with contextlib.ExitStack() as stack:
        filter_fd = stack.enter_context(_held(filter_code))
        names_fd = stack.enter_context(_held(_arguments(sources, targets)))
        status_read, status_write = os.pipe()
        status = stack.enter_context(os.fdopen(status_read, "rb", buffering=0))
        os.set_blocking(status_read, False)
        with os.fdopen(status_write, "wb", buffering=0):
            process = subprocess.Popen(
                _command(argv, limits, filter_fd, names_fd, status_write),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env={"PATH": TOOL_PATH, "LC_ALL": "C"},
                pass_fds=(filter_fd, names_fd, status_write),
                start_new_session=True,
            )
        with process:
            stdout, stderr, reason = _attend(process, status, limits, stop)
        # bwrap reports an exit code only of a tool that it has started
        started = reason is not None or _reported(status, "exit-code") is not None
    return _finished(process.returncode, stdout, stderr, reason, started)


def _finished(returncode: int, stdout: bytes, stderr: bytes, reason: Reason | None, started: bool) -> Finished:
    tail = stderr.decode("utf-8", "replace")
    if not started:
        raise MediaError("no-sandbox", f"the sandbox did not start: {_printable(tail)}", "bwrap")
    if returncode == 128 + signal.SIGXFSZ:
        reason = "output-limit"
    if returncode == 128 + signal.SIGXCPU:
        reason = "timeout"
    return Finished(returncode, stdout, tail, reason)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[-300:]).strip()


def _tool(name: str) -> str | None:
    return shutil.which(name, path=TOOL_PATH)


def _require_tool(name: str) -> None:
    if _tool(name) is None:
        raise MediaError("no-decoder", f"{name} is not installed", "sandbox")
    for part in ("bwrap", "prlimit", "nice"):
        if _tool(part) is None:
            raise MediaError("no-sandbox", f"{part} is not installed", "sandbox")


def _regular_file(path: Path) -> Path:
    """`path`, absolute, after a look that it is a readable regular file: a pipe or device could block."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise MediaError("unreadable", f"cannot be opened: {error.strerror}", "sandbox") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise MediaError("unreadable", "is not a regular file", "sandbox")
    finally:
        os.close(fd)
    return path.absolute()


def _new_file(path: Path) -> Path:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.close(fd)
    return path.absolute()


@contextlib.contextmanager
def _held(data: bytes) -> Iterator[int]:
    """A descriptor of an anonymous file that holds `data`, at its start."""
    fd = os.memfd_create("dockwarden")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def _command(argv: Sequence[str], limits: Limits, filter_fd: int, names_fd: int, status_fd: int) -> list[str]:
    return [
        # the bays come first: decoding only uses what intake leaves over
        *("nice", "-n", "10"),
        *("prlimit", f"--as={limits.memory}", f"--fsize={limits.file_size}"),
        *(f"--cpu={limits.cpu_s}:{limits.cpu_s + 5}", f"--nofile={limits.open_files}", "--core=0", "--"),
        *("bwrap", "--args", str(names_fd), "--seccomp", str(filter_fd)),
        *("--json-status-fd", str(status_fd), "--"),
        # set inside: counted per user namespace there, outside together with all of the user's processes
        *("prlimit", f"--nproc={limits.tasks}", "--"),
        *argv,
    ]


def _arguments(sources: Mapping[str, Path], targets: Mapping[str, Path]) -> bytes:
    """What bwrap reads from its descriptor: NUL-separated, so any name is just bytes."""
    head = [
        *("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
        *("--clearenv", "--setenv", "PATH", TOOL_PATH, "--setenv", "LC_ALL", "C"),
        *("--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
        *("--ro-bind-try", "/etc/alternatives", "/etc/alternatives"),
        *("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
        *("--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom"),
    ]
    words = [os.fsencode(word) for word in head]
    for option, files in ((b"--ro-bind", sources), (b"--bind", targets)):
        for inside, path in files.items():
            words += [option, os.fsencode(path), os.fsencode(inside)]
    words += [b"--remount-ro", b"/", b"--chdir", b"/"]
    return b"".join(word + b"\0" for word in words)


def _attend(
    process: "subprocess.Popen[bytes]", status: RawIOBase, limits: Limits, stop: Callable[[], bool]
) -> tuple[bytes, bytes, Reason | None]:
    """Collect both streams until the process has ended or must end; it is gone when this returns."""
    deadline = time.monotonic() + limits.wall_s
    out, err = bytearray(), bytearray()
    reason: Reason | None = None
    try:
        with selectors.DefaultSelector() as selector:
            assert process.stdout is not None and process.stderr is not None  # noqa: S101 - Popen made them
            selector.register(process.stdout, selectors.EVENT_READ, out)
            selector.register(process.stderr, selectors.EVENT_READ, err)
            while reason is None and selector.get_map():
                _read_ready(selector, _TICK_S)
                del err[:-STDERR_TAIL]
                reason = _cut(len(out) > limits.stdout, deadline, stop)
        while reason is None and not _ended(process, _TICK_S):
            reason = _cut(False, deadline, stop)
    finally:
        if process.poll() is None:
            _kill(process, status)
    return bytes(out[: limits.stdout]), bytes(err), reason


def _read_ready(selector: selectors.BaseSelector, timeout_s: float) -> None:
    for key, _ in selector.select(timeout_s):
        data = os.read(key.fd, _CHUNK)
        key.data.extend(data)
        if not data:
            selector.unregister(key.fileobj)


def _cut(overfull: bool, deadline: float, stop: Callable[[], bool]) -> Reason | None:
    if overfull:
        return "output-limit"
    if time.monotonic() > deadline:
        return "timeout"
    return "stopped" if stop() else None


def _ended(process: "subprocess.Popen[bytes]", timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: "subprocess.Popen[bytes]", status: RawIOBase) -> None:
    """Kill bwrap and the sandbox's init, and wait for the latter: the kernel lets it end last of all inside.

    A process that the kernel holds in a failing disk does not let go; it is not waited for beyond `_END_S`.
    """
    with contextlib.ExitStack() as stack:
        init = _reported(status, "child-pid")
        handle = None
        with contextlib.suppress(OSError):  # it may be gone, or not there yet: then bwrap's death is enough
            handle = os.pidfd_open(init) if init else None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if handle is None:
            return
        stack.callback(os.close, handle)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        ended.poll(_END_S * 1000)


def _reported(status: RawIOBase, key: str) -> int | None:
    """What bwrap has written about `key` so far: one JSON object a line."""
    for line in (status.read(_CHUNK) or b"").splitlines():
        with contextlib.suppress(ValueError):
            value = json.loads(line).get(key)
            if isinstance(value, int):
                return value
    return None
