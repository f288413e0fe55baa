"""Settling: what a crash or a failing disk has left half done is finished, by the same functions that do it else.

| left behind | finished by |
| --- | --- |
| a stage with its reason, or its folder in quarantine already | into quarantine, the fact, away with the plan |
| a stage with its seal, or its folder in the vault already | verified, into the vault, the fact, away with the plan |
| a folder in the vault without its fact | verified, the fact |
| a folder in quarantine without its fact | the fact |
| a stage without seal | stays: it goes on when its device is docked again |
"""

from collections.abc import Callable
from functools import partial
from threading import Event

from dockwarden.agent import quarantine, vault
from dockwarden.agent.sealed import sealed_records
from dockwarden.agent.sealing import append_sealed, commit
from dockwarden.agent.stores import Stores, said
from dockwarden.durable import files
from dockwarden.durable.files import DurableError, remove_parts
from dockwarden.durable.staging import KEPT, Stage, find_stages
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import SignatureError
from dockwarden.service.logs import log


def settle(stores: Stores) -> list[str]:
    """Finish at start-up what was left, before anybody else writes; never raises.

    What does not agree is left where it is and returned, a sentence each, for a person, and so are records that the
    log calls sealed and the vault does not have; nothing is deleted but the halves of files that were being written.
    """
    doubts: list[str] = []
    attempt = partial(_attempt, doubts)
    attempt("the staging folder", lambda: _settle_stages(stores, doubts))
    attempt("the vault", lambda: _settle_vault(stores, doubts))
    attempt("the quarantine", lambda: _settle_quarantine(stores, doubts))
    return list(dict.fromkeys(doubts))


def is_half_done(stores: Stores, stage: Stage) -> bool:
    """Whether a stage is past its copy: sealed, or on its way into quarantine. Such a one is finished."""
    home = vault.folder(stores.folders.vault, stage.plan.record)
    return quarantine.begun(stores, stage) or stage.seal.exists() or home.exists()


def finish(stores: Stores, stage: Stage, cancel: Event | None = None) -> None:
    """Finish a stage that is half done. Bytes are held against the seal first, since nobody knows what has happened
    meanwhile. Raises DurableError (also `cancelled`), MalformedError, SignatureError; the stage then stays as it is.
    """
    remove_parts_of(stores, stage)
    if quarantine.begun(stores, stage):
        quarantine.finish(stores, stage)
        return
    record = stage.plan.record
    home = vault.folder(stores.folders.vault, record)
    if said(stores, record, "sealed", "station") is None:
        vault.verify_folder(home if home.exists() else stage.folder, record, [stores.key.verifier], cancel)
    commit(stores, stage)


def remove_parts_of(stores: Stores, stage: Stage) -> None:
    """Remove what a kill in the middle of a durable write has left in a stage; raises DurableError."""
    if stage.folder.is_dir():
        remove_parts(stores.files, stage.folder)


def _settle_stages(stores: Stores, doubts: list[str]) -> None:
    folders = stores.folders
    for folder in (folders.root, folders.keys, folders.staging, folders.staging / KEPT):
        if folder.is_dir():
            remove_parts(stores.files, folder)
    found = find_stages(folders.staging)
    doubts += [f"{path.name} in the staging folder belongs to no plan" for path in found.unknown]
    for stage in found.stages:
        if is_half_done(stores, stage):
            _attempt(doubts, f"record {stage.plan.record}", partial(finish, stores, stage))


def _settle_vault(stores: Stores, doubts: list[str]) -> None:
    stated, there = sealed_records(stores), set(vault.records(stores.folders.vault))
    for record in sorted(there - stated):
        _attempt(doubts, f"record {record}", partial(_state, stores, record))
    for record in sorted(stated - there):
        doubts.append(f"record {record} is sealed by the log and not in the vault: keep its device")
        log("intake").error("a record is not in the vault", record=record)


def _settle_quarantine(stores: Stores, doubts: list[str]) -> None:
    for home in sorted(stores.folders.quarantine.iterdir()):
        _attempt(doubts, f"{home.name} in quarantine", partial(quarantine.state, stores, home))


def _state(stores: Stores, record: str) -> None:
    """Say the fact of a record that lies in the vault without one."""
    if said(stores, record, "sealed", "station") is None:
        made, data = vault.verify(stores.folders.vault, record, [stores.key.verifier])
        files.settle(stores.files, vault.folder(stores.folders.vault, record))
        append_sealed(stores, made, data)


def _attempt(doubts: list[str], what: str, work: Callable[[], None]) -> None:
    try:
        work()
    except (MalformedError, SignatureError) as error:
        log("intake").error("something is not what it should be", thing=what, error=str(error))
        doubts.append(f"{what} is not what its seal says: {error}")
    except (DurableError, OSError) as error:
        log("intake").error("something cannot be finished", thing=what, error=str(error))
        doubts.append(f"{what} cannot be finished now: {error}")
