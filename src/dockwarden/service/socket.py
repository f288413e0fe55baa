"""A service's local door: one Unix socket, one JSON object a line each way.

Request ``{"method": name, "params": {…}}``, answer ``{"result": {…}}`` or ``{"error": {code, what, where,
do}}``; a connection may ask many times, one after the other. Who may knock is said by the file system: the
socket's mode is 0600.
"""

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dockwarden.service.errors import ServiceError, explained
from dockwarden.service.logs import log

Handler = Callable[[dict[str, Any]], dict[str, Any]]

LONGEST_REQUEST = 1 << 20  # bytes
LONGEST_ANSWER = 256 << 20  # bytes; a list of a station's records
MOST_CONNECTIONS = 16
IDLE_S = 60.0  # a connection that asks nothing, or does not read its answer, is closed
_LONGEST_ADDRESS = 100  # bytes; the kernel allows 108 (unix(7))


class Server:
    """A running door. `close` (or leaving the ``with`` block) ends it, its connections and its socket file."""

    def __init__(self, path: Path, listener: socket.socket, handlers: Mapping[str, Handler]) -> None:
        self.path = path
        self._listener = listener
        self._handlers = dict(handlers)
        self._inode = path.stat().st_ino
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name=f"door {path.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, end all connections, remove the socket file. A handler at work is waited for."""
        with self._lock:
            self._closing = True
            threads = [self._thread, *self._open.values()]
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        for thread in threads:
            if thread is not threading.current_thread():  # a handler may close the door it came through
                thread.join()
        self._listener.close()
        with suppress(OSError):
            if self.path.stat().st_ino == self._inode:  # never another server's socket
                self.path.unlink()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
                time.sleep(0.1)  # such as too many open files: the door stays
                continue
            connection.settimeout(IDLE_S)
            with self._lock:
                if self._closing or len(self._open) >= MOST_CONNECTIONS:
                    self._turn_away(connection)
                    continue
                thread = threading.Thread(target=self._converse, args=(connection,), name="door visitor", daemon=True)
                self._open[connection] = thread
                thread.start()

    def _turn_away(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.setblocking(False)
            connection.send(_line({"error": _busy(self.path).to_object()}))

    def _converse(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError), connection:
                for line in _lines(connection, LONGEST_REQUEST):
                    connection.sendall(self._answer(line))
        except _TooLongError:
            log("door").warning("request too long", most=LONGEST_REQUEST)
        finally:
            with self._lock:
                self._open.pop(connection, None)

    def _answer(self, line: bytes) -> bytes:
        try:
            method, params = _parse_request(line)
            handler = self._handlers.get(method)
            if handler is None:
                known = ", ".join(sorted(self._handlers))
                raise ServiceError("unknown-method", "no such method", method[:80], f"Use one of: {known}.")
            return _line({"result": handler(params)})
        except ServiceError as error:
            return _line({"error": error.to_object()})
        except Exception as error:  # whatever a handler does, the visitor gets an answer and the door stays
            told = explained(error)
            if told is None:
                log("door").error("a handler failed", exc_info=error)
                what = f"the service failed: {type(error).__name__}"
                told = ServiceError("internal", what, str(self.path), "See the service's log.")
            return _line({"error": told.to_object()})


def serve(path: Path, handlers: Mapping[str, Handler]) -> Server:
    """Open the door at ``path`` and answer in threads (one a connection, `MOST_CONNECTIONS` at most).

    A socket file left by a dead process is replaced; one that answers raises `ServiceError`
    (``already-running``). A handler gets the request's params and gives the result; a `ServiceError` of its
    goes to the caller as it is, any other exception as ``internal`` without its text.
    """
    _remove_dead(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # On Linux the file gets the mode of the unbound socket, so it is never open to others, not even briefly.
        os.fchmod(listener.fileno(), 0o600)
        with _address(path) as address:
            listener.bind(address)
        listener.listen(MOST_CONNECTIONS)
        return Server(path, listener, handlers)
    except OSError as error:
        listener.close()
        raise ServiceError(
            "no-socket", f"cannot open the socket: {error.strerror}", str(path), "Check the folder and its rights."
        ) from None


def call(path: Path, method: str, params: Mapping[str, Any] | None = None, timeout: float = 10.0) -> dict[str, Any]:
    """Ask the service at ``path``; ``timeout`` (seconds) covers the whole conversation.

    Raises `ServiceError`: ``not-running``, ``no-permission``, ``timeout``, ``bad-answer``, or what the
    service answered.
    """
    until = time.monotonic() + timeout
    request = _line({"method": method, "params": dict(params or {})})
    if len(request) > LONGEST_REQUEST:
        raise ServiceError("too-large", "the request is too large", method, f"At most {LONGEST_REQUEST} bytes.")
    try:
        with _connect(path, timeout) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # turned away: the answer says why
                connection.sendall(request)
            line = next(_lines(connection, LONGEST_ANSWER, until), None)
    except TimeoutError:
        raise ServiceError(
            "timeout",
            f"no answer within {timeout:g} s",
            str(path),
            "Try again; if it stays so, see the service's log.",
        ) from None
    except (_TooLongError, OSError) as error:
        raise _bad_answer(path, f"the conversation broke off: {type(error).__name__}") from None
    if line is None:
        raise _bad_answer(path, "the service closed the connection without an answer")
    return _parse_answer(path, line)


def _connect(path: Path, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.settimeout(timeout)
    try:
        with _address(path) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise ServiceError("not-running", "the service is not running", str(path), "Start the service.") from None
    except PermissionError:
        connection.close()
        raise ServiceError(
            "no-permission",
            "this user may not talk to the service",
            str(path),
            "Run the command as the service's user.",
        ) from None
    except BlockingIOError:  # the queue of those who knock is full
        connection.close()
        raise _busy(path) from None
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path as an address; a long one is reached through its folder's descriptor (unix(7): 108 bytes)."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _remove_dead(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ServiceError("no-socket", "the path is taken by something else", str(path), "Move that file away.")
        _connect(path, 1.0).close()
    except FileNotFoundError:
        return
    except ServiceError as error:
        if error.code != "not-running":
            raise
        path.unlink(missing_ok=True)
        return
    except OSError:
        pass  # it is there and does not answer at once: alive
    raise ServiceError(
        "already-running",
        "another process holds this socket",
        str(path),
        "Stop the other process, or use another folder.",
    )


class _TooLongError(Exception):
    """A line is longer than allowed."""


def _lines(connection: socket.socket, longest: int, until: float | None = None) -> Iterator[bytes]:
    """Whole lines without their end; ``until`` (monotonic seconds) bounds all reading. Raises `_TooLongError`."""
    held = bytearray()
    searched = 0
    while True:
        end = held.find(b"\n", searched)
        if max(end, len(held) if end < 0 else 0) > longest:
            raise _TooLongError
        if end >= 0:
            yield bytes(held[:end])
            del held[: end + 1]
            searched = 0
            continue
        searched = len(held)
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
        got = connection.recv(65536)
        if not got:
            return
        held += got


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _parse_request(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    method = request.get("method") if isinstance(request, dict) else None
    params = request.get("params", {}) if isinstance(request, dict) else None
    if not isinstance(method, str) or not isinstance(params, dict):
        raise ServiceError(
            "bad-request", "not a request", "the request line", 'Send {"method": text, "params": object} in one line.'
        )
    return method, params


def _parse_answer(path: Path, line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise _bad_answer(path, "the answer is not JSON") from None
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        raise ServiceError.from_object(answer["error"])
    if isinstance(answer, dict) and isinstance(answer.get("result"), dict):
        return dict(answer["result"])
    raise _bad_answer(path, "the answer has neither result nor error")


def _busy(path: Path) -> ServiceError:
    return ServiceError("busy", "too many connections at once", str(path), "Try again in a moment.")


def _bad_answer(path: Path, what: str) -> ServiceError:
    return ServiceError(
        "bad-answer", what, str(path), "Check that both sides are of one version; see the service's log."
    )
