"""Which record came from which source: a hint for recognising, never proof.

The table is a projection of the seals in the vault and can be made anew from them.
"""

import hashlib
from typing import Literal, TypeAlias

from sqlalchemy import Column, Connection, Engine, MetaData, Table, Text, bindparam, insert, select

from dockwarden.durable.files import Files
from dockwarden.durable.tables import Prepared, latest, reading, writing
from dockwarden.evidence import canonical, fields
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.seals import Seal

KnownPolicy: TypeAlias = Literal["full", "sample"]
"""How a device's files that are records already are read again: every leaf, or a few of each."""

_TABLES = MetaData()
_KNOWN = Table(
    "known_sources",
    _TABLES,
    Column("record", Text, primary_key=True),
    Column("source_key", Text, nullable=False, index=True),
)


_OF_SOURCE = Prepared(select(_KNOWN.c.record).where(_KNOWN.c.source_key == bindparam("key")))
_SEALED = Prepared(
    select(latest.c.log, latest.c.seq, latest.c.outcome).where(
        latest.c.record == bindparam("record"), latest.c.kind == "sealed", latest.c.place == "station"
    )
)


def prepare(engine: Engine, files: Files) -> None:
    """Make the table where it is missing."""
    with writing(engine, files) as connection:
        _TABLES.create_all(connection)


def source_key(device: str, source: Object) -> Object:
    """What recognises a source: device key, volume, raw path, size in bytes, raw time.

    `source` is the source's object, as it stands in a seal.
    """
    return {
        "device": device,
        "modified_raw": fields.integer(source, "modified_raw", -(2**53)),
        "path": fields.text(fields.obj(source, "name"), "raw", 1 << 17),
        "size": fields.integer(source, "size"),
        "volume": fields.text(source, "volume"),
    }


def remember(connection: Connection, seal: Seal) -> None:
    """Enter a sealed record under its source, in the caller's transaction."""
    digest = _digest(source_key(fields.text(seal.device, "key"), seal.source))
    connection.execute(insert(_KNOWN).values(record=seal.record, source_key=digest))


def records_of(engine: Engine, key: Object) -> list[str]:
    """The records that came from sources with this key, the newest first."""
    with reading(engine) as connection:
        # Step by step: SQLite would begin a join, or a search for the outcome, with all that is sealed.
        found = [record for (record,) in _OF_SOURCE.rows(connection, key=_digest(key))]
        sealed = [(place, record) for record in found for place in _SEALED.rows(connection, record=record)]
    done = sorted(((log, seq, record) for (log, seq, outcome), record in sealed if outcome == "done"), reverse=True)
    return list(dict.fromkeys(record for _, _, record in done))


def _digest(key: Object) -> str:
    return hashlib.sha256(canonical.encode(key)).hexdigest()
