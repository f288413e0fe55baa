"""Removing proven files from a device, and what the log says of it (design: release).

A fact says `released` only once the device, read-only again and listed anew, does not show the file. Of one that was
begun and that nobody has seen gone, be it that the device was pulled out, a failed fact says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from dockwarden.agent.drivers.source import Clearing, Reader, SourceError, SourceInfo
from dockwarden.agent.recognising import read_leaf
from dockwarden.agent.sessions import Gone, Key, Session, key_of, listed, stay_or_leave
from dockwarden.durable.files import DurableError
from dockwarden.evidence import fields, seals
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.digests import leaf_length
from dockwarden.service.logs import log

MOST_NAMED = 20_000
"""Records that one fact names."""

Failed: TypeAlias = dict[Key, SourceError | DurableError]
"""Of what was begun and not seen to be gone: why."""


@dataclass
class Proven:
    """A file that is to be removed: its record, what was sealed, and the receipts that were given for this."""

    source: SourceInfo
    record: str
    seal: seals.Seal
    seal_sha256: str
    leaves: Sequence[bytes]
    notes: list[bytes] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """Its key in the session."""
        return key_of(self.source)


def is_same(session: Session, item: Proven, reader: Reader) -> bool:
    """Whether every leaf is the sealed one, as the device itself gives it, not a cache. Raises SourceError, Gone."""
    size = item.seal.digests.size
    for number, leaf in enumerate(item.leaves):
        stay_or_leave(session)
        if read_leaf(reader, size, number) != leaf:
            return False
        session.progress.add(leaf_length(size, number))
    return reader.how != "none"


def remove(session: Session, clearing: Clearing, items: Sequence[Proven]) -> Failed:
    """Remove files one by one, make the device read-only again, list it anew, and say of each what came of it.

    It stops at the first that does not go as it should: what that is may concern all. Those that were not begun get
    no fact. Raises DurableError where the log cannot be written.
    """
    failed: Failed = {}
    removed: list[Proven] = []
    try:
        try:
            _say_begun(session, items)
            _remove_all(session, clearing, items, removed, failed)
        finally:
            _close(session, clearing, removed, failed)
        _list_anew(session, removed, failed)
    finally:
        for item in items:
            if item.key in failed:
                error = failed[item.key]
                _say(session, item, "failed", {"reason": {"code": error.code, "what": error.what}})
    for item in removed:
        if item.key not in failed:
            _say(session, item, "done", {"receipts": [fields.base64_text(note) for note in item.notes]})
            session.cleared.add(item.key)
            session.progress.count_cleared(1)
    return failed


def _remove_all(
    session: Session, clearing: Clearing, items: Sequence[Proven], removed: list[Proven], failed: Failed
) -> None:
    for item in items:
        try:
            stay_or_leave(session)
            _remove(session, clearing, item)
        except Gone:  # before anything was done to this one
            return
        except (SourceError, DurableError) as error:
            failed[item.key] = error
            return
        removed.append(item)
        session.progress.file_done()


def _remove(session: Session, clearing: Clearing, item: Proven) -> None:
    clearing.remove(item.source, lambda reader: is_same(session, item, reader))


def _close(session: Session, clearing: Clearing, removed: Sequence[Proven], failed: Failed) -> None:
    """Where the device does not become read-only again, nobody knows what of it is durable."""
    try:
        clearing.close()
    except SourceError as error:
        log("release").error("a device did not become read-only again", bay=session.docking.bay, code=error.code)
        for item in removed:
            failed.setdefault(item.key, error)


def _list_anew(session: Session, removed: Sequence[Proven], failed: Failed) -> None:
    """What the device still shows was not removed; where it cannot be listed, nobody has seen that anything was."""
    where = f"device {session.docking.device.info.key}"
    try:
        shown = {key_of(source) for source in listed(session)}
    except (SourceError, DurableError) as error:
        for item in removed:
            failed.setdefault(item.key, error)
        return
    for item in removed:
        if item.key in shown:
            failed.setdefault(item.key, SourceError("not-removed", where))


def _say_begun(session: Session, items: Sequence[Proven]) -> None:
    """Before the first file goes: also where the power fails now, the log tells that this was begun."""
    for first in range(0, len(items), MOST_NAMED):
        records = [item.record for item in items[first : first + MOST_NAMED]]
        body: Object = {**_about(session), "records": [*records]}
        session.stores.ledger.append("release-begun", by=session.stores.by("release"), body=body)


def _say(session: Session, item: Proven, outcome: Literal["done", "failed"], more: Object) -> None:
    session.stores.ledger.append(
        "released",
        record=item.record,
        outcome=outcome,
        by=session.stores.by("release"),
        body={**_about(session), **more},
    )


def _about(session: Session) -> Object:
    docking = session.docking
    return {"bay": docking.bay, "device": docking.device.info.key, "session": docking.session}
