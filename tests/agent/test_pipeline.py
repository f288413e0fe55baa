"""The pipeline: nobody waits behind those that rest, a fault is said once, and a person's word is the last one."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.agent.cards import Room, folder_device, kinds, make_card

from dockwarden.agent import vault
from dockwarden.agent.metadata.completion import Labelling, is_secret, label_by_person, label_of, label_record
from dockwarden.agent.metadata.registry import Binding, Registry
from dockwarden.agent.metadata.rosters import parse_given
from dockwarden.agent.pipeline import PAGE, Pipeline, Said, Stage
from dockwarden.agent.status import StatusView, records, status
from dockwarden.agent.stores import new_id
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.durable.instants import now
from dockwarden.durable.queries import Work
from dockwarden.evidence import fields
from dockwarden.evidence.facts import By
from dockwarden.rules.deadlines import Policy, format_utc

PERSON = By("650113", "person", "cli")


@pytest.fixture
def labelling(room: Room):  # type: ignore[no-untyped-def]
    """What the label stage works with."""
    registry = Registry(room.stores.folders.registry, OsFiles())
    yield Labelling(room.stores, registry, dict(room.desk.profiles))
    registry.close()


def taken(tmp_path: Path, room: Room, count: int = 1) -> list[str]:
    """Records of a card."""
    card = make_card(tmp_path / "card", {f"{number}.mp4": bytes([number]) for number in range(count)})
    assert room.visit(folder_device(card)).state == "safe"
    return list(vault.records(room.stores.folders.vault))


def test_records_that_rest_do_not_keep_the_others_waiting(room: Room) -> None:
    ids = [new_id() for _ in range(PAGE + 5)]
    for record in ids:
        room.stores.ledger.append(
            "sealed", record=record, place="station", by=room.stores.by("intake"), body={"size": 0}
        )
    seen: list[str] = []

    def nothing_new(record: str) -> Said | None:
        seen.append(record)
        return None

    pipeline = Pipeline(room.stores, [Stage(Work("labelled", ("sealed",)), nothing_new)])
    pipeline.run_due()
    pipeline.run_due()
    assert sorted(seen) == sorted(ids)
    pipeline.run_due()
    assert len(seen) == len(ids)


def test_a_stage_that_fails_in_an_unknown_way_says_so_once(tmp_path: Path, room: Room) -> None:
    taken(tmp_path, room)
    before = room.stores.ledger.size()

    def broken(record: str) -> Said | None:
        raise DurableError("exists", "the target exists already", "somewhere", "Look at it.")

    pipeline = Pipeline(room.stores, [Stage(Work("previewed", ("sealed",), version=7), broken)])
    assert [pipeline.run_due() for _ in range(5)] == [1, 0, 0, 0, 0]
    assert room.stores.ledger.size() == before + 1


def test_a_fault_of_the_label_stage_is_not_the_latest_word_about_a_record(
    tmp_path: Path, room: Room, labelling: Labelling
) -> None:
    (record,) = taken(tmp_path, room)
    label_by_person(labelling, record, parse_given({"party": "某公司"}), PERSON)
    calls = itertools.count()

    def broken(record: str) -> Said | None:
        next(calls)
        raise RuntimeError

    pipeline = Pipeline(room.stores, [Stage(Work("labelled", ("sealed",), retry_after_s=(0,)), broken, silent=True)])
    assert [pipeline.run_due(), pipeline.run_due()] == [0, 0]
    assert next(calls) == 1  # it rests
    label = label_of(room.stores, record)
    assert label is not None
    assert label.party == "某公司"
    assert is_secret(room.stores, record) is False
    assert len(records(StatusView(room.stores, Policy(), list))) == 1


def test_what_is_not_labelled_in_time_is_late_until_it_is_labelled(
    tmp_path: Path, room: Room, labelling: Labelling
) -> None:
    (record,) = taken(tmp_path, room)
    view = StatusView(room.stores, Policy(hours=1), list)

    def late_at(hours: int) -> object:
        then = replace(now(), utc=format_utc(datetime.now(UTC) + timedelta(hours=hours)))
        later = replace(view, stores=replace(room.stores, clock=lambda: then))
        return fields.obj(status(later), "records")["late"]

    assert [late_at(hours) for hours in (0, 2, 0, 2)] == [0, 1, 0, 1]
    given = parse_given({"case": "市监罚〔2026〕1号", "party": "某公司", "officer": "王一"})
    label_by_person(labelling, record, given, PERSON)
    assert late_at(2) == 0


def test_the_stage_fills_in_what_a_person_left_open_and_never_overwrites_a_word(
    tmp_path: Path, room: Room, labelling: Labelling
) -> None:
    (record,) = taken(tmp_path, room)
    labelling.registry.bind(Binding("BODYCAM-CAM001", "650113", "王一"))
    label_by_person(
        labelling, record, parse_given({"party": "某公司", "officer": "李二", "officer_id": "650114"}), PERSON
    )
    pipeline = Pipeline(
        room.stores,
        [Stage(Work("labelled", ("sealed",), retry_after_s=(0,)), lambda record: label_record(labelling, record))],
    )
    pipeline.run_due()
    label = label_of(room.stores, record)
    assert label is not None
    assert (label.party, label.officer_name, label.officer_id) == ("某公司", "李二", "650114")
    label_by_person(labelling, record, parse_given({"case": "某市监处罚〔2026〕12号"}), PERSON)
    assert pipeline.run_due() == 0
    assert kinds(room.stores).count("labelled") == 2


def test_a_person_who_is_quicker_than_the_stage_does_not_open_what_is_secret(
    tmp_path: Path, room: Room, labelling: Labelling
) -> None:
    (record,) = taken(tmp_path, room)
    labelling.registry.bind(Binding("BODYCAM-CAM001", "650113", "王一", secret=True))
    given = {"party": "某公司", "officer": "李二", "case": "某市监处罚〔2026〕12号"}
    label_by_person(labelling, record, parse_given(given), PERSON)
    assert is_secret(room.stores, record) is True


def test_a_device_that_is_marked_later_marks_what_is_not_labelled_yet(
    tmp_path: Path, room: Room, labelling: Labelling
) -> None:
    (record,) = taken(tmp_path, room)
    labelling.registry.bind(Binding("BODYCAM-CAM001", "650113", "王一"))
    pipeline = Pipeline(
        room.stores,
        [Stage(Work("labelled", ("sealed",), retry_after_s=(0,)), lambda record: label_record(labelling, record))],
    )
    assert pipeline.run_due() == 1
    assert is_secret(room.stores, record) is False
    labelling.registry.bind(Binding("BODYCAM-CAM001", "650113", "王一", secret=True))
    assert pipeline.run_due() == 1
    assert is_secret(room.stores, record) is True
    labelling.registry.bind(Binding("BODYCAM-CAM001", "650113", "王一"))
    pipeline.run_due()
    assert is_secret(room.stores, record) is True


def test_a_registry_that_cannot_be_read_has_a_clear_word(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_bytes(b"{ half")
    registry = Registry(path, OsFiles())
    with pytest.raises(DurableError) as error:
        registry.binding("BODYCAM-CAM001")
    assert error.value.code == "damaged"
    registry.close()
