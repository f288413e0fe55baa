"""What the station says of itself: to the command line, to its page and to the centre, in one form."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection, Select, exists, func, select

from dockwarden.agent.settings import release_in_force
from dockwarden.agent.setup import is_enrolled
from dockwarden.agent.stores import Stores, said
from dockwarden.durable.queries import log_root, log_size
from dockwarden.durable.tables import entries, latest, reading
from dockwarden.evidence import fields
from dockwarden.evidence.canonical import Object, Value
from dockwarden.evidence.facts import Entry
from dockwarden.evidence.seals import SourceName
from dockwarden.rules.deadlines import Policy
from dockwarden.rules.records import describe


@dataclass(frozen=True)
class StatusView:
    """Where the status comes from. `bays` gives the bays' live figures; `doubts` are sentences for a person about
    what start-up could not finish; those that have come up since are in the stores. `release` is the office's choice,
    `keep` or `clear-on-proof`."""

    stores: Stores
    policy: Policy
    bays: Callable[[], list[dict[str, object]]]
    doubts: list[str] = field(default_factory=list)
    release: str = "keep"
    dues: dict[str, str] = field(default_factory=dict)
    """When each unlabelled record is due (empty where nobody knows): it never changes, and finding it takes time."""


def status(view: StatusView) -> Object:
    """The station's status (docs/formats/cli.md, `status`); no case, party or file name is in it."""
    stores, ledger = view.stores, view.stores.ledger
    in_force = release_in_force(view.release, is_enrolled(stores.folders))
    disk = shutil.disk_usage(stores.folders.root)
    with reading(ledger.engine) as connection:
        size = log_size(connection, ledger.log)
        root = log_root(connection, ledger.log, size)
        total = _count(connection, ledger.log, "sealed")
        received, backed_up = (_count(connection, ledger.log, kind) for kind in ("received", "backed-up"))
        unlabelled = list(connection.scalars(_unlabelled(ledger.log)))
        offsite = _offsite(connection, ledger.log)
    bays: list[Value] = [_plain(bay) for bay in view.bays()]
    now = stores.clock().utc
    return {
        "station": stores.station,
        "at": now,
        "bays": bays,
        "records": {
            "total": total,
            "unlabelled": len(unlabelled),
            "late": sum(_is_late(view, record, now) for record in unlabelled),
            "waiting_upload": total - received,
            "waiting_backup": total - backed_up,
        },
        "offsite": offsite,
        "disk": {"free": disk.free, "total": disk.total},
        "ledger": {"log": ledger.log, "root": root.hex(), "size": size},
        "policy": {
            "known": stores.known,
            "readings": stores.readings,
            "release": view.release,
            "release_in_force": in_force,
        },
        "findings": [*view.doubts, *stores.doubts.sentences()],
    }


def records(view: StatusView, limit: int = 1000) -> list[Value]:
    """The station's records, newest first (docs/formats/cli.md, `records`)."""
    ledger = view.stores.ledger
    query = select(latest.c.record).where(latest.c.log == ledger.log, latest.c.kind == "sealed")
    with reading(ledger.engine) as connection:
        found = connection.scalars(query.order_by(latest.c.seq.desc()).limit(limit)).all()
    return [describe_record(view, record) for record in found]


def quarantined(view: StatusView, limit: int = 1000) -> list[Value]:
    """What could not become a record, newest first (docs/formats/cli.md, `quarantine`)."""
    ledger = view.stores.ledger
    query = select(latest.c.record).where(latest.c.log == ledger.log, latest.c.kind == "quarantined")
    with reading(ledger.engine) as connection:
        items = list(connection.scalars(query.order_by(latest.c.seq.desc()).limit(limit)))
    return [_quarantined(view.stores, item) for item in items]


def _quarantined(stores: Stores, item: str) -> Object:
    entry = said(stores, item, "quarantined", "station")
    body = entry.body if entry is not None else None
    if entry is None or body is None:
        return {"item": item, "at": None, "device": None, "source_name": None, "reason": None, "path": None}
    home = stores.folders.quarantine / item
    return {
        "item": item,
        "at": entry.envelope.at.utc,
        "device": body.get("device"),
        "source_name": SourceName.from_object(fields.obj(fields.obj(body, "source"), "name")).text,
        "reason": body.get("reason"),
        "path": str(home.relative_to(stores.folders.root)) if body.get("kept") is True else None,
    }


def _count(connection: Connection, log: str, kind: str) -> int:
    query = select(func.count()).where(latest.c.log == log, latest.c.kind == kind, latest.c.outcome == "done")
    return int(connection.execute(query).scalar_one())


def _offsite(connection: Connection, log: str) -> Object:
    """When the log's own copy last went off-site and came back in a drill, and how many records are not there as they
    should be. Each run says so of the log, whatever else it finds."""
    failed = select(func.count(latest.c.record.distinct())).where(
        latest.c.log == log, latest.c.kind.in_(("backed-up", "drilled")), latest.c.outcome != "done"
    )
    return {
        "backed_up_at": _last(connection, log, "backed-up"),
        "drilled_at": _last(connection, log, "drilled"),
        "failed": int(connection.execute(failed).scalar_one()),
    }


def _last(connection: Connection, log: str, kind: str) -> str | None:
    query = (
        select(entries.c.envelope, entries.c.body)
        .where(entries.c.log == log, entries.c.record.is_(None), entries.c.kind == kind, entries.c.outcome == "done")
        .order_by(entries.c.seq.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else Entry(row.envelope, row.body).envelope.at.utc


def _unlabelled(log: str) -> Select[str]:
    """Sealed records without a complete label."""
    label = latest.alias()
    labelled = exists().where(
        label.c.record == latest.c.record, label.c.kind == "labelled", label.c.outcome == "done", label.c.log == log
    )
    return select(latest.c.record).where(latest.c.log == log, latest.c.kind == "sealed", ~labelled)


def describe_record(view: StatusView, record: str) -> Object:
    """One record as queries show it."""
    entries: list[Entry] = view.stores.ledger.facts_of(record)
    return describe(record, entries, view.policy, view.stores.clock().utc)


def _is_late(view: StatusView, record: str, now: str) -> bool:
    """Whether a record that has no complete label is past its deadline."""
    due = view.dues.get(record)
    if due is None:
        due = view.dues[record] = (
            fields.optional_text(fields.obj(describe_record(view, record), "deadline"), "due") or ""
        )
    return due != "" and now > due  # both are UTC of one fixed form


def _plain(bay: dict[str, object]) -> Object:
    """A bay's figures as canonical values."""
    plain: Object = {}
    for key, value in bay.items():
        if isinstance(value, list):
            plain[key] = [dict(item) for item in value]
        elif value is None or isinstance(value, bool | int | str):
            plain[key] = value
    return plain
