"""Case packages: what the stand-alone verifier accepts, names the spoilt file of, or what is not made at all."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.centre.centre_samples import (
    Footage,
    StationSide,
    drawn,
    label_body,
    receipt_body,
    receipt_note,
    record_id,
)
from tests.centre.desk import CENTRE, Desk, Talk
from tests.durable.disks import FaultyFiles, Killed

from dockwarden.centre.cases import make_package
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.digests import LEAF_SIZE
from dockwarden.rules.deadlines import Policy
from dockwarden.service.errors import ServiceError
from dockwarden.wire.ledgers import HeadMessage
from dockwarden.wire.messages import PARTS, PREVIEW

MADE_AT = "2026-11-24T12:00:00.000Z"
ONE = Footage(record_id("one"), drawn("one", LEAF_SIZE + 5))
TWO = Footage(record_id("two"), b"two")
FILM = Footage(ONE.record, b"not really a film", PREVIEW)
NOBODYS = "a" * 25 + "e"


def verify(package: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """What the stand-alone verifier says, as a process of its own."""
    command = [str(Path(sys.executable).with_name("dockwarden-verify")), str(package), "--json", *more]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode, json.loads(ran.stdout)


def stored(talk: Talk, *footages: Footage) -> None:
    """Seal, upload, label and receive some records, one with a preview."""
    for number, footage in enumerate(footages, 1):
        seal = talk.side.sealed(footage, number)
        talk.side.say("confirmed", footage.record, {"read": footage.digests.size}, place="station")
        talk.side.say("labelled", footage.record, label_body())
        note = talk.upload(footage, seal)[0]
        talk.side.say("received", footage.record, receipt_body(note), place="centre")
        note = receipt_note(seal, talk.side.key, "off-site")
        talk.side.say("backed-up", footage.record, receipt_body(note), place="off-site")
    film = FILM.digests
    part: Object = {"leaves_root": film.leaves_root, "name": PARTS[PREVIEW], "part": PREVIEW, "sha256": film.sha256}
    talk.side.say("previewed", ONE.record, {"parts": [{**part, "size": film.size}]})
    mirrored(talk)
    talk.upload(FILM)


def mirrored(talk: Talk) -> None:
    talk.desk.archive.catalogue.mirror(talk.side.entries, talk.desk.time.wall)


def covered(talk: Talk) -> None:
    """Each side cosigns the other's head."""
    own = talk.side.key.cosign(talk.desk.archive.ledger.head(CENTRE), 1_795_509_000)
    talk.line.on_head(HeadMessage(talk.side.head(), None, own).encode())


def make(talk: Talk, target: Path, *records: str) -> str:
    return make_package(talk.desk.archive, Policy(), records, target, MADE_AT)


def nothing_at(*folders: Path) -> bool:
    """Whether nothing lies beside the centre, half done or whole."""
    return all(sorted(path.name for path in folder.iterdir()) == ["centre"] for folder in folders)


def test_a_package_is_accepted_as_anchored(talk: Talk, tmp_path: Path) -> None:
    stored(talk, ONE, TWO)
    covered(talk)
    make(talk, tmp_path / "package", ONE.record, TWO.record)
    code, found = verify(tmp_path / "package", "--trust", CENTRE.verifier.fingerprint)
    assert (code, found["consistent"], found["anchored"], found["findings"]) == (0, True, True, [])
    assert (found["checked"]["records"], found["checked"]["receipts"]) == (2, 4)
    assert (tmp_path / "package" / "records" / ONE.record / "preview.mp4").read_bytes() == FILM.data
    code, found = verify(tmp_path / "package")
    assert (code, found["consistent"], found["anchored"]) == (3, True, False)
    code, _ = verify(tmp_path / "package", "--trust", StationSide("st-02").key.verifier.fingerprint)
    assert code != 0


def test_a_byte_flipped_anywhere_is_named(talk: Talk, tmp_path: Path) -> None:
    stored(talk, ONE)
    covered(talk)
    package = tmp_path / "package"
    make(talk, package, ONE.record)
    files = sorted(path for path in package.rglob("*") if path.is_file())
    assert len(files) >= 11
    for path in files:
        data = path.read_bytes()
        place = len(data) // 2
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        code, found = verify(package, "--trust", CENTRE.verifier.fingerprint)
        path.write_bytes(data)
        name = path.relative_to(package).as_posix()
        assert code == 1, name
        assert name in {finding["path"] for finding in found["findings"]}
    assert verify(package, "--trust", CENTRE.verifier.fingerprint)[0] == 0


def test_only_the_cases_own_facts_are_in_it(talk: Talk, tmp_path: Path) -> None:
    stored(talk, ONE, TWO)
    talk.side.say("labelled", TWO.record, label_body(party="someone else's name"))
    mirrored(talk)
    covered(talk)
    make(talk, tmp_path / "package", ONE.record)
    assert not [path for path in (tmp_path / "package").rglob("*") if TWO.record in path.name]
    for path in (tmp_path / "package").rglob("*"):
        if path.is_file():
            assert TWO.record.encode() not in path.read_bytes()


def test_a_record_of_which_no_receipt_has_come_yet_has_no_folder_that_nobody_listed(
    talk: Talk, tmp_path: Path
) -> None:
    talk.upload(ONE, talk.side.sealed(ONE, 1))
    mirrored(talk)
    covered(talk)
    make(talk, tmp_path / "package", ONE.record)
    code, found = verify(tmp_path / "package", "--trust", CENTRE.verifier.fingerprint)
    assert (code, found["findings"]) == (0, [])
    assert {note["code"] for note in found["notes"]} >= {"no-receipt"}


@pytest.mark.parametrize("hostile", ["../../../../x", "centre/../x", "", "/tmp/x"])
def test_a_receipt_with_a_hostile_place_writes_nowhere(talk: Talk, tmp_path: Path, hostile: str) -> None:
    stored(talk, ONE)
    note = talk.side.key.sign(f'dockwarden/receipt/1\n{{"place":"{hostile}"}}\n')
    talk.side.say("received", ONE.record, receipt_body(note), place="centre")
    talk.side.say("received", ONE.record, {"receipt": 7}, place="centre")
    mirrored(talk)
    covered(talk)
    make(talk, tmp_path / "package", ONE.record)
    receipts = tmp_path / "package" / "records" / ONE.record / "receipts"
    assert sorted(path.name for path in receipts.iterdir()) == ["centre-1.note", "off-site-2.note"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["centre", "package"]


def refused(talk: Talk, target: Path, *records: str) -> str:
    with pytest.raises(ServiceError) as caught:
        make(talk, target, *records)
    assert caught.value.do
    return caught.value.code


def test_what_is_not_stored_or_not_covered_leaves_nothing(talk: Talk, tmp_path: Path) -> None:
    target = tmp_path / "package"
    assert refused(talk, target) == "no-records"
    assert refused(talk, target, NOBODYS) == "not-stored"
    for odd in ("", "../../etc", "x" * 10_000, ONE.record.upper()):
        assert refused(talk, target, odd) == "not-stored"
    talk.upload(ONE, talk.side.sealed(ONE))
    assert refused(talk, target, ONE.record) == "not-covered"  # stored, and its facts are not here
    mirrored(talk)
    assert refused(talk, target, ONE.record) == "not-covered"  # here, and nobody has signed for them
    covered(talk)
    talk.side.say("labelled", ONE.record, label_body())
    mirrored(talk)
    assert refused(talk, target, ONE.record) == "not-covered"  # the newest is not
    covered(talk)
    assert refused(talk, target, ONE.record, TWO.record) == "not-stored"
    assert nothing_at(tmp_path)
    make(talk, target, ONE.record)


def test_what_a_generation_that_is_over_said_unproven_stands_in_nobodys_way(talk: Talk, tmp_path: Path) -> None:
    stored(talk, ONE)
    talk.desk.archive.begin_generation("it was set back")
    covered(talk)
    make(talk, tmp_path / "package", ONE.record)
    code, found = verify(tmp_path / "package", "--trust", CENTRE.verifier.fingerprint)
    assert (code, found["findings"]) == (0, [])
    assert [path.name for path in (tmp_path / "package" / "logs").iterdir()] == [talk.side.log]


def test_a_damaged_original_is_not_handed_out(talk: Talk, tmp_path: Path) -> None:
    stored(talk, ONE)
    covered(talk)
    content = talk.desk.archive.store.find(ONE.record)
    assert content is not None
    (content / "original").write_bytes(ONE.data[:-1] + b"?")
    assert refused(talk, tmp_path / "package", ONE.record) == "damaged"
    assert nothing_at(tmp_path)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_at_the_target_stays(talk: Talk, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "package"
    if kind == "file":
        target.write_bytes(b"mine")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to("nowhere")
    assert refused(talk, target, ONE.record) == "exists"
    assert (target.is_symlink(), target.is_dir()) == (kind == "link", kind == "folder")


def test_a_crash_at_any_step_leaves_a_whole_package_or_none(
    make_desk: Callable[..., Desk], tmp_path: Path, side: StationSide
) -> None:
    talk = make_desk(side).talks["st-01"]
    stored(talk, TWO, ONE)
    covered(talk)
    files = FaultyFiles()
    talk.desk.use(files)
    make(talk, tmp_path / "counted", TWO.record)
    target = tmp_path / "package"
    for step in range(len(files.trace)):
        for code in (None, 5):
            faulty = FaultyFiles(step, kill=code is None)
            talk.desk.use(faulty)
            with pytest.raises((Killed, DurableError)):
                make(talk, target, TWO.record)
            if target.exists():
                assert faulty.trace[-1][0] == "fsync_folder"  # it is whole: only its name was not yet synced
                OsFiles().rmtree(target)
        talk.desk.use(OsFiles())
        make(talk, target, TWO.record)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["centre", "counted", "package"]
        OsFiles().rmtree(target)
