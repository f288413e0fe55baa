"""A centre that signs for its copies: the real archive and the real answers, without a line between."""

import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.agent.cards import KEY
from tests.centre.desk import CENTRE, Desk

from dockwarden.agent import vault
from dockwarden.agent.release import Rules, Witness
from dockwarden.agent.sealed import seal_of, sealed_records
from dockwarden.agent.stores import Stores
from dockwarden.agent.sync.proofs import Proofs
from dockwarden.centre.archive import Kept
from dockwarden.centre.proving import Proving
from dockwarden.evidence import fields
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.messages import ORIGINAL, Prove, Unproven
from dockwarden.wire.topics import Lane
from dockwarden.wire.transfer import Item


class Centre:
    """The centre of the station `st-01`, below the new folder `root`."""

    def __init__(self, root: Path) -> None:
        self.desk = Desk(root)
        self.desk.archive.catalogue.enrol(KEY.verifier, self.desk.time.wall)
        self.proofs = Proofs(CENTRE.verifier)
        self.asked: list[Prove] = []
        self.proving = Proving("st-01", self.desk.archive, self._publish, lambda work, use: use(_tried(work)))

    def hear(self, stores: Stores) -> None:
        """Take all facts of the station."""
        catalogue = self.desk.archive.catalogue
        start = catalogue_size(self, stores)
        catalogue.mirror(stores.ledger.entries(start, 100_000), self.desk.time.wall)

    def receive(self, stores: Stores) -> None:
        """Take all facts and all records of the station, and have it say that it has the receipts."""
        self.hear(stores)
        for record in sorted(sealed_records(stores)):
            if ("received", "centre") in stores.ledger.latest(record):
                continue
            seal, note = seal_of(stores, record)
            item = Item(record, ORIGINAL, seal.digests.size, bytes.fromhex(seal.digests.leaves_root))
            folder, home = self.desk.archive.gather("st-01", item), vault.folder(stores.folders.vault, record)
            for name in (vault.ORIGINAL, vault.LEAVES):
                shutil.copy(home / name, folder / name)
            kept = self.desk.archive.keep("st-01", item, folder, note)
            assert isinstance(kept, Kept)
            assert kept.receipt is not None
            body = {"generation": "x" * 8, "receipt": fields.base64_text(kept.receipt)}
            stores.ledger.append("received", record=record, place="centre", by=stores.by("test"), body=body)

    def original(self, record: str) -> Path:
        """The file that holds the centre's copy."""
        content = self.desk.archive.store.find(record)
        assert content is not None
        return content / "original"

    def ask(self, asked: Sequence[Prove], ended: threading.Event) -> Mapping[str, bytes | Unproven]:
        """See Witness: the station's own side of the question, with the messages carried by hand."""
        self.asked += asked
        found: dict[str, bytes | Unproven] = {}
        waiting = threading.Thread(target=lambda: found.update(self.proofs.collect(asked, ended)))
        waiting.start()
        now = 0.0
        while waiting.is_alive():
            question = self.proofs.next(now)
            if question is not None:
                try:
                    self.proving.on_prove(question.encode())
                except RemoteError:
                    continue
            now += 1.0
            waiting.join(0.01)
        return found

    def rules(self, **more: object) -> Rules:
        """The rules of a station that clears on this centre's proof."""
        values = {
            "policy": "clear-on-proof",
            "must_stay": lambda record: False,
            "witnesses": [Witness("centre", [CENTRE.verifier], self.ask)],
        }
        return Rules(**{**values, **more})  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the stores."""
        self.desk.close()

    def _publish(self, lane: Lane, payload: bytes) -> None:
        if lane == "receipt":
            assert self.proofs.on_receipt(payload)
        else:
            self.proofs.on_unproven(payload)


def catalogue_size(centre: Centre, stores: Stores) -> int:
    """How much of the station's log the centre has."""
    return centre.desk.archive.ledger.size(stores.ledger.log)


def _tried(work):  # type: ignore[no-untyped-def]
    try:
        return work()
    except Exception as error:
        return error
