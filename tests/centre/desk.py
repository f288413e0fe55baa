"""A centre without a broker: its real stores in a folder, and lines to stations whose messages are handed over."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from tests.centre.centre_samples import BOOT, Footage, StationSide, chunks, drawn

from dockwarden.centre.archive import Archive
from dockwarden.centre.catalogue import Catalogue
from dockwarden.centre.hearing import Hearing
from dockwarden.centre.questions import Questions
from dockwarden.centre.receiver import Receiving
from dockwarden.centre.stations import StationLine
from dockwarden.centre.store.ocfl import find_store, make_store
from dockwarden.durable.files import Files, OsFiles
from dockwarden.durable.generations import own_log
from dockwarden.durable.ledger import Ledger
from dockwarden.durable.tables import open_engine
from dockwarden.evidence.facts import By, Instant
from dockwarden.evidence.notes import SigningKey
from dockwarden.rules.deadlines import format_utc, parse_utc
from dockwarden.wire.messages import Want
from dockwarden.wire.topics import Lane

CENTRE = SigningKey("centre", drawn("key centre", 32))


@dataclass
class Time:
    """A clock that goes when it is told to. `wall` in UTC, `seconds` monotonic."""

    wall: str = "2026-11-24T10:00:00.000Z"
    seconds: float = 1000.0

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.wall = format_utc(parse_utc(self.wall) + timedelta(seconds=seconds))
        self.seconds += seconds

    def instant(self) -> Instant:
        """The moment."""
        return Instant(self.wall, BOOT, int(self.seconds * 1000), True)

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds


@dataclass
class Talk:
    """The line to one station: what the centre says on it is in `said`, what it has to check waits in `checks`."""

    side: StationSide
    desk: "Desk"
    said: list[tuple[Lane, bytes]] = field(default_factory=list)
    checks: list[tuple[Callable[[], object], Callable[[object], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        archive, key = self.desk.archive, self.side.key.verifier
        self.receiving = Receiving(
            self.side.name,
            archive,
            key,
            lambda *word: self.said.append(word),
            lambda *check: self.checks.append(check),
        )
        self.line = StationLine(
            key, archive, self.desk.questions, self.desk.hearing, lambda *word: self.said.append(word)
        )

    def take(self, lane: Lane) -> list[bytes]:
        """What was said on a lane since the last time; all else is forgotten."""
        found = [payload for spoken, payload in self.said if spoken == lane]
        self.said.clear()
        return found

    def want(self) -> Want:
        """The newest want."""
        return Want.open(self.take("want")[-1], [CENTRE.verifier])

    def offer(self, footage: Footage, seal: bytes | None = None, epoch: int = 0) -> None:
        """Offer an item."""
        self.receiving.on_offer(self.side.offer(footage, seal, epoch), self.desk.time.seconds)

    def send(self, *payloads: bytes) -> None:
        """Send chunks."""
        for payload in payloads:
            self.receiving.on_chunk(payload, self.desk.time.seconds)

    def flush(self) -> None:
        """One sync for all."""
        self.receiving.flush(self.desk.time.seconds)

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        self.desk.time.go(seconds)
        self.receiving.on_time(self.desk.time.seconds)

    def check(self) -> list[object]:
        """Do the long jobs that wait; returns their results or errors."""
        results: list[object] = []
        while self.checks:
            work, use = self.checks.pop(0)
            try:
                results.append(work())
            except Exception as error:
                results.append(error)
            use(results[-1])
        return results

    def upload(self, footage: Footage, seal: bytes | None = None) -> list[bytes]:
        """A whole transfer without trouble; returns the receipts that were said at its end."""
        self.offer(footage, seal)
        for _ in range(100):
            want = self.want()
            if not want.ranges:
                break
            self.send(*chunks(footage, want))
            self.flush()
        self.check()
        return self.take("receipt")


class Desk:
    """A centre's stores below `root`, and who speaks with it."""

    def __init__(self, root: Path, files: Files | None = None, *stations: StationSide) -> None:
        self.root = root
        self.time = Time()
        self.talks: dict[str, Talk] = {}
        root.mkdir(exist_ok=True)
        self.open(files)
        for side in stations:
            self.archive.catalogue.enrol(side.key.verifier, self.time.wall)
            self.talks[side.name] = Talk(side, self)

    def open(self, files: Files | None = None) -> None:
        """Open the stores, as a start does."""
        files = files or OsFiles()
        make_store(self.root / "store", OsFiles())
        engine = open_engine(self.root / "catalogue.sqlite")
        catalogue = Catalogue(engine, files, "centre")
        ledger = Ledger(engine, catalogue.own_log() or own_log(engine, "centre"), self.time.instant, files)
        for folder in ("incoming", "derivatives"):
            (self.root / folder).mkdir(exist_ok=True)
        self.archive = Archive(
            catalogue,
            ledger,
            find_store(self.root / "store", files, "centre"),
            self.root / "incoming",
            self.root / "derivatives",
            files,
            CENTRE,
            self.time.instant,
            self.time.monotonic,
        )
        self.questions = Questions(engine, files)
        self.hearing = Hearing(self.time.monotonic)
        self.hearing.link(True)
        if ledger.size() == 0:
            by = By("centre", "stage", "dockwarden/0.1.0 test")
            ledger.append("key-rotated", by=by, body={"purpose": "log", "vkey": CENTRE.verifier.text()})

    def restart(self, files: Files | None = None) -> None:
        """End as a kill does, and start again."""
        sides = [talk.side for talk in self.talks.values()]
        self.close()
        self.open(files)
        self.talks = {side.name: Talk(side, self) for side in sides}

    def use(self, files: Files) -> None:
        """From now on all goes through these files, without a restart."""
        self.archive.files = files
        store = self.archive.store
        self.archive.store = replace(store, files=files)  # type: ignore[type-var]  # it is an OcflStore
        self.archive.ledger._files = files
        for talk in self.talks.values():
            for found in talk.receiving._open.values():
                found.files = files

    def close(self) -> None:
        """Close all files; nothing is flushed."""
        for talk in self.talks.values():
            talk.receiving.close()
        self.questions.close()
        self.archive.catalogue.engine.dispose()

    def stored(self, record: str) -> list[str]:
        """The outcomes of the `stored` facts about a record in all logs of the centre."""
        found = self.archive.catalogue.facts_of(record)
        return [entry.envelope.outcome for entry in found if entry.envelope.kind == "stored"]

    def original(self, record: str) -> bytes:
        """The bytes that are stored of a record."""
        content = self.archive.store.find(record)
        assert content is not None
        return (content / "original").read_bytes()


def open_files() -> int:
    """File descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def gathered(desk: Desk) -> list[Path]:
    """What lies half received."""
    return sorted(path for path in (desk.root / "incoming").glob("*/*"))
