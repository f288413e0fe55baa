"""Secrecy (article 14): what must not leave the station, and what had left before it was marked.

The log's label says that a record is secret, and so do the registry's marks, from the moment at which they are set:
whoever sends or backs up asks here, so that nothing goes while the label stage has not come to a record yet.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from sqlalchemy import and_, select

from dockwarden.agent.metadata.registry import Marks, Registry
from dockwarden.agent.sealed import seal_of
from dockwarden.agent.stores import Stores, said
from dockwarden.durable.tables import entries, heads, latest, reading
from dockwarden.evidence import fields, notes, seals
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.facts import Entry
from dockwarden.rules.labels import Label

GONE = "secret-left"
"""The code of the finding that a record was marked after something of it had left the station."""

_LEFT = {
    "facts": "facts at the centre, which may hold parts of its footage too",
    "preview": "preview at the centre",
    "original": "original at the centre",
    "parts": "parts of its footage at the centre",
    "off-site": "off-site backup",
}
_PROOFS = {
    ("delivered", "centre"): "preview",
    ("received", "centre"): "original",
    ("backed-up", "off-site"): "off-site",
}


def must_stay(stores: Stores, registry: Registry, record: str) -> bool | None:
    """Whether a record must not leave the station now; None where nobody has judged it yet, so it must not either.

    Raises DurableError where the registry cannot be read.
    """
    marks = registry.marks()
    labelled = said(stores, record, "labelled")
    if labelled is None or labelled.body is None:
        return None
    if fields.boolean(labelled.body, "secret"):
        return True
    return bool(marks) and marks.concern(seal_of(stores, record)[0], Label.from_object(labelled.body))


class Unmarked:
    """Finds the records that a mark concerns and whose label does not say so: all are looked at once after each
    change of the marks, and once after the start."""

    def __init__(self, stores: Stores, registry: Registry) -> None:
        self._stores = stores
        self._registry = registry
        self._looked: Marks = Marks()
        self._left: list[str] = []

    def __call__(self) -> list[str]:
        """Those that are left; raises DurableError."""
        marks = self._registry.marks()
        if marks != self._looked:
            found = [
                record
                for record, seal, label, secret in _labelled(self._stores)
                if not secret and marks.concern(seal, label)
            ]
            self._looked, self._left = marks, found
        self._left = [record for record in self._left if not _is_said(self._stores, record)]
        return list(self._left)


def tell_gone(stores: Stores, record: str, also: Iterable[str] = ()) -> None:
    """Say of a secret record what had left before it was marked: a fact `finding`, and a sentence for a person.

    Nothing is said where nothing has left, and no fact where it has been said. Raises DurableError.
    """
    before = _said_gone(stores.ledger.facts_of(record))
    gone = before | _gone(stores, record) | set(also)
    if not gone:
        return
    if gone != before:
        what = "marked with secrecy after something of it had left the station"
        body: Object = {"code": GONE, "left": [*sorted(gone)], "what": what}
        stores.ledger.append("finding", record=record, by=stores.by("secrecy"), body=body)
    stores.doubts.say(_sentence(record, gone))


def tell_all_gone(stores: Stores) -> None:
    """The same of every record that is secret: what was on its way when it was marked has arrived meanwhile."""
    for record, _, _, secret in list(_labelled(stores)):
        if secret:
            tell_gone(stores, record)


def tell_again(stores: Stores) -> None:
    """Say to people, after a start, what was found of any record before it."""
    query = select(latest.c.record).where(latest.c.log == stores.ledger.log, latest.c.kind == "finding")
    with reading(stores.ledger.engine) as connection:
        found = list(connection.scalars(query))
    for record in found:
        gone = _said_gone(stores.ledger.facts_of(record))
        if gone:
            stores.doubts.say(_sentence(record, gone))


def _sentence(record: str, gone: set[str]) -> str:
    named = "; ".join(words for code, words in _LEFT.items() if code in gone)
    return f"record {record} was marked with secrecy after something of it had left ({named}): tell the office"


def _gone(stores: Stores, record: str) -> set[str]:
    """What the log proves to have left."""
    known = stores.ledger.latest(record)
    gone = {word for key, word in _PROOFS.items() if key in known and known[key].outcome == "done"}
    sealed = known.get(("sealed", "station"))
    if sealed is not None and sealed.seq < _at_centre(stores) and _was_open(stores, record):
        gone.add("facts")
    return gone


def _was_open(stores: Stores, record: str) -> bool:
    """Whether a record was ever labelled without secrecy: only then did its facts' bodies go."""
    facts = stores.ledger.facts_of(record)
    bodies = [entry.body for entry in facts if entry.envelope.kind == "labelled"]
    return any(body is not None and body.get("secret") is False for body in bodies)


def _at_centre(stores: Stores) -> int:
    """How much of our log the centre is known to hold: what it has cosigned."""
    query = select(heads.c.note).where(heads.c.log == stores.ledger.log)
    with reading(stores.ledger.engine) as connection:
        return max((Head.parse(notes.parse(note).text).size for note in connection.scalars(query)), default=0)


def _said_gone(facts: list[Entry]) -> set[str]:
    for entry in reversed(facts):
        if entry.envelope.kind == "finding" and entry.body is not None and entry.body.get("code") == GONE:
            return {str(word) for word in fields.array(entry.body, "left")}
    return set()


def _is_said(stores: Stores, record: str) -> bool:
    labelled = said(stores, record, "labelled")
    return labelled is not None and labelled.body is not None and labelled.body.get("secret") is True


def _labelled(stores: Stores) -> Iterator[tuple[str, seals.Seal, Label, bool]]:
    """Every sealed record that has been judged: its seal, its newest label, and whether that says secret."""
    query = (
        select(latest.c.record, latest.c.kind, entries.c.envelope, entries.c.body)
        .join(entries, and_(entries.c.log == latest.c.log, entries.c.seq == latest.c.seq))
        .where(latest.c.log == stores.ledger.log, latest.c.kind.in_(("sealed", "labelled")))
        .where(latest.c.outcome != "void")
        .order_by(latest.c.record)
    )
    with reading(stores.ledger.engine) as connection:
        rows = connection.execution_options(yield_per=1000).execute(query)
        for record, group in groupby(rows, key=lambda row: str(row.record)):
            said_of = {row.kind: Entry(row.envelope, row.body).body for row in group}
            sealed, label = said_of.get("sealed"), said_of.get("labelled")
            if sealed is not None and label is not None:
                seal = seals.read_seal(fields.data(sealed, "seal"))
                yield record, seal, Label.from_object(label), fields.boolean(label, "secret")
