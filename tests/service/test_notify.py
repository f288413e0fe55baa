"""sd_notify: systemd hears us where it listens, and silence is no error."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockwarden.service import notify
from dockwarden.service.errors import ServiceError


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_each_call_is_one_message(systemd: socket.socket) -> None:
    assert notify.ready("4 bays\nready")
    assert notify.ready()
    assert notify.status("copying\nREADY=1")
    assert notify.watchdog()
    assert notify.stopping()
    heard = [systemd.recv(1000).decode() for _ in range(5)]
    assert heard == ["READY=1\nSTATUS=4 bays ready", "READY=1", "STATUS=copying READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_address_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"dockwarden-test-{os.getpid()}"
        listener.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert notify.watchdog()
        assert listener.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", [None, "", "relative", "/no/such/socket"])
def test_nobody_listening_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify.ready()


def test_the_watchdog_is_for_this_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert notify.watchdog_interval() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert notify.watchdog_interval() == 15.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert notify.watchdog_interval() is None


def test_systemd_hears_of_a_service_until_it_stops(systemd: socket.socket) -> None:
    stop = threading.Event()
    watching = threading.Thread(target=notify.watch, args=(lambda: True, stop, "st-01", 0.01))
    watching.start()
    assert systemd.recv(100) == b"WATCHDOG=1"
    stop.set()
    watching.join(5)
    assert not watching.is_alive()


def test_a_service_with_a_dead_part_ends_and_says_so(systemd: socket.socket) -> None:
    with pytest.raises(ServiceError) as caught:
        notify.watch(lambda: False, threading.Event(), "st-01", 0.01)
    assert (caught.value.code, caught.value.where) == ("part-died", "st-01")
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)
