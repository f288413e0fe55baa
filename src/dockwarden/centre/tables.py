"""The centre's own tables, beside those of the ledger (`durable.tables`). The same on SQLite and PostgreSQL.

`records` and `labels` are projections of the mirrored logs: they can be made anew from them at any time, and are
where they are missing (`catalogue.Catalogue`).
"""

from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint

TABLES = MetaData()

stations = Table(
    "stations",
    TABLES,
    Column("station", Text, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("enrolled_at", Text, nullable=False),
)

heard = Table(
    "heard",
    TABLES,
    Column("station", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("since", Text, nullable=False),
    Column("said_at", Text, nullable=False),  # by the station's clock
    Column("heard_at", Text, nullable=False),  # by ours
)

statuses = Table(
    "statuses",
    TABLES,
    Column("station", Text, primary_key=True),
    Column("as_of", Text, nullable=False),
    Column("body", Text, nullable=False),
)

asks = Table(
    "asks",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("station", Text, nullable=False, index=True),
    Column("what", Text, nullable=False),
    Column("asked_at", Text, nullable=False),
    Column("answered_at", Text),
    Column("body", Text),
)

records = Table(
    "records",
    TABLES,
    Column("number", Integer, primary_key=True, autoincrement=True),  # in the order in which the centre heard of them
    Column("record", Text, nullable=False, unique=True),
    Column("station", Text, nullable=False, index=True),  # who sealed it first: nobody else speaks of it
)

labels = Table(
    "labels",
    TABLES,
    Column("record", Text, primary_key=True),
    Column("case_key", Text, index=True),
)

alarms = Table(
    "alarms",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("station", Text, nullable=False, index=True),
    Column("code", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("where", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("evidence", LargeBinary, nullable=False),  # what was received, as it was received
)

branches = Table(
    "branches",
    TABLES,
    Column("number", Integer, primary_key=True, autoincrement=True),  # in the order in which they came
    Column("log", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("sha256", Text, nullable=False),  # of the envelope
    Column("envelope", LargeBinary, nullable=False),
    Column("body", LargeBinary),
    Column("bytes", Integer, nullable=False),
    Column("at", Text, nullable=False),
    UniqueConstraint("log", "seq", "sha256"),
)
"""What stations have told of their logs beside what is mirrored: the other branches of forks."""

generations = Table(
    "generations",
    TABLES,
    Column("place", Text, primary_key=True),
    Column("log", Text, nullable=False),
)
