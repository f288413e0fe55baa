"""The archive: where the centre keeps originals and derivatives, and when it may sign for them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dockwarden.centre.catalogue import Catalogue
from dockwarden.centre.store.base import Store
from dockwarden.durable.files import DurableError, Files, make_folder, publish, write_durably
from dockwarden.durable.ledger import Ledger
from dockwarden.durable.readback import measure_uncached, read_leaves_uncached
from dockwarden.evidence import fields, receipts, seals
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.digests import Digests
from dockwarden.evidence.facts import By, Entry, Instant
from dockwarden.evidence.notes import SigningKey
from dockwarden.wire.messages import ORIGINAL, PARTS
from dockwarden.wire.transfer import Item


@dataclass(frozen=True)
class Kept:
    """An item that is stored: the seal of an original and the receipt for it, else None."""

    seal: bytes | None
    receipt: bytes | None


@dataclass(frozen=True)
class Archive:
    """The centre's places. `incoming` and `derivatives` are on the store's file system."""

    catalogue: Catalogue
    ledger: Ledger
    store: Store
    incoming: Path
    derivatives: Path
    files: Files
    key: SigningKey
    clock: Callable[[], Instant]
    monotonic: Callable[[], float] = field(default=time.monotonic)

    def gathering(self, record: str, part: int) -> Path:
        """The folder in which an item's `original` and `leaves` are gathered; it survives restarts."""
        if part == ORIGINAL:
            return self.store.incoming(record)
        folder = self.incoming / "derivatives" / f"{record}.{PARTS[part]}"
        make_folder(self.files, folder)
        return folder

    def derivative(self, record: str, part: int) -> Path:
        """The file of a derivative that is kept, or will be."""
        return self.derivatives / record / PARTS[part] / "original"

    def kept(self, record: str, part: int, leaves_root: str) -> Kept | None:
        """What is stored of an item; finishes an original whose fact a crash has lost. Raises DurableError."""
        if part != ORIGINAL:
            file = self.derivative(record, part)
            known = file.with_name("leaves_root")
            return Kept(None, None) if known.exists() and known.read_text("ascii") == leaves_root else None
        content = self.store.find(record)
        if content is None:
            return None
        seal = (content / "seal.note").read_bytes()
        stored = self._stored(record)
        if stored is not None and stored.body is not None:
            return Kept(seal, fields.data(stored.body, "receipt"))
        digests, _ = measure_uncached(content / "original")
        return Kept(seal, self._sign(seals.read_seal(seal), seal, digests))

    def announced(self, record: str, part: int, size: int, leaves_root: str) -> bool:
        """Whether the station's own facts name this derivative as the newest."""
        return self._announced(record, part) == (size, leaves_root)

    def keep(self, station: str, item: Item, folder: Path, seal: bytes | None) -> object:
        """Read an item in full, past the page cache, and store it.

        Returns Kept; or the list of leaves that are not as they were sent; or MalformedError where the bytes are
        proven and yet not what was sealed; or DurableError where the disk fails. Runs in a thread of its own.
        """
        try:
            return self._keep(station, item, folder, seal)
        except (MalformedError, DurableError) as error:
            return error

    def _keep(self, station: str, item: Item, folder: Path, seal: bytes | None) -> Kept | list[int]:
        digests, _ = measure_uncached(folder / "original")
        if digests.leaves_root != item.leaves_root.hex() or digests.size != item.size:
            return self._differing(item, folder)
        if seal is None:
            return self._keep_derivative(item, folder, digests)
        made = seals.read_seal(seal)
        if digests != made.digests:
            raise MalformedError(item.name, "the digests are not those of the seal")
        write_durably(self.files, folder / "seal.note", seal)
        self.store.keep(item.record, digests)
        return Kept(seal, self._sign(made, seal, digests))

    def _differing(self, item: Item, folder: Path) -> list[int]:
        """The leaves on the disk that are not those of the list; their entries are taken out of it."""
        listed = (folder / "leaves").read_bytes()
        found = list(read_leaves_uncached(folder / "original"))
        wrong = [leaf for leaf in range(item.leaves) if listed[leaf * 32 : leaf * 32 + 32] != found[leaf]]
        return wrong or list(range(item.leaves))

    def _keep_derivative(self, item: Item, folder: Path, digests: Digests) -> Kept:
        write_durably(self.files, folder / "leaves_root", digests.leaves_root.encode())
        home = self.derivative(item.record, item.part).parent
        if home.exists():
            self.files.rmtree(home)  # of an older version; it can be made again
        publish(self.files, folder, home)
        return Kept(None, None)

    def _sign(self, made: seals.Seal, seal: bytes, digests: Digests) -> bytes:
        """Say that the record is stored, with the receipt in the fact; the caller has just read all bytes."""
        if digests != made.digests:
            raise MalformedError(made.record, "the stored bytes are not those of the seal")
        at = self.clock().utc
        receipt = receipts.Receipt(
            record=made.record,
            seal_sha256=seals.seal_sha256(seal),
            size=digests.size,
            sha256=digests.sha256,
            sm3=digests.sm3,
            place="centre",
            generation=self.store.generation,
            witness=self.key.name,
            at=at,
        )
        note = receipts.sign_receipt(receipt, self.key)
        body: Object = {"receipt": fields.base64_text(note), "seal_sha256": receipt.seal_sha256, "size": digests.size}
        by = By(self.key.name, "stage", "dockwarden/0.1.0 receiver")
        self.ledger.append("stored", record=made.record, place="centre", by=by, body=body)
        return note

    def _stored(self, record: str) -> Entry | None:
        found = self.ledger.latest(record).get(("stored", "centre"))
        if found is None or found.outcome != "done":
            return None
        return self.ledger.entries(found.seq, 1)[0]

    def _announced(self, record: str, part: int) -> tuple[int, str] | None:
        newest = None
        for entry in self.catalogue.facts_of(record):
            if entry.envelope.kind == "previewed" and entry.envelope.outcome == "done":
                newest = entry.body
        for found in fields.array(newest, "parts") if newest is not None else []:
            if isinstance(found, dict) and found.get("part") == part:
                return fields.integer(found, "size"), fields.digest(found, "leaves_root")
        return None
