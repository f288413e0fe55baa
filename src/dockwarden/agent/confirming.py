"""The second reading: every record is compared with its device once more, past the cache (design: intake, step 4)."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from dockwarden.agent.bays import Finding
from dockwarden.agent.drivers.source import Reader, SourceError, SourceInfo
from dockwarden.agent.known import source_key
from dockwarden.agent.recognising import read_leaf
from dockwarden.agent.sealed import intact
from dockwarden.agent.sessions import Session, end_if_over, is_done, key_of, listed, stay_or_leave
from dockwarden.durable.files import DurableError
from dockwarden.durable.readback import worst
from dockwarden.evidence.canonical import Object, Value
from dockwarden.evidence.digests import leaf_length
from dockwarden.evidence.seals import ReadBack, Seal

UNPROVEN = Finding("no-read-back", "the device cannot be read past the cache: nothing is proven")

MOST_UNREADABLE = 16
"""A reading that has met so many unreadable leaves is given up: a dying card takes half a minute for each."""

MOST_TOLD, MOST_KEPT = 1000, 100
"""How many leaves a fact names, and of how many it keeps what each reading gave."""


@dataclass
class _Reading:
    """What a further reading gave where it differs from the seal: leaf number and hash, None where it gave none."""

    how: ReadBack
    differing: dict[int, bytes | None] = field(default_factory=dict)


def confirm_all(session: Session) -> None:
    """Read again every source that was not compared in full with its record in this session, and say what came of it.

    Another device that looks just like this one may have confirmed a record meanwhile: that says nothing of this one.
    Raises Gone, DurableError where the log cannot be written.
    """
    if session.stores.readings < 2:
        return
    session.progress.enter("confirming")
    sources = {key_of(source): source for source in listed(session)}
    waiting = [
        (sources[key], record)
        for key, record in session.taken.items()
        if key in sources and key not in session.compared | session.sampled | session.partial.keys()
    ]
    session.progress.expect(len(waiting), sum(source.size for source, _ in waiting))
    for source, record in waiting:
        stay_or_leave(session)
        _confirm(session, source, record)
        session.progress.file_done()


def _confirm(session: Session, source: SourceInfo, record: str) -> None:
    proven = is_done(session.stores, record, "confirmed")  # meanwhile, by another device
    try:
        seal, leaves = intact(session.stores, record)
    except DurableError as error:
        session.fail(source, error)
        return
    if _has_changed(session, seal, source):
        session.fail(source, SourceError("changed", session.docking.device.info.key))
        return
    try:
        done, body = _compare(session, source, seal, leaves)
    except SourceError as error:
        end_if_over(session, error)
        session.fail(source, error)
        done, body = False, {"code": error.code, "what": error.what}
    if done:
        session.compared.add(key_of(source))
    if proven:
        return
    session.stores.ledger.append(
        "confirmed",
        record=record,
        place="station",
        outcome="done" if done else "failed",
        by=session.stores.by("intake"),
        body={"session": session.docking.session, "reading": 2, **body},
    )


def _has_changed(session: Session, seal: Seal, source: SourceInfo) -> bool:
    """Whether the device now shows another file under this name than the one that was sealed."""
    key = session.docking.device.info.key
    return source_key(key, source.to_object()) != source_key(key, seal.source)


def _compare(session: Session, source: SourceInfo, seal: Seal, leaves: list[bytes]) -> tuple[bool, Object]:
    """Compare a second reading with the sealed leaves; where they differ a third one decides.

    What two of three readings say is right. When they are against the seal, the record stays as it is, its
    confirmation has failed and the bay stays amber; docked again, the device is read anew. Raises SourceError.
    """
    second = _read(session, source, leaves, range(len(leaves)), counted=True)
    third = _read(session, source, leaves, second.differing) if second.differing else _Reading(second.how)
    how, denied = worst(second.how, third.how), list(third.differing)
    key = key_of(source)
    if second.differing:
        what = "two readings of the device differ; a third agreed with what was sealed"
        if denied:
            what = "the readings of the device differ"
        session.progress.find(Finding("readings-differ", what))
    if denied:
        session.failed.add(key)
        session.progress.find(Finding("not-confirmed", "the device no longer gives the bytes that were sealed"))
    if how == "none":
        session.failed.add(key)
        session.progress.find(UNPROVEN)
    body: Object = {
        "denied": [*denied[:MOST_TOLD]],
        "differing": [*list(second.differing)[:MOST_TOLD]],
        "leaves_root": seal.digests.leaves_root,
        "read": how,
        "readings": [_kept(leaf, leaves, second, third) for leaf in list(second.differing)[:MOST_KEPT]],
    }
    return not denied and how != "none", body


def _kept(leaf: int, leaves: list[bytes], second: _Reading, third: _Reading) -> Value:
    """What each reading gave for a leaf: hashes, null where the device gave no whole leaf."""
    later = [second.differing[leaf], third.differing.get(leaf, leaves[leaf])]
    return {"leaf": leaf, "second": _hex(later[0]), "third": _hex(later[1])}


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _read(
    session: Session,
    source: SourceInfo,
    leaves: list[bytes],
    numbers: Iterable[int],
    counted: bool = False,
) -> _Reading:
    """Read leaves past the cache, in a reader of their own, and keep what differs. Raises SourceError, Gone."""
    reader = session.docking.device.open(source, uncached=True)
    try:
        found, unreadable = _Reading(reader.how), 0
        for number in numbers:
            stay_or_leave(session)
            value = _leaf(session, reader, source, number)
            if isinstance(value, SourceError):
                unreadable += 1
                if unreadable > MOST_UNREADABLE:
                    raise value
                value = None
            if value != leaves[number]:
                found.differing[number] = value
            if counted:
                session.progress.add(leaf_length(source.size, number))
        found.how = reader.how
        return found
    finally:
        reader.close()


def _leaf(session: Session, reader: Reader, source: SourceInfo, number: int) -> bytes | SourceError | None:
    """A leaf's hash; None where the source ends before; the error where this range cannot be read."""
    try:
        return read_leaf(reader, source.size, number)
    except SourceError as error:
        end_if_over(session, error)
        if error.code != "unreadable":
            raise
        return error
