"""A bad line: a TCP proxy on loopback that can be cut, held, slowed and closed, one byte stream each way."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

_PIECE = 16_384
_HOST = "127.0.0.1"


@dataclass
class _Line:
    """How the line is now. Every change wakes who waits."""

    held: bool = False
    refusing: bool = False
    delay_s: float = 0.0
    rate: int = 0
    closed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def set(self, name: str, value: object) -> None:
        with self.changed:
            setattr(self, name, value)
            self.changed.notify_all()

    def wait_until_open(self) -> bool:
        """Wait while the line is held; False once it is closed."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or not self.held)
            return not self.closed

    def sleep(self, seconds: float) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.closed, timeout=seconds)


class Network:
    """A proxy from `port` (chosen here) to `target_port`, both on loopback. Close it, or use it as a context."""

    def __init__(self, target_port: int) -> None:
        self._target = (_HOST, target_port)
        self._line = _Line()
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((_HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._accepting = self._start(self._accept)

    def cut(self) -> None:
        """Break every connection at once, as when a cable is pulled and both ends notice; new ones are taken."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _hang_up(pair)

    def refuse(self, refusing: bool = True) -> None:
        """Take no new connections (they are closed at once) until `refuse(False)`."""
        self._line.set("refusing", refusing)

    def pause(self) -> None:
        """Let nothing through, while connections stay open: a line that hangs. `resume` ends it."""
        self._line.set("held", True)

    def resume(self) -> None:
        """Let everything through again."""
        self._line.set("held", False)

    def delay(self, seconds: float) -> None:
        """Hold each piece so long, each way."""
        self._line.set("delay_s", seconds)

    def limit(self, rate: int) -> None:
        """Let at most `rate` bytes a second through, for each connection and way; 0 is no limit."""
        self._line.set("rate", rate)

    def close(self) -> None:
        """Break everything and return when all threads have ended."""
        self._line.set("closed", True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        self.cut()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, run: Callable[..., None], *arguments: socket.socket) -> threading.Thread:
        thread = threading.Thread(target=run, args=arguments, name="network", daemon=True)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._line.closed or self._line.refusing:
                near.close()
                continue
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(self._start(self._carry, near, far))

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Carry both ways; when one way ends the other is let finish, then both ends are closed."""
        back = self._start(self._pump, far, near)
        self._pump(near, far)
        back.join()
        with self._lock, suppress(ValueError):
            self._pairs.remove((near, far))
        near.close()
        far.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                self._line.sleep(self._line.delay_s)
                if not self._line.wait_until_open():
                    break
                started = time.monotonic()
                target.sendall(piece)
                if self._line.rate:
                    self._line.sleep(len(piece) / self._line.rate - (time.monotonic() - started))
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def _hang_up(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
