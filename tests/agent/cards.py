"""Cards made of plain folders, the devices that show them, and the outside checker over a station."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.oracle import Card, Scene, show, violations

from dockwarden.agent.bays import Progress, Stay
from dockwarden.agent.docking import dock, undock
from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.drivers.source import Device, Reader, SourceInfo
from dockwarden.agent.known import KnownPolicy
from dockwarden.agent.sessions import Desk
from dockwarden.agent.stores import Stores, open_stores
from dockwarden.durable.files import Files, OsFiles
from dockwarden.durable.leaflist import recorded_leaves
from dockwarden.evidence.notes import SigningKey
from dockwarden.evidence.seals import ReadBack
from dockwarden.simulators.camera import at
from dockwarden.simulators.faults import Fault, FaultyDevice

PROFILES = {profile.name: profile for profile in profiles.load().profiles}
LEAF = 524_288
KEY = SigningKey("st-01", bytes(range(32)))


def make_card(root: Path, files: Mapping[str | bytes, bytes]) -> Path:
    """Write `files` below the new folder `root`."""
    root.mkdir()
    for name, data in files.items():
        place = at(root, os.fsencode(name))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return root


def folder_device(root: Path, serial: str = "CAM001", volume: str = "1234-ABCD") -> Device:
    """A device whose files are those of a folder."""
    return recognise(root, tuple(PROFILES.values()), model="BODYCAM", serial=serial, volume=volume)


def faulty(root: Path, *faults: Fault, serial: str = "CAM001") -> FaultyDevice:
    """The same with faults."""
    return FaultyDevice(folder_device(root, serial), root, faults)


@dataclass
class Counted:
    """A device that counts the bytes that it gives, by raw path."""

    inner: Device
    given: dict[bytes, int] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """See Device."""
        return _CountedReader(self, self.inner.open(source, uncached), source.name.raw)


@dataclass
class _CountedReader:
    device: Counted
    inner: Reader
    raw: bytes

    @property
    def how(self) -> ReadBack:
        return self.inner.how

    def read(self, offset: int, length: int) -> bytes:
        data = self.inner.read(offset, length)
        self.device.given[self.raw] = self.device.given.get(self.raw, 0) + len(data)
        return data

    def close(self) -> None:
        self.inner.close()


@dataclass
class Patient(Counted):
    """A device that gives what lies at `place` only when all whole groups before are on the station's disk: where a
    copy ends is then the same each time."""

    stores: Stores = field(kw_only=True)
    place: int = field(kw_only=True)
    group: int = field(kw_only=True)

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """See Device."""
        return _PatientReader(self, self.inner.open(source, uncached), source.name.raw)

    def wait(self) -> None:
        """Until the leaf list of the one stage names all whole groups before the place."""
        wanted = self.place // self.group * self.group // LEAF
        ends = time.monotonic() + 60
        while sum(recorded_leaves(path) for path in self.stores.folders.staging.glob("*/leaves")) < wanted:
            assert time.monotonic() < ends
            time.sleep(0.01)


class _PatientReader(_CountedReader):
    device: Patient

    def read(self, offset: int, length: int) -> bytes:
        if offset <= self.device.place < offset + length:
            self.device.wait()
        return super().read(offset, length)


@dataclass
class Room:
    """A station without processes: its stores, a desk, and whatever is docked."""

    root: Path
    files: Files = field(default_factory=OsFiles)
    readings: int = 2
    known: KnownPolicy = "full"

    def __post_init__(self) -> None:
        self.stores: Stores = open_stores(self.root, "st-01", KEY, self.files, self.readings, self.known)
        self.desk = Desk(self.stores, PROFILES)

    def visit(self, device: Device, bay: str = "1", stay: Stay | None = None) -> Progress:
        """Dock a device until its bay shows the verdict, then take it out."""
        progress = Progress(bay, state="reading")
        try:
            undock(dock(self.desk, bay, device, progress, stay or Stay()))
        finally:
            device.close()
        return progress

    def restart(self, files: Files | None = None) -> "Room":
        """The same station after its process has gone."""
        self.stores.close()
        return Room(self.root, files or OsFiles(), self.readings, self.known)

    def wrong(self, *cards: Card, planted: Sequence[str | bytes] = (), settled: bool = True) -> list[str]:
        """What the outside checker objects to."""
        raws = frozenset(os.fsencode(name) for name in planted)
        return violations(Scene(self.root, cards, raws, settled=settled))


def shown(root: Path, serial: str | None = "CAM001") -> Card:
    """What a card shows now, for the checker, which cannot tell two cards under one serial apart."""
    return show(root, None if serial is None else f"BODYCAM-{serial}")


def codes(progress: Progress) -> set[str]:
    """The codes of a bay's findings."""
    return {finding.code for finding in progress.findings}


def kinds(stores: Stores) -> list[str]:
    """The kinds of all facts of the station's log, in order."""
    return [entry.envelope.kind for entry in stores.ledger.entries(limit=100_000)]
