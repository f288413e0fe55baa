"""Originals as files in an OCFL 1.1 storage root (ocfl.io/1.1/spec): readable without us for decades.

```
<root>/0=ocfl_1.1  extensions/dockwarden/generation
<root>/<2 characters>/<record>/0=ocfl_object_1.1  inventory.json  inventory.json.sha256
                               v1/inventory.json  v1/inventory.json.sha256
                               v1/content/{original,leaves,seal.note}
<incoming>/<record>/v1/content/…            what is still being gathered
```
"""

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dockwarden.durable.files import Files, make_folder, publish, write_durably
from dockwarden.evidence import ids
from dockwarden.evidence.digests import Digests
from dockwarden.evidence.receipts import GENERATION

ROOT_MARK = "0=ocfl_1.1"
OBJECT_MARK = "0=ocfl_object_1.1"
ID_PREFIX = "urn:dockwarden:record:"
CONTENTS = ("leaves", "original", "seal.note")


@dataclass(frozen=True)
class OcflStore:
    """A store (see `store.base.Store`) in `root`; `gathering` is a folder of the same file system."""

    root: Path
    gathering: Path
    files: Files
    generation: str
    centre: str

    def incoming(self, record: str) -> Path:
        """See Store."""
        folder = self.gathering / record / "v1" / "content"
        make_folder(self.files, folder)
        return folder

    def discard(self, record: str) -> None:
        """See Store."""
        if (self.gathering / record).exists():
            self.files.rmtree(self.gathering / record)

    def keep(self, record: str, digests: Digests) -> Path:
        """See Store."""
        staged = self.gathering / record
        content = staged / "v1" / "content"
        hashes = {
            name: digests.sha256 if name == "original" else hashlib.sha256((content / name).read_bytes()).hexdigest()
            for name in CONTENTS
        }
        created = (content / "original").stat().st_mtime_ns // 1_000_000_000
        inventory = _inventory(record, hashes, digests.sm3, created, self.centre)
        side = f"{hashlib.sha256(inventory).hexdigest()} inventory.json\n".encode()
        for folder in (staged / "v1", staged):
            write_durably(self.files, folder / "inventory.json", inventory)
            write_durably(self.files, folder / "inventory.json.sha256", side)
        write_durably(self.files, staged / OBJECT_MARK, b"ocfl_object_1.1\n")
        publish(self.files, staged, self._object(record))
        return self._object(record) / "v1" / "content"

    def find(self, record: str) -> Path | None:
        """See Store."""
        content = self._object(record) / "v1" / "content"
        return content if content.is_dir() else None

    def _object(self, record: str) -> Path:
        ids.record_bytes(record)
        return self.root / record[:2] / record


def open_store(root: Path, gathering: Path, files: Files, centre: str) -> OcflStore:
    """Open the storage root, making it where there is none. Raises DurableError."""
    make_folder(files, root)
    make_folder(files, gathering)
    named = root / "extensions" / "dockwarden" / "generation"
    if not named.exists():
        make_folder(files, named.parent)
        write_durably(files, root / ROOT_MARK, b"ocfl_1.1\n")
        write_durably(files, named, ids.new_generation(os.urandom(5)).encode())
    generation = named.read_text("ascii").strip()
    if not GENERATION.fullmatch(generation):
        raise ValueError(f"{named}: is not a generation")
    return OcflStore(root, gathering, files, generation, centre)


def _inventory(record: str, sha256: dict[str, str], sm3: str, created: int, centre: str) -> bytes:
    """The object's inventory (OCFL 1.1 section 3.5). SM3 stands in the fixity block."""
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
        "fixity": {"sm3": {sm3: ["v1/content/original"]}},
        "manifest": manifest,
        "versions": {
            "v1": {"created": stamp, "message": "stored", "user": {"name": centre}, "state": state},
        },
    }
    return json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n"


def _rfc3339(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
