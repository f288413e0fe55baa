"""Which log a place writes: one for each generation of its ledger (design §4)."""

import os

from sqlalchemy import Engine, select

from dockwarden.durable.tables import entries, logs, reading
from dockwarden.evidence import ids
from dockwarden.evidence.facts import Entry

_BEGINNING = 2
"""A log's first entries: among them is the `restored` of one that goes on for an older log."""


def own_log(engine: Engine, place: str) -> str:
    """The id of the log that `place` keeps in this database; a new generation's where there is none yet.

    Of several it is the one for which no other goes on (its `restored` names the older log); only where that leaves
    more than one is a clock asked, and the one that was begun last counts.
    """
    query = (
        select(logs.c.log, entries.c.envelope, entries.c.body)
        .join(entries, (entries.c.log == logs.c.log) & (entries.c.seq < _BEGINNING))
        .where(logs.c.log.startswith(f"{place}.", autoescape=True))
    )
    with reading(engine) as connection:
        beginnings = [(row.log, Entry(row.envelope, row.body)) for row in connection.execute(query)]
    begun: dict[str, str] = {log: entry.envelope.at.utc for log, entry in beginnings if entry.envelope.seq == 0}
    if not begun:
        return ids.log_id(place, ids.new_generation(os.urandom(5)))
    followed = {_older(entry) for log, entry in beginnings if _older(entry) != log}
    return max(begun.keys() - followed or begun, key=lambda log: (begun[log], log))


def _older(entry: Entry) -> object:
    """The log that a `restored` goes on for."""
    return (entry.body or {}).get("log") if entry.envelope.kind == "restored" else None
