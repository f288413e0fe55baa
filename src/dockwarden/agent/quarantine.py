"""Quarantine: what a device showed and could not become a record is kept, with the reason, for a person."""

from dataclasses import dataclass
from pathlib import Path

from dockwarden.agent.stores import Stores, said
from dockwarden.durable.files import publish, write_durably
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
    stores: Stores,
    item: str,
    where: Where,
    name: SourceName,
    reason: Reason,
    staged: Path | None = None,
) -> None:
    """Keep what was read (the staging folder `staged`, where there is one) and say why; raises DurableError.

    `item` is drawn like a record's id. The folder moves first, the fact is last: after a crash in between, the
    folder is found at start-up by `unsaid`.
    """
    body: Object = {
        "device": where.device,
        "item": item,
        "kept": staged is not None,
        "reason": reason.to_object(),
        "session": where.session,
        "source": {"name": name.to_object()},
    }
    if staged is not None:
        write_durably(stores.files, staged / REASON, canonical.encode(body))
        publish(stores.files, staged, stores.folders.quarantine / item)
    say(stores, item, body)


def say(stores: Stores, item: str, body: Object) -> None:
    """Append the fact of something in quarantine."""
    stores.ledger.append("quarantined", record=item, place="station", by=stores.by("intake"), body=body)


def unsaid(stores: Stores) -> list[tuple[str, Object]]:
    """Folders in quarantine whose fact a crash has lost, with the body of that fact."""
    found = []
    for folder in sorted(stores.folders.quarantine.iterdir()):
        if said(stores, folder.name, "quarantined", "station") is None:
            found.append((folder.name, canonical.decode_object((folder / REASON).read_bytes(), REASON)))
    return found
