"""The machine as tests and people use it: plug, unplug, run a command, hear udev, put and get files."""

import itertools
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dockwarden.simulators.footage import copy
from dockwarden.simulators.vm.devices import (
    Emulated,
    Hub,
    Keyboard,
    Simulated,
    SimulatedCamera,
    SimulatedDisk,
    StorageDevice,
    UsbDevice,
    images_of,
)
from dockwarden.simulators.vm.errors import VmError
from dockwarden.simulators.vm.faults import Fault
from dockwarden.simulators.vm.qemu import BOOT_S, Booted, booted

SHARE = Path("/run/share")
"""Where the guest sees the shared folder."""

RUN_S = 120.0
WAIT_S = 30.0
_MARGIN_S = 30.0  # for the channel, beyond what the guest itself waits

Event = Mapping[str, str]


@dataclass(frozen=True)
class Result:
    """How a command in the guest ended: its code (None: killed when its time was up), output and errors."""

    code: int | None
    out: str
    err: str


@dataclass(frozen=True)
class Plugged:
    """A device that sits, or sat, in a port. `images` are those that it uses: copies, for a simulated one."""

    name: str
    device: UsbDevice
    images: tuple[Path, ...] = ()


class Machine:
    """A booted machine. Everything raises VmError: `refused`, `no-answer`, `bad-device`."""

    def __init__(self, running: Booted) -> None:
        self._running = running
        self._numbers = itertools.count(1)
        self._in: dict[str, Plugged] = {}

    @property
    def boot_s(self) -> float:
        """Seconds from the start to the first answer."""
        return self._running.boot_s

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._running.pid

    @property
    def plugged(self) -> tuple[Plugged, ...]:
        """What is plugged in, oldest first."""
        return tuple(self._in.values())

    def plug(self, device: UsbDevice) -> Plugged:
        """Plug a device in; returns before the guest has looked at it (see `wait_for`)."""
        name = f"usb{next(self._numbers)}"
        if isinstance(device, SimulatedDisk | SimulatedCamera):
            plugged = self._attach(name, device)
        else:
            plugged = Plugged(name, device, images_of(device))
            try:
                self._add(name, device)
            except VmError:
                self._drop(plugged)
                raise
        self._in[name] = plugged
        return plugged

    def unplug(self, plugged: Plugged) -> None:
        """Pull a device out, whatever is going on with it; returns when the kernel has let go of it."""
        device = plugged.device
        if isinstance(device, SimulatedDisk | SimulatedCamera):
            self._ask("unplug", port=int(device.port))
        else:
            self._running.qmp.do("device_del", id=plugged.name)
            self._running.qmp.await_deleted(plugged.name)
            self._forget(plugged)
        self._in.pop(plugged.name, None)

    @contextmanager
    def with_plugged(self, device: UsbDevice) -> Iterator[Plugged]:
        """A device that is plugged in for the length of a block."""
        plugged = self.plug(device)
        try:
            yield plugged
        finally:
            self.unplug(plugged)

    def unplug_all(self) -> None:
        """Pull everything out, what is behind a hub before the hub."""
        for plugged in reversed(self.plugged):
            self.unplug(plugged)

    def fault(self, plugged: Plugged, faults: Sequence[Fault]) -> None:
        """Give a simulated device other faults; its counts begin anew."""
        self._ask("fault", port=_usbip_port(plugged), faults=[fault.to_object() for fault in faults])

    def told(self, plugged: Plugged) -> Mapping[str, Any]:
        """What was done to a simulated device: `mode`, bytes `read` and `written`, and its `log`."""
        return self._ask("told", port=_usbip_port(plugged))

    def run(self, argv: Sequence[str | Path], timeout_s: float = RUN_S, given: str = "") -> Result:
        """Run a command as root in the guest; `given` is its input."""
        words = [str(word) for word in argv]
        answer = self._running.channel.ask("run", timeout_s + _MARGIN_S, argv=words, input=given, timeout_s=timeout_s)
        return Result(answer["code"], answer["out"], answer["err"])

    def check(self, argv: Sequence[str | Path], timeout_s: float = RUN_S) -> str:
        """Run a command that must succeed and return its output. Raises VmError `refused` with its errors."""
        ended = self.run(argv, timeout_s)
        if ended.code != 0:
            raise VmError("refused", f"ended with {ended.code}: {ended.err.strip()[-500:]}", str(argv[0]))
        return ended.out

    def now(self) -> int:
        """How many events udev has sent so far: where `wait_for` and `events` may begin."""
        return int(self._ask("events", since=1 << 40, match={}, wait_s=0)["next"])

    def events(self, since: int, match: Event | None = None) -> list[Event]:
        """Events since `now` was asked that have all properties of `match`."""
        found: list[Event] = self._ask("events", since=since, match=dict(match or {}), wait_s=0)["events"]
        return found

    def wait_for(self, since: int, match: Event, wait_s: float = WAIT_S) -> Event:
        """The first such event, which may still be to come. Raises VmError `no-answer` if it does not come."""
        asked = {"since": since, "match": dict(match), "wait_s": wait_s}
        answer = self._running.channel.ask("events", wait_s + _MARGIN_S, **asked)
        found: list[Event] = answer["events"]
        if not found:
            raise VmError("no-answer", f"no such event within {wait_s:g} s: {dict(match)}", "udev")
        return found[0]

    def put(self, source: Path, name: str) -> Path:
        """Copy a file or folder of the host into the shared folder; returns its path in the guest."""
        target = self._running.share / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        return SHARE / name

    def shared(self, name: str) -> Path:
        """Where the host has a file of the shared folder, which may not be there yet."""
        return self._running.share / name

    def get(self, path: Path, target: Path) -> Path:
        """Copy a file of the guest to the host."""
        name = f"got-{next(self._numbers)}"
        self.check(["cp", path, SHARE / name])
        return Path(shutil.move(self._running.share / name, target))

    def log(self) -> str:
        """What the guest's kernel has said since it started."""
        return self.check(["dmesg", "--notime"])

    def _ask(self, do: str, **asked: Any) -> Mapping[str, Any]:
        return self._running.channel.ask(do, WAIT_S + _MARGIN_S, **asked)

    def _attach(self, name: str, device: Simulated) -> Plugged:
        images = tuple(self._copied(image, f"{name}-{lun}.img") for lun, image in enumerate(images_of(device)))
        given = asdict(replace(device, image=images))
        del given["image"], given["port"]
        given["images"] = [str(SHARE / image.name) for image in images]
        given["kind"] = "camera" if isinstance(device, SimulatedCamera) else "disk"
        self._ask("plug", port=int(device.port), device=given)
        return Plugged(name, device, images)

    def _copied(self, image: Path, name: str) -> Path:
        target = self._running.share / name
        copy(image, target)
        return target

    def _add(self, name: str, device: Emulated) -> None:
        do, images = self._running.qmp.do, images_of(device)
        where = {"id": name, "bus": f"xhci{device.controller}.0", "port": device.port}
        if isinstance(device, Keyboard | Hub):
            do("device_add", driver="usb-kbd" if isinstance(device, Keyboard) else "usb-hub", **where)
        elif isinstance(device, StorageDevice):
            for lun, image in enumerate(images):
                file = {"driver": "file", "filename": str(image)}
                do("blockdev-add", driver="raw", node_name=f"{name}-{lun}", read_only=device.read_only, file=file)
            driver = "usb-uas" if device.uas else "usb-bot"
            # The kernel must not look before all LUNs are there.
            do("device_add", driver=driver, serial=device.serial, attached=False, **where)
            for lun in range(len(images)):
                disk = {"driver": "scsi-hd", "id": f"{name}-lun{lun}", "bus": f"{name}.0", "lun": lun}
                do("device_add", drive=f"{name}-{lun}", removable=True, **disk)
            do("qom-set", path=f"/machine/peripheral/{name}", property="attached", value=True)

    def _drop(self, plugged: Plugged) -> None:
        """Take back what of a device was added before it was refused."""
        undo = [("device_del", {"id": plugged.name})]
        undo += [("blockdev-del", {"node_name": f"{plugged.name}-{lun}"}) for lun in range(len(plugged.images))]
        for command, arguments in undo:
            with suppress(VmError):
                self._running.qmp.do(command, **arguments)

    def _forget(self, plugged: Plugged) -> None:
        """Let go of the images; QEMU holds them for a moment longer than the device."""
        for lun in range(len(plugged.images)):
            ends = time.monotonic() + WAIT_S
            while True:
                try:
                    self._running.qmp.do("blockdev-del", node_name=f"{plugged.name}-{lun}")
                    break
                except VmError:
                    if time.monotonic() > ends:
                        raise
                    time.sleep(0.05)


@contextmanager
def machine(boot_s: float = BOOT_S) -> Iterator[Machine]:
    """A machine for the length of a block. Raises VmError, see `qemu.booted`."""
    with booted(boot_s) as running:
        yield Machine(running)


def _usbip_port(plugged: Plugged) -> int:
    if not isinstance(plugged.device, SimulatedDisk | SimulatedCamera):
        raise VmError("bad-device", "only a simulated disk or camera has faults", plugged.name)
    return int(plugged.device.port)
