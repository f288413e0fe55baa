"""Reading back past the cache, and honesty about where that was not possible."""

import mmap
import os
import random
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.durable.disks import LyingFiles

from dockwarden.durable import readback
from dockwarden.durable.files import BLOCK, DurableError, OsFiles
from dockwarden.durable.readback import UncachedReader, aligned_buffer
from dockwarden.evidence.digests import LEAF_SIZE, Measure

EDGES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, LEAF_SIZE - 1, LEAF_SIZE, LEAF_SIZE + 1, 3 * LEAF_SIZE + 5]


def on_a_disk(path: Path) -> bool:
    with path.open("rb") as source:
        return readback.file_system(source.fileno()) in {0xEF53, 0x58465342}


def written(folder: Path, data: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(data)
    return path


@given(st.sampled_from(EDGES) | st.integers(0, 4 * LEAF_SIZE), st.data())
@example(9 * 1024 * 1024 + 7, None)
def test_what_is_read_past_the_cache_is_the_file(size: int, data: st.DataObject | None) -> None:
    content = random.Random(size).randbytes(size)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), content)
        expected = Measure()
        expected.update(content)
        digests, how = readback.measure_uncached(path)
        assert digests == expected.finish()
        assert how == "direct" or not on_a_disk(path)
        assert list(readback.read_leaves_uncached(path)) == expected.leaves
        first = data.draw(st.integers(0, len(expected.leaves))) if data else 1
        count = data.draw(st.integers(0, 5)) if data else 2
        assert list(readback.read_leaves_uncached(path, first, count)) == expected.leaves[first : first + count]
        reader, _ = readback.open_uncached(path)
        with reader:
            offset = data.draw(st.integers(0, size + 10)) if data else 5
            length = data.draw(st.integers(0, size + 10)) if data else size
            assert reader.read(offset, length) == content[offset : offset + length]


def test_reading_directly_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    path = written(tmp_path, os.urandom(LEAF_SIZE))
    with UncachedReader(OsFiles(), path) as reader:  # which drops the beginning of the file, to see what happens
        reader.read(0, LEAF_SIZE)
        if reader.how == "direct":
            assert readback.resident_pages(reader._fd, 0, LEAF_SIZE) == 0
        assert (reader.how == "direct") == on_a_disk(path)


def test_where_direct_reading_does_not_work_the_cache_is_dropped_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, os.urandom(LEAF_SIZE))
    if not on_a_disk(path):
        pytest.skip("needs a disk under the temporary folder")
    monkeypatch.setattr(readback, "_DIRECT", frozenset())
    with UncachedReader(OsFiles(), path) as reader:
        assert reader.how == "dropped"
        assert readback.resident_pages(reader._fd, 0, LEAF_SIZE) == 0
        assert reader.read(0, LEAF_SIZE) == path.read_bytes()
        assert reader.how == "dropped"


def test_what_another_process_holds_in_the_cache_is_no_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, os.urandom(LEAF_SIZE))
    monkeypatch.setattr(readback, "_DIRECT", frozenset())
    with path.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as held:
        assert held[LEAF_SIZE // 2] >= 0  # brings the page in, and keeps it mapped
        with UncachedReader(OsFiles(), path) as reader:
            assert reader.how == "none"


def test_a_file_that_is_read_through_the_cache_in_spite_of_asking_is_not_called_direct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ThroughTheCache(OsFiles):
        def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
            return super().open(path, flags & ~os.O_DIRECT, mode)

    path = written(tmp_path, os.urandom(LEAF_SIZE))
    with UncachedReader(ThroughTheCache(), path) as reader:
        assert reader.how == ("dropped" if on_a_disk(path) else "none")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no tmpfs")
def test_memory_is_no_disk() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = written(Path(folder), os.urandom(LEAF_SIZE + 1))
        digests, how = readback.measure_uncached(path)
        assert how == "none"
        assert digests.size == LEAF_SIZE + 1
        reader, said = readback.open_uncached(path)
        reader.close()
        assert said == "none"


def test_an_unknown_file_system_is_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readback, "file_system", lambda fd: 0x65735546)  # FUSE
    assert readback.measure_uncached(written(tmp_path, b"abc"))[1] == "none"


@pytest.mark.parametrize(("pages_kept", "how"), [(0, "dropped"), (3, "none"), (None, "none")])
def test_an_overlay_is_a_disk_only_where_the_kernel_shows_that_the_cache_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages_kept: int | None, how: str
) -> None:
    path = written(tmp_path, b"abc")
    monkeypatch.setattr(readback, "file_system", lambda fd: 0x794C7630)
    monkeypatch.setattr(readback, "resident_pages", lambda fd, offset, length: pages_kept)
    with UncachedReader(OsFiles(), path) as reader:
        assert reader.how == how


def test_a_reader_of_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DurableError) as caught:
        readback.open_uncached(tmp_path / "nothing")
    assert caught.value.code == "missing"


def test_a_file_that_is_shorter_than_was_recorded_is_an_error(tmp_path: Path) -> None:
    with UncachedReader(OsFiles(), written(tmp_path, b"abc")) as reader, pytest.raises(DurableError) as caught:
        reader.read_whole(aligned_buffer(BLOCK), 0, 4)
    assert caught.value.code == "shorter"
    assert "byte 3" in caught.value.where


def test_a_flipped_bit_changes_every_digest(tmp_path: Path) -> None:
    path = written(tmp_path, bytes(3 * LEAF_SIZE))
    right, wrong = readback.measure_uncached(path)[0], readback.measure_uncached(path, LyingFiles(LEAF_SIZE + 3))[0]
    assert right.size == wrong.size
    assert not {right.sha256, right.sm3, right.leaves_root} & {wrong.sha256, wrong.sm3, wrong.leaves_root}
    lying = readback.read_leaves_uncached(path, files=LyingFiles(LEAF_SIZE + 3))
    assert [a == b for a, b in zip(lying, readback.read_leaves_uncached(path), strict=True)] == [True, False, True]


def test_a_measurement_that_is_cancelled_reads_no_further(tmp_path: Path) -> None:
    path, cancel, asked = written(tmp_path, bytes(12 * readback.BUFFER)), threading.Event(), []

    class Cancelling(OsFiles):
        def pread(self, fd: int, buffer: memoryview, offset: int) -> int:
            asked.append(offset)
            if offset >= 2 * readback.BUFFER:
                cancel.set()
            return super().pread(fd, buffer, offset)

    with pytest.raises(DurableError) as caught:
        readback.measure_uncached(path, Cancelling(), cancel)
    assert caught.value.code == "cancelled"
    assert max(asked) == 2 * readback.BUFFER


def test_the_worst_of_two_readings_counts() -> None:
    assert readback.worst("direct", "dropped") == "dropped"
    assert readback.worst("none", "direct") == "none"
