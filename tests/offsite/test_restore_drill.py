"""A drill restores into an empty folder and finds whatever is not as it was sealed."""

from pathlib import Path

import pytest
from tests.offsite.samples import LOG, STATION, flip, repository, write_record

from dockwarden.evidence.checkpoints import Head, sign_head
from dockwarden.evidence.merkle import EMPTY_ROOT
from dockwarden.evidence.notes import SigningKey
from dockwarden.offsite import drill as drills
from dockwarden.offsite.drill import drill, drill_log, portions, verify_record
from dockwarden.offsite.errors import OffsiteError
from dockwarden.offsite.logcopy import write_log
from dockwarden.offsite.restic import Repository
from dockwarden.simulators.offsite_server import serve_restic

KEYS = [STATION.verifier]
DATA = bytes(range(256)) * 5000
LARGEST = 1 << 30


def codes(base: Path, data: bytes = DATA) -> list[tuple[str, str]]:
    expected = write_record(base, data)
    return [(found.code, found.path.rpartition("/")[2]) for found in verify_record(base, expected, KEYS)]


@pytest.mark.parametrize("data", [DATA, b"", b"1"])
def test_a_record_as_it_was_sealed_has_no_findings(tmp_path: Path, data: bytes) -> None:
    assert codes(tmp_path, data) == []


@pytest.mark.parametrize(("part", "code"), [("original", "differs"), ("leaves", "differs"), ("seal.note", "seal")])
def test_a_flipped_bit_is_found_and_the_part_named(tmp_path: Path, part: str, code: str) -> None:
    expected = write_record(tmp_path, DATA)
    flip(tmp_path / expected.path / part, 30)
    assert [(found.code, found.path) for found in verify_record(tmp_path, expected, KEYS)] == [
        (code, f"{expected.path}/{part}")
    ]


@pytest.mark.parametrize("part", ["original", "leaves", "seal.note"])
def test_a_missing_part_is_found_and_named(tmp_path: Path, part: str) -> None:
    expected = write_record(tmp_path, DATA)
    (tmp_path / expected.path / part).unlink()
    assert [(found.code, found.path) for found in verify_record(tmp_path, expected, KEYS)] == [
        ("missing", f"{expected.path}/{part}")
    ]


def test_a_seal_by_a_stranger_or_of_another_record_is_found(tmp_path: Path) -> None:
    expected, other = write_record(tmp_path, DATA), write_record(tmp_path, b"2", number=2)
    stranger = SigningKey.generate("st-01").verifier
    assert [found.code for found in verify_record(tmp_path, expected, [stranger])] == ["seal"]
    for part in ("original", "leaves", "seal.note"):
        (tmp_path / expected.path / part).write_bytes((tmp_path / other.path / part).read_bytes())
    assert [found.code for found in verify_record(tmp_path, expected, KEYS)] == ["seal"]


def test_portions_keep_the_order_and_the_limit(tmp_path: Path) -> None:
    records = [write_record(tmp_path, bytes(size), number) for number, size in enumerate([5, 5, 5, 20, 1])]
    sizes = [[item.digests.size for item in portion] for portion in portions(records, 10)]
    assert sizes == [[5, 5], [5], [20], [1]]
    assert portions([], 10) == []
    assert len(portions(records[4:] * 600, LARGEST)) == 3


def test_a_folder_that_is_not_empty_is_refused_before_anything_else(tmp_path: Path) -> None:
    nowhere = Repository(tmp_path / "none", tmp_path / "none", tmp_path / "cache")
    (tmp_path / "target").mkdir()
    (tmp_path / "target/here").touch()
    with pytest.raises(OffsiteError) as raised:
        drill(nowhere, "latest", [], tmp_path / "target", KEYS, most_bytes=LARGEST)
    assert raised.value.code == "not-empty"
    assert (tmp_path / "target/here").exists()


def test_a_disk_that_is_too_small_is_told_before_anything_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drills, "KEEP_FREE", 1 << 60)
    expected = write_record(tmp_path / "vault-of", DATA)
    nowhere = Repository(tmp_path / "none", tmp_path / "none", tmp_path / "cache")
    with pytest.raises(OffsiteError) as raised:
        drill(nowhere, "latest", [expected], tmp_path / "target", KEYS, most_bytes=LARGEST)
    assert raised.value.code == "disk-full"


@pytest.mark.system
def test_a_real_restore_is_verified_and_removed_and_a_bent_byte_in_it_is_found(tmp_path: Path) -> None:
    base = tmp_path / "base"
    records = [write_record(base, DATA + bytes([number]), number) for number in range(3)]
    write_log(base, [], sign_head(Head(LOG, 0, EMPTY_ROOT), STATION), lambda record: False)
    (tmp_path / "served").mkdir()
    with serve_restic(tmp_path / "served") as server:
        repo = repository(tmp_path, server.repository("r"))
        repo.ensure()
        made = repo.backup(base, ["log", *(item.path for item in records)], "st-01", "tag")
        seen: list[list[str]] = []

        def bend(target: Path) -> None:
            seen.append(sorted(path.name for path in target.glob("vault/*/*")))
            if (target / records[1].path).exists():
                flip(target / records[1].path / "original", 700_000)

        target = tmp_path / "target"
        results = drill(repo, made.snapshot, records, target, KEYS, most_bytes=2 * len(DATA) + 10, restored=bend)
        assert list(target.iterdir()) == []
        copy = drill_log(repo, made.snapshot, target, KEYS, remove=False)
        assert sorted(path.name for path in (target / "log").iterdir()) == ["entries.jsonl", "head.note"]
    assert [[found.code for found in result.findings] for result in results] == [[], ["differs"], []]
    assert seen == [sorted(item.record for item in records[:2]), [records[2].record]]
    assert copy.head == Head(LOG, 0, EMPTY_ROOT) and copy.findings == ()
