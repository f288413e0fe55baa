"""Stations and records as pages and commands of the centre show them."""

from pathlib import Path
from typing import Any

from dockwarden.centre.archive import Archive
from dockwarden.centre.catalogue import Catalogue
from dockwarden.durable.queries import log_root, log_size
from dockwarden.durable.tables import reading
from dockwarden.evidence import ids
from dockwarden.evidence.facts import Entry
from dockwarden.rules.deadlines import Policy, parse_utc
from dockwarden.rules.records import describe
from dockwarden.wire.messages import ORIGINAL, PARTS

SILENT_S = 15.0
"""A station that has said nothing for so long counts as offline, whatever it said last."""


def station_states(archive: Archive) -> list[dict[str, Any]]:
    """All enrolled stations: state, since when, and what was last known."""
    return [station_state(archive, name) for name in archive.catalogue.station_keys()]


def station_state(archive: Archive, name: str) -> dict[str, Any]:
    """One station (docs/formats/cli.md, `centre stations`)."""
    catalogue = archive.catalogue
    heard, known = catalogue.presence(name), catalogue.status(name)
    state, since = "unknown", None
    if heard is not None:
        silent = (parse_utc(archive.clock().utc) - parse_utc(heard.heard_at)).total_seconds() > SILENT_S
        state = "online" if heard.state == "online" and not silent else "offline"
        since = heard.since if state == "online" else heard.heard_at
    return {
        "station": name,
        "state": state,
        "since": since,
        "as_of": known.as_of if known is not None else None,
        "status": known.body if known is not None else None,
        "head": _head(catalogue, name),
    }


def list_records(archive: Archive, policy: Policy, station: str | None, limit: int, before: str | None) -> list[Any]:
    """Sealed records, newest first, as the agent's `records` and where they stand here."""
    found = archive.catalogue.records(station, limit, before)
    return [described for record in found if (described := describe_record(archive, policy, record)) is not None]


def describe_record(archive: Archive, policy: Policy, record: str) -> dict[str, Any] | None:
    """One record with all its facts; None where nobody has sealed it."""
    entries = archive.catalogue.facts_of(record)
    sealed = next((entry for entry in entries if entry.envelope.kind == "sealed"), None)
    if sealed is None:
        return None
    described: dict[str, Any] = describe(record, entries, policy, archive.clock().utc)
    return {
        **described,
        "station": sealed.envelope.log.partition(".")[0],
        "stored": archive.store.find(record) is not None,
        "centre_path": f"store/{record[:2]}/{record}/v1/content" if archive.store.find(record) else None,
        "has_preview": part_file(archive, record, PARTS[1]) is not None,
        "has_sheet": part_file(archive, record, PARTS[2]) is not None,
        "facts": [_fact(entry) for entry in entries],
    }


def records_of_case(archive: Archive, key: str) -> list[str]:
    """The records whose newest label has the case's key, oldest first."""
    found = []
    for record in archive.catalogue.records(None, 1_000_000):
        labels = [entry for entry in archive.catalogue.facts_of(record) if entry.envelope.kind == "labelled"]
        body = labels[-1].body if labels else None
        case = body.get("case") if body is not None else None
        if isinstance(case, dict) and case.get("key") == key:
            found.append(record)
    return found[::-1]


def part_file(archive: Archive, record: str, part: str) -> Path | None:
    """The file of a part that is here; None where it is not, or where the name is none."""
    if not ids.RECORD_ID.fullmatch(record) or part not in PARTS:
        return None
    number = PARTS.index(part)
    if number != ORIGINAL:
        file = archive.derivative(record, number)
        return file if file.exists() else None
    content = archive.store.find(record)
    return content / "original" if content is not None else None


def _head(catalogue: Catalogue, name: str) -> dict[str, Any] | None:
    with reading(catalogue.engine) as connection:
        logs = catalogue.logs_of(name)
        if not logs:
            return None
        size = log_size(connection, logs[-1])
        return {"log": logs[-1], "size": size, "root": log_root(connection, logs[-1], size).hex()}


def _fact(entry: Entry) -> dict[str, Any]:
    envelope = entry.envelope
    return {
        "seq": envelope.seq,
        "log": envelope.log,
        "at": envelope.at.utc,
        "kind": envelope.kind,
        "outcome": envelope.outcome,
        "by": envelope.by.to_object(),
        "place": envelope.place,
        "body": entry.body,
    }
