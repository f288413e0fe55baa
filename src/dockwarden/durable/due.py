"""What a stage has to do, kept up to date by what the logs say instead of being asked anew each time (design §1)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import ColumnElement, Connection, FromClause, and_, case, exists, func, literal, or_, select

from dockwarden.durable.ledger import Ledger
from dockwarden.durable.queries import Work
from dockwarden.durable.tables import NOWHERE, entries, latest, logs, reading
from dockwarden.evidence.facts import Instant

_FEW = 500
"""Records that one query asks for by name."""
_MANY = 20_000
"""New entries above which all facts are gone through again."""


@dataclass(frozen=True, order=True)
class _Open:
    """A record whose work is not done. `seq` and `log`: of its first need; `ready_ms`: monotonic time of this boot
    from which on it is due, 0 for at once."""

    seq: int
    log: str
    record: str
    ready_ms: int


class Due:
    """The records for which `work` is to be done. For one thread.

    The first question goes through all facts, later ones through those of the records that the logs have spoken of
    since; what failed and waits is remembered with its time. It lives in memory alone: a restart begins anew.
    """

    def __init__(self, ledger: Ledger, work: Work) -> None:
        self._ledger = ledger
        self._work = work
        self._sizes: dict[str, int] = {}
        self._boot = ""
        self._open: list[_Open] = []

    def now(self) -> Iterator[str]:
        """The records that are due now, those first whose first need came first. Raises DurableError."""
        instant = self._ledger.clock()
        with reading(self._ledger.engine) as connection:
            self._look(connection, instant)
        return (item.record for item in self._open if item.ready_ms <= instant.mono)

    def _look(self, connection: Connection, instant: Instant) -> None:
        sizes = dict(connection.execute(select(logs.c.log, logs.c.size)).all())
        grown = {log: self._sizes.get(log, 0) for log, size in sizes.items() if size != self._sizes.get(log, 0)}
        if instant.boot != self._boot or sum(sizes[log] - since for log, since in grown.items()) > _MANY:
            found = _open(connection, self._ledger.log, self._work, instant)
            self._open = sorted(_first(found))
        elif grown:
            changed = _spoken_of(connection, grown)
            found = [item for item in self._open if item.record not in changed]
            names = iter(changed)
            while few := list(islice(names, _FEW)):
                found += _first(_open(connection, self._ledger.log, self._work, instant, few))
            self._open = sorted(found)  # a new list: who still goes through the old one is not disturbed
        self._sizes, self._boot = sizes, instant.boot


def _first(found: Iterable[_Open]) -> Iterable[_Open]:
    """Each record once: a need that is met at two places gives it twice."""
    return {item.record: item for item in sorted(found, reverse=True)}.values()


def _spoken_of(connection: Connection, grown: dict[str, int]) -> set[str]:
    """The records that logs have spoken of from an entry number on."""
    found: set[str] = set()
    for log, since in grown.items():
        said = (entries.c.log == log, entries.c.seq >= since, entries.c.record.is_not(None))
        found.update(connection.scalars(select(entries.c.record).where(*said)))
    return found


def _open(
    connection: Connection, log: str, work: Work, now: Instant, among: Sequence[str] | None = None
) -> list[_Open]:
    """Records whose work is to be done now or, where it has failed, later: all, or those `among` some."""
    need, mine = latest.alias("need"), latest.alias("mine")
    own = and_(
        mine.c.record == need.c.record,
        mine.c.kind == work.kind,
        mine.c.place == (work.place or NOWHERE),
        mine.c.log == log,
    )
    at_once = [mine.c.record.is_(None), mine.c.outcome == "void", mine.c.version < work.version]
    if work.after:
        newer = latest.alias("newer")
        said = (newer.c.record == need.c.record, newer.c.kind.in_(work.after), newer.c.log == log)
        at_once.append(exists().where(*said, newer.c.seq > mine.c.seq))
    at_once.append(mine.c.boot != now.boot)
    ready = case((or_(*at_once), 0), else_=mine.c.mono + _wait(mine, work.retry_after_s))
    query = (
        select(need.c.seq, need.c.log, need.c.record, ready)
        .select_from(need.outerjoin(mine, own))
        .where(need.c.outcome == "done", or_(*at_once[:-1], mine.c.outcome == "failed"))
        .where(*(_has(need, kind) for kind in work.needs[1:]), *(~_has(need, kind) for kind in work.unless))
    )
    if among is None:
        query = query.where(need.c.kind == work.needs[0])
    else:
        # Behind a function no planner is tempted to go through all facts of that kind instead of these few records.
        query = query.where(need.c.record.in_(among), func.coalesce(need.c.kind, "") == work.needs[0])
    return [_Open(*row) for row in connection.execute(query)]


def _has(need: FromClause, kind: str) -> ColumnElement[bool]:
    other = latest.alias()
    return exists().where(other.c.record == need.c.record, other.c.kind == kind, other.c.outcome == "done")


def _wait(mine: FromClause, retry_after_s: Sequence[int]) -> ColumnElement[int]:
    """Milliseconds from the last failure to the next try."""
    *first, last = (1000 * seconds for seconds in retry_after_s)
    if not first:
        return literal(last)
    return case(*((mine.c.attempts == number, ms) for number, ms in enumerate(first, 1)), else_=last)
