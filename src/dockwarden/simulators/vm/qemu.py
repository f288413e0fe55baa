"""QEMU as a process of ours: started with the host's root, watched while it boots, ended and cleaned up after.

Plain emulation (TCG) on purpose: no /dev/kvm, no rights, and the same on every machine.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dockwarden.simulators.vm.channel import Channel
from dockwarden.simulators.vm.devices import XHCI
from dockwarden.simulators.vm.errors import VmError
from dockwarden.simulators.vm.guest import PATH, PORT_NAME
from dockwarden.simulators.vm.kernel import initramfs, newest_kernel, unpacked
from dockwarden.simulators.vm.qmp import Qmp

GUEST_MODULE = "dockwarden.simulators.vm.guest"
BOOT_S = 180.0
MEMORY_MIB = 1536
_STEP_S = 0.05
_GRACE_S = 10.0
_TOLD = 25  # lines of the console in an error
# The kernel ends QEMU when the thread that started it dies: a killed test run leaves no machine behind.
_TIED = ("setpriv", "--pdeathsig", "KILL", "--")
_PROGRAM = "qemu-system-x86_64"
_Line = TypeVar("_Line", Qmp, Channel)
_APPEND = "console=ttyS0 panic=-1 quiet loglevel=4 tsc=unstable random.trust_cpu=on"


@dataclass(frozen=True)
class Booted:
    """A running machine: its process, its lines, its folder on the host, and how long it took to answer."""

    pid: int
    qmp: Qmp
    channel: Channel
    share: Path
    console: Path
    boot_s: float


@contextmanager
def booted(boot_s: float = BOOT_S, guest_module: str = GUEST_MODULE) -> Iterator[Booted]:
    """A machine for the length of a block; afterwards its process is ended and its folder gone.

    Raises VmError: `no-kernel`, `no-qemu`, and `no-boot` with the last words of the console.
    """
    if shutil.which(_PROGRAM) is None:
        raise VmError("no-qemu", f"{_PROGRAM} is not installed", "PATH")
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dockwarden-vm-")))
        share = folder / "share"
        share.mkdir()
        _write_boot_files(folder, guest_module)
        process = stack.enter_context(_process(folder))
        ends = began + boot_s
        qmp = _once_there(lambda: Qmp(folder / "qmp"), process, folder, ends)
        stack.callback(qmp.close)
        channel = _once_there(lambda: Channel(folder / "channel"), process, folder, ends)
        stack.callback(channel.close)
        while channel.await_ready(_STEP_S) is None:
            _check(process, folder, ends)
        boot = time.monotonic() - began
        yield Booted(process.pid, qmp, channel, share, folder / "console", boot)


def console_tail(console: Path, lines: int = _TOLD) -> str:
    """The last lines that the console printed."""
    try:
        text = console.read_text("utf-8", "replace")
    except FileNotFoundError:
        return "(nothing)"
    return "\n".join(text.replace("\r", "").strip().splitlines()[-lines:]) or "(nothing)"


def _write_boot_files(folder: Path, guest_module: str) -> None:
    kernel = newest_kernel()
    (folder / "kernel").write_bytes(unpacked(kernel.image.read_bytes()))
    # The interpreter that runs this also runs the guest's side, so the guest sees the same checkout and packages.
    variables = [f"PATH={PATH}", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}"]
    start = shlex.join(["/usr/bin/env", *variables, sys.executable, "-m", guest_module])
    (folder / "initramfs").write_bytes(initramfs(kernel, start))


def _command(folder: Path) -> list[str]:
    here = str(folder).replace(",", ",,")
    command = [_PROGRAM, "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]
    command += ["-m", str(MEMORY_MIB), "-display", "none", "-nodefaults", "-no-reboot"]
    command += ["-kernel", str(folder / "kernel"), "-initrd", str(folder / "initramfs"), "-append", _APPEND]
    command += ["-serial", f"file:{folder / 'console'}"]
    command += ["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]
    command += ["-virtfs", f"local,path={here}/share,mount_tag=share,security_model=none"]
    command += ["-chardev", f"socket,id=channel,path={here}/channel,server=on,wait=off"]
    command += ["-device", "virtio-serial-pci", "-device", f"virtserialport,chardev=channel,name={PORT_NAME}"]
    for number, name in XHCI.items():  # `pci-0000:00:10.0`: slot 0x10
        slot = name.rpartition(":")[2].partition(".")[0]
        command += ["-device", f"qemu-xhci,id=xhci{number},addr=0x{slot},p2=15,p3=15"]
    return [*command, "-qmp", f"unix:{here}/qmp,server=on,wait=off"]


@contextmanager
def _process(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            [*_TIED, *_command(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _once_there(connect: Callable[[], _Line], process: "subprocess.Popen[bytes]", folder: Path, ends: float) -> _Line:
    """Connect to a socket that QEMU is about to open."""
    while True:
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return connect()
        _check(process, folder, ends)
        time.sleep(_STEP_S)


def _check(process: "subprocess.Popen[bytes]", folder: Path, ends: float) -> None:
    """Raise VmError `no-boot` if QEMU has ended, or time is up."""
    if process.poll() is not None:
        said = (folder / "qemu.log").read_text("utf-8", "replace").strip()
        what = f"QEMU ended with {process.returncode}. {said}"
    elif time.monotonic() > ends:
        what = "the machine does not answer in time."
    else:
        return
    raise VmError("no-boot", f"{what}\nThe console's last words:\n{console_tail(folder / 'console')}", "boot")
