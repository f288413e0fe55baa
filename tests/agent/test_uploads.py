"""Uploads and the exchange of logs: secret records stay, damaged ones rest, and nobody waits behind them."""

from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Room, folder_device, kinds, make_card
from tests.agent.test_damaged_vault import LATER

from dockwarden.agent import vault
from dockwarden.agent.metadata.completion import Labelling, label_record
from dockwarden.agent.metadata.registry import Binding, Registry
from dockwarden.agent.metadata.secrecy import Unmarked
from dockwarden.agent.pipeline import Pipeline, Stage
from dockwarden.agent.status import StatusView, status
from dockwarden.agent.stores import new_id, said
from dockwarden.agent.sync import upload
from dockwarden.agent.sync.logs import LogExchange
from dockwarden.agent.sync.upload import Uploads
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.durable.queries import Work
from dockwarden.evidence import receipts
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import SigningKey
from dockwarden.rules.deadlines import Policy
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.ledgers import FactBatch, HeadMessage
from dockwarden.wire.messages import Offer, Want

CENTRE = SigningKey("centre", bytes(range(1, 33)))


class Office:
    """A station with its uploads, and what the centre would say to them."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.registry = Registry(room.stores.folders.registry, OsFiles())
        self.labelling = labelling = Labelling(room.stores, self.registry, dict(room.desk.profiles))
        unmarked = Unmarked(room.stores, self.registry)
        stage = Stage(
            Work("labelled", ("sealed",)), lambda record: label_record(labelling, record), silent=True, also=unmarked
        )
        self.labels = Pipeline(room.stores, [stage])
        self.session = new_id()
        self.now = 1000.0
        self.uploads = Uploads(room.stores, self.registry, Policy(), CENTRE.verifier, self.session)
        self.uploads.connected(self.now)
        self.logs = LogExchange(room.stores, self.registry, CENTRE.verifier)

    def take(self, root: Path, files: dict[str, bytes], serial: str) -> list[str]:
        """Dock a card and label its records; returns them in the order of their names."""
        before = set(vault.records(self.room.stores.folders.vault))
        assert self.room.visit(folder_device(make_card(root, files), serial)).state == "safe"
        self.labels.run_due()
        new = set(vault.records(self.room.stores.folders.vault)) - before
        return sorted(
            new, key=lambda record: vault.read_seal(self.room.stores.folders.vault, record)[0].source_name.raw
        )

    def offered(self, seconds: int = 3) -> list[str]:
        """The records that are offered within some seconds."""
        found: list[str] = []
        for _ in range(seconds):
            self.now += 1.5
            while (step := self.uploads.next(self.now)) is not None:
                assert isinstance(step, Offer)
                found.append(step.record)
        return found

    def want(self, record: str, epoch: int = 1, complete: bool = False, leaves: int = 1) -> Want:
        """What the centre says to an offer."""
        seal, _ = vault.read_seal(self.room.stores.folders.vault, record)
        ranges = () if complete else ((0, leaves),)
        root = seal.digests.leaves_root
        return Want("st-01", self.session, record, 0, root, epoch, 0, 0 if complete else 1 << 20, ranges, complete)

    def receipt(self, record: str, generation: str = "generation1") -> bytes:
        """The centre's receipt."""
        seal, note = vault.read_seal(self.room.stores.folders.vault, record)
        made = receipts.Receipt(
            record=record,
            seal_sha256=upload.seals.seal_sha256(note),
            size=seal.digests.size,
            sha256=seal.digests.sha256,
            sm3=seal.digests.sm3,
            place="centre",
            generation=generation,
            witness="centre",
            at=self.room.stores.clock().utc,
        )
        return receipts.sign_receipt(made, CENTRE)


@pytest.fixture
def office(room: Room):  # type: ignore[no-untyped-def]
    """A station that is connected."""
    opened = Office(room)
    yield opened
    opened.registry.close()


def secret_device(office: Office, serial: str = "SECRET") -> str:
    """Mark a device with secrecy."""
    office.registry.bind(Binding(f"BODYCAM-{serial}", "650113", "王一", secret=True))
    return serial


def test_nothing_of_a_secret_device_is_offered_and_no_body_of_its_records_is_sent(
    tmp_path: Path, office: Office
) -> None:
    stores = office.room.stores
    (tmp_path / "link").symlink_to("nowhere")
    secret = office.take(tmp_path / "s", {"张三.mp4": b"s"}, secret_device(office))
    card = tmp_path / "s"
    (card / "李四.mp4").symlink_to("nowhere")
    office.room.visit(folder_device(card, "SECRET"))  # a quarantined name of a secret device
    plain = office.take(tmp_path / "p", {"p.mp4": b"p"}, "PLAIN")
    assert set(office.offered()) == set(plain)
    office.logs.connected()
    assert isinstance(office.logs.next(0.0 + 1000), HeadMessage)
    office.logs._told.size = 0
    office.logs._told.asked = 0.0
    batch = office.logs.next(2000.0)
    assert isinstance(batch, FactBatch)
    assert len(batch.entries) == stores.ledger.size()
    sent = batch.encode()
    for entry in batch.entries:
        hidden = entry.envelope.record in secret or entry.envelope.kind == "quarantined"
        assert (entry.body_bytes is None) == hidden
    for name in ("张三", "李四"):
        assert name.encode() not in sent
        assert name.encode().hex().encode() not in sent
    label = said(stores, secret[0], "labelled")
    assert label is not None
    assert label.body is not None
    assert label.body["secret"] is True


def test_the_log_waits_for_a_record_that_nobody_has_judged(tmp_path: Path, office: Office) -> None:
    assert office.room.visit(folder_device(make_card(tmp_path / "a", {"a": b"a"}), "A")).state == "safe"
    office.logs.connected()
    office.logs._told.size = 0
    batch = office.logs.next(2000.0)
    assert isinstance(batch, FactBatch)
    assert [entry.envelope.kind for entry in batch.entries] == ["key-rotated", "docked", "clock-measured"]


def test_secret_records_do_not_keep_the_others_waiting(
    tmp_path: Path, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "CANDIDATES", 3)
    files = {f"{number}": bytes([number]) for number in range(8)}
    office.take(tmp_path / "s", files, secret_device(office))
    plain = office.take(tmp_path / "p", {"p.mp4": b"p"}, "PLAIN")
    assert set(office.offered()) == set(plain)


def test_a_record_that_is_marked_while_it_is_sent_is_sent_no_further(tmp_path: Path, office: Office) -> None:
    (record,) = office.take(tmp_path / "p", {"p.mp4": b"p" * 3 * LEAF}, "PLAIN")
    assert office.offered()[0] == record
    office.uploads.on_want(office.want(record, leaves=3).sign(CENTRE), office.now)
    first = office.uploads.next(office.now)
    assert isinstance(first, bytes)
    body = {"important": False, "missing": [], "secret": True}
    office.room.stores.ledger.append("labelled", record=record, by=office.room.stores.by("labelled"), body=body)
    office.now += 2
    assert office.uploads.next(office.now) is None
    assert office.offered() == []


@pytest.mark.parametrize("damage", ["no folder", "no seal", "another leaf list", "a short original"])
def test_a_damaged_record_is_told_and_the_others_are_sent(
    tmp_path: Path, office: Office, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "CANDIDATES", 1)
    records = office.take(tmp_path / "p", {"a": b"a" * 2 * LEAF, "b": b"b"}, "PLAIN")
    LATER[damage](vault.folder(office.room.stores.folders.vault, records[0]))
    assert set(office.offered()) == {records[1]}
    findings = status(StatusView(office.room.stores, Policy(), list))["findings"]
    assert isinstance(findings, list)
    assert [records[0] in str(finding) for finding in findings] == [True]


def test_a_record_whose_bytes_have_changed_stops_when_the_centre_asks_again(tmp_path: Path, office: Office) -> None:
    (record,) = office.take(tmp_path / "p", {"p.mp4": b"p" * LEAF}, "PLAIN")
    path = vault.folder(office.room.stores.folders.vault, record) / vault.ORIGINAL
    path.write_bytes(b"q" * LEAF)
    assert office.offered()[0] == record
    office.uploads.on_want(office.want(record).sign(CENTRE), office.now)
    payload = office.uploads.next(office.now)
    assert isinstance(payload, bytes)
    chunk = Chunk.decode(payload)
    again = Want(**{**office.want(record).__dict__, "seen": chunk.serial})
    office.uploads.on_want(again.sign(CENTRE), office.now)
    assert office.uploads.next(office.now) is None
    assert office.offered(5) == []
    assert any(record in sentence for sentence in office.room.stores.doubts.sentences())


def test_a_receipt_counts_once_even_where_the_log_said_that_it_could_not_keep_it(
    tmp_path: Path, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    (record,) = office.take(tmp_path / "p", {"p.mp4": b"p"}, "PLAIN")
    stores = office.room.stores
    with pytest.raises(MalformedError):
        office.uploads.on_receipt(office.receipt(record))  # nobody has offered anything: a replayed one
    office.offered()
    with pytest.raises(MalformedError):
        office.uploads.on_receipt(office.receipt(record))  # the centre has not said that it has stored it
    office.uploads.on_want(office.want(record, complete=True).sign(CENTRE), office.now)
    append = stores.ledger.append

    def done_all_the_same(*given: object, **named: object) -> object:
        append(*given, **named)  # type: ignore[arg-type]
        raise DurableError("io-error", "the disk reported an error", "ledger", "Check it.")

    with monkeypatch.context() as patch:
        patch.setattr(stores.ledger, "append", done_all_the_same)
        with pytest.raises(DurableError):
            office.uploads.on_receipt(office.receipt(record))
    office.uploads.on_receipt(office.receipt(record))
    assert kinds(stores).count("received") == 1
    assert office.offered() == []
