"""Case packages: everything of some records that a court needs, verifiable without this program.

The layout is that of `evidence.packages`. Nobody else's facts are in it but as hashes in the proofs.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select

from dockwarden.centre.archive import Archive
from dockwarden.centre.records import trusted
from dockwarden.centre.report import Told, render_report
from dockwarden.durable.files import durable_error, make_folder, publish
from dockwarden.durable.queries import node_getter
from dockwarden.durable.readback import measure_uncached
from dockwarden.durable.tables import heads, reading
from dockwarden.evidence import canonical, checkpoints, facts, fields, ids, merkle, notes, packages, seals
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.facts import Entry
from dockwarden.evidence.notes import SignatureError, VerifierKey
from dockwarden.rules.deadlines import Policy
from dockwarden.rules.records import COPIES, receipt_of
from dockwarden.service.errors import ServiceError
from dockwarden.wire.messages import ORIGINAL, PARTS


def make_package(archive: Archive, policy: Policy, records: Sequence[str], target: Path, made_at: str) -> str:
    """Write the package of `records` to the new folder `target`; returns the SHA-256 of its manifest's note.

    Raises ServiceError where there is something at `target`, where a record is not stored here, is damaged or not yet
    covered by a cosigned head, and leaves nothing then; DurableError.
    """
    if not records:
        raise ServiceError("no-records", "no record was named", str(target), "Name at least one record.")
    if os.path.lexists(target) or not target.name:
        raise ServiceError("exists", "there is something at the target", str(target), "Name a new folder.")
    staged = target.with_name(f".{target.name}.part")
    if staged.exists():  # a crash left it
        archive.files.rmtree(staged)
    make_folder(archive.files, staged)
    try:
        told = [_write_record(archive, record, staged) for record in records]
        entries = [entry for record in told for entry in record.entries if _counts(archive, entry)]
        for log in sorted({entry.envelope.log for entry in entries}):
            mine = [entry for entry in entries if entry.envelope.log == log]
            _write_log(archive, log, mine, staged / "logs" / log)
        keys = _keys(archive, {entry.envelope.log.partition(".")[0] for entry in entries})
        (staged / packages.KEYS).write_text("".join(f"{key.text()}\n" for key in keys), "utf-8")
        report = render_report(told, archive.key.verifier, policy, made_at)
        (staged / packages.REPORT).write_text(report, "utf-8")
        note = _write_manifest(archive, records, keys, staged, made_at)
        publish(archive.files, staged, target)
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        if isinstance(error, OSError):
            raise durable_error(error, str(target)) from error
        raise
    return hashlib.sha256(note).hexdigest()


def _write_record(archive: Archive, record: str, staged: Path) -> Told:
    """Copy one record's files; returns what its facts are, for the report."""
    content = archive.store.find(record) if ids.RECORD_ID.fullmatch(record) else None
    if content is None:
        raise ServiceError(
            "not-stored", "the record is not stored at the centre", record[:40], "Wait for its upload."
        )
    owner = archive.catalogue.owner(record)
    if owner is None:
        do = "Wait until its station is online."
        raise ServiceError("not-covered", "the record's facts are not here yet", record, do)
    folder = staged / "records" / record
    folder.mkdir(parents=True)
    for name in ("original", "leaves", "seal.note"):
        _copy(content / name, folder / name)
    seal_note = (folder / "seal.note").read_bytes()
    digests, _ = measure_uncached(folder / "original")
    if digests != seals.read_seal(seal_note).digests:
        do = "Restore the original from the station or from off-site."
        raise ServiceError("damaged", "the stored bytes are not those that were sealed", record, do)
    for number, name in enumerate(PARTS):
        if number != ORIGINAL and archive.derivative(record, number).exists():
            _copy(archive.derivative(record, number), folder / name)
    told = Told(record, archive.catalogue.facts_of(record), trusted(archive, owner, archive.catalogue.station_keys()))
    found = _receipts(told, seal_note)
    if found:  # an empty folder would be one that nobody has listed
        (folder / "receipts").mkdir()
    for number, (place, note) in enumerate(found, 1):
        (folder / "receipts" / f"{place}-{number}.note").write_bytes(note)
    return told


def _receipts(told: Told, seal_note: bytes) -> list[tuple[str, bytes]]:
    """The receipts that the record's facts carry, with their places; what is none is left out."""
    found: list[tuple[str, bytes]] = []
    seal, named = seals.read_seal(seal_note), seals.seal_sha256(seal_note)
    for entry in told.entries:
        place = COPIES.get(entry.envelope.kind)
        if place is None or entry.envelope.outcome != "done" or entry.body is None:
            continue
        with suppress(MalformedError, SignatureError):
            receipt_of(entry, seal, named, told.witnesses[place])
            found.append((place, fields.data(entry.body, "receipt")))
    return found


def _counts(archive: Archive, entry: Entry) -> bool:
    """Whether a fact can be proven: of our own generations that are over, only what a station has cosigned."""
    envelope = entry.envelope
    if envelope.log == archive.ledger.log or envelope.log.partition(".")[0] != archive.key.name:
        return True
    query = select(heads.c.size).where(heads.c.log == envelope.log, heads.c.size > envelope.seq)
    with reading(archive.catalogue.engine) as connection:
        return connection.scalars(query).first() is not None


def _write_log(archive: Archive, log: str, entries: Sequence[Entry], folder: Path) -> None:
    """Write a log's head and the entries that it covers, each with its proof."""
    folder.mkdir(parents=True)
    least = 1 + max(entry.envelope.seq for entry in entries)
    note = _covering_head(archive, log, least)
    head = checkpoints.Head.parse(notes.parse(note).text)
    (folder / "head.note").write_bytes(note)
    with reading(archive.catalogue.engine) as connection, (folder / "entries.jsonl").open("wb") as lines:
        get = node_getter(connection, log)
        for entry in sorted(entries, key=lambda each: each.envelope.seq):
            proof = merkle.inclusion_proof(get, entry.envelope.seq, head.size)
            line: Object = packages.entry_line(facts.entry_to_object(entry), proof)
            lines.write(canonical.encode(line) + b"\n")


def _covering_head(archive: Archive, log: str, least: int) -> bytes:
    """The newest head of a log that the other side has cosigned; it must cover the first `least` entries.

    Our own log's head is signed anew where no station has cosigned one that is new enough.
    """
    query = select(heads.c.note).where(heads.c.log == log, heads.c.size >= least).order_by(heads.c.size.desc())
    with reading(archive.catalogue.engine) as connection:
        note: bytes | None = connection.scalars(query).first()
    if note is not None:
        return note
    if log == archive.ledger.log:
        return archive.ledger.head(archive.key)
    what = "the newest facts are not under a head that both sides signed"
    raise ServiceError("not-covered", what, log, "Try again shortly, when the station is online.")


def _keys(archive: Archive, places: set[str]) -> list[VerifierKey]:
    """The centre's key first, then those of the places whose facts or receipts are in the package."""
    known = archive.catalogue.station_keys()
    return [archive.key.verifier, *(known[place] for place in sorted(places) if place in known)]


def _write_manifest(
    archive: Archive, records: Sequence[str], keys: Sequence[VerifierKey], staged: Path, made_at: str
) -> bytes:
    files = []
    for path in sorted(path for path in staged.rglob("*") if path.is_file()):
        digests, _ = measure_uncached(path)
        name = path.relative_to(staged).as_posix()
        files.append(packages.PackagedFile(name, digests.size, digests.sha256, digests.sm3))
    manifest = packages.Manifest(
        centre=archive.key.name,
        made_at=made_at,
        keys=tuple(key.text() for key in keys),
        records=tuple(records),
        files=tuple(files),
    )
    note = packages.sign_manifest(manifest, archive.key)
    (staged / packages.MANIFEST).write_bytes(note)
    return note


def _copy(source: Path, target: Path) -> None:
    """Copy a file by ranges of the kernel's choice, never through memory as a whole."""
    with source.open("rb") as reader, target.open("wb") as writer:
        size, offset = os.fstat(reader.fileno()).st_size, 0
        while offset < size:
            offset += os.sendfile(writer.fileno(), reader.fileno(), offset, size - offset)
