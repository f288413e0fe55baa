"""A real mosquitto on loopback, with a throw-away authority, mutual TLS and the product's own access rules."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dockwarden.centre import certificates, enrol
from dockwarden.centre.certificates import Pair
from dockwarden.service.errors import ServiceError
from dockwarden.wire import enrolment
from dockwarden.wire.topics import acl_lines

HOST = "127.0.0.1"

_READY_S = 20.0
_GRACE_S = 10.0
_ATTEMPTS = 5
_TALKATIVE = "log_type notice\nlog_type information\n"


@dataclass(frozen=True)
class Credentials:
    """Paths of PEM files for one client; its name is the certificate's common name, and its MQTT client id."""

    name: str
    authority: Path
    certificate: Path
    key: Path


class Mosquitto:
    """A mosquitto with the configuration file `config`, not running yet; what it says goes to the file `log`."""

    def __init__(self, config: Path, port: int, log: Path) -> None:
        self.port = port
        self.log = log
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start, and return when connections are taken. Raises ServiceError `broker` where that does not come."""
        if self._process is not None:
            return
        binary = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if binary is None:
            raise ServiceError("broker", "there is no mosquitto", "PATH", "Install the Debian package mosquitto.")
        if _listens(self.port):  # before ours is there: it would be taken for ours
            raise ServiceError("broker", "the port is taken", f"port {self.port}", "Choose another port.")
        with self.log.open("ab") as log:
            command = [binary, "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ends = time.monotonic() + _READY_S
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > ends:
                self.stop()
                last = self.log.read_text("utf-8", "replace")[-300:]
                raise ServiceError("broker", f"mosquitto does not start: {last}", str(self.log), "Read its log.")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it as a service manager would; nothing happens where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Take its power away."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it again on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay, nothing moves. `resume` ends it, `stop` does too."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Broker(Mosquitto):
    """A running broker of our own, whose clients get certificates from a throw-away authority in its folder."""

    host = HOST

    def __init__(self, folder: Path, port: int, authority: Pair) -> None:
        super().__init__(folder / "mosquitto.conf", port, folder / "mosquitto.log")
        self.folder = folder
        self._authority = authority
        _write(folder / "mosquitto.conf", (enrol.broker_config(folder, port, HOST) + _TALKATIVE).encode())

    def client(self, name: str) -> Credentials:
        """The files of the client `name` (a place's name), made when they are first asked for."""
        made = Credentials(
            name, self.folder / "ca.crt", self.folder / f"client-{name}.crt", self.folder / f"client-{name}.key"
        )
        if not made.certificate.exists():
            key = enrolment.new_tls_key()
            request = enrolment.certificate_request(name, key)
            _write(made.key, key)
            _write(made.certificate, certificates.issue_client(self._authority, name, request, datetime.now(UTC)))
        return made


@contextmanager
def running_broker(folder: Path, port: int = 0, centre: str = "centre") -> Iterator[Broker]:
    """Run a broker in `folder` for the length of a block; port 0 takes a free one. Raises ServiceError `broker`."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = datetime.now(UTC)
    authority = certificates.new_authority(centre, now)
    server = certificates.issue_server(authority, HOST, now)
    for name, data in {
        "ca.crt": authority.certificate,
        "server.crt": server.certificate,
        "server.key": server.key,
        "acl": "\n".join(acl_lines(centre)).encode() + b"\n",
    }.items():
        _write(folder / name, data)
    broker = _started(folder, port, authority)
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def running_mosquitto(config: Path, port: int, log: Path) -> Iterator[Mosquitto]:
    """Run mosquitto with a configuration that somebody else wrote, such as a centre's `setup`."""
    mosquitto = Mosquitto(config, port, log)
    mosquitto.start()
    try:
        yield mosquitto
    finally:
        mosquitto.stop()


def free_port() -> int:
    """A TCP port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _started(folder: Path, port: int, authority: Pair) -> Broker:
    for attempt in range(_ATTEMPTS):
        broker = Broker(folder, port or free_port(), authority)
        try:
            broker.start()
            return broker
        except ServiceError:
            if port or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("not reached")


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(b"")
    path.chmod(0o600)
    path.write_bytes(data)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False
