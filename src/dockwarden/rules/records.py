"""What a record's facts say of it, put together for people and programs: one form on both sides.

The same function serves the station (its own log) and the centre (its mirror of that log, then its own).
"""

from collections.abc import Sequence

from dockwarden.evidence import fields, receipts, seals, statements
from dockwarden.evidence.canonical import Object, Value
from dockwarden.evidence.facts import Entry, Envelope
from dockwarden.rules.deadlines import Policy, deadline
from dockwarden.rules.labels import Label


def describe(record: str, entries: Sequence[Entry], policy: Policy, now: str) -> Object:
    """Return the record as queries show it (docs/formats/cli.md, `records`).

    `entries` are all facts of the record, in the order of their log; `now` is UTC. What a withheld body would say
    is null. Raises MalformedError where a body has not its form.
    """
    latest = {entry.envelope.kind: entry for entry in entries}
    sealed = latest.get("sealed")
    seal = _seal(sealed)
    label = _label(latest.get("labelled"))
    labelled_at = _done_at(latest.get("labelled"))
    sealed_at = _done_at(sealed)
    met = max(sealed_at, labelled_at) if sealed_at and labelled_at else None
    secret = _body(latest.get("labelled")).get("secret") is True
    return {
        "record": record,
        "device": seal.device if seal else None,
        "source_name": seal.source_name.text if seal else None,
        "bytes": seal.digests.size if seal else None,
        "sha256": seal.digests.sha256 if seal else None,
        "sm3": seal.digests.sm3 if seal else None,
        "leaves_root": seal.digests.leaves_root if seal else None,
        "seal_sha256": _body(sealed).get("seal_sha256"),
        "vault_path": f"vault/{record[:2]}/{record}" if sealed else None,
        "captured": seal.captured if seal else None,
        "label": label.to_object() if label else None,
        "deadline": deadline(policy, ended_at(seal, sealed_at), met, now).to_object(),
        "facts": [_fact(entry.envelope) for entry in entries],
        "copies": copies(latest),
        "secret": secret,
    }


def ended_at(seal: seals.Seal | None, sealed_at: str | None) -> str | None:
    """When the recording ended (UTC): by the corrected clock of the device, else when it was docked and sealed."""
    if seal is None:
        return sealed_at
    end = seal.captured.get("end")
    return end if isinstance(end, str) else seal.sealed_at


def copies(latest: dict[str, Entry]) -> list[Value]:
    """Where the record is proven to be: place, generation, and since when."""
    found: list[Value] = []
    sealed = latest.get("sealed")
    if sealed is not None and sealed.envelope.outcome == "done":
        generation = sealed.envelope.log.partition(".")[2]
        found.append({"place": "station", "generation": generation, "at": sealed.envelope.at.utc})
    for kind in ("received", "backed-up"):
        entry = latest.get(kind)
        if entry is None or entry.envelope.outcome != "done" or entry.body is None:
            continue
        note = fields.data(entry.body, "receipt")
        receipt = receipts.Receipt.from_object(statements.peek("receipt", note))
        found.append({"place": receipt.place, "generation": receipt.generation, "at": receipt.at})
    return found


def _seal(sealed: Entry | None) -> seals.Seal | None:
    body = _body(sealed)
    return seals.read_seal(fields.data(body, "seal")) if body else None


def _label(labelled: Entry | None) -> Label | None:
    body = _body(labelled)
    return Label.from_object(body) if body else None


def _body(entry: Entry | None) -> Object:
    body = entry.body if entry is not None and entry.envelope.outcome != "void" else None
    return body if body is not None else {}


def _done_at(entry: Entry | None) -> str | None:
    return entry.envelope.at.utc if entry is not None and entry.envelope.outcome == "done" else None


def _fact(envelope: Envelope) -> Object:
    return {
        "kind": envelope.kind,
        "outcome": envelope.outcome,
        "at": envelope.at.utc,
        "seq": envelope.seq,
        "log": envelope.log,
        "place": envelope.place,
    }
