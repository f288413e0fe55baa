"""A simulated mass-storage device: Bulk-Only Transport (USB MSC BOT 1.0) with a small SCSI disk behind each LUN."""

import os
import struct
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dockwarden.simulators.vm.descriptors import CLAIMS, DISK, Claim, Description
from dockwarden.simulators.vm.faults import SECTOR, Fault
from dockwarden.simulators.vm.usbip import STALL, Answer, Gone, Setup

_GOOD, _FAILED = 0, 1
_READ, _WRITE = 0x28, 0x2A
_QUIETLY_GOOD = {0x00, 0x1B, 0x1E, 0x35}  # test unit ready, start/stop, prevent removal, synchronise cache
_MEDIUM, _ILLEGAL, _ABORTED = (3, 0x11), (5, 0x20), (0xB, 0)
_NO_SENSE = (0, 0)
_KEYBOARD_IN = 3


def disk_description(serial: str | None, claims: Sequence[Claim], model: str = "BODYCAM") -> Description:
    """How a camera describes itself while it is a disk."""
    return Description(0x4255, 0x0002, "RIG", model, serial, (DISK, *(CLAIMS[claim] for claim in claims)))


@dataclass
class _Command:
    """The command that is under way (the wrapper's fields), and how many bytes of it are still to be written."""

    tag: int = 0
    length: int = 0
    lun: int = 0
    position: int = 0
    left: int = 0


@dataclass
class Disk:
    """A device of USB/IP (see `usbip.Device`) that shows the images as disks, with faults on all of them."""

    images: Sequence[Path]
    description: Description
    faults: tuple[Fault, ...] = ()
    read_only: bool = False
    log: list[str] = field(default_factory=list)
    _now: _Command = field(default_factory=_Command)
    _ready: deque[bytes | int] = field(default_factory=deque)
    _sense: tuple[int, int] = _NO_SENSE
    _read: int = 0
    _written: int = 0
    _times: Counter[Fault] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        flags = os.O_RDONLY if self.read_only else os.O_RDWR
        self._fds = [os.open(image, flags | os.O_CLOEXEC) for image in self.images]

    def control(self, setup: Setup, data: bytes) -> Answer:
        """See Device."""
        if (setup.kind, setup.request) == (0xA1, 0xFE):
            return bytes([len(self._fds) - 1])
        if (setup.kind, setup.request) == (0x21, 0xFF):  # bulk-only reset
            self._now, self._sense = _Command(), _NO_SENSE
            self._ready.clear()
        return b""

    def bulk_out(self, endpoint: int, data: bytes) -> Answer:
        """See Device."""
        if self._now.left:
            self._store(data)
            return len(data)
        if len(data) != 31 or data[:4] != b"USBC":
            return STALL
        _, tag, length, _, lun, _, block = struct.unpack("<4sIIBBB16s", data)
        self._now = _Command(tag, length, min(lun, len(self._fds) - 1))
        self._run(block)
        return len(data)

    def bulk_in(self, endpoint: int, length: int) -> Answer:
        """See Device."""
        if endpoint == _KEYBOARD_IN:
            return None  # no key is pressed
        if not self._ready:
            return STALL
        first = self._ready.popleft()
        if isinstance(first, bytes) and len(first) > length:
            self._ready.appendleft(first[length:])
            return first[:length]
        return first

    def leaves(self) -> bool:
        """See Device."""
        return False

    def successor(self) -> None:
        """See Device."""
        for fd in self._fds:
            os.close(fd)

    def fault(self, faults: tuple[Fault, ...]) -> None:
        """See Device."""
        self.faults = faults
        self._times.clear()
        self._read = 0

    def told(self) -> dict[str, object]:
        """See Device."""
        return {"mode": "disk", "read": self._read, "written": self._written, "log": self.log[-100:]}

    def _run(self, block: bytes) -> None:
        """Start a SCSI command."""
        op = block[0]
        if op in (_READ, _WRITE):
            (sector,), (count,) = struct.unpack(">I", block[2:6]), struct.unpack(">H", block[7:9])
            self._transfer(op, sector * SECTOR, count * SECTOR)
        elif op in _QUIETLY_GOOD:
            self._finish(_GOOD, self._now.length)
        elif op == 0x12 and not block[1] & 1:
            self._give(b"\0\x80\6\2\x1f\0\0\0" + b"RIG     BODYCAM         1.00")
        elif op == 0x03:
            key, code = self._sense
            self._sense = _NO_SENSE
            self._give(bytes([0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, 0, 0, 0, 0, 0]))
        elif op == 0x25:
            self._give(struct.pack(">II", self._capacity() // SECTOR - 1, SECTOR))
        elif op == 0x1A:
            self._give(bytes([3, 0, 0x80 if self.read_only else 0, 0]))
        else:
            self._fail(_ILLEGAL)

    def _transfer(self, op: int, start: int, length: int) -> None:
        if op == _WRITE:
            self.log.append(f"write {start}+{length}")
            self._now.position, self._now.left = start, length
            if not length:
                self._finish(_GOOD)
            return
        try:
            self._give(self._wire(start, length))
        except _SenseError as error:
            self._fail(error.sense)

    def _wire(self, start: int, length: int) -> bytes:
        """What the host gets of the disk's bytes. Raises _SenseError, Gone."""
        data = bytearray(os.pread(self._fds[self._now.lun], length, start))
        data += b"\0" * (length - len(data))  # behind the true end of a disk that claims more
        for fault in self._due(start, length):
            if fault.kind in ("bad-sector", "stall"):
                self.log.append(f"{fault.kind} in {start}+{length}")
                raise _SenseError(_MEDIUM if fault.kind == "bad-sector" else _ABORTED)
            if fault.kind == "flip":
                self.log.append(f"flip at {fault.at}")
                data[fault.at - start] ^= 1
            if fault.kind == "short":
                self.log.append(f"short in {start}+{length}")
                del data[max(0, len(data) - fault.length) :]
            if fault.kind == "slow":
                time.sleep(length / fault.rate)
        self._read += len(data)
        for fault in self.faults:
            if fault.kind == "unplug" and self._read > fault.at:
                self.log.append(f"unplug after {self._read}")
                raise Gone
        return bytes(data)

    def _due(self, start: int, length: int) -> list[Fault]:
        """The faults of a reading, each counted where it has a place."""
        due = []
        for fault in self.faults:
            if fault.kind == "slow":
                due.append(fault)
            elif fault.kind in ("flip", "bad-sector", "stall", "short") and fault.covers(start, length):
                self._times[fault] += 1
                if fault.reading in (None, self._times[fault]):
                    due.append(fault)
        return due

    def _store(self, data: bytes) -> None:
        position = self._now.position
        kept = next((fault for fault in self.faults if fault.kind == "lost-write" and position >= fault.at), None)
        if kept is None and not self.read_only:
            os.pwrite(self._fds[self._now.lun], data, position)
        self._written += len(data)
        self._now.position += len(data)
        self._now.left = max(0, self._now.left - len(data))
        if not self._now.left:
            self._finish(_GOOD)

    def _capacity(self) -> int:
        size = os.fstat(self._fds[self._now.lun]).st_size
        more = sum(fault.length for fault in self.faults if fault.kind == "capacity")
        return max(SECTOR, (size + more) // SECTOR * SECTOR)

    def _give(self, data: bytes) -> None:
        sent = data[: self._now.length]
        if sent:
            self._ready.append(sent)
        self._finish(_GOOD, self._now.length - len(sent))

    def _fail(self, sense: tuple[int, int]) -> None:
        self._sense = sense
        if self._now.length:
            self._ready.append(STALL)
        self._finish(_FAILED, self._now.length)

    def _finish(self, status: int, residue: int = 0) -> None:
        self._ready.append(struct.pack("<4sIIB", b"USBS", self._now.tag, residue, status))


class _SenseError(Exception):
    """A command ends with this sense key and code."""

    def __init__(self, sense: tuple[int, int]) -> None:
        super().__init__(sense)
        self.sense = sense
