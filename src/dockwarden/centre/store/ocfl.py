"""Originals as files in an OCFL 1.1 storage root (ocfl.io/1.1/spec): readable without us for decades.

```
<root>/0=ocfl_1.1  extensions/dockwarden/generation
<root>/<2 characters>/<record>/0=ocfl_object_1.1  inventory.json  inventory.json.sha256
                               v1/inventory.json  v1/inventory.json.sha256
                               v1/content/{original,leaves,seal.note}
<home>/v1/content/…                         what is still being gathered
```
"""

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dockwarden.durable.files import Files, make_folder, publish, remove_parts, settle, write_durably
from dockwarden.evidence import ids
from dockwarden.evidence.digests import Digests
from dockwarden.evidence.receipts import GENERATION
from dockwarden.service.errors import ServiceError

ROOT_MARK = "0=ocfl_1.1"
OBJECT_MARK = "0=ocfl_object_1.1"
ID_PREFIX = "urn:dockwarden:record:"
CONTENTS = ("leaves", "original", "seal.note")


@dataclass(frozen=True)
class OcflStore:
    """A store (see `store.base.Store`) in `root`."""

    root: Path
    files: Files
    generation: str
    centre: str

    def incoming(self, home: Path) -> Path:
        """See Store."""
        folder = home / "v1" / "content"
        make_folder(self.files, folder)
        return folder

    def keep(self, record: str, digests: Digests, gathered: Path) -> Path:
        """See Store."""
        staged = gathered.parent.parent
        for folder in (gathered, gathered.parent, staged):
            remove_parts(self.files, folder)  # an object holds nothing that its inventory does not name
        hashes = {
            name: digests.sha256 if name == "original" else hashlib.sha256((gathered / name).read_bytes()).hexdigest()
            for name in CONTENTS
        }
        created = (gathered / "original").stat().st_mtime_ns // 1_000_000_000
        inventory = _inventory(record, hashes, digests.sm3, created, self.centre)
        side = f"{hashlib.sha256(inventory).hexdigest()} inventory.json\n".encode()
        for folder in (gathered.parent, staged):
            write_durably(self.files, folder / "inventory.json", inventory)
            write_durably(self.files, folder / "inventory.json.sha256", side)
        write_durably(self.files, staged / OBJECT_MARK, b"ocfl_object_1.1\n")
        publish(self.files, staged, self._object(record))
        return self._object(record) / "v1" / "content"

    def settle(self, record: str) -> Path:
        """See Store."""
        settle(self.files, self._object(record))
        return self._object(record) / "v1" / "content"

    def find(self, record: str) -> Path | None:
        """See Store."""
        content = self._object(record) / "v1" / "content"
        return content if content.is_dir() else None

    def _object(self, record: str) -> Path:
        ids.record_bytes(record)
        return self.root / record[:2] / record


def make_store(root: Path, files: Files) -> None:
    """Make the storage root where there is none; what is there stays. Raises DurableError."""
    make_folder(files, root)
    named = _generation(root)
    if not named.exists():
        make_folder(files, named.parent)
        write_durably(files, root / ROOT_MARK, b"ocfl_1.1\n")
        write_durably(files, named, ids.new_generation(os.urandom(5)).encode())


def find_store(root: Path, files: Files, centre: str) -> OcflStore:
    """Open the storage root. Raises ServiceError where there is none: a store on a disk that is not mounted must not
    be begun anew in its place."""
    named = _generation(root)
    do = "Mount the store's disk. To begin a new store, run dockwarden-centre setup."
    try:
        generation = named.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise ServiceError("no-store", "the store is not there", str(root), do) from error
    if not GENERATION.fullmatch(generation):
        raise ServiceError("no-store", "the store's generation cannot be read", str(named), do)
    return OcflStore(root, files, generation, centre)


def _generation(root: Path) -> Path:
    return root / "extensions" / "dockwarden" / "generation"


def _inventory(record: str, sha256: dict[str, str], sm3: str, created: int, centre: str) -> bytes:
    """The object's inventory (OCFL 1.1 section 3.5). The original's SM3 stands in the version's message, since the
    fixity block may name no algorithm that OCFL does not know; besides, the seal has it."""
    stamp = _rfc3339(created)
    manifest: dict[str, list[str]] = {}
    state: dict[str, list[str]] = {}
    for name, digest in sha256.items():
        manifest.setdefault(digest, []).append(f"v1/content/{name}")
        state.setdefault(digest, []).append(name)
    body = {
        "id": f"{ID_PREFIX}{record}",
        "type": "https://ocfl.io/1.1/spec/#inventory",
        "digestAlgorithm": "sha256",
        "head": "v1",
        "manifest": manifest,
        "versions": {
            "v1": {
                "created": stamp,
                "message": f"stored; SM3 of original: {sm3}",
                "user": {"name": centre, "address": f"urn:dockwarden:place:{centre}"},
                "state": state,
            },
        },
    }
    return json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n"


def _rfc3339(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
