"""The restore drill: what was backed up is restored into an empty folder, verified to the last byte, and removed."""

import shutil
import tempfile
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from dockwarden.agent.backup.copies import Copy, copies
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

_OF_THE_SNAPSHOT = frozenset({"damaged", "not-found"})


def run_drill(
    *,
    ledger: Ledger,
    keys: Iterable[VerifierKey],
    repository: Repository,
    scratch: Path,
    by: By,
    records: Collection[str] | None = None,
    most_bytes: int = MOST_BYTES,
) -> dict[str, Any]:
    """Restore and verify what is backed up in this repository, and say `drilled` of each record.

    Without `records`, those that were not drilled since their backup; with them, those. Each is held against its
    seal, the seal against `keys`, and both against the log's copy in the newest snapshot that is drilled.

    Returns `{repository, snapshots, records, bytes, failed}`: `snapshots` lists those drilled, `records` and
    `bytes` count what is as it was sealed, `failed` lists `{record, code, what}` (record None: the log's copy).
    Raises OffsiteError, DurableError; facts said before stand. One run at a time.
    """
    identity = repository.repository_id()
    due = [copy for copy in copies(ledger) if copy.repository == identity and _is_due(copy, records)]
    summary: dict[str, Any] = {"repository": identity, "snapshots": [], "records": 0, "bytes": 0, "failed": []}
    if not due:
        return summary
    known = tuple(keys)
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch))
    try:
        newest = max(due, key=lambda copy: copy.backed_up or 0).snapshot
        copied = _drill_log(repository, newest, target, known, summary)
        for snapshot, group in groupby(sorted(due, key=_by_snapshot), key=lambda copy: copy.snapshot):
            portion = list(group)
            for result in _drill_records(repository, snapshot, portion, target, known, most_bytes):
                _say(ledger, by, identity, snapshot, result, copied, summary)
            summary["snapshots"].append(snapshot)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    log("drill").info("drilled", records=summary["records"], failed=len(summary["failed"]))
    return summary


def _is_due(copy: Copy, records: Collection[str] | None) -> bool:
    if copy.backed_up is None:
        return False
    if records is not None:
        return copy.record in records
    return copy.drilled is None or copy.drilled < copy.backed_up or copy.drilled_in != copy.repository


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
    summary["failed"] += [{"record": None, **finding} for finding in wrong]
    return copied


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
        body["reason"] = {"code": first.code, "what": f"{first.path}: {first.what}"}
        summary["failed"].append({"record": item.record, "code": first.code, "what": first.what})
    else:
        summary["records"] += 1
        summary["bytes"] += item.digests.size
    outcome: Outcome = "failed" if findings else "done"
    ledger.append("drilled", record=item.record, place="off-site", outcome=outcome, by=by, body=body)


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
