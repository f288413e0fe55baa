"""What is entered is read strictly: the error names the field, and a roster is taken whole or not at all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockwarden.agent import setup
from dockwarden.agent.metadata.registry import Registry
from dockwarden.agent.metadata.rosters import Binding, Mark, Roster, parse_given, parse_roster
from dockwarden.agent.settings import Settings
from dockwarden.agent.station import Station
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.evidence.canonical import MalformedError
from dockwarden.service.errors import ServiceError
from dockwarden.service.socket import call

BINDING: dict[str, Any] = {"device": "CAM1", "officer_id": "650113", "officer_name": "张伟"}
TASK: dict[str, Any] = {
    "officer_id": "650113",
    "start": "2026-11-24T08:00:00.000Z",
    "end": "2026-11-24T12:00:00.000Z",
    "case": "某市监处罚〔2026〕12号",
    "party": "某某经营部",
    "activity": "行政检查",
}
MARK: dict[str, Any] = {"of": "bay", "name": "1"}


class Refusing(OsFiles):
    """A disk that takes no file into its place while `refuse` is true."""

    refuse = False

    def replace(self, source: Path, target: Path) -> None:
        if self.refuse:
            raise OSError(28, "no space")
        super().replace(source, target)


@pytest.mark.parametrize(
    ("roster", "field"),
    [
        ({"bindings": 5}, "bindings"),
        ({"bindings": ["x"]}, "bindings[0]"),
        ({"bindings": [BINDING, {**BINDING, "device": 7}]}, "bindings[1].device"),
        ({"bindings": [{**BINDING, "officer_name": None}]}, "bindings[0].officer_name"),
        ({"bindings": [{**BINDING, "secret": "yes"}]}, "bindings[0].secret"),
        ({"bindings": [{**BINDING, "secrt": True}]}, "bindings[0].secrt"),
        ({"bindings": [{"device": "CAM1"}]}, "bindings[0].officer_id"),
        ({"bindings": [BINDING, {**BINDING, "officer_name": "李二"}]}, "bindings[1].device"),
        ({"tasks": [{**TASK, "start": "today"}]}, "tasks[0].start"),
        ({"tasks": [TASK, {**TASK, "end": 1}]}, "tasks[1].end"),
        ({"tasks": [{**TASK, "end": "2026-11-24T07:00:00.000Z"}]}, "tasks[0].end"),
        ({"tasks": [{**TASK, "case": "none"}]}, "tasks[0].case"),
        ({"tasks": [{**TASK, "activity": ["x"]}]}, "tasks[0].activity"),
        ({"tasks": [{**TASK, "note": "x"}]}, "tasks[0].note"),
        ({"marks": [{"of": "card", "name": "1"}]}, "marks[0].of"),
        ({"marks": [{"of": "case", "name": "no case"}]}, "marks[0].name"),
        ({"marks": [{"of": "bay", "name": "9"}]}, "marks[0].name"),
        ({"marks": [{**MARK, "secret": 1}]}, "marks[0].secret"),
        ({"taks": [TASK]}, "taks"),
    ],
)
def test_a_wrong_roster_is_refused_naming_the_field(roster: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedError) as error:
        parse_roster(roster, {"1"})
    assert error.value.where == field


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"case": 12}, "case"),
        ({"party": ["x"]}, "party"),
        ({"officer": None}, "officer"),
        ({"officer_id": 650113}, "officer_id"),
        ({"activity": {}}, "activity"),
        ({"secret": "no"}, "secret"),
        ({"secret": False}, "secret"),
        ({"patry": "某公司"}, "patry"),
    ],
)
def test_a_wrong_label_is_refused_naming_the_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedError) as error:
        parse_given(given)
    assert error.value.where == field


def test_what_stands_in_a_keys_place_does_not_come_into_an_error() -> None:
    with pytest.raises(MalformedError) as error:
        parse_given({"张三的案子": "x"})
    assert "张三" not in str(error.value)


def test_a_disk_that_fails_leaves_the_old_registry_whole(tmp_path: Path) -> None:
    files = Refusing()
    registry = Registry(tmp_path / "registry.json", files)
    registry.take(parse_roster({"bindings": [BINDING]}))
    before = (tmp_path / "registry.json").read_bytes()
    files.refuse = True
    changed = {"bindings": [{**BINDING, "secret": True}, {**BINDING, "device": "CAM2"}], "tasks": [TASK]}
    with pytest.raises(DurableError):
        registry.take(parse_roster(changed))
    assert (tmp_path / "registry.json").read_bytes() == before
    assert (registry.binding("CAM2"), registry.marks().devices) == (None, frozenset())
    files.refuse = False
    registry.take(parse_roster(changed))
    assert registry.marks().devices == {"CAM1"}
    registry.close()


def test_a_roster_is_written_once(tmp_path: Path) -> None:
    written: list[Path] = []

    class Counting(OsFiles):
        def replace(self, source: Path, target: Path) -> None:
            written.append(target)
            super().replace(source, target)

    registry = Registry(tmp_path / "registry.json", Counting())
    registry.take(
        parse_roster({"bindings": [BINDING, {**BINDING, "device": "CAM2"}], "tasks": [TASK], "marks": [MARK]})
    )
    assert len(written) == 1
    registry.close()
    again = Registry(tmp_path / "registry.json", OsFiles())
    assert (again.binding("CAM2"), again.marks().bays) == (Binding("CAM2", "650113", "张伟"), {"1"})
    again.close()


def test_a_mark_is_one_however_the_case_is_typed_and_can_be_lifted_for_what_comes_later(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry.json", OsFiles())
    for typed in ("某市监处罚〔2026〕12号", "某市监处罚[2026]第012号"):
        registry.mark(Mark("case", typed))
    assert len(registry.marks().cases) == 1
    registry.mark(Mark("case", "某市监处罚(2026)12号", secret=False))
    assert not registry.marks()
    registry.close()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"bindings": 5},
        {"bindings": {"1": 5}},
        {"bindings": {"x": BINDING}},
        {"bindings": {"1": {**BINDING, "officer_name": 5}}},
        {"tasks": {"1": {**TASK, "more": 1}}},
        {"marks": {"1": {"of": "bay"}}},
    ],
)
def test_a_registry_file_of_another_form_is_called_damaged_and_not_written_over(
    tmp_path: Path, content: object
) -> None:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(content))
    registry = Registry(path, OsFiles())
    for ask in (registry.marks, lambda: registry.binding("CAM1"), lambda: registry.take(Roster())):
        with pytest.raises(DurableError) as error:
            ask()
        assert error.value.code == "damaged"
    assert json.loads(path.read_text()) == content
    registry.close()


class Nowhere:
    """A hot-plug source that shows nothing."""

    def start(self, put: object) -> None:
        """See HotPlug."""

    def stop(self) -> None:
        """See HotPlug."""


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Path]:
    """The local door of a running station."""
    settings = Settings(station="st-01", root=tmp_path / "root", bays=["1"], release="keep", media=False, panel=None)
    setup.make_keys(settings, OsFiles())
    station = Station(settings, Nowhere())  # type: ignore[arg-type]
    station.start()
    yield station.stores.folders.socket
    station.stop()


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("roster", {"bindings": {}}, "bindings"),
        ("roster", {"bindings": [BINDING], "tasks": [{**TASK, "end": None}]}, "tasks[0].end"),
        ("roster", {"roster": []}, "roster"),
        ("roster", {"marks": [{"of": "bay", "name": "2"}]}, "marks[0].name"),
        ("label", {}, "record"),
        ("label", {"record": 5, "given": {}, "by": "1"}, "record"),
        ("label", {"record": "a" * 26, "given": [], "by": "1"}, "given"),
        ("label", {"record": "a" * 26, "given": {"party": 1}, "by": "1"}, "party"),
        ("label", {"record": "a" * 26, "given": {}, "by": ["x"]}, "by"),
        ("label", {"record": "a" * 26, "given": {}, "by": "张伟"}, "by"),
        ("label", {"record": "a" * 26, "given": {}, "by": "1", "at": "now"}, "at"),
    ],
)
def test_the_door_names_the_field_that_is_wrong(door: Path, method: str, params: dict[str, Any], field: str) -> None:
    with pytest.raises(ServiceError) as error:
        call(door, method, params)
    assert (error.value.code, error.value.where) == ("malformed", field)


def test_the_door_takes_a_roster_whole_or_not_at_all(door: Path) -> None:
    with pytest.raises(ServiceError):
        call(door, "roster", {"bindings": [BINDING], "tasks": [{**TASK, "case": 1}]})
    assert not (door.parent / "registry.json").exists()
    taken = call(door, "roster", {"bindings": [BINDING], "tasks": [TASK], "marks": [MARK]})
    assert taken == {"bindings": 1, "tasks": 1, "marks": 1}
