"""A valid world of evidence in small: a station, a centre, their logs, a case package. Tests bend one thing in it.

Everything in it is fixed: keys, ids, salts and dates come from names, so two builds are equal byte for byte.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dockwarden.evidence import canonical, checkpoints, facts, fields, ids, merkle, notes, packages, receipts, seals
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.digests import Digests, Measure
from dockwarden.evidence.facts import By, Entry, Envelope, Instant, Outcome, Place

MADE_AT = "2026-11-24T08:30:00.000Z"
COSIGNED_AT = 1_795_509_000
PREVIEW = b"not really a film\n"
BY = By("station-1", "stage", "dockwarden/0.1.0 golden")


def chance(name: str, length: int) -> bytes:
    """Bytes that look random and are always the same for a name."""
    return hashlib.shake_256(name.encode()).digest(length)


def key(name: str) -> notes.SigningKey:
    """The signing key of a place of that name."""
    return notes.SigningKey(name, chance(f"key {name}", 32))


def record_id(name: str) -> str:
    """A record's id."""
    return ids.new_record_id(chance(f"record {name}", 16))


STATION, CENTRE, STRANGER = key("station-1"), key("centre"), key("stranger")
STATION_LOG = ids.log_id("station-1", ids.new_generation(chance("station generation", 5)))
CENTRE_LOG = ids.log_id("centre", ids.new_generation(chance("centre generation", 5)))
KEYS = (CENTRE.verifier, STATION.verifier)


def measured(data: bytes) -> tuple[Digests, list[bytes]]:
    """Digests and leaf hashes of bytes."""
    measure = Measure()
    measure.update(data)
    return measure.finish(), measure.leaves


def a_seal(record: str, data: bytes, number: int = 1) -> seals.Seal:
    """A seal of these bytes."""
    name = seals.SourceName(f"DCIM/录像{number}.MP4", f"DCIM/录像{number}.MP4".encode("gbk"), "gbk")
    return seals.Seal(
        record=record,
        log=STATION_LOG,
        bay="1-1.2",
        session=ids.new_record_id(chance("session", 16)),
        device={
            "family": "mass-storage",
            "key": "DCAM-X3-ZB2041",
            "kind": "camera",
            "model": "DCAM-X3",
            "profile": "dcam",
            "serial": "ZB2041",
        },
        source={
            "marks": ["important"] if number == 1 else [],
            "modified_raw": 1_795_500_000 + number,
            "name": name.to_object(),
            "size": len(data),
            "volume": "DCAM",
        },
        captured={"end": "2026-11-24T07:59:58.000Z", "how": "name+modified", "start": "2026-11-24T07:50:00.000Z"},
        clock={"method": "asked", "offset_ms": -1500, "uncertainty_ms": 2000},
        digests=measured(data)[0],
        read_back="direct",
        sealed_at=f"2026-11-24T08:00:0{number}.000Z",
    )


def a_partial_seal() -> seals.Seal:
    """A seal of a file of 12 KiB whose device did not give the second block, and was not asked for the third."""
    data = b"x" * 4096 + bytes(8192)
    holes = (seals.Hole(4096, 4096, "unreadable"), seals.Hole(8192, 4096, "given-up"))
    return replace(a_seal(record_id("3"), data), holes=holes)


def a_receipt(seal: bytes, place: Place, witness: str, head: str | None = None) -> receipts.Receipt:
    """A receipt for what a seal seals."""
    made = seals.read_seal(seal)
    return receipts.Receipt(
        record=made.record,
        seal_sha256=hashlib.sha256(seal).hexdigest(),
        size=made.digests.size,
        sha256=made.digests.sha256,
        sm3=made.digests.sm3,
        place=place,
        generation="golden00",
        witness=witness,
        at="2026-11-24T08:10:00.000Z",
        head=head,
    )


class Log:
    """A log in memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[Entry] = []

    def append(
        self,
        kind: str,
        body: Object,
        record: str | None = None,
        place: Place | None = None,
        outcome: Outcome = "done",
    ) -> Entry:
        """Append a fact."""
        seq = len(self.entries)
        data = facts.seal_body(body, chance(f"salt {self.name} {seq}", 16))
        at = Instant(f"2026-11-24T08:00:{seq:02}.000Z", "0" * 31 + "1", 1000 * seq, True)
        by = By(self.name.partition(".")[0], BY.kind, BY.how)
        envelope = Envelope(self.name, seq, at, kind, outcome, by, facts.body_digest(data), record, place)
        self.entries.append(Entry(envelope.encode(), data))
        return self.entries[-1]

    @property
    def tree(self) -> merkle.Tree:
        """The tree over all entries."""
        return merkle.Tree([entry.leaf for entry in self.entries])

    def head(self, signer: notes.SigningKey, cosigner: notes.SigningKey | None = None) -> bytes:
        """The signed head of all entries, cosigned where a cosigner is given."""
        note = checkpoints.sign_head(checkpoints.Head(self.name, len(self.entries), self.tree.root), signer)
        return cosigner.cosign(note, COSIGNED_AT) if cosigner else note

    def lines(self, chosen: Iterable[Entry], *, proven: bool = True) -> bytes:
        """Lines of entries.jsonl."""
        tree = self.tree
        found = b""
        for entry in chosen:
            line = facts.entry_to_object(entry)
            if proven:
                line = packages.entry_line(line, tree.proof(entry.envelope.seq))
            found += canonical.encode(line) + b"\n"
        return found


@dataclass
class World:
    """Two logs and the files of a package, before its manifest is signed. Tests bend them and write."""

    station: Log
    centre: Log
    records: list[str]
    files: dict[str, bytes]

    def write(
        self,
        folder: Path,
        *,
        signer: notes.SigningKey = CENTRE,
        keys: Sequence[notes.VerifierKey] = KEYS,
        listed: Mapping[str, packages.PackagedFile] | None = None,
    ) -> Path:
        """Write the package with a manifest that lists just these files (or says `listed` of some)."""
        for path, data in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        said = []
        for path, data in sorted(self.files.items()):
            digests = measured(data)[0]
            said.append(packages.PackagedFile(path, digests.size, digests.sha256, digests.sm3))
        said = [(listed or {}).get(file.path, file) for file in said]
        lines = tuple(key.text() for key in keys)
        manifest = packages.Manifest("centre", MADE_AT, lines, tuple(self.records), tuple(said))
        body = manifest.to_object()
        (folder / packages.MANIFEST).write_bytes(
            packages.sign_manifest(manifest, signer) if signer is CENTRE else _signed_anyway(body, signer)
        )
        return folder


def _signed_anyway(body: Object, signer: notes.SigningKey) -> bytes:
    return signer.sign(f"dockwarden/package/1\n{canonical.encode(body).decode()}\n")


def sealed_body(seal: bytes) -> Object:
    """Body of a record's `sealed`."""
    made = seals.read_seal(seal)
    return {
        "leaves_root": made.digests.leaves_root,
        "seal": fields.base64_text(seal),
        "seal_sha256": hashlib.sha256(seal).hexdigest(),
        "session": made.session,
        "sha256": made.digests.sha256,
        "size": made.digests.size,
        "sm3": made.digests.sm3,
    }


def build(*originals: bytes) -> World:
    """A station with two facts of its own and four of each record, a centre with one; and their package."""
    station, centre, files, records = Log(STATION_LOG), Log(CENTRE_LOG), dict[str, bytes](), list[str]()
    station.append("key-rotated", {"purpose": "log", "vkey": STATION.verifier.text()})
    centre.append("key-rotated", {"purpose": "log", "vkey": CENTRE.verifier.text()})
    for number, original in enumerate(originals, 1):
        record = record_id(str(number))
        records.append(record)
        seal = seals.sign_seal(a_seal(record, original, number), STATION)
        station.append("sealed", sealed_body(seal), record, "station")
        part: Object = {"name": "preview.mp4", "part": 1, "size": len(PREVIEW), **_preview_sums()}
        station.append("previewed", {"notes": [], "parts": [part], "version": 1}, record, "station")
        receipt = receipts.sign_receipt(a_receipt(seal, "centre", "centre", centre.head(CENTRE).decode()), CENTRE)
        told: Object = {"receipt": fields.base64_text(receipt), "seal_sha256": seals.seal_sha256(seal)}
        centre.append("stored", {**told, "size": len(original)}, record, "centre")
        station.append("received", {"generation": "golden00", "receipt": told["receipt"]}, record, "centre")
        files |= {
            packages.record_path(record, "original"): original,
            packages.record_path(record, "leaves"): b"".join(measured(original)[1]),
            packages.record_path(record, "seal.note"): seal,
            packages.record_path(record, "preview.mp4"): PREVIEW,
            packages.receipt_path(record, "centre", 1): receipt,
        }
    world = World(station, centre, records, files)
    refresh(world)
    return world


def refresh(world: World) -> None:
    """Write both logs anew into the package's files: heads, and the facts of its records with their proofs."""
    for log, own, other in ((world.station, STATION, CENTRE), (world.centre, CENTRE, STATION)):
        chosen = [entry for entry in log.entries if entry.envelope.record in world.records]
        world.files[packages.log_path(log.name, "head.note")] = log.head(own, other)
        world.files[packages.log_path(log.name, "entries.jsonl")] = log.lines(chosen)
    world.files[packages.KEYS] = "".join(f"{key.text()}\n" for key in KEYS).encode()
    world.files[packages.REPORT] = b"<!doctype html><title>report</title>\n"


def _preview_sums() -> Object:
    digests = measured(PREVIEW)[0]
    return {"leaves_root": digests.leaves_root, "sha256": digests.sha256}
