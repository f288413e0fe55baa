"""A simulated device behind a port of vhci-hcd, the kernel's own USB/IP host controller.

The controller is given one end of a socket pair and speaks USB/IP on it (Documentation/usb/usbip_protocol.rst); no
network and no `usbip` tool take part. This runs in the guest. Each port has a thread that serves what sits in it.
"""

import errno
import socket
import struct
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from dockwarden.simulators.vm.descriptors import Description, described
from dockwarden.simulators.vm.devices import USBIP_PORTS, usbip_place
from dockwarden.simulators.vm.faults import Fault

CONTROLLER = Path("/sys/devices/platform/vhci_hcd.0")
"""The first of them: here devices are attached to whichever controller, by the kernel's own count of ports."""

CONTROLLERS = 2
HIGH_SPEED = 3
PORTS = CONTROLLERS * USBIP_PORTS
STALL = -errno.EPIPE

_HEAD = struct.Struct(">5IIiiii8s")
_SUBMIT, _UNLINK, _RET_SUBMIT, _RET_UNLINK = 1, 2, 3, 4
_FREE = "004"
_WAIT_S = 20.0
_AWAY_S = 0.3  # how long a camera is gone before it is back in another mode

Answer: TypeAlias = bytes | int | None
"""Data, or a count of bytes taken, or a negative errno; None: nothing yet (an interrupt endpoint without news)."""


class Gone(Exception):
    """The device has dropped off its port."""


@dataclass(frozen=True)
class Setup:
    """A control request."""

    kind: int
    request: int
    value: int
    index: int
    length: int


class Device(Protocol):
    """What sits in a port. Its methods are called from one thread and raise Gone when it drops off."""

    faults: tuple[Fault, ...]

    @property
    def description(self) -> Description:
        """What it says of itself."""

    def control(self, setup: Setup, data: bytes) -> Answer:
        """Answer a class or vendor request."""

    def bulk_out(self, endpoint: int, data: bytes) -> Answer:
        """Take data."""

    def bulk_in(self, endpoint: int, length: int) -> Answer:
        """Give at most `length` bytes."""

    def leaves(self) -> bool:
        """Whether the device drops off now that its answer is out."""

    def successor(self) -> "Device | None":
        """What it comes back as on the same port once it has dropped off."""

    def fault(self, faults: tuple[Fault, ...]) -> None:
        """Have these faults from now on; their places count as never read."""

    def told(self) -> dict[str, object]:
        """What has been done to it, as JSON."""


@dataclass
class _Seat:
    """A port with a device in it."""

    device: Device
    thread: threading.Thread | None = None
    line: socket.socket | None = None
    pulled: threading.Event = field(default_factory=threading.Event)


class Ports:
    """The high-speed ports 1 to 30 of the controllers, and what sits in each."""

    def __init__(self) -> None:
        self._seats: dict[int, _Seat] = {}
        self._lock = threading.Lock()

    def plug(self, port: int, device: Device) -> None:
        """Put a device into a free port. Raises ValueError, OSError."""
        if not 1 <= port <= PORTS:
            raise ValueError(f"the USB/IP controllers have ports 1 to {PORTS}, not {port}")
        with self._lock:
            seat = self._seats.get(port)
            if seat is not None and seat.thread is not None and seat.thread.is_alive():
                raise ValueError(f"port {port} is taken")
            seat = self._seats[port] = _Seat(device)
            seat.line = _attach(port, device)
            seat.thread = threading.Thread(target=_stay, args=(port, seat), name=f"usb port {port}", daemon=True)
            seat.thread.start()

    def unplug(self, port: int) -> None:
        """Pull out what is in a port, if anything still is; returns when the kernel has let go of it."""
        seat = self._seats.get(port)
        if seat is None or seat.thread is None:
            return
        seat.pulled.set()
        if seat.line is not None:
            _hang_up(seat.line)
        seat.thread.join(_WAIT_S)
        _await_free(port)

    def told(self, port: int) -> dict[str, object]:
        """What has been done to the device that is, or was last, in a port. Raises ValueError."""
        if port not in self._seats:
            raise ValueError(f"nothing has been in port {port}")
        return self._seats[port].device.told()

    def fault(self, port: int, faults: tuple[Fault, ...]) -> None:
        """Give the device in a port other faults. Raises ValueError."""
        if port not in self._seats:
            raise ValueError(f"nothing is in port {port}")
        self._seats[port].device.fault(faults)


def _stay(port: int, seat: _Seat) -> None:
    """Serve a port until its device is gone for good; a camera comes back in another mode."""
    while seat.line is not None:
        serve(seat.line, seat.device)
        seat.line.close()
        after = seat.device.successor()
        if after is None or seat.pulled.wait(_AWAY_S):
            return
        _await_free(port)
        seat.device = after
        seat.line = _attach(port, after)


def serve(line: socket.socket, device: Device) -> None:
    """Answer a controller's requests until the line ends or the device drops off."""
    waiting: set[int] = set()
    with suppress(OSError, Gone):
        while not device.leaves():
            fields = _HEAD.unpack(_take(line, _HEAD.size))
            command, seq, _, incoming, endpoint, flags, length = fields[:7]
            if command == _UNLINK:  # `flags` is the request to forget
                forgotten = flags in waiting
                waiting.discard(flags)
                line.sendall(_unlinked(seq, -errno.ECONNRESET if forgotten else 0))
                continue
            data = _take(line, length) if not incoming and length > 0 else b""
            answer = _answer(device, endpoint, bool(incoming), data, length, fields[10])
            if answer is None:
                waiting.add(seq)
            else:
                line.sendall(_submitted(seq, answer, bool(incoming), length if endpoint == 0 else len(data)))
    _hang_up(line)


def _answer(device: Device, endpoint: int, incoming: bool, data: bytes, length: int, setup: bytes) -> Answer:
    if endpoint == 0:
        return _controlled(device, Setup(*struct.unpack("<BBHHH", setup)), data)
    return device.bulk_in(endpoint, length) if incoming else device.bulk_out(endpoint, data)


def _controlled(device: Device, setup: Setup, data: bytes) -> Answer:
    """Answer what every device must (USB 2.0, 9.4); the rest is the device's own."""
    if setup.kind & 0x60:
        return device.control(setup, data)
    if setup.request == 6:
        told = described(device.description, setup.value, device.faults)
        return STALL if told is None else told[: setup.length]
    return {0: b"\0\0", 8: b"\1", 10: b"\0"}.get(setup.request, b"")


def _submitted(seq: int, answer: bytes | int, incoming: bool, sent: int) -> bytes:
    status, actual, data = 0, sent, b""
    if isinstance(answer, bytes):
        if incoming:
            actual, data = len(answer), answer
    elif answer < 0:
        status, actual = answer, 0
    else:
        actual = answer
    return struct.pack(">5Iiiiii8x", _RET_SUBMIT, seq, 0, 0, 0, status, actual, 0, 0, 0) + data


def _unlinked(seq: int, status: int) -> bytes:
    return struct.pack(">5Ii24x", _RET_UNLINK, seq, 0, 0, 0, status)


def _take(line: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = line.recv(length - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return bytes(data)


def _hang_up(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _attach(port: int, device: Device) -> socket.socket:
    """Hand one end of a new line to the controller and return the other."""
    ours, theirs = socket.socketpair()
    try:
        # port, descriptor, device id, speed; the kernel takes a reference of its own to the line
        (CONTROLLER / "attach").write_text(f"{_kernels(port)} {theirs.fileno()} {port} {HIGH_SPEED}", "ascii")
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours


def _await_free(port: int) -> None:
    """Wait until the controller has a port free again. Raises TimeoutError."""
    ends = time.monotonic() + _WAIT_S
    controller, _ = usbip_place(port)
    status = CONTROLLER / ("status" if not controller else f"status.{controller}")
    while _states(status.read_text("ascii").splitlines()).get(_kernels(port)) != _FREE:
        if time.monotonic() > ends:
            raise TimeoutError(f"port {port} does not become free")
        time.sleep(0.05)


def _kernels(port: int) -> int:
    """A port as the kernel counts them, from 0: each controller has as many again for USB 3."""
    controller, its = usbip_place(port)
    return controller * 2 * USBIP_PORTS + its - 1


def _states(lines: Iterable[str]) -> dict[int, str]:
    """Ports, as the kernel counts them, and states of a status file (hub, port, state, …)."""
    found = {}
    for line in lines:
        words = line.split()
        if words and words[0] == "hs":
            found[int(words[1])] = words[2]
    return found
