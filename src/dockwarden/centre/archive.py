"""The archive: where the centre keeps originals and derivatives, and when it may sign for them."""

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from dockwarden.centre.catalogue import Catalogue
from dockwarden.centre.gathering import HASH
from dockwarden.centre.store.base import Store
from dockwarden.durable.files import Files, explained, make_folder, publish, remove_parts, write_durably
from dockwarden.durable.ledger import Ledger
from dockwarden.durable.readback import measure_uncached, read_leaves_uncached
from dockwarden.evidence import fields, ids, merkle, receipts, seals
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.digests import Digests
from dockwarden.evidence.facts import By, Instant
from dockwarden.evidence.notes import SignatureError, SigningKey
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.messages import ORIGINAL, PARTS
from dockwarden.wire.transfer import Item

MOST_GATHERED = 24
"""Unfinished items of one station that are kept: three times what it sends at once."""


@dataclass(frozen=True)
class Kept:
    """An item that is stored: the seal of an original and the receipt for it, else None."""

    seal: bytes | None
    receipt: bytes | None


@dataclass(frozen=True)
class Unsigned:
    """An original that is in the store and that nobody has signed for: a crash came between, or the store is new."""

    seal: bytes


@dataclass
class Archive:
    """The centre's places. `incoming` and `derivatives` are on the store's file system. `ledger` is that of the
    centre's own log; a new one takes its place when a generation ends."""

    catalogue: Catalogue
    ledger: Ledger
    store: Store
    incoming: Path
    derivatives: Path
    files: Files
    key: SigningKey
    clock: Callable[[], Instant]
    monotonic: Callable[[], float] = field(default=time.monotonic)

    def gather(self, station: str, item: Item, spared: Collection[Item] = ()) -> Path:
        """The folder in which an item's `original` and `leaves` are gathered; it survives restarts.

        Its name has the item's root, so that nothing of an older preview is taken for a newer one's. Where a station
        has left too many unfinished the oldest goes, but none of `spared`. Raises DurableError.
        """
        home = self._gathered(station, item)
        if not home.exists():
            self._make_room(home.parent, {self._gathered(station, other) for other in spared})
        if item.part == ORIGINAL:
            return self.store.incoming(home)
        make_folder(self.files, home)
        return home

    def held(self, station: str, besides: Item) -> int:
        """Bytes of the disk that a station's unfinished items hold, whether anything of them has come or not; the
        item `besides` is left out. Raises DurableError."""
        home = self.incoming / station
        with explained(home):
            homes = [path for path in home.iterdir() if path.is_dir()] if home.exists() else []
            homes = [path for path in homes if path != self._gathered(station, besides)]
            return sum(file.stat().st_blocks * 512 for path in homes for file in path.rglob("original"))

    def drop_oldest(self, station: str, spared: Collection[Item]) -> bool:
        """Drop the unfinished item of a station that got something longest ago, none of `spared`; False where there
        is none. Raises DurableError."""
        home, kept = self.incoming / station, {self._gathered(station, item) for item in spared}
        with explained(home):
            homes = [path for path in home.iterdir() if path.is_dir()] if home.exists() else []
            old = sorted((path for path in homes if path not in kept), key=_touched)
            if old:
                self.files.rmtree(old[0])
        return bool(old)

    def discard(self, station: str, item: Item) -> None:
        """Drop what was gathered of an item."""
        home = self._gathered(station, item)
        if home.exists():
            with explained(home):
                self.files.rmtree(home)

    def derivative(self, record: str, part: int) -> Path:
        """The file of a derivative that is kept, or will be."""
        return self.derivatives / record / PARTS[part] / "original"

    def kept(self, record: str, part: int, leaves_root: str) -> Kept | Unsigned | None:
        """What is stored of an item, without reading it. Raises DurableError."""
        if part != ORIGINAL:
            file = self.derivative(record, part)
            known = file.with_name("leaves_root")
            return Kept(None, None) if known.exists() and known.read_text("ascii") == leaves_root else None
        content = self.store.find(record)
        if content is None:
            return None
        seal = (content / "seal.note").read_bytes()
        receipt = self._receipt(record, seal)
        return Kept(seal, receipt) if receipt is not None else Unsigned(seal)

    def announced(self, station: str, record: str, part: int, size: int, leaves_root: str) -> bool:
        """Whether the newest facts of the station that the record belongs to name this derivative."""
        if self.catalogue.owner(record) != station:
            return False
        return self._announced(record, part) == (size, leaves_root)

    def check_owner(self, station: str, record: str) -> None:
        """Raises RemoteError where a record is known to belong to another station."""
        if self.catalogue.owner(record) not in (None, station):
            raise RemoteError("another-station", "the record belongs to another station", f"record {record}")

    def keep(self, station: str, item: Item, folder: Path, seal: bytes | None) -> Kept | list[int]:
        """Read an item in full, past the page cache, and store it; takes long.

        Returns Kept, or the list of leaves that are not as they were sent. Raises MalformedError where the bytes are
        proven and yet not what was sealed, RemoteError for another's record, DurableError where the disk fails.
        """
        if seal is None:
            return self._keep_derivative(station, item, folder)
        self.check_owner(station, item.record)
        if self.store.find(item.record) is not None:  # an earlier try came that far
            return self.finish(item.record, seal)
        digests, _ = measure_uncached(folder / "original")
        if (digests.leaves_root, digests.size) != (item.leaves_root.hex(), item.size):
            return self._differing(item, folder)
        made = seals.read_seal(seal)
        if digests != made.digests:
            raise MalformedError(item.name, "the digests are not those of the seal")
        self._check_list(item, folder)
        write_durably(self.files, folder / "seal.note", seal)
        self.store.keep(item.record, digests, folder)
        return Kept(seal, self._sign(made, seal, digests))

    def finish(self, record: str, seal: bytes) -> Kept:
        """Sign for an original that is in the store already; it is made durable and read in full before. Takes long.

        Raises MalformedError where it is not what was sealed, RemoteError for another seal, DurableError.
        """
        found = self.kept(record, ORIGINAL, "")
        if found is None or found.seal != seal:
            raise RemoteError("another-seal", "the record is stored here under another seal", f"record {record}")
        if isinstance(found, Kept):
            return found
        content = self.store.settle(record)
        digests, _ = measure_uncached(content / "original")
        return Kept(seal, self._sign(seals.read_seal(seal), seal, digests))

    def prove(self, record: str, nonce: str) -> bytes:
        """Read a stored original in full, past the page cache, and sign a receipt with `nonce`. Takes long.

        No fact comes of it: who asked keeps the receipt. Raises RemoteError where it is not here, MalformedError
        where it is not what was sealed, DurableError.
        """
        content = self.store.find(record)
        if content is None:
            raise RemoteError("not-stored", "the record is not at the centre", f"record {record}")
        seal = (content / "seal.note").read_bytes()
        digests, _ = measure_uncached(content / "original")
        return self._receipt_for(seals.read_seal(seal), seal, digests, nonce)

    def begin_generation(self, why: str) -> None:
        """Go on in a new log: the old one is not what others have seen of it, and must not grow any more.

        A visible `restored` says so. Raises DurableError.
        """
        old = self.ledger
        log = ids.log_id(self.key.name, ids.new_generation(os.urandom(5)))
        new = Ledger(old.engine, log, self.clock, self.files)
        by = By(self.key.name, "stage", "dockwarden/0.1.0 office")

        def also(connection: Connection) -> None:
            self.catalogue.begin_generation(connection, log)

        body: Object = {"log": old.log, "size": old.size(), "why": why}
        new.append("restored", by=by, body=body, also=also)
        new.append("key-rotated", by=by, body={"purpose": "log", "vkey": self.key.verifier.text()})
        self.ledger = new

    def _gathered(self, station: str, item: Item) -> Path:
        return self.incoming / station / f"{item.record}.{item.part}.{item.leaves_root.hex()}"

    def _make_room(self, folder: Path, spared: Collection[Path]) -> None:
        """Drop the oldest unfinished items of a station where there are too many for one more."""
        with explained(folder):
            homes = [path for path in folder.iterdir() if path.is_dir()] if folder.exists() else []
            old = sorted((path for path in homes if path not in spared), key=_touched)
            for path in old[: max(0, len(homes) + 1 - MOST_GATHERED)]:
                self.files.rmtree(path)

    def _differing(self, item: Item, folder: Path) -> list[int]:
        """The leaves on the disk that are not those of the list; all where it is the list that is wrong."""
        listed = (folder / "leaves").read_bytes()
        found = dict(enumerate(read_leaves_uncached(folder / "original")))
        wrong = [leaf for leaf in range(item.leaves) if listed[leaf * HASH : (leaf + 1) * HASH] != found.get(leaf)]
        return wrong or list(range(item.leaves))

    def _check_list(self, item: Item, folder: Path) -> None:
        """Write the list of leaves anew where it is not that of the bytes, which have just been proven."""
        listed = (folder / "leaves").read_bytes()
        hashes = [listed[at : at + HASH] for at in range(0, len(listed), HASH)]
        if len(listed) != item.leaves * HASH or merkle.root(hashes) != item.leaves_root:
            write_durably(self.files, folder / "leaves", b"".join(read_leaves_uncached(folder / "original")))

    def _keep_derivative(self, station: str, item: Item, folder: Path) -> Kept | list[int]:
        digests, _ = measure_uncached(folder / "original")
        if (digests.leaves_root, digests.size) != (item.leaves_root.hex(), item.size):
            return self._differing(item, folder)
        if not self.announced(station, item.record, item.part, digests.size, digests.leaves_root):
            raise RemoteError("overtaken", "a newer one has been announced meanwhile", item.name)
        remove_parts(self.files, folder)
        write_durably(self.files, folder / "leaves_root", digests.leaves_root.encode())
        home = self.derivative(item.record, item.part).parent
        if home.exists():
            self.files.rmtree(home)  # of an older version; it can be made again
        publish(self.files, folder, home)
        return Kept(None, None)

    def _sign(self, made: seals.Seal, seal: bytes, digests: Digests) -> bytes:
        """Say that the record is stored, with the receipt in the fact; the caller has just read all bytes."""
        note = self._receipt_for(made, seal, digests, None)
        sha256 = seals.seal_sha256(seal)
        body: Object = {"receipt": fields.base64_text(note), "seal_sha256": sha256, "size": digests.size}
        by = By(self.key.name, "stage", "dockwarden/0.1.0 receiver")
        self.ledger.append("stored", record=made.record, place="centre", by=by, body=body)
        return note

    def _receipt_for(self, made: seals.Seal, seal: bytes, digests: Digests, nonce: str | None) -> bytes:
        """The receipt for bytes that have just been read; raises MalformedError where they are not the seal's."""
        if digests != made.digests:
            raise MalformedError(made.record, "the stored bytes are not those of the seal")
        receipt = receipts.Receipt(
            record=made.record,
            seal_sha256=seals.seal_sha256(seal),
            size=digests.size,
            sha256=digests.sha256,
            sm3=digests.sm3,
            place="centre",
            generation=self.store.generation,
            witness=self.key.name,
            at=self.clock().utc,
            nonce=nonce,
        )
        return receipts.sign_receipt(receipt, self.key)

    def _receipt(self, record: str, seal: bytes) -> bytes | None:
        """The newest receipt that we signed for a record in this generation of the store."""
        note = None
        for entry in self.catalogue.facts_of(record):
            envelope = entry.envelope
            if envelope.kind != "stored" or envelope.log.partition(".")[0] != self.key.name:
                continue
            note = self._valid(entry.body, record, seal) if envelope.outcome == "done" else None
        return note

    def _valid(self, body: Object | None, record: str, seal: bytes) -> bytes | None:
        if body is None:
            return None
        try:
            note = fields.data(body, "receipt")
            receipt = receipts.open_receipt(note, [self.key.verifier])
        except (MalformedError, SignatureError):
            return None
        made = (receipt.generation, receipt.record, receipt.seal_sha256)
        return note if made == (self.store.generation, record, seals.seal_sha256(seal)) else None

    def _announced(self, record: str, part: int) -> tuple[int, str] | None:
        newest = None
        for entry in self.catalogue.facts_of(record):
            if entry.envelope.kind == "previewed" and entry.envelope.log.partition(".")[0] != self.key.name:
                newest = entry.body if entry.envelope.outcome == "done" else None
        for found in fields.array(newest, "parts") if newest is not None else []:
            if isinstance(found, dict) and found.get("part") == part:
                return fields.integer(found, "size"), fields.digest(found, "leaves_root")
        return None


def _touched(home: Path) -> int:
    """When an unfinished item last got something, in ns; one that goes meanwhile counts as the oldest."""
    try:
        return max(path.stat().st_mtime_ns for path in (home, *home.rglob("leaves")))
    except OSError:
        return 0
