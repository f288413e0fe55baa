"""The bad line: what is sent through arrives, unless the line is cut, held or closed."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from dockwarden.simulators.broker import free_port
from dockwarden.simulators.network import Network

WAIT_S = 30


class Echo:
    """A server that sends everything back."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                end, _ = self._listener.accept()
                thread = threading.Thread(target=self._echo, args=(end,))
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _echo(end: socket.socket) -> None:
        with end, suppress(OSError):
            while data := end.recv(4096):
                end.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def line(echo: Echo) -> Iterator[Network]:
    with Network(echo.port) as network:
        yield network


def dial(line: Network) -> socket.socket:
    return socket.create_connection(("127.0.0.1", line.port), timeout=WAIT_S)


def receive(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := end.recv(count - len(data))):
        data += piece
    return data


def is_over(end: socket.socket) -> bool:
    try:
        return end.recv(1) == b""
    except ConnectionError:
        return True


def test_everything_arrives_in_order_on_a_good_line(line: Network) -> None:
    data = bytes(range(256)) * 2000
    with dial(line) as end:
        sender = threading.Thread(target=end.sendall, args=(data,))
        sender.start()
        assert receive(end, len(data)) == data
        sender.join()


def test_an_end_that_stops_sending_still_gets_the_answer(line: Network) -> None:
    with dial(line) as end:
        end.sendall(b"last word")
        end.shutdown(socket.SHUT_WR)
        assert receive(end, 100) == b"last word"


def test_a_cut_ends_every_connection_and_new_ones_are_taken(line: Network) -> None:
    with dial(line) as one, dial(line) as two:
        for end in (one, two):
            end.sendall(b"x")
            assert receive(end, 1) == b"x"
        line.cut()
        assert is_over(one) and is_over(two)
    with dial(line) as end:
        end.sendall(b"again")
        assert receive(end, 5) == b"again"


def test_a_line_that_is_held_keeps_what_is_sent_until_it_goes_on(line: Network) -> None:
    with dial(line) as end:
        end.sendall(b"a")
        assert receive(end, 1) == b"a"
        line.pause()
        end.sendall(b"b")
        end.settimeout(0.2)
        with pytest.raises(TimeoutError):
            end.recv(1)
        line.resume()
        end.settimeout(WAIT_S)
        assert receive(end, 1) == b"b"


def test_a_refusing_line_closes_new_connections_until_it_takes_them_again(line: Network) -> None:
    line.refuse()
    with dial(line) as end:
        assert is_over(end)
    line.refuse(False)
    with dial(line) as end:
        end.sendall(b"x")
        assert receive(end, 1) == b"x"


def test_a_slow_or_late_line_takes_at_least_its_time(line: Network) -> None:
    with dial(line) as end:
        line.delay(0.05)
        started = time.monotonic()
        end.sendall(b"x")
        assert receive(end, 1) == b"x"
        assert time.monotonic() - started >= 0.1
        line.delay(0)
        line.limit(100_000)
        started = time.monotonic()
        end.sendall(bytes(32_768))
        end.sendall(b"y")
        assert len(receive(end, 32_769)) == 32_769
        assert time.monotonic() - started >= 0.15


def test_a_line_to_nobody_hangs_up() -> None:
    with Network(free_port()) as network, dial(network) as end:
        assert is_over(end)


def test_closing_ends_connections_that_are_held_too(echo: Echo) -> None:
    network = Network(echo.port)
    with dial(network) as end:
        end.sendall(b"a")
        assert receive(end, 1) == b"a"
        network.pause()
        end.sendall(b"b")
        network.close()
        assert is_over(end)
