"""The vault: a folder for each record, moved in whole and never changed.

`vault/<first two characters>/<record>/{original,leaves,seal.note}`. The folder's name is the record's id; the
device's name for the file stands in the seal, since it may say things about people.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event

from dockwarden.durable.files import explained
from dockwarden.durable.leaflist import read_leaf_list
from dockwarden.durable.readback import measure_uncached
from dockwarden.evidence import ids, merkle, notes, seals
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.digests import leaf_count

ORIGINAL = "original"
LEAVES = "leaves"
SEAL = "seal.note"


def folder(vault: Path, record: str) -> Path:
    """Where a record lies, or will."""
    ids.record_bytes(record)
    return vault / record[:2] / record


def relative(record: str) -> str:
    """A record's folder below the station's root, as facts and reports give it."""
    return f"vault/{record[:2]}/{record}"


def records(vault: Path) -> Iterator[str]:
    """The records that have a folder, in no order."""
    for prefix in sorted(vault.iterdir()) if vault.is_dir() else []:
        for found in sorted(prefix.iterdir()) if prefix.is_dir() else []:
            if ids.RECORD_ID.fullmatch(found.name):
                yield found.name


def read_seal(vault: Path, record: str) -> tuple[seals.Seal, bytes]:
    """A record's seal and its bytes, without checking the signature; raises MalformedError, OSError."""
    data = (folder(vault, record) / SEAL).read_bytes()
    return seals.read_seal(data), data


def leaf_hashes(vault: Path, record: str) -> list[bytes]:
    """The record's leaf hashes, 32 bytes each."""
    return read_leaf_list(folder(vault, record) / LEAVES)


def verify(vault: Path, record: str, keys: Iterable[notes.VerifierKey]) -> tuple[seals.Seal, bytes]:
    """Read a record in full, past the page cache, and hold it against its seal.

    Returns the seal and its bytes. Raises MalformedError or SignatureError where they do not agree, DurableError
    where the disk fails.
    """
    return verify_folder(folder(vault, record), record, keys)


def verify_folder(
    home: Path, record: str, keys: Iterable[notes.VerifierKey], cancel: Event | None = None
) -> tuple[seals.Seal, bytes]:
    """The same for a record's folder wherever it lies: staged ones are verified before they enter the vault. Raises
    DurableError `cancelled` too."""
    for name in (ORIGINAL, LEAVES, SEAL):
        if not (home / name).is_file():
            raise MalformedError(relative(record), f"lacks its {name}")
    with explained(home):
        data = (home / SEAL).read_bytes()
    seal, _ = seals.open_seal(data, keys)
    found, _ = measure_uncached(home / ORIGINAL, cancel=cancel)
    if seal.record != record or found != seal.digests:
        raise MalformedError(relative(record), "the bytes are not those that were sealed")
    leaves = read_leaf_list(home / LEAVES)
    if len(leaves) != leaf_count(found.size) or merkle.root(leaves).hex() != found.leaves_root:
        raise MalformedError(relative(record), "the leaf list is not that of the bytes")
    return seal, data
