"""A body camera that must be asked before it is a disk: dialect C of Ambarella cameras (USB 4255:0001).

A control request 85 carries a 64-byte packet, `A1120012` and the password; request 85 inwards answers 10 bytes whose
third is 1 where the password was right. Then `A1230023` with request 80 is "be a disk": the camera drops off and
comes back on the same port, with the same serial number, as mass storage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dockwarden.simulators.vm.descriptors import CLAIMS, VENDOR, Claim, Description
from dockwarden.simulators.vm.faults import Fault
from dockwarden.simulators.vm.usb_disk import Disk, disk_description
from dockwarden.simulators.vm.usbip import STALL, Answer, Setup

_OUT, _IN = 0x40, 0xC0
_LOGIN, _DISK_MODE = 85, 80
_PASSWORD, _BE_A_DISK = bytes.fromhex("a1120012"), bytes.fromhex("a1230023")


def camera_description(serial: str | None, claims: Sequence[Claim]) -> Description:
    """How a camera describes itself before it is a disk."""
    return Description(0x4255, 0x0001, "RIG", "BODYCAM", serial, (VENDOR, *(CLAIMS[claim] for claim in claims)))


@dataclass
class Camera:
    """A device of USB/IP (see `usbip.Device`) in the camera's own mode; `faults` are of the disk that it becomes."""

    images: Sequence[Path]
    serial: str | None
    password: bytes
    claims: Sequence[Claim] = ()
    faults: tuple[Fault, ...] = ()
    log: list[str] = field(default_factory=list)
    _logged_in: bool = False
    _leaves: bool = False

    @property
    def description(self) -> Description:
        """See Device."""
        return camera_description(self.serial, self.claims)

    def control(self, setup: Setup, data: bytes) -> Answer:
        """See Device."""
        asked = (setup.kind, setup.request)
        if asked == (_OUT, _LOGIN) and data[:4] == _PASSWORD:
            self._logged_in = data[4:].rstrip(b"\0") == self.password
            self.log.append("login" if self._logged_in else "wrong password")
            return b""
        if asked == (_IN, _LOGIN):
            return bytes([0xA1, 0x12, int(self._logged_in)]).ljust(10, b"\0")
        if asked == (_OUT, _DISK_MODE) and data[:4] == _BE_A_DISK and self._logged_in:
            self.log.append("disk mode")
            self._leaves = True
            return b""
        self.log.append(f"refused request {setup.request}")
        return STALL

    def bulk_out(self, endpoint: int, data: bytes) -> Answer:
        """See Device."""
        return STALL

    def bulk_in(self, endpoint: int, length: int) -> Answer:
        """See Device."""
        return None

    def leaves(self) -> bool:
        """See Device."""
        return self._leaves

    def successor(self) -> Disk | None:
        """See Device."""
        if not self._leaves:
            return None
        return Disk(self.images, disk_description(self.serial, self.claims), self.faults, log=self.log)

    def fault(self, faults: tuple[Fault, ...]) -> None:
        """See Device."""
        self.faults = faults

    def told(self) -> dict[str, object]:
        """See Device."""
        return {"mode": "camera", "read": 0, "written": 0, "log": self.log[-100:]}
