"""Which record came from which source: a hint for recognising, never proof.

The table is a projection of the seals in the vault and can be made anew from them.
"""

import hashlib
from typing import Literal, TypeAlias

from sqlalchemy import Column, Connection, Engine, MetaData, Table, Text, and_, insert, select

from dockwarden.durable.files import Files
from dockwarden.durable.tables import latest, reading, writing
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
    sealed = and_(latest.c.record == _KNOWN.c.record, latest.c.kind == "sealed", latest.c.outcome == "done")
    query = select(_KNOWN.c.record).join(latest, sealed).where(_KNOWN.c.source_key == _digest(key))
    with reading(engine) as connection:
        found = connection.scalars(query.order_by(latest.c.log.desc(), latest.c.seq.desc()))
        return list(dict.fromkeys(found))


def _digest(key: Object) -> str:
    return hashlib.sha256(canonical.encode(key)).hexdigest()
