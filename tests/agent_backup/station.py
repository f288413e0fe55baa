"""A station with sealed records in its vault, its stores, and an off-site repository."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.offsite.samples import STATION, write_record

from dockwarden.agent.backup.drill import run_drill
from dockwarden.agent.backup.nightly import run_backup
from dockwarden.agent.stores import Stores, open_stores
from dockwarden.durable.files import OsFiles
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.facts import Entry
from dockwarden.evidence.notes import SigningKey
from dockwarden.offsite.proof import Expected
from dockwarden.offsite.restic import Repository


@dataclass
class Station:
    """The stores and repository of a station; `secret` says what is_secret answers (False for others)."""

    stores: Stores
    repository: Repository
    secret: dict[str, bool | None] = field(default_factory=dict)

    def add(self, data: bytes, number: int, confirmed: bool = True) -> Expected:
        """Put a record into the vault and say its facts."""
        item = write_record(self.stores.folders.root, data, number)
        by, ledger = self.stores.by("intake"), self.stores.ledger
        digests = item.digests
        body: Object = {
            "leaves_root": digests.leaves_root,
            "seal_sha256": item.seal_sha256,
            "session": "a" * 26,
            "sha256": digests.sha256,
            "size": digests.size,
            "sm3": digests.sm3,
            "source_key": {"name": f"name-of-{number}"},
        }
        ledger.append("sealed", record=item.record, place="station", by=by, body=body)
        if confirmed:
            ledger.append("confirmed", record=item.record, place="station", by=by, body={"reading": 2})
        return item

    def backup(self, **more: Any) -> dict[str, Any]:
        """Run the backup."""
        return run_backup(
            ledger=self.stores.ledger,
            vault_path=self.stores.folders.vault,
            key=self.stores.key,
            repository=self.repository,
            scratch=self.stores.folders.scratch,
            by=self.stores.by("backup"),
            is_secret=lambda record: self.secret.get(record, False),
            **more,
        )

    def drill(self, key: SigningKey = STATION, centre: SigningKey | None = None, **more: Any) -> dict[str, Any]:
        """Run the drill, with the public halves of `key` and of the centre's as the only ones that are known."""
        return run_drill(
            ledger=self.stores.ledger,
            keys=[known.verifier for known in (key, centre) if known is not None],
            repository=self.repository,
            scratch=self.stores.folders.scratch,
            by=self.stores.by("drill"),
            **more,
        )

    def said(self, kind: str, record: str | None = None) -> list[Entry]:
        """All facts of a kind, of all records or one, in order."""
        entries = self.stores.ledger.entries(0, 10_000)
        return [e for e in entries if e.envelope.kind == kind and record in (None, e.envelope.record)]


def open_station(root: Path, repository: Repository) -> Station:
    """A new station without records."""
    return Station(open_stores(root, "st-01", STATION, OsFiles()), repository)
