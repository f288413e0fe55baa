"""Secrecy set later holds at the next look for every record that it concerns, and what had gone is told."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Room, folder_device, kinds
from tests.agent.test_uploads import CENTRE, Office

from dockwarden.agent import vault
from dockwarden.agent.metadata.completion import is_secret, label_by_person, label_of
from dockwarden.agent.metadata.registry import Binding, Registry
from dockwarden.agent.metadata.rosters import Mark, parse_given
from dockwarden.agent.metadata.secrecy import must_stay, tell_again
from dockwarden.agent.stores import said
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.durable.queries import keep_head
from dockwarden.durable.tables import writing
from dockwarden.evidence import checkpoints
from dockwarden.evidence.facts import By
from dockwarden.wire.ledgers import FactBatch

CASE = "某市监处罚〔2026〕12号"
FULL = {"case": CASE, "party": "某公司", "officer": "王一"}
PERSON = By("650113", "person", "cli")

MARKS: dict[str, Callable[[Registry], None]] = {
    "device": lambda registry: registry.mark(Mark("device", "BODYCAM-PLAIN")),
    "bound device": lambda registry: registry.bind(Binding("BODYCAM-PLAIN", "650113", "王一", secret=True)),
    "bay": lambda registry: registry.mark(Mark("bay", "1")),
    "case": lambda registry: registry.mark(Mark("case", "某市监处罚[2026]第12号")),
}


@pytest.fixture
def office(room: Room):  # type: ignore[no-untyped-def]
    """A station that is connected."""
    opened = Office(room)
    yield opened
    opened.registry.close()


def labelled(tmp_path: Path, office: Office, size: int = 3 * LEAF, name: str = "p") -> str:
    """A record with a complete label that is not secret."""
    (record,) = office.take(tmp_path / name, {f"{name}.mp4": name.encode() * size}, "PLAIN")
    label_by_person(office.labelling, record, parse_given(FULL), PERSON)
    assert must_stay(office.room.stores, office.registry, record) is False
    return record


def sentences(office: Office, record: str) -> list[str]:
    return [sentence for sentence in office.room.stores.doubts.sentences() if record in sentence]


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_holds_for_what_has_a_complete_label_already(tmp_path: Path, office: Office, mark: str) -> None:
    record, stores = labelled(tmp_path, office), office.room.stores
    MARKS[mark](office.registry)
    assert must_stay(stores, office.registry, record) is True  # before any stage has looked
    assert office.offered() == []
    assert office.labels.run_due() == 1
    assert is_secret(stores, record) is True
    label = label_of(stores, record)
    assert label is not None
    assert label.missing == ()
    assert office.labels.run_due() == 0
    assert office.offered() == []
    assert sentences(office, record) == []  # nothing had left


@pytest.mark.parametrize("mark", ["bay", "case"])
def test_a_mark_holds_for_what_comes_later(tmp_path: Path, office: Office, mark: str) -> None:
    MARKS[mark](office.registry)
    (record,) = office.take(tmp_path / "p", {"p.mp4": b"p"}, "PLAIN")
    label_by_person(office.labelling, record, parse_given(FULL), PERSON)
    assert is_secret(office.room.stores, record) is True
    assert office.offered() == []


def test_a_mark_concerns_nothing_else(tmp_path: Path, office: Office) -> None:
    record = labelled(tmp_path, office)
    office.registry.mark(Mark("device", "BODYCAM-OTHER"))
    office.registry.mark(Mark("bay", "2"))
    office.registry.mark(Mark("case", "某市监处罚〔2026〕13号"))
    before = office.room.stores.ledger.size()
    assert office.labels.run_due() == 0
    assert office.room.stores.ledger.size() == before
    assert office.offered() == [record]


def test_a_person_marks_a_record_and_nobody_takes_it_back(tmp_path: Path, office: Office) -> None:
    record = labelled(tmp_path, office)
    label_by_person(office.labelling, record, parse_given({"secret": True}), PERSON)
    label_by_person(office.labelling, record, parse_given({"party": "另一公司"}), PERSON)
    assert is_secret(office.room.stores, record) is True
    office.registry.mark(Mark("bay", "1"))
    office.registry.mark(Mark("bay", "1", secret=False))
    office.labels.run_due()
    assert must_stay(office.room.stores, office.registry, record) is True


def test_a_stage_that_was_not_there_when_the_mark_came_finds_it_after_a_start(tmp_path: Path, office: Office) -> None:
    record = labelled(tmp_path, office)
    MARKS["bay"](office.registry)
    again = Office(office.room)
    assert again.labels.run_due() == 1
    assert is_secret(office.room.stores, record) is True
    again.registry.close()


@pytest.mark.parametrize("mark", MARKS)
def test_sending_stops_at_the_very_next_chunk_and_what_had_gone_is_told(
    tmp_path: Path, office: Office, mark: str
) -> None:
    record, stores = labelled(tmp_path, office), office.room.stores
    assert office.offered()[0] == record
    office.uploads.on_want(office.want(record, leaves=3).sign(CENTRE), office.now)
    assert isinstance(office.uploads.next(office.now), bytes)
    MARKS[mark](office.registry)
    assert office.uploads.next(office.now) is None  # at the same moment, and no stage has looked
    assert office.offered() == []
    finding = said(stores, record, "finding")
    assert finding is not None
    assert finding.body is not None
    assert (finding.body["code"], finding.body["left"]) == ("secret-left", ["parts"])
    assert len(sentences(office, record)) == 1
    office.labels.run_due()
    assert kinds(stores).count("finding") == 1
    tell_again(office.room.stores)
    assert len(sentences(office, record)) == 1


def test_what_the_centre_and_the_off_site_copy_hold_already_is_told_and_again_after_a_start(
    tmp_path: Path, office: Office
) -> None:
    record, stores = labelled(tmp_path, office), office.room.stores
    for kind, place in (("received", "centre"), ("delivered", "centre"), ("backed-up", "off-site")):
        stores.ledger.append(kind, record=record, place=place, by=stores.by("test"), body={})  # type: ignore[arg-type]
    head = stores.ledger.head(stores.key)
    with writing(stores.ledger.engine, stores.files) as connection:
        keep_head(connection, checkpoints.open_head(head, [stores.key.verifier]), "centre", head)
    MARKS["case"](office.registry)
    assert office.labels.run_due() == 1
    finding = said(stores, record, "finding")
    assert finding is not None
    assert finding.body is not None
    assert finding.body["left"] == ["facts", "off-site", "original", "preview"]
    again = office.room.restart()
    assert again.stores.doubts.sentences() == []
    tell_again(again.stores)
    assert [record in sentence for sentence in again.stores.doubts.sentences()] == [True]
    again.stores.close()


def test_no_body_of_a_record_goes_to_the_centre_after_its_mark(tmp_path: Path, office: Office) -> None:
    record, stores = labelled(tmp_path, office), office.room.stores
    MARKS["bay"](office.registry)
    office.logs.connected()
    office.logs._told.size = 0
    batch = office.logs.next(2000.0)
    assert isinstance(batch, FactBatch)
    assert len(batch.entries) == stores.ledger.size()
    assert all(entry.body_bytes is None for entry in batch.entries if entry.envelope.record == record)


def test_where_the_registry_cannot_be_read_nothing_leaves(tmp_path: Path, office: Office) -> None:
    record, stores = labelled(tmp_path, office), office.room.stores
    stores.folders.registry.write_text("[]")
    broken = Registry(stores.folders.registry, OsFiles())
    with pytest.raises(DurableError):
        must_stay(stores, broken, record)
    broken.close()


def test_the_same_word_twice_is_one_fact(tmp_path: Path, office: Office) -> None:
    record, stores = labelled(tmp_path, office), office.room.stores
    size = stores.ledger.size()
    first = label_of(stores, record)
    assert label_by_person(office.labelling, record, parse_given(FULL), PERSON) == first
    assert stores.ledger.size() == size
    other = By("650114", "person", "cli")
    assert label_by_person(office.labelling, record, parse_given(FULL), other) == first
    assert stores.ledger.size() == size + 1  # somebody else says so too
    assert record in set(vault.records(stores.folders.vault))


def test_a_device_whose_card_comes_back_is_secret_too(tmp_path: Path, office: Office) -> None:
    record = labelled(tmp_path, office)
    MARKS["device"](office.registry)
    card = tmp_path / "p"
    (card / "q.mp4").write_bytes(b"q")
    office.room.visit(folder_device(card, "PLAIN"))
    office.labels.run_due()
    records = set(vault.records(office.room.stores.folders.vault))
    assert len(records) == 2
    assert record in records
    assert {is_secret(office.room.stores, each) for each in records} == {True}
