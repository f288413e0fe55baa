"""The store: valid OCFL whatever was stored and whatever crash came before; write-once; never begun by mistake."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.centre.centre_samples import Footage, StationSide, drawn, record_id
from tests.centre.desk import Desk, Talk
from tests.centre.ocfl_check import broken_rules

from dockwarden.centre.store.ocfl import OcflStore, find_store, make_store
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.evidence.digests import LEAF_SIZE, Measure
from dockwarden.service.errors import ServiceError

FILES = OsFiles()


def gathered(store: OcflStore, home: Path, data: bytes) -> tuple[Path, Measure]:
    """Contents as the receiver leaves them."""
    folder = store.incoming(home)
    measure = Measure()
    measure.update(data)
    for name, content in (("original", data), ("leaves", b"".join(measure.leaves)), ("seal.note", b"seal\n")):
        (folder / name).write_bytes(content)
    return folder, measure


def a_store(root: Path) -> OcflStore:
    make_store(root / "store", FILES)
    return find_store(root / "store", FILES, "centre")


@pytest.mark.parametrize(
    "data", [b"", b"x", b"seal\n", drawn("some", LEAF_SIZE + 1)], ids=["none", "one", "as-the-seal", "two-leaves"]
)
def test_what_is_kept_is_a_valid_object(tmp_path: Path, data: bytes) -> None:
    store, record = a_store(tmp_path), record_id("one")
    folder, measure = gathered(store, tmp_path / "home", data)
    content = store.keep(record, measure.finish(), folder)
    assert store.find(record) == content
    assert (content / "original").read_bytes() == data
    assert not (tmp_path / "home").exists()
    assert broken_rules(tmp_path / "store") == []


def test_the_check_itself_finds_what_is_wrong(tmp_path: Path) -> None:
    store, record = a_store(tmp_path), record_id("one")
    folder, measure = gathered(store, tmp_path / "home", b"footage")
    content = store.keep(record, measure.finish(), folder)

    def spoilt(path: Path, data: bytes | None) -> list[str]:
        before = path.read_bytes() if path.exists() else None
        path.unlink() if data is None else path.write_bytes(data)
        found = broken_rules(tmp_path / "store")
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
        return found

    home = content.parent.parent
    assert spoilt(content / "original", b"footagf")
    assert spoilt(content / "leaves", None)
    assert spoilt(content / ".part", b"")
    assert spoilt(home / "inventory.json", (home / "inventory.json").read_bytes().replace(b"stored", b"storee"))
    assert spoilt(home.parent / "stray", b"")
    assert spoilt(tmp_path / "store" / "0=ocfl_1.1", b"ocfl_1.0\n")
    assert broken_rules(tmp_path / "store") == []


def test_what_crashes_left_among_the_contents_never_gets_into_an_object(tmp_path: Path) -> None:
    store, record = a_store(tmp_path), record_id("one")
    folder, measure = gathered(store, tmp_path / "home", b"footage")
    for place in (folder, folder.parent, folder.parent.parent):
        (place / ".0123456789abcdef.part").write_bytes(b"half of something")
    store.keep(record, measure.finish(), folder)
    assert broken_rules(tmp_path / "store") == []


def test_an_object_is_written_once(tmp_path: Path) -> None:
    store, record = a_store(tmp_path), record_id("one")
    for number, data in enumerate((b"first", b"second")):
        folder, measure = gathered(store, tmp_path / f"home{number}", data)
        if number == 0:
            store.keep(record, measure.finish(), folder)
        else:
            with pytest.raises(DurableError) as caught:
                store.keep(record, measure.finish(), folder)
            assert caught.value.code == "exists"
    found = store.find(record)
    assert found is not None and (found / "original").read_bytes() == b"first"
    assert broken_rules(tmp_path / "store") == []


def test_a_store_that_is_not_there_is_not_begun_anew(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    make_store(tmp_path / "store", FILES)
    assert find_store(tmp_path / "store", FILES, "centre").generation == store.generation
    (tmp_path / "elsewhere").mkdir()
    for missing in (tmp_path / "elsewhere", tmp_path / "nowhere"):
        with pytest.raises(ServiceError) as caught:
            find_store(missing, FILES, "centre")
        assert caught.value.code == "no-store"
    (tmp_path / "store" / "extensions" / "dockwarden" / "generation").write_bytes(b"\xff")
    with pytest.raises(ServiceError):
        find_store(tmp_path / "store", FILES, "centre")


def test_a_whole_centre_keeps_a_valid_store(make_desk: Callable[..., Desk], side: StationSide) -> None:
    talk: Talk = make_desk(side).talks["st-01"]
    for number, size in enumerate((0, 1, LEAF_SIZE, 3 * LEAF_SIZE + 7)):
        footage = Footage(record_id(str(number)), drawn(str(number), size))
        assert len(talk.upload(footage, side.seal(footage))) == 1
    assert broken_rules(talk.desk.root / "store") == []
    shutil.rmtree(talk.desk.root / "store" / record_id("0")[:2] / record_id("0"))
    assert broken_rules(talk.desk.root / "store") != []  # an empty folder is left
