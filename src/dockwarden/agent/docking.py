"""A docking session: everything that one device shows becomes records, is proven, and the bay says what is true.

The bay turns green only when every source is sealed and confirmed; time never turns amber green.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dockwarden.agent import vault
from dockwarden.agent.bays import PULLED_OUT, Finding, Progress, State, Stay
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.drivers.source import ClockReading, Device, SourceError, SourceInfo
from dockwarden.agent.intake import Claims, Docking, NotTaken, known_record, leaf_differs, take
from dockwarden.agent.metadata.clock import captured_utc, measure
from dockwarden.agent.metadata.filenames import facts_of
from dockwarden.agent.quarantine import Reason, Where, quarantine
from dockwarden.agent.stores import Stores, new_id
from dockwarden.durable.files import DurableError
from dockwarden.durable.staging import drop_stage
from dockwarden.evidence import merkle
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.digests import leaf_count, leaf_length
from dockwarden.service.logs import log

RELISTINGS = 3
"""How often a device is listed again at the end, to take what appeared meanwhile."""


@dataclass(frozen=True)
class Desk:
    """What every docking session of a station works with. `profiles` by name."""

    stores: Stores
    profiles: Mapping[str, Profile]
    claims: Claims = field(default_factory=Claims)


@dataclass
class Session:
    """A session's running account, by raw paths: records taken, sources that failed, things that are no source."""

    desk: Desk
    docking: Docking
    progress: Progress
    stay: Stay
    taken: dict[bytes, str] = field(default_factory=dict)
    failed: set[bytes] = field(default_factory=set)
    unlisted: set[bytes] = field(default_factory=set)

    @property
    def stores(self) -> Stores:
        """The station's stores."""
        return self.desk.stores


class Gone(Exception):
    """The device was pulled out or the station stops: the session ends where it is."""


def dock(desk: Desk, bay: str, device: Device, progress: Progress, stay: Stay) -> Session:
    """Run the session of `device` in `bay`; writes the bay's state and findings to `progress`.

    Returns when the bay shows its verdict, or early when the stay has ended. Facts: docked, clock-measured, those
    of each record, judged (before the bay shows it).
    """
    session = _open(desk, bay, device, progress, stay)
    try:
        _take_all(session)
        _confirm_all(session)
        state = _verdict(session)
    except Gone:
        state = _pulled_out(session)
    except SourceError as error:
        if error.code != "unplugged":
            raise
        state = _pulled_out(session)
    _say(session, "judged", state)
    progress.enter(state)
    return session


def undock(session: Session) -> None:
    """Say that the device has left, and what its bay showed then."""
    _say(session, "undocked", session.progress.state)


def _open(desk: Desk, bay: str, device: Device, progress: Progress, stay: Stay) -> Session:
    stores, info, session = desk.stores, device.info, new_id()
    by = stores.by("intake")
    docked: Object = {"bay": bay, "device": info.to_object(), "session": session}
    stores.ledger.append("docked", by=by, body=docked)
    profile = desk.profiles[info.profile]
    error = measure(_clock(device), profile.zone_minutes, profile.unset_years)
    measured: Object = {"device": info.key, "finding": error.finding, "session": session, **error.to_object()}
    known = error.offset_ms is not None
    stores.ledger.append("clock-measured", by=by, outcome="done" if known else "failed", body=measured)
    if error.finding != "none":
        progress.find(Finding(f"clock-{error.finding}", "the device's clock is wrong: have it set"))

    def captured(source: SourceInfo) -> Object:
        named = facts_of(source.name, profile)
        return captured_utc(named, source.modified_raw, profile.zone_minutes, error, profile.unset_years).to_object()

    clock = error.to_object() if known else None
    return Session(desk, Docking(session, bay, device, clock, captured), progress, stay)


def _clock(device: Device) -> ClockReading | None:
    try:
        return device.clock()
    except SourceError:
        return None


def _take_all(session: Session) -> None:
    """Take every source, listing again until nothing new appears."""
    for round_number in range(RELISTINGS):
        dealt_with = session.taken.keys() | session.failed
        sources = [source for source in _list(session) if source.name.raw not in dealt_with]
        if not sources and round_number:
            return
        if not round_number:
            session.progress.expect(len(sources), sum(source.size for source in sources))
        for source in sources:
            _stay_or_leave(session)
            _take_one(session, source)
    if sources:
        session.progress.find(Finding("still-changing", "the device keeps showing new files"))


def _stay_or_leave(session: Session) -> None:
    if session.stay.ended.is_set():
        raise Gone


def _take_one(session: Session, source: SourceInfo) -> None:
    stores, docking, progress = session.stores, session.docking, session.progress
    done = 0

    def count(reached: int) -> None:
        nonlocal done
        progress.add(reached - done)
        done = reached

    try:
        record = known_record(stores, docking, source)
        if record is None:
            record = take(stores, session.desk.claims, docking, source, count, session.stay.ended)
        count(source.size)
        session.taken[source.name.raw] = record
    except NotTaken as failure:
        _not_taken(session, source, failure)
    except (SourceError, DurableError) as error:
        _ended(session, error)
        _keep_reason(session, source, new_id(), error, None)
    progress.file_done()


def _not_taken(session: Session, source: SourceInfo, failure: NotTaken) -> None:
    """A source that fails by itself goes to quarantine with what was read; a stage that can go on later stays."""
    cause = failure.cause
    _ended(session, cause)
    if isinstance(cause, SourceError) or cause.code.startswith("source-"):
        _keep_reason(session, source, failure.stage.plan.record, cause, failure)
    else:
        session.failed.add(source.name.raw)
        session.progress.find(Finding(cause.code, f"{cause.what}. {cause.do}"))
        log("intake").error("a source could not be kept", code=cause.code, where=cause.where, bay=session.docking.bay)


def _ended(session: Session, error: SourceError | DurableError) -> None:
    if session.stay.ended.is_set() or error.code in ("unplugged", "cancelled"):
        raise Gone from error


def _keep_reason(
    session: Session, source: SourceInfo, item: str, error: SourceError | DurableError, failure: NotTaken | None
) -> None:
    session.failed.add(source.name.raw)
    session.progress.find(Finding(error.code, f"{error.what}. {error.do}"))
    staged = failure.stage.folder if failure is not None else None
    reason = Reason(error.code, error.what)
    quarantine(session.stores, item, _where(session), source.name, reason, staged)
    if failure is not None:
        drop_stage(session.stores.files, failure.stage)


def _where(session: Session) -> Where:
    return Where(session.docking.session, session.docking.device.info.key)


def _confirm_all(session: Session) -> None:
    """Read every record that has not been confirmed a second time, past the cache."""
    if session.stores.readings < 2:
        return
    session.progress.enter("confirming")
    ledger = session.stores.ledger
    sources = {source.name.raw: source for source in _list(session)}
    waiting = [
        (sources[raw], record)
        for raw, record in session.taken.items()
        if raw in sources and not _is_done(session.stores, record, "confirmed")
    ]
    session.progress.expect(len(waiting), sum(source.size for source, _ in waiting))
    for source, record in waiting:
        _stay_or_leave(session)
        try:
            outcome, body = _read_again(session, source, record)
        except SourceError as error:
            _ended(session, error)
            outcome, body = False, {"code": error.code, "what": error.what}
        ledger.append(
            "confirmed",
            record=record,
            place="station",
            outcome="done" if outcome else "failed",
            by=session.stores.by("intake"),
            body={"session": session.docking.session, "reading": 2, **body},
        )
        session.progress.file_done()


def _read_again(session: Session, source: SourceInfo, record: str) -> tuple[bool, Object]:
    """Compare a second reading of the device with the sealed leaves; where they differ a third reading decides.

    What two of three readings say is right. When they are against the seal, the record stays as it is, its
    confirmation has failed and the bay stays amber.
    """
    leaves = vault.leaf_hashes(session.stores.folders.vault, record)
    reader = session.docking.device.open(source, uncached=True)
    differing: list[int] = []
    try:
        for index in range(leaf_count(source.size)):
            _stay_or_leave(session)
            if leaf_differs(reader, source.size, index, leaves[index]):
                differing.append(index)
            session.progress.add(leaf_length(source.size, index))
        denied = [index for index in differing if leaf_differs(reader, source.size, index, leaves[index])]
        how = reader.how
    finally:
        reader.close()
    body: Object = {
        "denied": list(denied),
        "differing": list(differing),
        "leaves_root": merkle.root(leaves).hex(),
        "read": how,
    }
    if differing:
        what = "two readings of the device differ; a third agreed with what was sealed"
        session.progress.find(Finding("readings-differ", what))
    if denied:
        session.progress.find(Finding("not-confirmed", "the device no longer gives the bytes that were sealed"))
    if how == "none":
        session.progress.find(Finding("no-read-back", "the device cannot be read past the cache: nothing is proven"))
    return not denied and how != "none", body


def _verdict(session: Session) -> State:
    """Green only when everything on the device, listed anew, is sealed and confirmed."""
    sources = _list(session)
    proven = [
        source
        for source in sources
        if source.name.raw in session.taken and _is_safe(session.stores, session.taken[source.name.raw], source)
    ]
    lacking = len(sources) - len(proven) + len(session.unlisted)
    vanished = set(session.taken) - {source.name.raw for source in sources}
    if vanished:
        session.progress.find(Finding("vanished", "files that were taken are no longer on the device"))
    if lacking:
        total = len(sources) + len(session.unlisted)
        what = f"{lacking} of {total} are not here: hand the device to the office, do not reuse the card"
        session.progress.find(Finding("not-all", what))
    if lacking or vanished or session.failed:
        return "incomplete"
    return "safe" if session.stores.readings >= 2 else "copied"


def _is_safe(stores: Stores, record: str, source: SourceInfo) -> bool:
    """Sealed, read back from the disk, confirmed where policy asks for it, and still the size that was sealed."""
    if not _is_done(stores, record, "sealed"):
        return False
    made, _ = vault.read_seal(stores.folders.vault, record)
    if made.read_back == "none" or made.digests.size != source.size:
        return False
    if made.source.get("modified_raw") != source.modified_raw:
        return False
    return stores.readings < 2 or _is_done(stores, record, "confirmed")


def _is_done(stores: Stores, record: str, kind: str) -> bool:
    found = stores.ledger.latest(record).get((kind, "station"))
    return found is not None and found.outcome == "done"


def _list(session: Session) -> list[SourceInfo]:
    """List the device anew; what is no source is said once and keeps the bay amber."""
    sources = session.docking.device.sources()
    for item in session.docking.device.unlisted():
        if item.name.raw not in session.unlisted:
            session.unlisted.add(item.name.raw)
            reason = Reason("unlisted", item.reason)
            quarantine(session.stores, new_id(), _where(session), item.name, reason)
            session.progress.find(Finding("unlisted", item.reason))
    return sources


def _pulled_out(session: Session) -> State:
    session.progress.find(PULLED_OUT)
    return "incomplete"


def _say(session: Session, kind: str, state: State) -> None:
    body: Object = {
        "bay": session.docking.bay,
        "device": session.docking.device.info.key,
        "findings": [finding.code for finding in session.progress.findings],
        "records": len(session.taken),
        "session": session.docking.session,
        "state": state,
    }
    session.stores.ledger.append(kind, by=session.stores.by("intake"), body=body)
