"""The tables of a ledger, the same on SQLite and PostgreSQL, and how their database is opened and written.

One database holds several logs: its own, and mirrors of others. `entries` and `nodes` are the logs themselves;
`latest` is a projection that can be made anew from them.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ClauseElement,
    Column,
    Connection,
    Engine,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    exc,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.compiler import SQLCompiler

from dockwarden.durable.files import DurableError, Files, OsFiles, explained
from dockwarden.evidence.facts import OUTCOMES

SCHEMA_VERSION = 1
BUSY_TIMEOUT_MS = 10_000
NOWHERE = ""
"""What stands in `latest` for a fact that is about no place: a key may not be null."""

_WRITER = "writer"
_DATABASE_ERRORS = {
    sqlite3.SQLITE_FULL: ("disk-full", "the disk is full", "Free space on this disk, then try again."),
    sqlite3.SQLITE_IOERR: ("io-error", "the disk reported an error", "Check the disk's health, then try again."),
    sqlite3.SQLITE_READONLY: ("read-only", "the ledger cannot be written", "Check the disk, and owner and mode."),
    sqlite3.SQLITE_CANTOPEN: ("missing", "the ledger cannot be opened", "Check the disk, and owner and mode."),
    sqlite3.SQLITE_BUSY: ("busy", "another program holds the ledger", "Only one service may write; stop the other."),
    sqlite3.SQLITE_CORRUPT: ("damaged", "the ledger's file is damaged", "Keep it as it is and restore the ledger."),
    sqlite3.SQLITE_NOTADB: ("damaged", "the ledger's file is damaged", "Keep it as it is and restore the ledger."),
}

metadata = MetaData()

schema = Table("schema", metadata, Column("version", Integer, primary_key=True))

logs = Table(
    "logs",
    metadata,
    Column("log", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),  # number of entries; a writer locks this row
)

entries = Table(
    "entries",
    metadata,
    Column("log", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("envelope", LargeBinary, nullable=False),
    Column("body", LargeBinary),
    Column("kind", Text, nullable=False),
    Column("record", Text),
    Column("place", Text),
    Column("outcome", Text, nullable=False),
    ForeignKeyConstraint(["log"], ["logs.log"]),
    CheckConstraint(f"outcome IN {OUTCOMES}", name="outcome_is_known"),
    Index("entries_by_record", "record", "log", "seq"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("log", Text, primary_key=True),
    Column("level", Integer, primary_key=True),
    Column("index", BigInteger, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    ForeignKeyConstraint(["log"], ["logs.log"]),
    sqlite_with_rowid=False,
)

latest = Table(
    "latest",
    metadata,
    Column("record", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("place", Text, primary_key=True),
    Column("log", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("version", BigInteger, nullable=False),  # the body's integer `version`, 0 without one
    Column("attempts", Integer, nullable=False),  # how many of the last facts of this kind failed one after another
    Column("boot", Text, nullable=False),  # when the fact was said, for retries
    Column("mono", BigInteger, nullable=False),
    ForeignKeyConstraint(["log"], ["logs.log"]),
    Index("latest_by_kind", "kind", "outcome", "seq", "log", "record", "place"),
    sqlite_with_rowid=False,
)

heads = Table(
    "heads",
    metadata,
    Column("log", Text, primary_key=True),
    Column("keeper", Text, primary_key=True),  # why it is kept: who signed or cosigned it
    Column("size", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False),
)


def open_engine(path: Path, *, read_only: bool = False) -> Engine:
    """Open the ledger in the SQLite file `path`, making it if it is missing.

    `read_only` is for other processes than the one that writes: such a connection never writes and never moves the
    write-ahead log into the file (SQLite before 3.51.3 can corrupt where two processes do). Raises DurableError
    `newer-schema` where a later version of this program made the file, `missing`, `damaged`.
    """
    with explained(path):
        if not path.exists():
            if read_only:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            OsFiles().fsync_folder(path.parent)
    engine = create_engine(
        "sqlite://",
        creator=partial(_connect, path, read_only),
        poolclass=QueuePool,
        max_overflow=-1,
        execution_options={_WRITER: Lock()},
    )
    event.listen(engine, "begin", _begin)
    try:
        prepare(engine, read_only=read_only)
    except BaseException:
        engine.dispose()
        raise
    return engine


def prepare(engine: Engine, *, read_only: bool = False) -> None:
    """Make the tables in an empty database; refuse one of a newer version with DurableError `newer-schema`."""
    with reading(engine) as connection:
        found = _schema_version(connection)
    if found == 0 and not read_only:
        with writing(engine) as connection:
            if _schema_version(connection) == 0:
                metadata.create_all(connection)
                connection.execute(insert(schema).values(version=SCHEMA_VERSION))
    elif found != SCHEMA_VERSION:
        what = f"the ledger's tables have version {found}, this program knows {SCHEMA_VERSION}"
        raise DurableError("newer-schema", what, str(engine.url), "Install the newer version of the program.")


@contextmanager
def writing(engine: Engine, files: Files | None = None) -> Iterator[Connection]:
    """A transaction that writes; it is committed, durably, when the block ends, or else leaves nothing.

    Writers come one after another: those of this process by a lock, which also covers SQLite's checkpoint after the
    commit, those of others by the database. Do not nest. Raises DurableError.
    """
    lock = engine.get_execution_options().get(_WRITER) or nullcontext()
    with explained_database(engine), lock, engine.connect() as connection:
        connection.execution_options(writes=True)
        yield connection
        with explained(str(engine.url)):
            (files or OsFiles()).commit(connection)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the database. Raises DurableError."""
    with explained_database(engine), engine.connect() as connection:
        yield connection


@contextmanager
def explained_database(engine: Engine) -> Iterator[None]:
    """Turn errors of the disk below SQLite into DurableError; errors in our SQL pass through."""
    try:
        yield
    except (exc.DatabaseError, sqlite3.DatabaseError) as error:
        code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0) & 0xFF
        if code not in _DATABASE_ERRORS:
            raise
        word, what, do = _DATABASE_ERRORS[code]
        raise DurableError(word, what, str(engine.url), do) from error


class Prepared:
    """A statement that is compiled once for each kind of database and given to its driver as it is, where building
    it, or SQLAlchemy's result around it, would cost more than running it.

    Values are given by the names of its parameters, and must be of types that the driver takes as they are. What the
    driver raises comes as it is: `explained_database` knows both forms.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, list[str] | None, dict[str, object]]] = {}

    def run(self, connection: Connection, **values: object) -> tuple[Any, ...] | None:
        """Execute it; returns the first row, None where there is none."""
        with closing(_cursor(connection)) as cursor:
            text, parameters = self._given(connection, values)
            cursor.execute(text, parameters)
            row = cursor.fetchone() if cursor.description else None
            return None if row is None else tuple(row)

    def rows(self, connection: Connection, **values: object) -> list[tuple[Any, ...]]:
        """Execute it; returns all rows."""
        with closing(_cursor(connection)) as cursor:
            text, parameters = self._given(connection, values)
            cursor.execute(text, parameters)
            return [tuple(row) for row in cursor.fetchall()]

    def run_all(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
        """Execute it once for each row."""
        with closing(_cursor(connection)) as cursor:
            cursor.executemany(self._text(connection)[0], [self._given(connection, row)[1] for row in rows])

    def _given(self, connection: Connection, values: Mapping[str, object]) -> tuple[str, Any]:
        """The statement's text and its parameters: the given ones, and the constants that stand in it."""
        text, order, constants = self._text(connection)
        whole = {**constants, **values}
        return text, whole if order is None else tuple(whole[name] for name in order)

    def _text(self, connection: Connection) -> tuple[str, list[str] | None, dict[str, object]]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled = cast(SQLCompiler, self._statement.compile(dialect=dialect))
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            self._compiled[dialect.name] = compiled.string, compiled.positiontup, constants
        return self._compiled[dialect.name]


def _cursor(connection: Connection) -> DBAPICursor:
    """A cursor of the driver, inside the connection's transaction."""
    if not connection.in_transaction():
        connection.begin()
    return connection.connection.cursor()


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, check_same_thread=False, isolation_level=None
    )
    pragmas = [f"busy_timeout = {BUSY_TIMEOUT_MS}", "foreign_keys = ON", "synchronous = FULL"]
    pragmas += ["wal_autocheckpoint = 0", "query_only = ON"] if read_only else ["journal_mode = WAL"]
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _begin(connection: Connection) -> None:
    """SQLite takes the writer's lock at the beginning: a reader that became a writer could find it was too late."""
    writes = connection.get_execution_options().get("writes")
    connection.connection.cursor().execute("BEGIN IMMEDIATE" if writes else "BEGIN")


def _schema_version(connection: Connection) -> int:
    if not inspect(connection).has_table(schema.name):
        return 0
    version: int = connection.execute(select(schema.c.version)).scalar_one()
    return version
