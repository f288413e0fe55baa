"""The durable write and the durable publication: old or new, never torn, whatever fails and whenever."""

import errno
from pathlib import Path

import pytest
from tests.durable.disks import FaultyFiles, Killed

from dockwarden.durable import files
from dockwarden.durable.files import DurableError, OsFiles

OLD, NEW = b"old" * 1000, b"new" * 5000
WRITE = [("pwrite",), ("fdatasync",), ("replace",), ("fsync_folder",)]
FAULTS = [(done, kill) for done in (False, True) for kill in (False, True)]


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def test_a_durable_write_takes_its_steps_in_the_order_that_makes_it_durable(tmp_path: Path) -> None:
    disk = FaultyFiles()
    files.write_durably(disk, tmp_path / "a.json", NEW, 0o640)
    assert [step[0] for step in disk.trace] == [step[0] for step in WRITE]
    assert disk.trace[2][2] == "a.json"
    assert (tmp_path / "a.json").read_bytes() == NEW
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640
    assert parts(tmp_path) == []


@pytest.mark.parametrize("step", range(len(WRITE)))
@pytest.mark.parametrize(("done", "kill"), FAULTS)
def test_a_failed_write_leaves_the_old_or_the_new_contents(tmp_path: Path, step: int, done: bool, kill: bool) -> None:
    target = tmp_path / "a.json"
    target.write_bytes(OLD)
    with pytest.raises(Killed if kill else DurableError) as caught:
        files.write_durably(FaultyFiles(step, done=done, kill=kill), target, NEW)
    replaced = (step, done) in {(2, True), (3, False), (3, True)}
    assert target.read_bytes() == (NEW if replaced else OLD)
    if not kill:
        assert parts(tmp_path) == []
        assert isinstance(caught.value, DurableError)
        assert caught.value.code == "io-error"
        assert str(target) in caught.value.where
    files.remove_parts(OsFiles(), tmp_path)
    assert parts(tmp_path) == []
    files.write_durably(OsFiles(), target, NEW)
    assert target.read_bytes() == NEW


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "not-permitted"),
        (errno.EIO, "io-error"),
        (errno.ENOTRECOVERABLE, "io-error"),
    ],
)
def test_each_error_of_the_disk_has_a_code_and_a_word_for_a_person(tmp_path: Path, number: int, code: str) -> None:
    with pytest.raises(DurableError) as caught:
        files.write_durably(FaultyFiles(0, code=number), tmp_path / "a", NEW)
    assert caught.value.code == code
    assert caught.value.what
    assert caught.value.do


def staged_record(tmp_path: Path) -> tuple[Path, Path]:
    staged, target = tmp_path / "staging" / "record", tmp_path / "vault" / "re" / "record"
    staged.mkdir(parents=True)
    (tmp_path / "vault").mkdir()
    (staged / "original").write_bytes(NEW)
    (staged / "seal.note").write_bytes(OLD)
    (staged / "inner").mkdir()
    (staged / "inner" / "deep").write_bytes(NEW)
    return staged, target


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_publication_syncs_contents_then_folders_then_renames_then_syncs_both_parents(tmp_path: Path) -> None:
    staged, target = staged_record(tmp_path)
    before, disk = contents(staged), FaultyFiles()
    files.publish(disk, staged, target)
    assert disk.trace == [
        ("fdatasync",),
        ("fsync_folder", "inner"),
        ("fdatasync",),
        ("fdatasync",),
        ("fsync_folder", "record"),
        ("mkdir", "re"),
        ("fsync_folder", "vault"),
        ("rename_new", "record", "record"),
        ("fsync_folder", "re"),
        ("fsync_folder", "staging"),
    ]
    assert contents(target) == before
    assert not staged.exists()


@pytest.mark.parametrize("step", range(10))
@pytest.mark.parametrize(("done", "kill"), FAULTS)
def test_a_failed_publication_leaves_the_folder_whole_at_one_place(
    tmp_path: Path, step: int, done: bool, kill: bool
) -> None:
    staged, target = staged_record(tmp_path)
    before = contents(staged)
    with pytest.raises(Killed if kill else DurableError):
        files.publish(FaultyFiles(step, done=done, kill=kill), staged, target)
    assert staged.exists() != target.exists()
    if target.exists():
        files.settle(OsFiles(), target)
    else:
        files.publish(OsFiles(), staged, target)
    assert contents(target) == before
    assert not staged.exists()


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_a_published_folder_is_never_overwritten(tmp_path: Path, there: str) -> None:
    staged, target = staged_record(tmp_path)
    target.parent.mkdir()
    if there == "folder":
        target.mkdir()  # empty: rename(2) itself would replace it
    elif there == "file":
        target.write_bytes(OLD)
    else:
        target.symlink_to("nowhere")
    with pytest.raises(DurableError) as caught:
        files.publish(OsFiles(), staged, target)
    assert caught.value.code == "exists"
    assert contents(staged)
    with pytest.raises(OSError, match="exists"):
        OsFiles().rename_new(staged, target)


def test_only_files_and_folders_are_published(tmp_path: Path) -> None:
    staged, target = staged_record(tmp_path)
    (staged / "link").symlink_to("/etc/hostname")
    with pytest.raises(DurableError):
        files.publish(OsFiles(), staged, target)
    assert staged.exists()


def test_a_reserve_takes_the_space_at_once_and_keeps_what_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_bytes(NEW)
    files.reserve(OsFiles(), path, 1_000_001)
    assert path.read_bytes()[: len(NEW)] == NEW
    assert path.stat().st_blocks * 512 >= 1_000_001
    files.reserve(OsFiles(), path, 1_000_001)
    files.reserve(OsFiles(), tmp_path / "empty", 0)
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_reserve_leaves_the_space_that_others_need(tmp_path: Path) -> None:
    path, disk = tmp_path / "original", FaultyFiles()
    with pytest.raises(DurableError) as caught:
        files.reserve(disk, path, 4096, keep_free=files.free_space(tmp_path) + (1 << 30))
    assert caught.value.code == "disk-full"
    assert disk.trace == []


def test_a_reserve_that_fails_gives_back_what_it_took(tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_bytes(OLD)
    with pytest.raises(DurableError) as caught:
        files.reserve(FaultyFiles(0, done=True, code=errno.ENOSPC), path, 10_000_000)
    assert caught.value.code == "disk-full"
    assert path.read_bytes() == OLD
    assert path.stat().st_blocks * 512 < 1_000_000


def test_a_file_system_that_cannot_reserve_is_no_error(tmp_path: Path) -> None:
    files.reserve(FaultyFiles(0, code=errno.EOPNOTSUPP), tmp_path / "original", 10_000)
