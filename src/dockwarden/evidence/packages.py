"""Case packages: what a court receives, and how its folder is laid out.

```
package.note                         signed by the centre: every other file with size and digests, and the keys
report.html                          for people
keys.txt                             verifier keys, a line each: the centre's first, then the places'
records/<record>/original            the bytes as the device held them
records/<record>/seal.note
records/<record>/preview.mp4, sheet.jpg          where the footage decodes
records/<record>/receipts/<place>-<n>.note
logs/<log>/head.note                 the log's signed head, cosigned by the other side
logs/<log>/entries.jsonl             {"body", "envelope", "proof"} a line, in order: the case's facts
```
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dockwarden.evidence import fields, ids, notes, statements
from dockwarden.evidence.canonical import MalformedError, Object

MANIFEST = "package.note"
REPORT = "report.html"
KEYS = "keys.txt"

_PATH = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")


@dataclass(frozen=True)
class PackagedFile:
    """A file of the package: its path below the package's folder, size in bytes, and digests."""

    path: str
    size: int
    sha256: str
    sm3: str


@dataclass(frozen=True)
class Manifest:
    """What the centre signs of a package. `keys` are verifier key lines; `records` record ids."""

    centre: str
    made_at: str
    keys: tuple[str, ...]
    records: tuple[str, ...]
    files: tuple[PackagedFile, ...]

    def to_object(self) -> Object:
        """The manifest's canonical object."""
        return {
            "centre": self.centre,
            "files": [
                {"path": file.path, "sha256": file.sha256, "size": file.size, "sm3": file.sm3} for file in self.files
            ],
            "keys": list(self.keys),
            "made_at": self.made_at,
            "records": list(self.records),
            "v": 1,
        }

    @staticmethod
    def from_object(source: Object) -> "Manifest":
        """Read a manifest; raises MalformedError."""
        fields.version(source)
        keys = tuple(_text(item, "keys") for item in fields.array(source, "keys"))
        for line in keys:
            notes.VerifierKey.parse(line)
        return Manifest(
            centre=fields.matching(source, "centre", ids.PLACE_NAME),
            made_at=fields.utc(source, "made_at"),
            keys=keys,
            records=tuple(_text(item, "records") for item in fields.array(source, "records")),
            files=tuple(_file(item) for item in fields.array(source, "files")),
        )


def sign_manifest(manifest: Manifest, key: notes.SigningKey) -> bytes:
    """Return the bytes of `package.note`."""
    return statements.sign("package", manifest.to_object(), key)


def open_manifest(data: bytes, keys: Iterable[notes.VerifierKey]) -> Manifest:
    """Check and read a manifest; raises SignatureError, MalformedError."""
    return Manifest.from_object(statements.open_signed("package", data, keys).body)


def entry_line(entry: Object, proof: Iterable[bytes]) -> Object:
    """A line of `entries.jsonl`: the entry (facts.entry_to_object) with its inclusion proof."""
    return {**entry, "proof": [fields.base64_text(step) for step in proof]}


def _file(item: object) -> PackagedFile:
    if not isinstance(item, dict):
        raise MalformedError("files", "holds something that is not an object")
    return PackagedFile(
        fields.matching(item, "path", _PATH),
        fields.integer(item, "size"),
        fields.digest(item, "sha256"),
        fields.digest(item, "sm3"),
    )


def _text(item: object, where: str) -> str:
    if not isinstance(item, str):
        raise MalformedError(where, "holds something that is not text")
    return item
