"""Runs in the guest as its first process: starts udev, then answers the host's requests.

The host writes a line of JSON on a virtio-serial port, `{"id", "do", …}`; the answer is a line with the same id, and
with `error` where it failed. Requests are answered side by side. Bytes that are no UTF-8 travel as lone surrogates.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dockwarden.simulators.vm.faults import fault_of
from dockwarden.simulators.vm.guest_events import Recorder
from dockwarden.simulators.vm.usb_camera import Camera
from dockwarden.simulators.vm.usb_disk import Disk, disk_description
from dockwarden.simulators.vm.usbip import Device, Ports

PORT_NAME = "dockwarden"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MODULES = ("virtio_console", "xhci_pci", "vhci-hcd", "usb_storage", "uas", "sd_mod")
_UDEVD = ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd")
_TRIGGERED = ("usb", "block", "virtio", "virtio-ports")
_MAX_WAIT_S = 30.0

Request = Mapping[str, Any]
Answer = dict[str, Any]


class Desk:
    """Answers requests; `write` takes a whole line."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._ports = Ports()
        self._events = Recorder()
        self._does: dict[str, Callable[[Request], Answer]] = {
            "run": run,
            "events": lambda asked: self._events.answer(asked["since"], asked["match"], asked["wait_s"]),
            "plug": self._plug,
            "unplug": self._unplug,
            "told": lambda asked: self._ports.told(asked["port"]),
            "fault": self._fault,
        }

    def say(self, answer: Answer) -> None:
        """Send an answer."""
        line = json.dumps(answer).encode("ascii") + b"\n"
        with self._lock:
            self._write(line)

    def take(self, line: bytes) -> None:
        """Begin to answer a request."""
        threading.Thread(target=self._answer, args=(json.loads(line),), daemon=True).start()

    def _answer(self, asked: Request) -> None:
        try:
            answer = self._does[asked["do"]](asked)
        except Exception as error:  # whatever it was, the host must hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        self.say({**answer, "id": asked["id"]})

    def _plug(self, asked: Request) -> Answer:
        self._ports.plug(asked["port"], device_of(asked["device"]))
        return {}

    def _unplug(self, asked: Request) -> Answer:
        self._ports.unplug(asked["port"])
        return {}

    def _fault(self, asked: Request) -> Answer:
        self._ports.fault(asked["port"], tuple(fault_of(given) for given in asked["faults"]))
        return {}


def device_of(given: Request) -> Device:
    """The simulated device that the host describes (`devices.SimulatedDisk`, `SimulatedCamera`)."""
    images = [Path(path) for path in given["images"]]
    faults = tuple(fault_of(fault) for fault in given["faults"])
    if given["kind"] == "camera":
        return Camera(images, given["serial"], given["password"].encode(), given["claims"], faults)
    return Disk(images, disk_description(given["serial"], given["claims"]), faults, given["read_only"])


def run(asked: Request) -> Answer:
    """Run a command to its end, or until `timeout_s`: then it and all that it has started is killed, code is None."""
    process = subprocess.Popen(
        asked["argv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
    )
    try:
        out, err = process.communicate(asked["input"], asked["timeout_s"])
        return {"code": process.returncode, "out": out, "err": err}
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return {"code": None, "out": out, "err": err}


def start_system() -> None:
    """What an init does, as far as udev and the tests need it."""
    for folder, kind in (("/dev/pts", "devpts"), ("/dev/shm", "tmpfs")):  # noqa: S108 - the guest's own
        Path(folder).mkdir(exist_ok=True)
        _do("mount", "-t", kind, kind, folder)
    Path("/run/udev").mkdir(exist_ok=True)
    _do("modprobe", "--all", *_MODULES)
    _do(next(path for path in _UDEVD if Path(path).exists()), "--daemon")
    _do("udevadm", "trigger", "--action=add", *(f"--subsystem-match={name}" for name in _TRIGGERED))
    _do("udevadm", "settle", "--timeout=30")


def _do(*command: str) -> None:
    """Run a step of the start; what it says goes to the console."""
    ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    if ended.returncode:
        print(f"guest: {command[0]} ended with {ended.returncode}", flush=True)


def channel() -> int:
    """Open the port to the host. Raises FileNotFoundError where there is none."""
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text("ascii").strip() == PORT_NAME:
            return os.open(f"/dev/{name.parent.name}", os.O_RDWR | os.O_CLOEXEC)
    raise FileNotFoundError(f"no virtio port {PORT_NAME}")


def write_all(fd: int, line: bytes) -> None:
    """Write a whole line to the host."""
    while line:
        line = line[os.write(fd, line) :]


def main() -> None:
    """The first process: never returns while the machine runs."""
    os.environ.update(PATH=PATH, HOME="/tmp", LANG="C.UTF-8")  # noqa: S108 - the guest's own
    start_system()
    fd = channel()
    desk = Desk(lambda line: write_all(fd, line))
    desk.say({"id": 0, "uptime_s": time.clock_gettime(time.CLOCK_BOOTTIME)})
    rest = b""
    while True:
        piece = os.read(fd, 1 << 16)
        if not piece:  # the host is not connected
            time.sleep(0.05)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            desk.take(line)


if __name__ == "__main__":
    main()
