"""How the station gets a volume of its own bay writable: a socket of the bay service, beside what it tells.

One connection is one volume. The station sends a line `{"bay", "stay", "volume"}`; the service answers `ok` with the
descriptor of a view that nobody else can reach (`writable.py`), or the code of an error. When the station sends a
second line, or is gone, the volume becomes read-only again; the service answers `ok` once it is. Only the
station's user and root are answered (SO_PEERCRED): the socket's mode does not tell, since the service may not chown.
"""

import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from dockwarden.agent.drivers.clearing import MakeWritable, WritableView
from dockwarden.agent.drivers.occupancy import Volume
from dockwarden.agent.drivers.writable import end_writable, open_writable
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import log

NAME = "clearing.sock"
ANSWER_S = 30.0
"""How long either side waits for the other's word, but for the time in which files are removed."""
_LONGEST = 4096
_OK = b"ok\n"

Find: TypeAlias = Callable[[str, str, str], tuple[Path, Path] | None]
"""Block device and mount point of a volume by bay, stay and the name of its mount point; None where there is none."""


class ClearingDoor:
    """The service's side. `user` is the station's, by number."""

    def __init__(self, folder: Path, user: int, find: Find) -> None:
        self._path = folder / NAME
        self._user = user
        self._find = find
        self._lock = threading.Lock()
        self._open: set[Path] = set()
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._listener.bind(str(self._path))
        self._path.chmod(0o666)
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._accept, name="clearing door", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more; what is open ends with its connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="clearing", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(ANSWER_S)
            user = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            found = self._asked(connection) if user in (0, self._user) else None
            if found is None:
                connection.sendall(b"not-there\n")
                return
            node, point = found
            with self._lock:
                if point in self._open:
                    connection.sendall(b"busy\n")
                    return
                self._open.add(point)
            try:
                self._lend(connection, node, point)
            finally:
                with self._lock:
                    self._open.discard(point)

    def _asked(self, connection: socket.socket) -> tuple[Path, Path] | None:
        try:
            asked = json.loads(_line(connection))
            words = [asked[key] for key in ("bay", "stay", "volume")]
        except (ValueError, KeyError, TypeError):
            return None
        return self._find(*words) if all(isinstance(word, str) for word in words) else None

    def _lend(self, connection: socket.socket, node: Path, point: Path) -> None:
        try:
            view = open_writable(node, point)
        except OSError as error:
            log("bays").error("a volume could not be made writable", error=error.errno)
            connection.sendall(b"not-writable\n")
            return
        try:
            try:
                socket.send_fds(connection, [_OK], [view])
            finally:
                os.close(view)
            connection.settimeout(None)
            with suppress(OSError):
                _line(connection)
        finally:
            answer = _OK
            try:
                end_writable(node, point)
            except OSError as error:  # such as a device that was pulled out
                log("bays").error("a volume did not become read-only again", error=error.errno)
                answer = b"not-read-only\n"
        connection.settimeout(ANSWER_S)
        connection.sendall(answer)


def writable(folder: Path, bay: str, stay: str, volume: Volume) -> MakeWritable:
    """The station's side: what makes a volume writable, by way of the service whose `folder` this is."""

    def make() -> WritableView:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(ANSWER_S)
            connection.connect(str(folder / NAME))
            asked = {"bay": bay, "stay": stay, "volume": volume.point.name}
            connection.sendall(json.dumps(asked).encode() + b"\n")
            answer, fds, _, _ = socket.recv_fds(connection, _LONGEST, 1, socket.MSG_CMSG_CLOEXEC)
            if answer != _OK or not fds:
                raise _refused(bay, answer)
            try:  # what is given is a place to start from (O_PATH); a folder that can be read is opened from there
                root = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fds[0])
            finally:
                os.close(fds[0])
        except BaseException:
            connection.close()
            raise
        return WritableView(root, lambda: _end(connection, root, bay))

    return make


def _end(connection: socket.socket, root: int, bay: str) -> None:
    os.close(root)
    with connection:
        connection.sendall(b"end\n")
        answer = _line(connection)
    if answer != _OK:
        raise _refused(bay, answer)


def _refused(bay: str, answer: bytes) -> ServiceError:
    what = f"the bay service did not do it: {answer.decode('ascii', 'replace').strip() or 'no answer'}"
    return ServiceError("not-writable", what, f"bay {bay}", "See the bay service's log; dock the device again.")


def _line(connection: socket.socket) -> bytes:
    """The next line, as far as it comes."""
    data = b""
    while not data.endswith(b"\n") and len(data) < _LONGEST:
        piece = connection.recv(_LONGEST)
        if not piece:
            break
        data += piece
    return data
