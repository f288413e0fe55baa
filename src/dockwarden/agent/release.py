"""Release: clearing a device on proof (design: release). The default, `keep`, never touches a device.

Nothing is removed before all that is to be removed has been read once more, past the cache, and every witness that
policy asks for has just read its copies and signed for them. Then file by file, each read once more while nobody can
write to it (`removing.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Literal, NoReturn, TypeAlias

from dockwarden.agent.awaiting import AwaitedDevice
from dockwarden.agent.bays import RELEASE_CUT, Finding, State
from dockwarden.agent.docking import is_safe
from dockwarden.agent.drivers.source import Clearing, Device, SourceError, SourceInfo
from dockwarden.agent.metadata.listing import read_listing
from dockwarden.agent.removing import Proven, is_same, remove
from dockwarden.agent.sealed import intact, seal_of
from dockwarden.agent.sessions import Gone, Session, end_if_over, key_of, listed, stay_or_leave, told
from dockwarden.agent.stores import new_id
from dockwarden.durable.files import DurableError
from dockwarden.evidence import receipts, seals
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.facts import Place
from dockwarden.evidence.notes import SignatureError, VerifierKey
from dockwarden.rules.records import is_held
from dockwarden.service.logs import log
from dockwarden.wire.messages import Prove, Unproven

ReleasePolicy: TypeAlias = Literal["keep", "clear-on-proof"]

BESIDE = frozenset({"position", "subtitle", "thumbnail"})
"""What lies beside a recording and goes with it. A camera's logs and settings stay."""


@dataclass(frozen=True)
class Witness:
    """Somebody who is not the station and holds copies at `place`. `ask` gets questions and gives what came of them,
    by record; it ends early when the stay does. `keys` are those of its signatures."""

    place: Place
    keys: Sequence[VerifierKey]
    ask: Callable[[Sequence[Prove], Event], Mapping[str, bytes | Unproven]]


@dataclass(frozen=True)
class Rules:
    """On what a device is cleared. `must_stay` is whether a record is secret (None: nobody has judged it yet);
    without a witness nothing is ever cleared."""

    policy: ReleasePolicy
    must_stay: Callable[[str], bool | None]
    witnesses: Sequence[Witness]


@dataclass(frozen=True)
class Outcome:
    """What came of it: how many files were cleared, how many are still there, and why."""

    cleared: int
    left: int
    why: Sequence[Finding] = ()

    def to_object(self) -> dict[str, object]:
        """As the command shows it."""
        return {"cleared": self.cleared, "left": self.left, "why": [finding.to_object() for finding in self.why]}


class _NotCleared(Exception):
    """Nothing is cleared. `safe` is false where the device shows something else than when its bay became safe."""

    def __init__(self, *why: Finding, safe: bool = True) -> None:
        super().__init__(*(finding.code for finding in why))
        self.why = why
        self.safe = safe


KEPT = Finding("kept-by-policy", "the policy of this station is to keep every device as it is")
NOT_SAFE = Finding("not-safe", "the bay is not safe: not all that is on the device is sealed and confirmed")
NO_WITNESS = Finding("no-witness", "the station has no centre that could sign for its copies")
NOT_CLEARABLE = Finding("not-clearable", "this kind of device is never cleared: its driver only reads")
NOTHING = Finding("nothing-to-clear", "nothing on the device is a recording that may be cleared")
DIFFERS = Finding("device-differs", "the device shows something else than when it was judged: nothing was cleared")

HELD = Finding("held", "files of the device are held: they stay")
SECRET = Finding("secret", "files of the device are marked with secrecy, or nobody has judged that yet: they stay")
NOT_RECEIVED = Finding("not-received", "the centre has not received all files of the device yet")


def release(session: Session, device: Device, rules: Rules) -> Outcome:
    """Clear the device of a session that has its verdict, or say why not; writes the bay's state and findings.

    For the thread of the bay. Facts: release-begun before the first file, then released, done or failed, of each that
    was begun. Raises DurableError where the log cannot be written; then the bay is amber.
    """
    awaited = AwaitedDevice(device, session.stay.ended)
    session.docking = replace(session.docking, device=awaited)
    after: State = session.progress.state
    why: Sequence[Finding] = ()
    before = len(session.cleared)
    try:
        why, safe = _release(session, rules)
        after = after if safe else "incomplete"
    except _NotCleared as error:
        why, after = error.why, after if error.safe else "incomplete"
    except Gone:
        why = (RELEASE_CUT,)
    except BaseException:
        after = "incomplete"
        raise
    finally:
        awaited.finish()
        if after == "incomplete":
            for finding in why:
                session.progress.find(finding)
        session.progress.enter(after)
    return Outcome(len(session.cleared) - before, len(session.taken.keys() - session.cleared), why)


def _release(session: Session, rules: Rules) -> tuple[list[Finding], bool]:
    """Returns why what is left is left, and whether the bay is safe all the same. Raises _NotCleared, Gone."""
    if rules.policy != "clear-on-proof":
        raise _NotCleared(KEPT)
    if session.progress.state != "safe":
        raise _NotCleared(NOT_SAFE)
    if not rules.witnesses:
        raise _NotCleared(NO_WITNESS)
    items, why = _chosen(session, rules)
    if not items:
        raise _NotCleared(*(why or [NOTHING]))
    session.progress.enter("releasing")
    session.progress.expect(len(items), sum(item.source.size for item in items) * 2)
    for item in items:
        _require_same(session, item)
    _require_receipts(session, rules, items)
    failed = remove(session, _open_clearing(session), items)
    over = [RELEASE_CUT] if session.stay.ended.is_set() else []
    return [*why, *dict.fromkeys(told(error) for error in failed.values()), *over], not failed


def _chosen(session: Session, rules: Rules) -> tuple[list[Proven], list[Finding]]:
    """What is to be cleared, and why the other recordings stay. Raises _NotCleared where the device, listed anew, is
    not what was judged, or where something waits for its first receipt."""
    try:
        sources = listed(session)
    except (SourceError, DurableError) as error:
        _differs(session, error)
    known = session.taken.keys() - session.cleared
    if {key_of(source) for source in sources} != known or session.unlisted:
        raise _NotCleared(DIFFERS, safe=False)
    if not all(is_safe(session, source) for source in sources):
        raise _NotCleared(DIFFERS, safe=False)
    chosen: list[Proven] = []
    why: list[Finding] = []
    for source in _recordings(session, sources):
        record = session.taken[key_of(source)]
        reason = _reason_to_stay(session, rules, record)
        if reason is None:
            chosen.append(_proven(session, source, record))
        elif reason not in why:
            why.append(reason)
    if NOT_RECEIVED in why:
        raise _NotCleared(*why)
    return chosen, why


def _recordings(session: Session, sources: Sequence[SourceInfo]) -> list[SourceInfo]:
    """Those whose names the profile knows, and what lies beside a recording. On a device of which no profile knows
    the names that is nothing."""
    profile = session.desk.profiles[session.docking.device.info.profile]
    return [
        each.source
        for each in read_listing(sources, profile)
        if (each.named.pattern is not None if each.kind is None else each.kind in BESIDE)
    ]


def _reason_to_stay(session: Session, rules: Rules, record: str) -> Finding | None:
    stores = session.stores
    if is_held(stores.ledger.facts_of(record)):
        return HELD
    if rules.must_stay(record) is not False:
        return SECRET
    received = stores.ledger.latest(record).get(("received", "centre"))
    return None if received is not None and received.outcome == "done" else NOT_RECEIVED


def _proven(session: Session, source: SourceInfo, record: str) -> Proven:
    seal, leaves = intact(session.stores, record)
    _, note = seal_of(session.stores, record)
    return Proven(source, record, seal, seals.seal_sha256(note), leaves)


def _require_same(session: Session, item: Proven) -> None:
    """Read a file past the cache and compare it with its seal. Raises _NotCleared, Gone."""
    try:
        reader = session.docking.device.open(item.source, uncached=True)
        try:
            same = is_same(session, item, reader)
        finally:
            reader.close()
    except (SourceError, DurableError) as error:
        _differs(session, error)
    if not same:
        raise _NotCleared(DIFFERS, safe=False)


def _require_receipts(session: Session, rules: Rules, items: Sequence[Proven]) -> None:
    """Have every witness read its copies again, now. Raises _NotCleared unless all of them sign for all, Gone."""
    for witness in rules.witnesses:
        asked = {item.record: Prove(item.record, item.seal_sha256, new_id()) for item in items}
        given = witness.ask(list(asked.values()), session.stay.ended)
        stay_or_leave(session)
        lacking: list[str] = []
        for item in items:
            answer = given.get(item.record)
            if isinstance(answer, bytes) and _signs_for(session, witness, item, asked[item.record], answer):
                item.notes.append(answer)
            else:
                lacking.append(answer.code if isinstance(answer, Unproven) else "no-answer")
        if lacking:
            reasons = ", ".join(sorted(set(lacking)))
            what = f"the {witness.place} has not signed now for {len(lacking)} of {len(items)} files ({reasons})"
            raise _NotCleared(Finding("not-proven", what))


def _signs_for(session: Session, witness: Witness, item: Proven, asked: Prove, note: bytes) -> bool:
    """Whether a receipt is this witness's, about just these bytes, and answers this question."""
    try:
        receipt = receipts.open_receipt(note, witness.keys)
    except (MalformedError, SignatureError) as error:
        log("release").warning("a receipt was refused", record=item.record, reason=str(error))
        return False
    fresh = receipt.nonce == asked.nonce and receipt.place == witness.place
    independent = receipt.witness != session.stores.station
    return fresh and independent and receipt.agrees(item.record, item.seal_sha256, item.seal.digests)


def _open_clearing(session: Session) -> Clearing:
    try:
        clearing = session.docking.device.clearing()
    except SourceError as error:
        end_if_over(session, error)
        raise _NotCleared(told(error)) from error
    except DurableError as error:
        raise Gone from error
    if clearing is None:
        raise _NotCleared(NOT_CLEARABLE)
    return clearing


def _differs(session: Session, error: SourceError | DurableError) -> NoReturn:
    """The device does not give what it gave. Raises Gone where it is merely gone, else _NotCleared."""
    end_if_over(session, error)
    raise _NotCleared(told(error), safe=False) from error
