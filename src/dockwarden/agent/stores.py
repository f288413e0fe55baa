"""What every part of the station works on: its folders, its ledger, its key."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from dockwarden.agent.doubts import Doubts
from dockwarden.agent.known import KnownPolicy, prepare
from dockwarden.durable.files import Files, explained, make_folder, write_durably
from dockwarden.durable.generations import own_log
from dockwarden.durable.instants import now
from dockwarden.durable.ledger import Ledger
from dockwarden.durable.tables import entries, open_engine, reading
from dockwarden.evidence import fields, ids
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.facts import By, Entry, Instant, Place
from dockwarden.evidence.notes import SigningKey, VerifierKey
from dockwarden.service.errors import ServiceError

VERSION = "dockwarden/0.1.0"


@dataclass(frozen=True)
class Folders:
    """The layout below the station's root; all on one file system, since the vault takes folders by rename."""

    root: Path

    @property
    def vault(self) -> Path:
        """Sealed records."""
        return self.root / "vault"

    @property
    def staging(self) -> Path:
        """Records on their way into the vault."""
        return self.root / "staging"

    @property
    def derivatives(self) -> Path:
        """What was made of originals and can be made again."""
        return self.root / "derivatives"

    @property
    def quarantine(self) -> Path:
        """What could not become a record."""
        return self.root / "quarantine"

    @property
    def scratch(self) -> Path:
        """Work in progress, emptied at every start."""
        return self.root / "scratch"

    @property
    def keys(self) -> Path:
        """Keys and certificates."""
        return self.root / "keys"

    @property
    def ledger(self) -> Path:
        """The database of the log."""
        return self.root / "ledger.sqlite"

    @property
    def registry(self) -> Path:
        """Devices and tasks."""
        return self.root / "registry.json"

    @property
    def ports(self) -> Path:
        """Which USB port is which bay."""
        return self.root / "ports.json"

    @property
    def socket(self) -> Path:
        """The running agent's local door."""
        return self.root / "agent.sock"

    def make(self, files: Files) -> None:
        """Make what is missing; raises DurableError."""
        for path in (self.vault, self.staging, self.derivatives, self.quarantine, self.scratch, self.keys):
            make_folder(files, path)


@dataclass(frozen=True)
class Stores:
    """The open stores of a running station. `readings`: how often a device is read, `known`: how files are that are
    records already (policy both); `doubts`: what a person should look at."""

    station: str
    folders: Folders
    files: Files
    ledger: Ledger
    key: SigningKey
    clock: Callable[[], Instant] = now
    readings: int = 2
    known: KnownPolicy = "full"
    doubts: Doubts = field(default_factory=Doubts)

    def close(self) -> None:
        """Close the database."""
        self.ledger.engine.dispose()

    def by(self, stage: str) -> By:
        """The actor of a fact that a part of this program says."""
        return By(self.station, "stage", f"{VERSION} {stage}")


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Be the only agent that works on `root`, for the length of a block; the kernel lets go when the process ends.

    Taken before anything is looked at: start-up finishes what was left half done, and to a second agent all that the
    first is doing would look like that. Raises ServiceError `already-running`, DurableError.
    """
    path = root / "agent.lock"
    with explained(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            what = "another agent works on this folder"
            raise ServiceError("already-running", what, str(root), "Stop it first, or leave it at work.") from error
        yield
    finally:
        os.close(fd)


def open_stores(
    root: Path, station: str, key: SigningKey, files: Files, readings: int = 2, known: KnownPolicy = "full"
) -> Stores:
    """Open a station's stores, making what is missing. A new log begins with its key. Raises DurableError."""
    folders = Folders(root)
    folders.make(files)
    engine = open_engine(folders.ledger)
    try:
        prepare(engine, files)
        ledger = Ledger(engine, own_log(engine, station), now, files)
        stores = Stores(station, folders, files, ledger, key, now, readings, known)
        if ledger.size() == 0:
            body: Object = {"purpose": "log", "vkey": key.verifier.text()}
            ledger.append("key-rotated", by=stores.by("setup"), body=body)
    except BaseException:
        engine.dispose()
        raise
    return stores


def said(stores: Stores, record: str, kind: str, place: Place | None = None) -> Entry | None:
    """The latest fact of a kind about a record; None where there is none or it is void."""
    return stores.ledger.latest_entry(record, kind, place)


def named_keys(stores: Stores) -> list[VerifierKey]:
    """Every key that this station's logs have named as theirs, the earliest first."""
    query = (
        select(entries.c.envelope, entries.c.body)
        .where(entries.c.kind == "key-rotated", entries.c.record.is_(None))
        .where(entries.c.log.startswith(f"{stores.station}.", autoescape=True))
        .order_by(entries.c.log, entries.c.seq)
    )
    with reading(stores.ledger.engine) as connection:
        bodies = [Entry(row.envelope, row.body).body or {} for row in connection.execute(query)]
    return [VerifierKey.parse(fields.text(body, "vkey")) for body in bodies if "vkey" in body]


def new_id() -> str:
    """Draw the id of a record or of a docking session."""
    return ids.new_record_id(os.urandom(16))


def write_key(files: Files, path: Path, key: SigningKey) -> None:
    """Keep a private key (hexadecimal seed) where only its owner reads it; raises DurableError."""
    write_durably(files, path, key.seed.hex().encode() + b"\n", mode=0o600)


def read_key(path: Path, name: str) -> SigningKey:
    """Read a key that `write_key` wrote; raises OSError, ValueError."""
    return SigningKey(name, bytes.fromhex(path.read_text("ascii").strip()))
