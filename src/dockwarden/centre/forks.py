"""Forked logs: a station that has signed two histories. Both are kept, a person is told, and intake goes on.

The mirror stays what it was; what the station tells otherwise is kept beside it, entry by entry. Nothing is made of
it, and no head of it is cosigned. Whether it happened by a disk that was put back, by a copied machine or on purpose
only people can find out.

A branch that is longer than the mirror is found out by its first head: what of it has come before stands at the
mirror's end, cosigned by nobody, and its beginning beside it. So each entry of both is here.
"""

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select

from dockwarden.centre.archive import Archive
from dockwarden.centre.catalogue import Catalogue
from dockwarden.centre.tables import branches
from dockwarden.durable.files import Files
from dockwarden.durable.ledger import add
from dockwarden.durable.queries import log_root, log_size
from dockwarden.durable.tables import entries, reading, writing
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.facts import By, Entry

MOST_ENTRIES = 200_000
MOST_BYTES = 512 << 20
"""What is kept of one log's other branches; a station cannot fill the disk by writing its history anew."""


class _OtherBranchError(Exception):
    """What is kept does not lead to the head: the transaction is undone."""


class Forks:
    """The forks of one station's logs; used by the office's thread alone."""

    def __init__(self, archive: Archive, station: str) -> None:
        self._archive = archive
        self._told = _told(archive, station)
        self._astray: dict[str, int] = dict.fromkeys(self._told, 0)

    def is_astray(self, log: str) -> bool:
        """Whether what the station says of a log goes beside the mirror: from a fork until it shows a head that the
        mirror bears out."""
        return log in self._astray

    def held(self, log: str) -> int:
        """How far, from its beginning, the branch that the station is on has been compared and kept."""
        return self._astray[log]

    def found(self, log: str, evidence: bytes) -> None:
        """A log is forked: say so in our own log, once, where it cannot be taken back. Raises DurableError."""
        self._astray.setdefault(log, 0)
        if log in self._told:
            return
        body: Object = {
            "code": "fork",
            "evidence_sha256": hashlib.sha256(evidence).hexdigest(),
            "log": log,
            "what": "a station has signed two histories of its log",
        }
        by = By(self._archive.key.name, "stage", "dockwarden/0.1.0 office")
        self._archive.ledger.append("finding", by=by, body=body)
        self._told.add(log)

    def take(self, log: str, start: int, batch: Sequence[Entry]) -> None:
        """Keep entries of a log that is astray, as far as the mirror has not just them. Raises DurableError."""
        if start > self._astray[log]:
            return  # some were lost on the way: the reply says how far we are
        keep_branch(self._archive.catalogue, self._archive.files, log, batch, self._archive.clock().utc)
        self._astray[log] = max(self._astray[log], start + len(batch))

    def settle(self, head: Head) -> bool:
        """Whether a checked head of a log that is astray is one of the mirror's after all: it is, or what was kept
        beside the mirror leads from the mirror's end to it; that is mirrored then. Raises DurableError."""
        catalogue = self._archive.catalogue
        with reading(catalogue.engine) as connection:
            size = log_size(connection, head.log)
            same = head.size <= size and log_root(connection, head.log, head.size) == head.root
        if same or (size < head.size <= self._astray[head.log] and self._adopt(head, size)):
            del self._astray[head.log]
            return True
        return False

    def _adopt(self, head: Head, size: int) -> bool:
        """Mirror what was kept beyond the mirror's end, if just that gives the head."""
        catalogue, at = self._archive.catalogue, self._archive.clock().utc
        try:
            with writing(catalogue.engine, self._archive.files) as connection:
                for entry in _newest(connection, head.log, size, head.size):
                    if add(connection, entry):
                        catalogue.project(connection, entry, at)
                if (
                    log_size(connection, head.log) < head.size
                    or log_root(connection, head.log, head.size) != head.root
                ):
                    raise _OtherBranchError
        except _OtherBranchError:
            return False
        return True


def keep_branch(catalogue: Catalogue, files: Files, log: str, batch: Sequence[Entry], at: str) -> None:
    """Keep entries beside the mirror of a log, once each, as far as there is room. Raises DurableError."""
    with writing(catalogue.engine, files) as connection:
        count, held = connection.execute(
            select(func.count(), func.coalesce(func.sum(branches.c.bytes), 0)).where(branches.c.log == log)
        ).one()
        for entry in batch:
            envelope, body = entry.envelope_bytes, entry.body_bytes or b""
            seq, name, length = entry.envelope.seq, hashlib.sha256(envelope).hexdigest(), len(envelope) + len(body)
            mine = select(entries.c.envelope).where(entries.c.log == log, entries.c.seq == seq)
            here = select(branches.c.seq).where(
                branches.c.log == log, branches.c.seq == seq, branches.c.sha256 == name
            )
            known = connection.execute(mine).scalar() == envelope or connection.execute(here).scalar() is not None
            if known or count >= MOST_ENTRIES or held + length > MOST_BYTES:
                continue
            connection.execute(
                insert(branches).values(
                    log=log, seq=seq, sha256=name, envelope=envelope, body=entry.body_bytes, bytes=length, at=at
                )
            )
            count, held = count + 1, held + length


def branch_of(catalogue: Catalogue, log: str) -> list[Entry]:
    """What is kept of a log beside its mirror, by number, then in the order in which it came."""
    query = select(branches.c.envelope, branches.c.body).where(branches.c.log == log)
    with reading(catalogue.engine) as connection:
        return [Entry(*row) for row in connection.execute(query.order_by(branches.c.seq, branches.c.number))]


def _newest(connection: Connection, log: str, start: int, end: int) -> list[Entry]:
    """Of each number the entry that came last."""
    within = (branches.c.log == log, branches.c.seq >= start, branches.c.seq < end)
    query = select(branches.c.seq, branches.c.envelope, branches.c.body).where(*within)
    found = {row.seq: Entry(row.envelope, row.body) for row in connection.execute(query.order_by(branches.c.number))}
    return [found[seq] for seq in sorted(found)]


def _told(archive: Archive, station: str) -> set[str]:
    """The logs of a station of which our own logs say that they are forked."""
    own = entries.c.log.startswith(f"{archive.key.name}.", autoescape=True)
    query = select(entries.c.envelope, entries.c.body).where(entries.c.kind == "finding", own)
    with reading(archive.catalogue.engine) as connection:
        bodies = [Entry(*row).body or {} for row in connection.execute(query)]
    logs = [body.get("log") for body in bodies if body.get("code") == "fork"]
    return {log for log in logs if isinstance(log, str) and log.partition(".")[0] == station}
