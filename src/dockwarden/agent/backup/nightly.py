"""The nightly backup: a snapshot of the log and of what is not yet proven off-site, read back to the last byte.

Each run makes one, also where no record is new: the log goes, the repository is seen to be there and to hold the
snapshots that the ledger relies on, and the night on which that is not so is seen.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

from dockwarden.agent import vault
from dockwarden.agent.backup.copies import Copy, copies
from dockwarden.agent.backup.healing import what_to_do
from dockwarden.durable import instants
from dockwarden.durable.files import explained
from dockwarden.durable.ledger import Ledger
from dockwarden.durable.queries import witnessed_heads
from dockwarden.durable.tables import reading
from dockwarden.evidence import fields, receipts
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.facts import By, Entry
from dockwarden.evidence.notes import SigningKey, parse
from dockwarden.evidence.receipts import Receipt
from dockwarden.offsite import logcopy
from dockwarden.offsite.proof import Expected, Mismatch, ReadBack, Verdict
from dockwarden.offsite.readback import read_back
from dockwarden.offsite.restic import Made, Repository
from dockwarden.service.logs import log

TAG = "dockwarden"
PREFIX = "backup-"

_VAULT = "vault"
_PAGE = 1000


@dataclass(frozen=True)
class _Run:
    """What one run works with."""

    ledger: Ledger
    vault: Path
    key: SigningKey
    repository: Repository
    by: By
    withheld: Callable[[str], bool]
    identity: str
    halt: Event


def run_backup(
    *,
    ledger: Ledger,
    vault_path: Path,
    key: SigningKey,
    repository: Repository,
    scratch: Path,
    by: By,
    is_secret: Callable[[str], bool | None],
    new_repository: bool = False,
    halt: Event | None = None,
) -> dict[str, Any]:
    """Back up the log and every record that is due, and say `backed-up` of each: done once all its bytes were read
    again; without a record it is about the log's copy.

    Due is what is sealed, confirmed or not (the only copy in the world does not wait for a second reading), known not
    to be secret (None is unknown: it waits), and whose latest `backed-up` is missing, void, failed, about another
    repository, or about a snapshot that is not there any more. Where records were backed up before and the repository
    is gone, a new one is made only with `new_repository`.

    Returns `{snapshot, repository, records, bytes, failed}`: `records` and `bytes` count what was proven, `failed`
    lists `{record, code, what, do}` (record None: the log's copy). Raises OffsiteError, DurableError; facts said
    before stand, and the rest stays due. One run at a time. Setting `halt`
    gives up the snapshot that is being made (OffsiteError `stopped`).
    """
    known = list(copies(ledger))
    identity = _identity(repository, known, new_repository)
    failed: list[dict[str, Any]] = []
    withheld = cache(lambda record: is_secret(record) is not False)  # asked for each entry of the log
    run = _Run(ledger, vault_path, key, repository, by, withheld, identity, halt or repository.stop)
    lost = _lost(run, known, failed)
    due = [
        copy.expected
        for copy in known
        if (copy.backed_up is None or copy.repository != identity or copy.record in lost)
        and not run.withheld(copy.record)
    ]
    whole = [item for item in due if not _refused(run, item, failed)]
    summary: dict[str, Any] = {"snapshot": None, "repository": identity, "records": 0, "bytes": 0, "failed": failed}
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    base = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch))
    try:
        _back_up(run, base, whole, summary)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    log("backup").info("backed up", snapshot=summary["snapshot"], records=summary["records"], failed=len(failed))
    return summary


def _identity(repository: Repository, known: Sequence[Copy], new_repository: bool) -> str:
    """The repository's id. An empty folder where an earlier backup should be is more often a disk that is not
    mounted than a new repository: only a person says which."""
    if new_repository or not any(copy.tried for copy in known):
        return repository.ensure()
    return repository.repository_id()


def _lost(run: _Run, known: Iterable[Copy], failed: list[dict[str, Any]]) -> set[str]:
    """The records whose snapshot is not in the repository any more, though nobody here takes any away."""
    held = frozenset(run.repository.snapshots())
    lost = set()
    for copy in known:
        if copy.backed_up is None or copy.repository != run.identity or copy.snapshot in held:
            continue
        body: Object = {"path": copy.expected.path, "repository": run.identity, "snapshot": copy.snapshot}
        reason: Object = {
            "code": "snapshot-gone",
            "what": "the snapshot that held it is not in the repository any more",
        }
        _say_failed(run, copy.record, body, reason, failed)
        lost.add(copy.record)
    return lost


def _back_up(run: _Run, base: Path, due: Sequence[Expected], summary: dict[str, Any]) -> None:
    (base / _VAULT).symlink_to(run.vault.absolute(), target_is_directory=True)
    written = _write_log(run, base)
    about: Object = {"head_sha256": written[logcopy.HEAD], "repository": run.identity}
    writer = replace(run.repository, stop=run.halt)
    made = writer.backup(base, [*(item.path for item in due), logcopy.FOLDER], run.key.name, TAG)
    summary["snapshot"] = made.snapshot
    read = ReadBack(due, written)
    with closing(read_back(run.repository, made.snapshot, read)) as verdicts:
        for verdict in verdicts:
            _say(run, made, verdict, summary)
    about = {**about, "snapshot": made.snapshot}
    bent = [path for path, digest in written.items() if read.noted.get(path) != digest]
    if bent:
        reason: Object = {"code": "log", "what": f"{' and '.join(bent)} not read back as written"}
        _say_failed(run, None, about, reason, summary["failed"])
    else:
        run.ledger.append("backed-up", place="off-site", by=run.by, body=about)


def _write_log(run: _Run, base: Path) -> dict[str, str]:
    head = run.ledger.head(run.key)
    size = Head.parse(parse(head).text).size
    with explained(base):
        return logcopy.write_log(base, _entries(run.ledger, size), head, run.withheld, _witnessed(run))


def _witnessed(run: _Run) -> dict[str, bytes]:
    """What the centre has cosigned of this log, and the centre's own head, as far as they have come here."""
    with reading(run.ledger.engine) as connection:
        ours, centres = witnessed_heads(connection, run.ledger.log, run.key.name)
    found = {logcopy.COSIGNED: ours, logcopy.CENTRE: centres}
    return {path: note for path, note in found.items() if note is not None}


def _entries(ledger: Ledger, size: int) -> Iterator[Entry]:
    for start in range(0, size, _PAGE):
        yield from ledger.entries(start, min(_PAGE, size - start))


def _refused(run: _Run, item: Expected, failed: list[dict[str, Any]]) -> bool:
    """Whether the vault itself lacks the record, or holds another seal than the ledger names; then that is said."""
    folder = vault.folder(run.vault, item.record)
    try:
        seal = (folder / vault.SEAL).read_bytes()
        size = (folder / vault.ORIGINAL).stat().st_size
        (folder / vault.LEAVES).stat()
    except OSError as error:
        reason: Object = {"code": "vault", "what": f"the vault cannot give it: {error.strerror}"}
    else:
        if hashlib.sha256(seal).hexdigest() == item.seal_sha256 and size == item.digests.size:
            return False
        reason = {"code": "vault", "what": "the vault holds something else than was sealed"}
    _say_failed(run, item.record, {"path": item.path, "repository": run.identity}, reason, failed)
    return True


def _say(run: _Run, made: Made, verdict: Verdict, summary: dict[str, Any]) -> None:
    if isinstance(verdict, Mismatch):
        if verdict.code == "missing" and not made.complete:
            verdict = replace(verdict, code="unread", what="restic could not read it from the vault")
        body: Object = {"path": verdict.path, "repository": run.identity, "snapshot": made.snapshot}
        _say_failed(run, verdict.record, body, {"code": verdict.code, "what": verdict.what}, summary["failed"])
        return
    item = verdict.expected
    run.ledger.append(
        "backed-up",
        record=item.record,
        place="off-site",
        by=run.by,
        body={
            "path": item.path,
            "receipt": fields.base64_text(_receipt(run, item)),
            "repository": run.identity,
            "snapshot": made.snapshot,
        },
    )
    summary["records"] += 1
    summary["bytes"] += item.digests.size


def _receipt(run: _Run, item: Expected) -> bytes:
    """The station's own word: it is the witness, since it read every byte again."""
    receipt = Receipt(
        record=item.record,
        seal_sha256=item.seal_sha256,
        size=item.digests.size,
        sha256=item.digests.sha256,
        sm3=item.digests.sm3,
        place="off-site",
        generation=run.identity,
        witness=run.key.name,
        at=instants.now().utc,
    )
    return receipts.sign_receipt(receipt, run.key)


def _say_failed(run: _Run, record: str | None, body: Object, reason: Object, failed: list[dict[str, Any]]) -> None:
    run.ledger.append(
        "backed-up", record=record, place="off-site", outcome="failed", by=run.by, body={**body, "reason": reason}
    )
    failed.append({"record": record, **reason, "do": what_to_do(str(reason["code"]))})
