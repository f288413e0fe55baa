"""What the log says of a sealed record, and whether the vault still holds it."""

from sqlalchemy import select

from dockwarden.agent import vault
from dockwarden.agent.stores import Stores, said
from dockwarden.durable.files import DurableError, explained
from dockwarden.durable.tables import latest, reading
from dockwarden.evidence import fields, merkle, seals
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.digests import leaf_count
from dockwarden.service.logs import log

_GONE = ("evicted", "disposed")
"""Facts after which a record is not in the vault any more, and rightly so."""


def seal_of(stores: Stores, record: str) -> tuple[seals.Seal, bytes]:
    """A record's seal and its note as the log holds them, whatever has become of the vault. Raises DurableError,
    MalformedError."""
    data = fields.data(_sealed(stores, record), "seal")
    return seals.read_seal(data), data


def intact(stores: Stores, record: str) -> tuple[seals.Seal, list[bytes]]:
    """The seal and the leaf hashes of a record whose folder in the vault is what the log says.

    Seal and leaf list are held against the log; of the original only the size is looked at. Raises DurableError
    `vault-damaged`, which is also put among the station's doubts.
    """
    body = _sealed(stores, record)
    home = vault.folder(stores.folders.vault, record)
    try:
        with explained(home):
            data = (home / vault.SEAL).read_bytes()
            size = (home / vault.ORIGINAL).stat().st_size
        leaves = vault.leaf_hashes(stores.folders.vault, record)
        if seals.seal_sha256(data) != fields.digest(body, "seal_sha256"):
            raise MalformedError(vault.SEAL, "is not the seal that the log names")
        seal = seals.read_seal(data)
        if size != seal.digests.size:
            raise MalformedError(vault.ORIGINAL, "has not the size that was sealed")
        if len(leaves) != leaf_count(size) or merkle.root(leaves).hex() != seal.digests.leaves_root:
            raise MalformedError(vault.LEAVES, "is not the leaf list that was sealed")
    except (DurableError, MalformedError) as error:
        raise damaged(stores, record, error) from error
    return seal, leaves


def damaged(stores: Stores, record: str, cause: Exception) -> DurableError:
    """The error for a record that the vault no longer holds as it was sealed; a doubt is said and logged."""
    what = "the vault does not hold a record as it was sealed"
    stores.doubts.say(f"record {record} is damaged in the vault: keep its device, and have the disk checked")
    log("vault").error(what, record=record, error=str(cause))
    do = "Keep the device, and have the station's disk checked."
    return DurableError("vault-damaged", what, vault.relative(record), do)


def sealed_records(stores: Stores) -> set[str]:
    """All records that the log calls sealed and that should be in the vault."""
    return _records(stores, ("sealed",)) - _records(stores, _GONE)


def _records(stores: Stores, kinds: tuple[str, ...]) -> set[str]:
    of_log = (latest.c.log == stores.ledger.log, latest.c.kind.in_(kinds), latest.c.outcome == "done")
    with reading(stores.ledger.engine) as connection:
        return set(connection.scalars(select(latest.c.record).where(*of_log)))


def _sealed(stores: Stores, record: str) -> Object:
    entry = said(stores, record, "sealed", "station")
    body = entry.body if entry is not None else None
    if body is None:
        raise DurableError("not-sealed", "the log has no seal of a record", vault.relative(record), "See `records`.")
    return body
