"""A docking session: what a device shows becomes records, and the bay says what is true."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from tests.agent.cards import Room, folder_device, make_card

from dockwarden.agent import vault
from dockwarden.agent.bays import Progress
from dockwarden.agent.drivers.source import Device
from dockwarden.agent.settling import settle
from dockwarden.agent.stores import Stores
from dockwarden.evidence import seals

Visit = Callable[[Device], Progress]


def sealed(stores: Stores) -> dict[bytes, list[seals.Seal]]:
    """The seals in the vault by the raw path of their source."""
    found: dict[bytes, list[seals.Seal]] = {}
    for record in vault.records(stores.folders.vault):
        seal, _ = vault.verify(stores.folders.vault, record, [stores.key.verifier])
        found.setdefault(seal.source_name.raw, []).append(seal)
    return found


def test_everything_on_a_device_is_sealed_confirmed_and_safe(tmp_path: Path, stores: Stores, visit: Visit) -> None:
    card = tmp_path / "card"
    contents = {
        "DCIM/20261124/DCAM_C1_P1_20261124_090000.mp4": os.urandom(1_500_000),
        "DCIM/20261124/empty.mp4": b"",
        "LOG/20261124.txt": b"record start\n",
        "-rf": b"x",
    }
    for name, data in contents.items():
        (card / name).parent.mkdir(parents=True, exist_ok=True)
        (card / name).write_bytes(data)
    progress = visit(folder_device(card))
    assert (progress.state, [finding.code for finding in progress.findings]) == ("safe", ["empty-file"])
    found = sealed(stores)
    assert {raw.decode() for raw in found} == set(contents)
    for name, data in contents.items():
        (seal,) = found[name.encode()]
        assert seal.digests.sha256 == hashlib.sha256(data).hexdigest()
        assert stores.ledger.latest(seal.record)["confirmed", "station"].outcome == "done"


def test_a_second_docking_with_nothing_new_makes_no_record(tmp_path: Path, stores: Stores, visit: Visit) -> None:
    card = tmp_path / "card"
    card.mkdir()
    (card / "a.mp4").write_bytes(os.urandom(3_000_000))
    assert visit(folder_device(card)).state == "safe"
    assert visit(folder_device(card)).state == "safe"
    assert len(list(vault.records(stores.folders.vault))) == 1


def test_other_bytes_under_a_known_name_size_and_time_are_a_new_record(
    tmp_path: Path, stores: Stores, visit: Visit
) -> None:
    card = tmp_path / "card"
    card.mkdir()
    (card / "a.mp4").write_bytes(b"a" * 100_000)
    stamp = (card / "a.mp4").stat()
    visit(folder_device(card))
    (card / "a.mp4").write_bytes(b"b" * 100_000)
    os.utime(card / "a.mp4", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert visit(folder_device(card)).state == "safe"
    assert len(sealed(stores)[b"a.mp4"]) == 2


def test_the_same_photo_on_two_cameras_is_two_records(tmp_path: Path, stores: Stores, visit: Visit) -> None:
    for serial in ("CAM001", "CAM002"):
        card = tmp_path / serial
        card.mkdir()
        (card / "photo.jpg").write_bytes(b"the same photo")
        assert visit(folder_device(card, serial)).state == "safe"
    assert len(sealed(stores)[b"photo.jpg"]) == 2


def test_a_link_on_a_device_keeps_the_bay_amber_and_is_shown(tmp_path: Path, stores: Stores, visit: Visit) -> None:
    card = tmp_path / "card"
    card.mkdir()
    (card / "a.mp4").write_bytes(b"a")
    (card / "link.mp4").symlink_to("/etc/passwd")
    progress = visit(folder_device(card))
    assert progress.state == "incomplete"
    assert {finding.code for finding in progress.findings} == {"unlisted", "not-all"}
    assert set(sealed(stores)) == {b"a.mp4"}


def test_start_up_finds_nothing_to_do_after_an_orderly_end(tmp_path: Path, stores: Stores, visit: Visit) -> None:
    card = tmp_path / "card"
    card.mkdir()
    (card / "a.mp4").write_bytes(b"a")
    visit(folder_device(card))
    before = stores.ledger.size()
    assert settle(stores) == []
    assert stores.ledger.size() == before


def test_a_device_on_which_nothing_is_seen_is_never_called_safe(tmp_path: Path, visit: Visit) -> None:
    card = tmp_path / "card"
    (card / "DCIM" / "20261124").mkdir(parents=True)
    progress = visit(folder_device(card))
    assert progress.state == "incomplete"
    assert [finding.code for finding in progress.findings] == ["nothing-found"]


def test_a_number_that_is_missing_is_told_and_the_bay_is_safe_all_the_same(tmp_path: Path, room: Room) -> None:
    names = [f"DCIM/100MEDIA/VID_{number:04}.MP4" for number in (1, 2, 3, 5, 6)]
    visit = room.visit(folder_device(make_card(tmp_path / "card", {name: name.encode() for name in names})))
    assert visit.state == "safe"
    (finding,) = visit.findings
    assert finding.code == "missing-numbers"
    assert "4" in finding.what
