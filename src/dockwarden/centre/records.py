"""Stations and records as pages and commands of the centre show them."""

from pathlib import Path
from typing import Any

from dockwarden.centre.archive import Archive
from dockwarden.centre.catalogue import Catalogue
from dockwarden.centre.hearing import Hearing
from dockwarden.centre.questions import Questions
from dockwarden.durable.queries import log_root, log_size
from dockwarden.durable.tables import reading
from dockwarden.evidence import ids
from dockwarden.evidence.facts import Entry
from dockwarden.evidence.notes import VerifierKey
from dockwarden.rules.deadlines import Policy, parse_utc
from dockwarden.rules.records import Witnesses, describe
from dockwarden.wire.messages import ORIGINAL, PARTS

STUCK_S = 12 * 3600
"""A record that has waited for so long to be stored here is told to people."""

_COUNTED = {
    ("quarantined", "done"): "quarantined",
    ("finding", "done"): "findings",
    ("confirmed", "failed"): "not_confirmed",
    ("backed-up", "failed"): "backup_failed",
    ("drilled", "failed"): "drill_failed",
}


def station_states(archive: Archive, hearing: Hearing) -> list[dict[str, Any]]:
    """All enrolled stations: state, since when, what was last known, and what of them needs a person."""
    counts = archive.catalogue.latest_counts()
    names = archive.catalogue.station_keys()
    return [
        {**station_state(archive, hearing, name), "attention": _attention(archive, name, counts.get(name, {}))}
        for name in names
    ]


def station_state(archive: Archive, hearing: Hearing, name: str) -> dict[str, Any]:
    """One station (docs/formats/cli.md, `centre stations`), but for its `attention`."""
    catalogue = archive.catalogue
    known = Questions(catalogue.engine, archive.files).status(name)
    state, since = hearing.state(name, catalogue.presence(name))
    return {
        "station": name,
        "state": state,
        "since": since,
        "as_of": known.as_of if known is not None else None,
        "status": known.body if known is not None else None,
        "head": _head(catalogue, name),
        "alarms": [
            {"code": alarm.code, "what": alarm.what, "where": alarm.where, "at": alarm.at}
            for alarm in catalogue.alarms(name)
        ],
    }


def list_records(archive: Archive, policy: Policy, station: str | None, limit: int, before: str | None) -> list[Any]:
    """Sealed records, newest first, as the agent's `records` and where they stand here."""
    found = archive.catalogue.records(station, limit, before)
    facts, keys = archive.catalogue.facts_of_many(found), archive.catalogue.station_keys()
    described = (_describe(archive, policy, record, facts[record], keys) for record in found)
    return [each for each in described if each is not None]


def describe_record(archive: Archive, policy: Policy, record: str) -> dict[str, Any] | None:
    """One record with all its facts; None where nobody has sealed it."""
    entries = archive.catalogue.facts_of(record)
    return _describe(archive, policy, record, entries, archive.catalogue.station_keys())


def trusted(archive: Archive, station: str, keys: dict[str, VerifierKey]) -> Witnesses:
    """Whose word counts for a station's records: its own, and for what is here ours."""
    own = [keys[station]] if station in keys else []
    return {"station": own, "off-site": own, "centre": [archive.key.verifier]}


def _describe(
    archive: Archive, policy: Policy, record: str, entries: list[Entry], keys: dict[str, VerifierKey]
) -> dict[str, Any] | None:
    sealed = next((entry for entry in entries if entry.envelope.kind == "sealed"), None)
    if sealed is None:
        return None
    station = sealed.envelope.log.partition(".")[0]
    now = archive.clock().utc
    described: dict[str, Any] = describe(record, entries, policy, now, trusted(archive, station, keys))
    stored = archive.store.find(record) is not None
    return {
        **described,
        "station": station,
        "stored": stored,
        "centre_path": f"store/{record[:2]}/{record}/v1/content" if stored else None,
        "has_preview": part_file(archive, record, PARTS[1]) is not None,
        "has_sheet": part_file(archive, record, PARTS[2]) is not None,
        "facts": [_fact(entry) for entry in entries],
    }


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


def _attention(archive: Archive, name: str, counts: dict[tuple[str, str], int]) -> dict[str, Any]:
    """What the station's mirrored logs say that needs a person; counts of records, and times."""
    oldest = archive.catalogue.oldest_waiting(name)
    waited = 0.0
    if oldest is not None:
        waited = (parse_utc(archive.clock().utc) - parse_utc(oldest)).total_seconds()
    return {
        "generations": len(archive.catalogue.logs_of(name)),
        "upload_stuck_since": oldest if waited > STUCK_S else None,
        **{word: counts.get(key, 0) for key, word in _COUNTED.items()},
    }


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
