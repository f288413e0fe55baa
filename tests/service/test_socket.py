"""The local door: answers, errors of one shape, bounds, and a clean end."""

import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockwarden.service import socket as door
from dockwarden.service.errors import ServiceError
from dockwarden.service.socket import call, serve


def echo(params: dict[str, Any]) -> dict[str, Any]:
    return {"got": params}


def fail(params: dict[str, Any]) -> dict[str, Any]:
    raise ServiceError("no-record", "there is no such record", str(params["record"]), "Look it up.")


def break_(params: dict[str, Any]) -> dict[str, Any]:
    raise ValueError(f"secret {params}")


class OtherError(Exception):
    """What another package raises: it cannot be a ServiceError, and says what happened all the same."""

    code, what, where, do = "disk-full", "the disk is full", "vault", "Free space."


def disk(params: dict[str, Any]) -> dict[str, Any]:
    raise OtherError


def strange(params: dict[str, Any]) -> dict[str, Any]:
    return {"not json": object()}


HANDLERS = {"echo": echo, "fail": fail, "break": break_, "disk": disk, "strange": strange}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with serve(tmp_path / "agent.sock", HANDLERS):
        yield tmp_path / "agent.sock"


def code_of(what: Callable[[], object]) -> str:
    with pytest.raises(ServiceError) as caught:
        what()
    assert caught.value.what and caught.value.where and caught.value.do
    return caught.value.code


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        yield connection


def exchange(path: Path, data: bytes) -> dict[str, Any]:
    with connected(path) as connection, connection.makefile("rb") as answers:
        connection.sendall(data)
        answer: dict[str, Any] = json.loads(answers.readline())
        return answer


def test_a_question_gets_its_answer(path: Path) -> None:
    params = {"名": "値\n\u202e", "lone": "\udc81", "n": [1, None, True]}
    assert call(path, "echo", params) == {"got": params}
    assert call(path, "echo") == {"got": {}}


def test_the_socket_is_for_its_owner_only(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_errors_of_a_handler_reach_the_caller_as_they_are(path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        call(path, "fail", {"record": "abc"})
    expected = {"code": "no-record", "what": "there is no such record", "where": "abc", "do": "Look it up."}
    assert caught.value.to_object() == expected


def test_an_error_of_another_package_goes_to_the_visitor_as_it_is(path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        call(path, "disk")
    expected = {"code": "disk-full", "what": "the disk is full", "where": "vault", "do": "Free space."}
    assert caught.value.to_object() == expected


@pytest.mark.parametrize("method", ["break", "strange"])
def test_a_broken_handler_is_told_without_its_text_and_the_door_stays(path: Path, method: str) -> None:
    with pytest.raises(ServiceError) as caught:
        call(path, method, {"party": "张三"})
    assert caught.value.code == "internal"
    assert "张三" not in str(caught.value)
    assert call(path, "echo") == {"got": {}}


def test_an_unknown_method_names_the_known_ones(path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        call(path, "nope")
    assert caught.value.code == "unknown-method"
    assert "echo" in caught.value.do


def test_one_connection_may_ask_often_and_in_pieces(path: Path) -> None:
    line = json.dumps({"method": "echo", "params": {"x": 1}}).encode() + b"\n"
    with connected(path) as connection, connection.makefile("rb") as answers:
        connection.sendall(line + line[:7])
        connection.sendall(line[7:] + line)
        assert [json.loads(answers.readline()) for _ in range(3)] == [{"result": {"got": {"x": 1}}}] * 3


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"\xff\n",
        b'{"method": 1}\n',
        b'{"method": "echo", "params": []}\n',
        b"[" * 9000 + b"\n",
    ],
)
def test_what_is_no_request_is_answered_as_such(path: Path, line: bytes) -> None:
    assert exchange(path, line)["error"]["code"] == "bad-request"


@given(st.binary(max_size=200).filter(lambda data: b"\n" not in data))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_line_breaks_the_door(path: Path, data: bytes) -> None:
    assert set(exchange(path, data + b"\n")) <= {"result", "error"}


def test_a_request_beyond_the_bound_is_cut_off(path: Path) -> None:
    with connected(path) as connection, pytest.raises(OSError):
        for _ in range(64):
            connection.sendall(b"x" * 65536)
        assert connection.recv(1) == b""
        raise ConnectionResetError
    assert code_of(lambda: call(path, "echo", {"x": "y" * door.LONGEST_REQUEST})) == "too-large"
    assert call(path, "echo") == {"got": {}}


def test_more_visitors_than_allowed_are_turned_away(path: Path) -> None:
    with ExitStack() as visitors:
        for _ in range(door.MOST_CONNECTIONS):
            connection = visitors.enter_context(connected(path))
            connection.sendall(b'{"method": "echo"}\n')
            assert connection.recv(1) == b"{"
        assert code_of(lambda: call(path, "echo")) == "busy"
    assert call_until_free(path) == {"got": {}}


def call_until_free(path: Path) -> dict[str, Any]:
    for _ in range(200):
        try:
            return call(path, "echo")
        except ServiceError as error:
            assert error.code == "busy"
    return call(path, "echo")


def test_nobody_there_is_a_clear_error(tmp_path: Path) -> None:
    assert code_of(lambda: call(tmp_path / "agent.sock", "echo")) == "not-running"
    assert code_of(lambda: call(tmp_path / "no" / "agent.sock", "echo")) == "not-running"


def test_a_handler_that_takes_too_long_is_a_timeout(tmp_path: Path) -> None:
    go = threading.Event()

    def wait(params: dict[str, Any]) -> dict[str, Any]:
        go.wait(30)
        return {}

    with serve(tmp_path / "s", {"wait": wait}):
        assert code_of(lambda: call(tmp_path / "s", "wait", timeout=0.05)) == "timeout"
        go.set()


def test_a_dead_process_socket_is_replaced_and_a_living_one_respected(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serve(path, HANDLERS):
        assert call(path, "echo") == {"got": {}}
        assert code_of(lambda: serve(path, HANDLERS)) == "already-running"
        assert call(path, "echo") == {"got": {}}
    assert not path.exists()


def test_something_else_at_the_path_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    assert code_of(lambda: serve(path, HANDLERS)) == "no-socket"
    assert path.read_text() == "mine"
    assert code_of(lambda: serve(tmp_path / "absent" / "s", HANDLERS)) == "no-socket"


def test_a_path_longer_than_the_kernel_allows_works_too(tmp_path: Path) -> None:
    folder = tmp_path / ("采" * 60)
    folder.mkdir()
    with serve(folder / "agent.sock", HANDLERS):
        assert stat.S_IMODE((folder / "agent.sock").stat().st_mode) == 0o600
        assert call(folder / "agent.sock", "echo") == {"got": {}}
    assert list(folder.iterdir()) == []


def test_closing_ends_idle_visitors_and_may_be_asked_for_from_within(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with ExitStack() as stack:

        def stop(params: dict[str, Any]) -> dict[str, Any]:
            server.close()
            return {}

        server = serve(path, {"stop": stop})
        idle = stack.enter_context(connected(path))
        assert code_of(lambda: call(path, "stop")) == "bad-answer"  # its own connection ends as well
        assert idle.recv(1) == b""
        server.close()
    assert not path.exists()
