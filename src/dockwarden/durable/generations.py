"""Which log a place writes: one for each generation of its ledger (design §4)."""

import os

from sqlalchemy import Engine, select

from dockwarden.durable.tables import logs, reading
from dockwarden.evidence import ids


def own_log(engine: Engine, place: str) -> str:
    """The id of the log that `place` keeps in this database; a new generation's where there is none yet."""
    query = select(logs.c.log).where(logs.c.log.startswith(f"{place}.", autoescape=True)).order_by(logs.c.log)
    with reading(engine) as connection:
        found = connection.scalars(query).all()
    return found[-1] if found else ids.log_id(place, ids.new_generation(os.urandom(5)))
