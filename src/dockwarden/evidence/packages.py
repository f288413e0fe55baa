"""Case packages: what a court receives, and how its folder is laid out.

```
package.note                         signed by the centre: every other file with size and digests, and the keys
report.html                          for people
keys.txt                             verifier keys, a line each: the centre's first, then the places'
records/<record>/original            the bytes as the device held them
records/<record>/leaves              the original's leaf hashes, 32 bytes each: they name the place of damage
records/<record>/seal.note
records/<record>/preview.mp4, sheet.jpg          where the footage decodes
records/<record>/receipts/<place>-<n>.note
logs/<log>/head.note                 the log's signed head, cosigned by the other side
logs/<log>/entries.jsonl             {"body", "envelope", "proof"} a line, by rising seq: the case's facts
```
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dockwarden.evidence import canonical, facts, fields, ids, notes, statements
from dockwarden.evidence.canonical import MalformedError, Object

MANIFEST = "package.note"
REPORT = "report.html"
KEYS = "keys.txt"
ORIGINAL = "original"
LEAVES = "leaves"
SEAL = "seal.note"
HEAD = "head.note"
ENTRIES = "entries.jsonl"
MAX_KEYS = 1000

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
        manifest = Manifest(
            centre=fields.matching(source, "centre", ids.PLACE_NAME),
            made_at=fields.utc(source, "made_at"),
            keys=tuple(_text(item, "keys") for item in fields.array(source, "keys", MAX_KEYS)),
            records=tuple(_text(item, "records") for item in fields.array(source, "records")),
            files=tuple(_file(item) for item in fields.array(source, "files")),
        )
        fields.printed_back(source, manifest.to_object())
        _check(manifest)
        return manifest


def sign_manifest(manifest: Manifest, key: notes.SigningKey) -> bytes:
    """Return the bytes of `package.note`; the centre signs.

    Raises MalformedError for a manifest that no reader would take, one over 4 MiB (some 10,000 files) included.
    """
    if manifest.centre != key.name:
        raise ValueError("a centre signs its own packages")
    data = statements.sign("package", manifest.to_object(), key)
    Manifest.from_object(statements.peek("package", data))
    return data


def open_manifest(data: bytes, keys: Iterable[notes.VerifierKey]) -> Manifest:
    """Check and read a manifest; raises SignatureError unless a key of the centre that it names signed it."""
    centre = fields.matching(statements.peek("package", data), "centre", ids.PLACE_NAME)
    own = [key for key in keys if key.name == centre]
    return Manifest.from_object(statements.open_signed("package", data, own).body)


def entry_line(entry: Object, proof: Iterable[bytes]) -> Object:
    """A line of `entries.jsonl`: the entry (facts.entry_to_object) with its inclusion proof."""
    return {**entry, "proof": [fields.base64_text(step) for step in proof]}


def read_entry_line(data: bytes) -> tuple[facts.Entry, tuple[bytes, ...]]:
    """Read a line of `entries.jsonl` without its newline; the proof is not yet verified. Raises MalformedError."""
    source = canonical.decode_object(data, ENTRIES)
    entry = facts.entry_from_object(source)
    proof = tuple(fields.base64_bytes(_text(step, "proof"), "proof") for step in fields.array(source, "proof", 64))
    fields.printed_back(source, entry_line(facts.entry_to_object(entry), proof))
    return entry, proof


def record_path(record: str, name: str) -> str:
    """Where the package keeps file `name` of `record`."""
    return f"records/{record}/{name}"


def receipt_path(record: str, place: facts.Place, number: int) -> str:
    """Where the package keeps receipt `number` (from 1) of `record` at `place`."""
    return record_path(record, f"receipts/{place}-{number}.note")


def log_path(log: str, name: str) -> str:
    """Where the package keeps file `name` of `log`."""
    return f"logs/{log}/{name}"


def _check(manifest: Manifest) -> None:
    names = {notes.VerifierKey.parse(line).name for line in manifest.keys}
    if manifest.centre not in names:
        raise MalformedError("keys", "lack the centre's")
    for record in manifest.records:
        if not ids.RECORD_ID.fullmatch(record):
            raise MalformedError("records", "holds something that is not a record id")
    paths = tuple(file.path for file in manifest.files)
    if MANIFEST in paths:
        raise MalformedError("files", "lists the manifest itself")
    for where, items in (("keys", manifest.keys), ("records", manifest.records), ("files", paths)):
        if len(set(items)) != len(items):
            raise MalformedError(where, "says something twice")


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
