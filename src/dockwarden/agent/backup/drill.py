"""The restore drill: what was backed up is restored into an empty folder, verified to the last byte, and removed.

Each run drills what is new and, in rotation, a part of all that was drilled before: a copy that is destroyed later is
missed by the run that comes to it, and then is due for backup again.
"""

import shutil
import tempfile
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from dockwarden.agent.backup.copies import Copy, copies, log_snapshot
from dockwarden.agent.backup.healing import what_to_do
from dockwarden.durable.ledger import Ledger
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.facts import By, Outcome
from dockwarden.evidence.notes import VerifierKey
from dockwarden.offsite.drill import Drilled, Finding, drill, drill_log
from dockwarden.offsite.errors import OffsiteError
from dockwarden.offsite.logcopy import LogCopy
from dockwarden.offsite.restic import Repository
from dockwarden.service.logs import log

PREFIX = "drill-"
MOST_BYTES = 8 << 30
"""Bytes that lie restored at one time, unless a single record is larger."""

AGAIN_BYTES = 16 << 30
"""Bytes of records drilled before that a run drills again: all are, in (bytes off-site / this) runs."""

_OF_THE_SNAPSHOT = frozenset({"damaged", "not-found"})
_IS_LOST = _OF_THE_SNAPSHOT | {"missing", "differs"}
"""Findings that say that the off-site copy is not what was sealed; others are about the drill or the log."""


def run_drill(
    *,
    ledger: Ledger,
    keys: Iterable[VerifierKey],
    repository: Repository,
    scratch: Path,
    by: By,
    records: Collection[str] | None = None,
    most_bytes: int = MOST_BYTES,
    again_bytes: int = AGAIN_BYTES,
) -> dict[str, Any]:
    """Restore and verify what is backed up in this repository, and say `drilled` of each record.

    Without `records`, those that were not drilled since their backup, and of the others those whose drill is longest
    ago, up to `again_bytes` and at least one; with them, those. Each is held against its seal, the seal against
    `keys`, and both against the log's copy in the newest snapshot, of which `drilled` is said without a record.
    A record that fails is no longer backed up: its `backed-up` is void.

    Returns `{repository, snapshots, records, bytes, again, left, failed}`: `snapshots` lists those drilled, `records`
    and `bytes` count what is as it was sealed, `again` how many of the drilled were not new, `left` how many wait for
    a later run, `failed` lists `{record, code, what, do}` (record None: the log's copy). Raises OffsiteError,
    DurableError; facts said before stand. One run at a time.
    """
    identity = repository.repository_id()
    here = [copy for copy in copies(ledger) if copy.repository == identity and copy.backed_up is not None]
    new, again = _due(here, records, again_bytes)
    due = [*new, *again]
    summary: dict[str, Any] = {
        "repository": identity,
        "snapshots": [],
        "records": 0,
        "bytes": 0,
        "again": len(again),
        "left": 0 if records is not None else len(here) - len(due),
        "failed": [],
    }
    newest = log_snapshot(ledger, identity) or _newest(due)
    if newest is None:
        return summary
    known = tuple(keys)
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch))
    try:
        copied = _drill_log(repository, newest, target, known, summary)
        _say_of_log(ledger, by, identity, newest, copied)
        for snapshot, group in groupby(sorted(due, key=_by_snapshot), key=lambda copy: copy.snapshot):
            portion = list(group)
            for result in _drill_records(repository, snapshot, portion, target, known, most_bytes):
                _say(ledger, by, identity, snapshot, result, copied, summary)
            summary["snapshots"].append(snapshot)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    log("drill").info("drilled", records=summary["records"], failed=len(summary["failed"]))
    return summary


def _due(here: Sequence[Copy], records: Collection[str] | None, again_bytes: int) -> tuple[list[Copy], list[Copy]]:
    """What this run drills: what is new, and what is drilled again, the longest ago first."""
    if records is not None:
        return [], [copy for copy in here if copy.record in records]
    new = [copy for copy in here if not _is_drilled(copy)]
    again: list[Copy] = []
    left = again_bytes
    for copy in sorted((copy for copy in here if _is_drilled(copy)), key=lambda copy: copy.drilled or 0):
        left -= copy.expected.digests.size
        if again and left < 0:
            break
        again.append(copy)
    return new, again


def _is_drilled(copy: Copy) -> bool:
    return copy.drilled is not None and copy.drilled > (copy.backed_up or 0) and copy.drilled_in == copy.repository


def _newest(due: Sequence[Copy]) -> str | None:
    newest = max(due, key=lambda copy: copy.backed_up or 0, default=None)
    return None if newest is None else newest.snapshot


def _by_snapshot(copy: Copy) -> tuple[str, str]:
    return copy.snapshot, copy.record


def _drill_log(
    repository: Repository, snapshot: str, target: Path, keys: Sequence[VerifierKey], summary: dict[str, Any]
) -> LogCopy:
    try:
        copied = drill_log(repository, snapshot, target, keys)
        wrong: list[dict[str, Any]] = [{"code": found.code, "what": found.what} for found in copied.findings]
    except OffsiteError as error:
        if error.code not in _OF_THE_SNAPSHOT:
            raise
        copied, wrong = LogCopy(None), [{"code": error.code, "what": error.what}]
    summary["failed"] += [{"record": None, **finding, "do": what_to_do("log")} for finding in wrong]
    return copied


def _say_of_log(ledger: Ledger, by: By, identity: str, snapshot: str, copied: LogCopy) -> None:
    """Whether the log's copy came back whole: `drilled` without a record."""
    body: Object = {"repository": identity, "snapshot": snapshot}
    whole = copied.head is not None and not copied.findings
    if not whole:
        body["reason"] = {"code": "log", "what": "the log's copy did not come back as it was signed"}
    outcome: Outcome = "done" if whole else "failed"
    ledger.append("drilled", place="off-site", outcome=outcome, by=by, body=body)


def _drill_records(
    repository: Repository,
    snapshot: str,
    copies_in_it: Sequence[Copy],
    target: Path,
    keys: Sequence[VerifierKey],
    most_bytes: int,
) -> Sequence[Drilled]:
    expected = [copy.expected for copy in copies_in_it]
    try:
        return drill(repository, snapshot, expected, target, keys, most_bytes=most_bytes)
    except OffsiteError as error:
        if error.code not in _OF_THE_SNAPSHOT:
            raise
        return [Drilled(item, (Finding(error.code, error.what, item.path),)) for item in expected]


def _say(
    ledger: Ledger,
    by: By,
    identity: str,
    snapshot: str,
    result: Drilled,
    copied: LogCopy,
    summary: dict[str, Any],
) -> None:
    item = result.expected
    findings = [*result.findings, *_against_log(result, copied)]
    body: Object = {"repository": identity, "snapshot": snapshot}
    if findings:
        first = findings[0]
        reason: Object = {"code": first.code, "what": f"{first.path}: {first.what}"}
        do = what_to_do(first.code)
        body["reason"] = reason
        summary["failed"].append({"record": item.record, "code": first.code, "what": first.what, "do": do})
    else:
        summary["records"] += 1
        summary["bytes"] += item.digests.size
    outcome: Outcome = "failed" if findings else "done"
    ledger.append("drilled", record=item.record, place="off-site", outcome=outcome, by=by, body=body)
    if any(found.code in _IS_LOST for found in result.findings):
        ledger.append("backed-up", record=item.record, place="off-site", outcome="void", by=by, body=body)


def _against_log(result: Drilled, copied: LogCopy) -> list[Finding]:
    """What the log's copy says against a record: a copy that does not verify proves nothing of any."""
    item = result.expected
    if copied.head is None or copied.findings:
        return [Finding("log", "the log's copy does not verify", item.path)]
    if item.record not in copied.seals:
        return [Finding("log", "the log's copy does not name it", item.path)]
    if copied.seals[item.record] not in (None, item.seal_sha256):
        return [Finding("log", "the log's copy names another seal", item.path)]
    return []
