"""What the ledger says of each record's off-site copy."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import and_, select

from dockwarden.agent import vault
from dockwarden.durable.ledger import Ledger
from dockwarden.durable.tables import entries, latest, reading
from dockwarden.evidence import fields
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.digests import Digests
from dockwarden.evidence.facts import Entry
from dockwarden.offsite.proof import Expected

_KINDS = ("sealed", "backed-up", "drilled")


@dataclass(frozen=True)
class Copy:
    """A sealed record and its latest facts here: where its off-site copy is, and when that was drilled.

    `tried` is whether a backup of it was ever said to be done or to have failed. `backed_up` and `drilled` are
    numbers of entries, None where the latest such fact is not done; `snapshot` and `repository` are where the backup
    put it, empty without one; `drilled_in` is the repository of the last drill.
    """

    expected: Expected
    tried: bool
    backed_up: int | None
    snapshot: str
    repository: str
    drilled: int | None
    drilled_in: str

    @property
    def record(self) -> str:
        """The record's id."""
        return self.expected.record


def copies(ledger: Ledger) -> Iterator[Copy]:
    """Every sealed record of this station's log, in the order of their ids. Raises MalformedError for a fact that
    this program did not write."""
    query = (
        select(latest.c.record, latest.c.kind, latest.c.outcome, entries.c.envelope, entries.c.body)
        .join(entries, and_(entries.c.log == latest.c.log, entries.c.seq == latest.c.seq))
        .where(latest.c.log == ledger.log, latest.c.kind.in_(_KINDS))
        .order_by(latest.c.record)
    )
    with reading(ledger.engine) as connection:
        rows = connection.execution_options(yield_per=1000).execute(query)
        for record, group in groupby(rows, key=lambda row: str(row.record)):
            said = list(group)
            done = {row.kind: Entry(row.envelope, row.body) for row in said if row.outcome == "done"}
            if "sealed" in done:
                yield _copy(record, any(row.kind == "backed-up" for row in said), done)


def log_snapshot(ledger: Ledger, repository: str) -> str | None:
    """The newest snapshot of a repository that holds the log's copy; None where none is known."""
    query = (
        select(entries.c.envelope, entries.c.body)
        .where(entries.c.log == ledger.log, entries.c.record.is_(None), entries.c.kind == "backed-up")
        .where(entries.c.outcome == "done")
        .order_by(entries.c.seq.desc())
    )
    with reading(ledger.engine) as connection:
        for row in connection.execute(query):
            entry = Entry(row.envelope, row.body)
            if _word(entry, "repository") == repository:
                return _word(entry, "snapshot")
    return None


def _copy(record: str, tried: bool, done: dict[str, Entry]) -> Copy:
    backed_up, drilled = done.get("backed-up"), done.get("drilled")
    return Copy(
        expected=_expected(record, done["sealed"].body or {}),
        tried=tried,
        backed_up=None if backed_up is None else backed_up.envelope.seq,
        snapshot=_word(backed_up, "snapshot"),
        repository=_word(backed_up, "repository"),
        drilled=None if drilled is None else drilled.envelope.seq,
        drilled_in=_word(drilled, "repository"),
    )


def _expected(record: str, sealed: Object) -> Expected:
    digests = Digests(
        fields.integer(sealed, "size"),
        fields.digest(sealed, "sha256"),
        fields.digest(sealed, "sm3"),
        fields.digest(sealed, "leaves_root"),
    )
    return Expected(record, vault.relative(record), fields.digest(sealed, "seal_sha256"), digests)


def _word(entry: Entry | None, key: str) -> str:
    return "" if entry is None else fields.text(entry.body or {}, key, 128)
