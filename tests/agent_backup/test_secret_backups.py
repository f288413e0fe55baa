"""Secrecy that is set at a running station: no snapshot holds what was marked, and what one holds already is told."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.cards import folder_device, make_card
from tests.offsite.samples import stub

from dockwarden.agent import setup, vault
from dockwarden.agent.bays import Progress, Stay
from dockwarden.agent.docking import dock, undock
from dockwarden.agent.metadata.completion import is_secret
from dockwarden.agent.sessions import Desk
from dockwarden.agent.settings import Offsite, Settings
from dockwarden.agent.station import Station
from dockwarden.agent.stores import said
from dockwarden.durable.files import OsFiles
from dockwarden.service.socket import call
from dockwarden.simulators.offsite_server import OffsiteServer

pytestmark = pytest.mark.system


class Nowhere:
    """A hot-plug source that shows nothing."""

    def start(self, put: object) -> None:
        """See HotPlug."""

    def stop(self) -> None:
        """See HotPlug."""


def until(true: Callable[[], object]) -> None:
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.fixture
def running(server: OffsiteServer, served: Path, tmp_path: Path) -> Iterator[Station]:
    """A running station with two records of two devices, labelled and open."""
    (tmp_path / "repository").write_text(server.repository(served.name))
    (tmp_path / "password").write_text("pass word\n")
    settings = Settings(
        station="st-01",
        root=tmp_path / "root",
        bays=["1"],
        release="keep",
        media=False,
        panel=None,
        offsite=Offsite(repository_file=tmp_path / "repository", password_file=tmp_path / "password"),
    )
    setup.make_keys(settings, OsFiles())
    station = Station(settings, Nowhere())  # type: ignore[arg-type]
    desk = Desk(station.stores, {profile.name: profile for profile in station.profiles})
    for serial in ("ONE", "TWO"):
        device = folder_device(make_card(tmp_path / serial, {f"{serial}.mp4": serial.encode()}), serial)
        undock(dock(desk, "1", device, Progress("1", state="reading"), Stay()))
    station.start()
    until(lambda: [is_secret(station.stores, record) for record in records(station)] == [False, False])
    yield station
    station.stop()


def records(station: Station) -> list[str]:
    """The records, that of the device ONE first."""
    found = vault.records(station.stores.folders.vault)
    return sorted(found, key=lambda record: vault.read_seal(station.stores.folders.vault, record)[0].source_name.raw)


def mark_one(station: Station) -> dict[str, Any]:
    marks = [{"of": "device", "name": "BODYCAM-ONE"}]
    return call(station.stores.folders.socket, "roster", {"marks": marks})


def test_a_mark_at_the_door_is_in_the_log_soon_and_the_record_in_no_backup(running: Station) -> None:
    one, two = records(running)
    assert mark_one(running) == {"bindings": 0, "tasks": 0, "marks": 1}
    assert running.backup()["records"] == 1
    assert said(running.stores, one, "backed-up", "off-site") is None
    assert said(running.stores, two, "backed-up", "off-site") is not None
    until(lambda: is_secret(running.stores, one))
    shown = call(running.stores.folders.socket, "records")["records"]
    assert {each["record"]: each["secret"] for each in shown} == {one: True, two: False}


def test_a_snapshot_that_is_being_made_is_given_up_and_made_without_what_was_marked(
    running: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = records(running)
    folder, begun = tmp_path / "bin", tmp_path / "begun"
    folder.mkdir()
    real = shutil.which("restic")
    waits = f'case " $* " in *" backup "*) [ -e {begun} ] || {{ touch {begun}; exec sleep 600; }};; esac'
    stub(folder / "restic", f'{waits}\nexec {real} "$@"')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    answers: list[dict[str, Any]] = []
    backup = threading.Thread(target=lambda: answers.append(running.backup()))
    backup.start()
    until(begun.exists)
    mark_one(running)
    backup.join()
    assert [(answer["records"], answer["failed"]) for answer in answers] == [(1, [])]
    assert said(running.stores, one, "backed-up", "off-site") is None
    assert said(running.stores, two, "backed-up", "off-site") is not None
    until(lambda: is_secret(running.stores, one))
    assert said(running.stores, one, "finding") is None  # nothing of it had left


def test_what_is_off_site_already_is_told_at_the_station(running: Station) -> None:
    one, _ = records(running)
    assert running.backup()["records"] == 2
    mark_one(running)
    until(lambda: said(running.stores, one, "finding"))
    finding = said(running.stores, one, "finding")
    assert finding is not None
    assert finding.body is not None
    assert finding.body["left"] == ["off-site"]
    findings = call(running.stores.folders.socket, "status")["findings"]
    assert [one in sentence and "off-site" in sentence for sentence in findings] == [True]
