"""Quarantine: what a device showed and could not become a record is kept, with the reason, for a person."""

from dataclasses import dataclass
from pathlib import Path

from dockwarden.agent.stores import Stores, said
from dockwarden.durable.files import explained, publish, settle, write_durably
from dockwarden.durable.staging import Stage, drop_stage
from dockwarden.evidence import canonical
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.seals import SourceName

REASON = "reason.json"


@dataclass(frozen=True)
class Reason:
    """Why something is not a record: a word for programs and one for people."""

    code: str
    what: str

    def to_object(self) -> Object:
        """The reason as it stands in facts."""
        return {"code": self.code, "what": self.what}


@dataclass(frozen=True)
class Where:
    """The docking session and the key of the device that showed it."""

    session: str
    device: str


def quarantine(
    stores: Stores, item: str, where: Where, name: SourceName, reason: Reason, stage: Stage | None = None
) -> None:
    """Keep what was read (the stage's folder, where there is one) and say why; raises DurableError.

    `item` is drawn like a record's id, and is the stage's where there is one. The reason is written first, then the
    folder moves, then comes the fact, and the stage's plan goes last: `finish` goes on from wherever that ended.
    """
    body: Object = {
        "device": where.device,
        "item": item,
        "kept": stage is not None,
        "reason": reason.to_object(),
        "session": where.session,
        "source": {"name": name.to_object()},
    }
    if stage is None:
        _say(stores, item, body)
        return
    write_durably(stores.files, stage.folder / REASON, canonical.encode(body))
    finish(stores, stage)


def begun(stores: Stores, stage: Stage) -> bool:
    """Whether a stage was on its way into quarantine when something ended it."""
    return (stage.folder / REASON).exists() or (stores.folders.quarantine / stage.plan.record).exists()


def finish(stores: Stores, stage: Stage) -> None:
    """Bring a stage that has its reason into quarantine, or go on with that. Raises DurableError, MalformedError."""
    home = stores.folders.quarantine / stage.plan.record
    if not home.exists():
        publish(stores.files, stage.folder, home)
    state(stores, home)
    drop_stage(stores.files, stage)


def state(stores: Stores, home: Path) -> None:
    """Say the fact of a folder in quarantine, unless it has been said. Raises DurableError, MalformedError."""
    if said(stores, home.name, "quarantined", "station") is None:
        settle(stores.files, home)  # nobody knows whether the syncs after its rename were made
        with explained(home):
            data = (home / REASON).read_bytes()
        _say(stores, home.name, canonical.decode_object(data, REASON))


def _say(stores: Stores, item: str, body: Object) -> None:
    stores.ledger.append("quarantined", record=item, place="station", by=stores.by("intake"), body=body)
