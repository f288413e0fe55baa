"""What a record's facts say of it, put together for people and programs: one form on both sides.

The same function serves the station (its own log) and the centre (its mirror of that log, then its own).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from dockwarden.evidence import fields, receipts, seals, statements
from dockwarden.evidence.canonical import MalformedError, Object, Value
from dockwarden.evidence.facts import Entry, Envelope, Place
from dockwarden.evidence.notes import SignatureError, VerifierKey
from dockwarden.rules.deadlines import Policy, deadline, parse_utc
from dockwarden.rules.labels import Label

Witnesses: TypeAlias = Mapping[Place, Sequence[VerifierKey]]
"""Whose word counts for each place. Who reads its own log needs none: it has checked what it wrote."""

COPIES: dict[str, Place] = {"received": "centre", "backed-up": "off-site"}
"""The kinds of facts that carry a receipt, and the place that it is from."""


@dataclass
class _Reading:
    """The newest facts of a record by kind, and the kinds of those that say something that cannot be."""

    record: str
    latest: dict[str, Entry]
    witnesses: Witnesses | None
    malformed: set[str] = field(default_factory=set)

    def body(self, kind: str) -> Object:
        """The body of the newest fact of a kind; empty where there is none, where it is withheld or void."""
        entry = self.latest.get(kind)
        body = entry.body if entry is not None and entry.envelope.outcome != "void" else None
        return body if body is not None else {}

    def withheld(self, kind: str) -> bool:
        """Whether there is such a fact and its body is not here."""
        entry = self.latest.get(kind)
        return entry is not None and entry.body is None

    def keys(self, place: Place) -> Sequence[VerifierKey]:
        """Whose signature counts for a place."""
        return self.witnesses.get(place, ()) if self.witnesses is not None else ()


def describe(
    record: str, entries: Sequence[Entry], policy: Policy, now: str, witnesses: Witnesses | None = None
) -> Object:
    """Return the record as queries show it (docs/formats/cli.md, `records`).

    `entries` are all facts of the record, in the order of their log; `now` is UTC. With `witnesses` only seals and
    receipts count that one of theirs has signed, and that are about this record. What a withheld body would say is
    null, and so is what a body says in a form that it may not have: its kind is then in `malformed`.
    """
    known = _Reading(record, {entry.envelope.kind: entry for entry in entries}, witnesses)
    seal, label = _seal(known), _label(known)
    sealed_at, labelled_at = (_done_since(entries, kind) for kind in ("sealed", "labelled"))
    met = max(sealed_at, labelled_at) if sealed_at and labelled_at else None
    return {
        "record": record,
        "device": seal.device if seal else None,
        "source_name": seal.source_name.text if seal else None,
        "bytes": seal.digests.size if seal else None,
        "sha256": seal.digests.sha256 if seal else None,
        "sm3": seal.digests.sm3 if seal else None,
        "leaves_root": seal.digests.leaves_root if seal else None,
        "seal_sha256": known.body("sealed").get("seal_sha256"),
        "vault_path": f"vault/{record[:2]}/{record}" if sealed_at else None,
        "captured": seal.captured if seal else None,
        "label": label.to_object() if label else None,
        "deadline": deadline(policy, ended_at(seal, sealed_at), met, now).to_object(),
        "facts": [_fact(entry.envelope) for entry in entries],
        "copies": _copies(known, seal),
        "holes": [hole.to_object() for hole in seal.holes] if seal else [],
        "secret": known.body("labelled").get("secret") is True if not known.withheld("labelled") else None,
        "malformed": [*sorted(known.malformed)],
    }


def is_held(entries: Sequence[Entry]) -> bool:
    """Whether the newest word of any log about a hold is that the record is held. `entries` as in `describe`."""
    newest = {entry.envelope.log: entry.envelope for entry in entries if entry.envelope.kind in ("held", "unheld")}
    return any(word.kind == "held" and word.outcome == "done" for word in newest.values())


def ended_at(seal: seals.Seal | None, sealed_at: str | None) -> str | None:
    """When the recording ended (UTC): by the corrected clock of the device, else when it was docked and sealed.

    No recording ended after it was sealed, whatever its device's clock said.
    """
    if seal is None:
        return sealed_at
    end = seal.captured.get("end")
    try:
        parse_utc(end if isinstance(end, str) else "")
    except MalformedError:
        return seal.sealed_at
    return min(str(end), seal.sealed_at)


def receipt_of(
    entry: Entry, seal: seals.Seal | None, seal_sha256: str, keys: Sequence[VerifierKey] | None
) -> receipts.Receipt | None:
    """The receipt that a fact of one of `COPIES` carries; None where its body is withheld.

    With `keys` one of them must have signed it, and it must be about the record that was sealed. Raises
    MalformedError, SignatureError.
    """
    if entry.body is None:
        return None
    note = fields.data(entry.body, "receipt")
    if keys is None:
        receipt = receipts.Receipt.from_object(statements.peek("receipt", note))
    else:
        receipt = receipts.open_receipt(note, keys)
    if receipt.place != COPIES[entry.envelope.kind]:
        raise MalformedError("receipt", "is from another place")
    if keys is not None:
        record = entry.envelope.record or ""
        if seal is None or not receipt.agrees(record, seal_sha256, seal.digests):
            raise MalformedError("receipt", "is not about the bytes that were sealed")
    return receipt


def _copies(known: _Reading, seal: seals.Seal | None) -> list[Value]:
    """Where the record is proven to be: place, generation, and since when."""
    found: list[Value] = []
    sealed = known.latest.get("sealed")
    if sealed is not None and sealed.envelope.outcome == "done":
        generation = sealed.envelope.log.partition(".")[2]
        found.append({"place": "station", "generation": generation, "at": sealed.envelope.at.utc})
    named = known.body("sealed").get("seal_sha256")
    for kind, place in COPIES.items():
        entry = known.latest.get(kind)
        if entry is None or entry.envelope.outcome != "done":
            continue
        keys = None if known.witnesses is None else known.keys(place)
        try:
            receipt = receipt_of(entry, seal, named if isinstance(named, str) else "", keys)
        except (MalformedError, SignatureError):
            known.malformed.add(kind)
            continue
        if receipt is not None:
            found.append({"place": receipt.place, "generation": receipt.generation, "at": receipt.at})
    return found


def _seal(known: _Reading) -> seals.Seal | None:
    body = known.body("sealed")
    if not body:
        return None
    try:
        note = fields.data(body, "seal")
        seal = seals.read_seal(note) if known.witnesses is None else seals.open_seal(note, known.keys("station"))[0]
        if seal.record != known.record or body.get("seal_sha256") != seals.seal_sha256(note):
            raise MalformedError("seal", "is another record's")
    except (MalformedError, SignatureError):
        known.malformed.add("sealed")
        return None
    return seal


def _label(known: _Reading) -> Label | None:
    body = known.body("labelled")
    try:
        return Label.from_object(body) if body else None
    except MalformedError:
        known.malformed.add("labelled")
        return None


def _done_since(entries: Sequence[Entry], kind: str) -> str | None:
    """Since when a kind of fact has been done without a break (UTC): what is said better later was not said late."""
    since: str | None = None
    for entry in entries:
        if entry.envelope.kind == kind:
            since = (since or entry.envelope.at.utc) if entry.envelope.outcome == "done" else None
    return since


def _fact(envelope: Envelope) -> Object:
    return {
        "kind": envelope.kind,
        "outcome": envelope.outcome,
        "at": envelope.at.utc,
        "seq": envelope.seq,
        "log": envelope.log,
        "place": envelope.place,
    }
