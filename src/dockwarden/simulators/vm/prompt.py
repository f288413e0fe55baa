"""A small prompt to play with the machine by hand: plug, unplug, run a command, look at the logs."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dockwarden.simulators.vm.devices import SimulatedCamera, SimulatedDisk, UsbDevice, images_of, parse_device
from dockwarden.simulators.vm.errors import VmError
from dockwarden.simulators.vm.faults import parse_fault
from dockwarden.simulators.vm.machine import Event, Machine, Plugged

HELP = """\
plug storage|uas IMAGE[+IMAGE…] PORT [serial=S]        each image is a disk of the device
plug keyboard|hub PORT                                 ports: 3, or 1.2 for port 2 of a hub in 1; of the second
                               controller with controller=2
plug disk|camera IMAGE[+IMAGE…] PORT [serial=S] [claims=keyboard|network|unknown]… [fault=F]… [password=P]
                               simulated, with faults; ports 1 to 30
unplug NAME|all                pull a device out
fault NAME [F]…                other faults for a disk or camera: flip:at=4096,reading=1 (see docs/testing/vm.md)
devices                        what is plugged in, and what was done to it
events                         what udev has said since the last time
run CMD…                       run a command in the guest, as root, by its shell
log                            what the guest's kernel has said
help, quit"""

_SHOWN = (
    "ACTION",
    "SUBSYSTEM",
    "DEVTYPE",
    "DEVNAME",
    "ID_PATH",
    "ID_SERIAL_SHORT",
    "ID_USB_INTERFACES",
    "ID_FS_TYPE",
    "ID_FS_UUID",
)


@dataclass
class Prompt:
    """Understands a line at a time; `say` is given what a person should see."""

    machine: Machine
    say: Callable[[str], None]
    _seen: int = 0

    def take(self, line: str) -> bool:
        """Do what a line says; False once it says `quit`. What goes wrong is said, not raised."""
        try:
            words = shlex.split(line)
            if not words:
                return True
            name, rest = words[0], words[1:]
            if name == "quit":
                return False
            if name == "run":
                self._run(line.strip().removeprefix("run"))
            else:
                self._does().get(name, self._help)(rest)
        except (VmError, ValueError) as error:
            self.say(f"{error}")
        return True

    def _does(self) -> Mapping[str, Callable[[Sequence[str]], None]]:
        return {
            "plug": self._plug,
            "unplug": self._unplug,
            "fault": self._fault,
            "devices": self._devices,
            "events": self._events,
            "log": lambda _: self.say(self.machine.log().rstrip()),
        }

    def _help(self, _: Sequence[str]) -> None:
        self.say(HELP)

    def _plug(self, words: Sequence[str]) -> None:
        plugged = self.machine.plug(parse_device(words))
        self.say(f"{plugged.name}: {_described(plugged.device)}")

    def _unplug(self, words: Sequence[str]) -> None:
        if list(words) == ["all"]:
            self.machine.unplug_all()
        else:
            self.machine.unplug(self._named(words))

    def _fault(self, words: Sequence[str]) -> None:
        self.machine.fault(self._named(words[:1]), [parse_fault(word) for word in words[1:]])

    def _devices(self, _: Sequence[str]) -> None:
        for plugged in self.machine.plugged:
            self.say(f"{plugged.name}: {_described(plugged.device)}")
            if isinstance(plugged.device, SimulatedDisk | SimulatedCamera):
                self.say(f"  {json.dumps(dict(self.machine.told(plugged)))}")

    def _events(self, _: Sequence[str]) -> None:
        since, self._seen = self._seen, self.machine.now()
        for event in self.machine.events(since):
            self.say(_one_line(event))

    def _run(self, command: str) -> None:
        ended = self.machine.run(["/bin/sh", "-c", command])
        for text in (ended.out, ended.err):
            if text:
                self.say(text.rstrip("\n").encode("utf-8", "replace").decode())
        if ended.code != 0:
            self.say("killed: too slow" if ended.code is None else f"ended with {ended.code}")

    def _named(self, words: Sequence[str]) -> Plugged:
        for plugged in self.machine.plugged:
            if list(words) == [plugged.name]:
                return plugged
        raise VmError("bad-device", "say the name of a device that is plugged in", "devices")


def _described(device: UsbDevice) -> str:
    return " ".join([type(device).__name__, f"port {device.port}", *(image.name for image in images_of(device))])


def _one_line(event: Event) -> str:
    return " ".join(f"{name}={event[name]}" for name in _SHOWN if name in event)
