"""A docking session: everything that one device shows becomes records, is proven, and the bay says what is true.

The bay turns green only when every source is sealed and confirmed; time never turns amber green.
"""

from contextlib import suppress

from dockwarden.agent.awaiting import AwaitedDevice
from dockwarden.agent.bays import PULLED_OUT, STOPPED, Finding, Progress, State, Stay
from dockwarden.agent.confirming import UNPROVEN, confirm_all
from dockwarden.agent.drivers.source import ClockReading, Device, SourceError, SourceInfo
from dockwarden.agent.intake import Docking, NotTaken, StageGone, finish_left, is_of_the_source, take
from dockwarden.agent.known import source_key
from dockwarden.agent.metadata.clock import captured_utc, measure
from dockwarden.agent.metadata.filenames import facts_of
from dockwarden.agent.metadata.noticing import notice
from dockwarden.agent.partial import is_torn, supersede, take_torn
from dockwarden.agent.quarantine import Reason, quarantine
from dockwarden.agent.recognising import Known, known_record, looks_known
from dockwarden.agent.sealed import intact, seal_of
from dockwarden.agent.sessions import (
    Desk,
    Gone,
    Session,
    end_if_over,
    is_done,
    key_of,
    listed,
    stay_or_leave,
    told,
)
from dockwarden.agent.stores import new_id
from dockwarden.durable.files import DurableError
from dockwarden.durable.staging import Stage, set_aside
from dockwarden.evidence.canonical import Object
from dockwarden.service.logs import log

RELISTINGS = 3
"""How often a device is listed again at the end, to take what appeared meanwhile."""


def dock(desk: Desk, bay: str, device: Device, progress: Progress, stay: Stay) -> Session:
    """Run the session of `device` in `bay`; writes the bay's state and findings to `progress`.

    Returns when the bay shows its verdict, or early when the stay has ended. Facts: docked, clock-measured, those
    of each record, judged (before the bay shows it). Raises DurableError where the log cannot be written.
    """
    awaited = AwaitedDevice(device, stay.ended)
    try:
        session = _open(desk, bay, awaited, progress, stay)
        state = _run(session)
        _say(session, "judged", state)
        progress.enter(state)
        return session
    finally:
        awaited.finish()


def _run(session: Session) -> State:
    """Take, confirm and judge, or say that the stay has ended before."""
    try:
        _take_all(session)
        _take_torn(session)
        _notice(session)
        confirm_all(session)
        return _verdict(session)
    except Gone:
        return _cut_short(session)
    except (SourceError, DurableError) as error:
        if error.code not in ("unplugged", "cancelled"):
            raise
        return _cut_short(session)
    finally:
        for _, stage in session.torn.values():
            session.desk.claims.release(stage.plan.record)


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
    except (SourceError, DurableError):  # the one is of the device, the other says that the stay has ended
        return None


def _take_all(session: Session) -> None:
    """Take every source, listing again until nothing new appears."""
    for round_number in range(RELISTINGS):
        dealt_with = session.taken.keys() | session.failed | session.torn.keys()
        sources = [source for source in listed(session) if key_of(source) not in dealt_with]
        if not sources and round_number:
            return
        if not round_number:
            session.progress.expect(len(sources), sum(source.size for source in sources))
        for source in _new_ones_first(session, sources):
            stay_or_leave(session)
            _take_one(session, source)
            session.progress.file_done()
    if sources:
        session.progress.find(Finding("still-changing", "the device keeps showing new files"))


def _new_ones_first(session: Session, sources: list[SourceInfo]) -> list[SourceInfo]:
    """What is new goes before what only has to be read again. Raises Gone."""
    new: list[SourceInfo] = []
    known: list[SourceInfo] = []
    for source in sources:
        stay_or_leave(session)
        (known if _looks_known(session, source) else new).append(source)
    session.progress.recognise(len(known))
    return [*new, *known]


def _looks_known(session: Session, source: SourceInfo) -> bool:
    try:
        return looks_known(session.stores, session.docking.device, source)
    except (SourceError, DurableError) as error:
        end_if_over(session, error)
        return False


def _notice(session: Session) -> None:
    """Tell what the listing shows that a person should know; none of it keeps the bay from being safe.

    The camera's own log is not asked: it would miss, each time, what an earlier docking took and was cleared since.
    """
    profile = session.desk.profiles[session.docking.device.info.profile]
    for each in notice(listed(session), profile):
        if each.code != "marked-important":  # the label says it
            session.progress.find(Finding(each.code, each.what))


def _take_one(session: Session, source: SourceInfo) -> None:
    """Take a source, or say why not: whatever one does, the next ones get their turn. Raises Gone."""
    try:
        session.taken[key_of(source)] = _record_of(session, source)
    except NotTaken as failure:
        if is_torn(failure.cause):
            session.torn[key_of(source)] = source, failure.stage
            return
        try:
            _not_taken(session, source, failure.cause, failure.stage)
        finally:
            session.desk.claims.release(failure.stage.plan.record)
    except (SourceError, DurableError) as error:
        _not_taken(session, source, error, None)
    except Exception as error:
        _failed(session, source, error)


def _failed(session: Session, source: SourceInfo, error: Exception) -> None:
    """A source at which the station itself failed."""
    log("intake").exception("a source failed", bay=session.docking.bay, error=type(error).__name__)
    session.failed.add(key_of(source))
    session.progress.find(Finding("internal", f"the station failed at a file: {type(error).__name__}"))


def _take_torn(session: Session) -> None:
    """Take what can be read of the sources that cannot be read as a whole. They come last: a dying medium may not
    survive it, and each may take many minutes. Raises Gone."""
    while session.torn:
        key, (source, stage) = next(iter(session.torn.items()))
        stay_or_leave(session)
        try:
            _rescue(session, source, stage)
        finally:
            del session.torn[key]
            session.desk.claims.release(stage.plan.record)


def _rescue(session: Session, source: SourceInfo, stage: Stage) -> None:
    stores, docking, key, done = session.stores, session.docking, key_of(source), 0

    def count(reached: int) -> None:
        nonlocal done
        session.progress.add(reached - done)
        done = reached

    try:
        sealed = take_torn(stores, docking, source, stage, count, session.stay.ended)
        session.taken[key] = sealed.record
        supersede(stores, docking, source, sealed.record)
        if sealed.holes:
            _is_partial(session, source, sealed.missing)
    except (SourceError, DurableError) as error:
        torn = error.code == "nothing-read"
        if error.code == "stage-differs":
            set_aside(stores.files, stage, "stage-differs")
        _not_taken(session, source, SourceError("unreadable", docking.device.info.key) if torn else error, stage)
    except Exception as error:
        _failed(session, source, error)


def _is_partial(session: Session, source: SourceInfo, missing: int) -> None:
    """A source of which bytes are missing keeps the bay amber for good."""
    session.partial[key_of(source)] = missing
    session.failed.add(key_of(source))


def _record_of(session: Session, source: SourceInfo) -> str:
    stores, claims, docking, cancel = session.stores, session.desk.claims, session.docking, session.stay.ended
    done = 0

    def count(reached: int) -> None:
        nonlocal done
        if reached < done:  # what was read so far is read again
            session.progress.expect_again(done)
            done = 0
        session.progress.add(reached - done)
        done = reached

    record: str | None = None
    while record is None:
        finish_left(stores, claims, docking, source, cancel)
        known = known_record(stores, docking.device, source, count, cancel)
        if known is not None:
            record = known.record
            _recognised(session, source, known)
            continue
        with suppress(StageGone):
            record = take(stores, claims, docking, source, count, cancel)
    count(source.size)
    supersede(stores, docking, source, record)
    return record


def _recognised(session: Session, source: SourceInfo, known: Known) -> None:
    """Note what a source that is a record already has shown of itself at this docking."""
    key = key_of(source)
    if known.by == "later":
        return
    if known.by == "partial":
        _is_partial(session, source, seal_of(session.stores, known.record)[0].missing)
        return
    if known.read == "none":
        session.failed.add(key)
        session.progress.find(UNPROVEN)
    elif known.by == "full":
        session.compared.add(key)
    else:
        session.sampled.add(key)
        what = "files that were here before were recognised by a sample of their bytes, by this station's policy"
        session.progress.find(Finding("known-by-sample", what))


def _not_taken(session: Session, source: SourceInfo, cause: SourceError | DurableError, stage: Stage | None) -> None:
    """A source that fails by itself goes to quarantine with what was read; a stage that can go on later stays."""
    end_if_over(session, cause)
    session.fail(source, cause)
    if not is_of_the_source(cause):
        log("intake").error("a source could not be kept", code=cause.code, where=cause.where, bay=session.docking.bay)
        return
    item = new_id() if stage is None else stage.plan.record
    reason = Reason(cause.code, cause.what)
    try:
        quarantine(session.stores, item, session.where, source.name, reason, stage)
    except DurableError as error:
        session.fail(source, error)
        log("intake").error("quarantine failed", code=error.code, where=error.where, bay=session.docking.bay)


def _verdict(session: Session) -> State:
    """Green only when everything on the device, listed anew, is sealed and confirmed, and there is something.

    A card whose file system is torn can look empty: nobody has shown that there was nothing.
    """
    sources = listed(session)
    if not sources and not session.unlisted:
        session.progress.find(Finding("nothing-found", "nothing is seen on the device"))
        return "incomplete"
    lacking = sum(not is_safe(session, source) for source in sources) + len(session.unlisted)
    vanished = session.taken.keys() - {key_of(source) for source in sources}
    if vanished:
        session.progress.find(Finding("vanished", "files that were taken are no longer on the device"))
    if session.partial:
        files = "1 file" if len(session.partial) == 1 else f"{len(session.partial)} files"
        what = f"{sum(session.partial.values())} bytes of {files} cannot be read; all that can is kept"
        session.progress.find(Finding("partial", what))
    if lacking:
        total = len(sources) + len(session.unlisted)
        what = f"{lacking} of {total} are not wholly here: hand the device to the office, do not reuse the card"
        session.progress.find(Finding("not-all", what))
    if lacking or vanished or session.failed:
        return "incomplete"
    return "safe" if session.stores.readings >= 2 and not session.sampled else "copied"


def is_safe(session: Session, source: SourceInfo) -> bool:
    """Whether a source is sealed and still in the vault, was read back from the disk, is confirmed where policy asks
    for it, and is still what was sealed. Where it is not, a finding says why, unless one has already."""
    key, stores = key_of(source), session.stores
    record = session.taken.get(key)
    if record is None or key in session.failed:
        return False
    try:
        seal, _ = intact(stores, record)
    except DurableError as error:
        session.progress.find(told(error))
        return False
    device = session.docking.device.info.key
    if source_key(device, source.to_object()) != source_key(device, seal.source):
        session.progress.find(told(SourceError("changed", device)))
        return False
    if seal.read_back == "none":
        what = "the station's disk cannot be read past its cache: nothing is proven"
        session.progress.find(Finding("no-read-back", what))
        return False
    if stores.readings < 2:
        return True
    return is_done(stores, record, "confirmed") and key in session.compared | session.sampled


def _cut_short(session: Session) -> State:
    """The stay has ended before the verdict: by the station's own end, or because somebody took the device."""
    stopped = session.stay.ended.is_set() and not session.stay.left
    session.progress.find(STOPPED if stopped else PULLED_OUT)
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
