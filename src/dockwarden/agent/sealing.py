"""Sealing: how a stage enters the vault. The fact is always last (design: intake, step 3)."""

from sqlalchemy import Connection

from dockwarden.agent import vault
from dockwarden.agent.known import remember
from dockwarden.agent.stores import Stores, said
from dockwarden.durable.files import explained, publish, settle, write_durably
from dockwarden.durable.staging import Stage, drop_stage
from dockwarden.evidence import fields, seals
from dockwarden.evidence.canonical import Object


def seal(stores: Stores, stage: Stage, made: seals.Seal) -> None:
    """Sign the seal of what is staged and commit it: seal, vault, fact. Raises DurableError, MalformedError."""
    write_durably(stores.files, stage.seal, seals.sign_seal(made, stores.key))
    commit(stores, stage)


def commit(stores: Stores, stage: Stage) -> None:
    """Move a sealed stage into the vault and say so; also finishes what a crash has left half done."""
    record = stage.plan.record
    home = vault.folder(stores.folders.vault, record)
    if not home.exists():
        if stage.map.exists():  # the seal has its holes now
            with explained(stage.map):
                stores.files.unlink(stage.map)
        publish(stores.files, stage.folder, home)
    elif said(stores, record, "sealed", "station") is None:
        settle(stores.files, home)  # nobody knows whether the syncs after its rename were made
    with explained(home):
        data = (home / vault.SEAL).read_bytes()
    if said(stores, record, "sealed", "station") is None:
        append_sealed(stores, seals.read_seal(data), data)
    drop_stage(stores.files, stage)


def append_sealed(stores: Stores, made: seals.Seal, data: bytes) -> None:
    """Append the fact of a record that is in the vault, and remember its source."""
    body: Object = {
        "leaves_root": made.digests.leaves_root,
        "seal": fields.base64_text(data),
        "seal_sha256": seals.seal_sha256(data),
        "session": made.session,
        "sha256": made.digests.sha256,
        "size": made.digests.size,
        "sm3": made.digests.sm3,
    }

    def also(connection: Connection) -> None:
        remember(connection, made)

    stores.ledger.append("sealed", record=made.record, place="station", by=stores.by("intake"), body=body, also=also)
