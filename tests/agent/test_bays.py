"""Bays: whatever one device, one session or the log does, it is shown, and the other bays go on."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent.cards import Room, folder_device, make_card

from dockwarden.agent.bays import Bays, Progress, Stay
from dockwarden.agent.docking import dock
from dockwarden.agent.drivers.hotplug import Plugged, Refused, Unplugged
from dockwarden.agent.drivers.source import Device
from dockwarden.durable.files import DurableError
from dockwarden.service.errors import ServiceError

REFUSAL = Refused("2", ServiceError("no-profile", "no profile fits", "bay 2", "Ask the office."))
FULL = DurableError("disk-full", "the disk is full", "ledger", "Free space on this disk, then try again.")


def bay_of(bays: Bays, name: str) -> dict[str, object]:
    """One bay's snapshot."""
    return next(bay for bay in bays.snapshot() if bay["bay"] == name)


def run_bays(dock: Callable[[str, Device, Progress, Stay], None], ended: int) -> tuple[Bays, threading.Semaphore]:
    """Two bays whose sessions are `dock`; the semaphore counts sessions that have ended."""
    count = threading.Semaphore(0)

    def run(bay: str, device: Device, progress: Progress, stay: Stay) -> None:
        try:
            dock(bay, device, progress, stay)
        finally:
            count.release()

    return Bays(["1", "2"], run, lambda bay, error: None), count


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (FULL, "disk-full", "Free space"),
        (ServiceError("odd", "something", "somewhere", "Do this."), "odd", "Do this."),
        (RuntimeError("a secret path"), "internal", "RuntimeError"),
        (KeyError("profile"), "internal", "KeyError"),
    ],
)
def test_a_session_that_fails_is_shown_and_the_other_bay_goes_on(
    tmp_path: Path, room: Room, error: Exception, code: str, word: str
) -> None:
    card = make_card(tmp_path / "card", {"a": b"a"})

    def run(bay: str, device: Device, progress: Progress, stay: Stay) -> None:
        if bay == "1":
            raise error
        dock(room.desk, bay, device, progress, stay)

    bays, count = run_bays(run, 2)
    for bay in ("1", "2"):
        bays.put(Plugged(bay, folder_device(card, serial=f"CAM{bay}")))
    for _ in range(2):
        assert count.acquire(timeout=60)
    bays.stop()
    failed, well = bay_of(bays, "1"), bay_of(bays, "2")
    assert (failed["state"], failed["safe"], well["state"]) == ("incomplete", False, "safe")
    (finding,) = failed["findings"]  # type: ignore[misc]
    assert finding["code"] == code
    assert word in finding["what"]
    assert "secret" not in finding["what"]


def test_a_log_that_cannot_be_written_keeps_a_bay_amber(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it fails only at the very last fact, when everything has been proven."""
    append = room.stores.ledger.append

    def full(kind: str, **named: object) -> object:
        if kind == "judged":
            raise FULL
        return append(kind, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(room.stores.ledger, "append", full)
    bays, count = run_bays(lambda *given: bool(dock(room.desk, *given)), 1)  # type: ignore[arg-type]
    bays.put(Plugged("1", folder_device(make_card(tmp_path / "card", {"a": b"a"}))))
    assert count.acquire(timeout=60)
    bays.stop()
    bay = bay_of(bays, "1")
    assert (bay["state"], bay["safe"]) == ("incomplete", False)
    assert [finding["code"] for finding in bay["findings"]] == ["disk-full"]  # type: ignore[attr-defined]


def test_a_refusal_that_cannot_be_recorded_is_shown_and_does_not_end_the_source_of_events() -> None:
    def refuse(bay: str, error: ServiceError) -> None:
        raise FULL

    bays = Bays(["1", "2"], lambda *given: None, refuse)
    bays.put(REFUSAL)
    bay = bay_of(bays, "2")
    assert bay["state"] == "refused"
    assert [finding["code"] for finding in bay["findings"]] == ["no-profile", "disk-full"]  # type: ignore[attr-defined]


def test_a_bay_that_is_used_again_at_once_waits_for_the_device_before_it(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", {"a": b"a"})
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def run(bay: str, device: Device, progress: Progress, stay: Stay) -> None:
        name = str(device.info.serial)
        order.append(f"{name} in")
        if name == "ONE":
            inside.set()
            assert leave.wait(60)
        order.append(f"{name} out")

    bays, count = run_bays(run, 2)
    bays.put(Plugged("1", folder_device(card, serial="ONE")))
    assert inside.wait(60)
    bays.put(Unplugged("1", "BODYCAM-ONE"))
    assert bay_of(bays, "1")["state"] == "empty"
    assert [found["code"] for found in bay_of(bays, "1")["findings"]] == ["pulled-out"]  # type: ignore[attr-defined]
    bays.put(Plugged("1", folder_device(card, serial="TWO")))
    bays.put(Plugged("9", folder_device(card, serial="NOWHERE")))
    leave.set()
    for _ in range(2):
        assert count.acquire(timeout=60)
    bays.stop()
    bays.put(Plugged("1", folder_device(card, serial="LATE")))  # after the end nothing is taken any more
    assert order == ["ONE in", "ONE out", "TWO in", "TWO out"]
