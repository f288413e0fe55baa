"""The one pass: the copy is the source, is on the disk, and was read back from there, or the caller is told."""

import errno
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.durable.disks import MIB, FaultyFiles, Killed, LyingFiles, small_disk

from dockwarden.durable import leaflist, readback
from dockwarden.durable.copying import LEAD, Copied, Geometry, copy_in_one_pass
from dockwarden.durable.files import BLOCK, DurableError, OsFiles
from dockwarden.durable.pump import Pump
from dockwarden.durable.readback import file_system
from dockwarden.evidence.digests import LEAF_SIZE, Measure, leaf_count

SMALL = Geometry(buffer=LEAF_SIZE, buffers=2, group=2 * LEAF_SIZE)
EDGES = [
    edge + near
    for edge in (0, BLOCK, LEAF_SIZE, 2 * LEAF_SIZE, 4 * LEAF_SIZE)
    for near in (-1, 0, 1)
    if edge + near >= 0
]
sizes = st.sampled_from(EDGES) | st.integers(0, 5 * LEAF_SIZE)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def reader_of(data: bytes, most: list[int] | None = None, from_byte: int = 0) -> Callable[[int, int], bytes]:
    """Reads `data`, giving at most so many bytes a call as `most` says in turn; nothing before `from_byte`."""
    turn = 0

    def read(offset: int, length: int) -> bytes:
        nonlocal turn
        assert offset >= from_byte
        turn += 1
        return data[offset : offset + min(length, most[turn % len(most)] if most else length)]

    return read


def copy(
    folder: Path,
    data: bytes,
    *,
    size: int | None = None,
    read: Callable[[int, int], bytes] | None = None,
    disk: OsFiles | None = None,
    first_leaf: int = 0,
    cancel: threading.Event | None = None,
    progress: Callable[[int], None] | None = None,
) -> Copied:
    return copy_in_one_pass(
        disk or OsFiles(),
        read or reader_of(data),
        len(data) if size is None else size,
        folder / "original",
        folder / "leaves",
        first_leaf=first_leaf,
        geometry=SMALL,
        cancel=cancel,
        progress=progress,
    )


def check(folder: Path, data: bytes, copied: Copied) -> None:
    expected = Measure()
    expected.update(data)
    assert copied.digests == expected.finish()
    assert (folder / "original").read_bytes() == data
    assert (folder / "leaves").read_bytes() == b"".join(expected.leaves)


@settings(max_examples=60)
@given(sizes, st.lists(st.integers(1, 2 * LEAF_SIZE) | st.just(1 << 30), min_size=1, max_size=4))
def test_a_copy_is_the_source_for_any_size_and_any_short_reads(size: int, most: list[int]) -> None:
    data, most = content(size), [max(few, size // 50) for few in most]
    said: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        copied = copy(Path(folder), data, read=reader_of(data, most), progress=said.append)
        check(Path(folder), data, copied)
        assert said == sorted(set(said))
        assert said[-1] == size


@settings(max_examples=40)
@given(sizes, st.data())
def test_a_copy_resumes_from_any_durable_leaf_and_reads_only_the_rest(size: int, draw: st.DataObject) -> None:
    data, leaves = content(size), leaf_count(size)
    first = draw.draw(st.integers(0, leaves))
    listed = draw.draw(st.integers(first, leaves))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check(folder, data, copy(folder, data))
        with (folder / "original").open("r+b") as original:  # what follows the durable leaves may be anything
            original.seek(first * LEAF_SIZE)
            original.write(b"x" * draw.draw(st.integers(0, LEAF_SIZE)))
            if draw.draw(st.booleans()):
                original.truncate(first * LEAF_SIZE)
        os.truncate(folder / "leaves", listed * leaflist.HASH_SIZE)
        from_byte = min(first * LEAF_SIZE, size) if size > SMALL.buffer else 0
        if size <= first * LEAF_SIZE:
            (folder / "original").write_bytes(data)
        check(folder, data, copy(folder, data, read=reader_of(data, None, from_byte), first_leaf=first))


def test_a_staged_leaf_that_is_not_what_the_list_says_stops_the_resume(tmp_path: Path) -> None:
    data = content(5 * LEAF_SIZE)
    copy(tmp_path, data)
    with (tmp_path / "original").open("r+b") as original:
        original.seek(LEAF_SIZE + 7)
        original.write(bytes([data[LEAF_SIZE + 7] ^ 1]))
    with pytest.raises(DurableError) as caught:
        copy(tmp_path, data, first_leaf=3)
    assert caught.value.code == "stage-differs"
    assert caught.value.where.endswith("leaf 1")
    check(tmp_path, data, copy(tmp_path, data))


@pytest.mark.parametrize("lost", ["original", "leaves"])
def test_a_resume_without_what_should_be_staged_starts_nothing(tmp_path: Path, lost: str) -> None:
    data = content(5 * LEAF_SIZE)
    copy(tmp_path, data)
    (tmp_path / lost).unlink()
    with pytest.raises(DurableError) as caught:
        copy(tmp_path, data, first_leaf=3)
    assert caught.value.code == "stage-differs"


@pytest.mark.parametrize("size", [10_000, 5 * LEAF_SIZE + 3])
@pytest.mark.parametrize(("change", "code"), [(-1, "source-ended"), (1, "source-grew")], ids=["it shrank", "it grew"])
def test_a_source_of_another_size_than_listed_is_an_error(tmp_path: Path, size: int, change: int, code: str) -> None:
    with pytest.raises(DurableError) as caught:
        copy(tmp_path, content(size + change), size=size)
    assert caught.value.code == code


@pytest.mark.parametrize("size", [10_000, 5 * LEAF_SIZE + 3])
def test_a_source_that_gives_more_than_was_asked_is_an_error(tmp_path: Path, size: int) -> None:
    with pytest.raises(DurableError) as caught:
        copy(tmp_path, b"", size=size, read=lambda offset, length: bytes(length + 1))
    assert caught.value.code == "source-misread"


@pytest.mark.parametrize("size", [10_000, 5 * LEAF_SIZE + 3])
def test_what_the_source_raises_passes_through_and_leaves_no_thread(tmp_path: Path, size: int) -> None:
    def read(offset: int, length: int) -> bytes:
        if offset + length >= size:
            raise PulledOut
        return bytes(length)

    before = set(threading.enumerate())
    with pytest.raises(PulledOut):
        copy(tmp_path, b"", size=size, read=read)
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("size", [10_000, 5 * LEAF_SIZE + 3])
@pytest.mark.parametrize("byte", [0, 9_999])
def test_a_disk_that_gives_back_other_bytes_is_found_and_nothing_is_listed_as_durable(
    tmp_path: Path, size: int, byte: int
) -> None:
    with pytest.raises(DurableError) as caught:
        copy(tmp_path, content(size), disk=LyingFiles(byte))
    assert caught.value.code == "read-back-differs"
    assert caught.value.where.endswith("byte 0")
    assert leaflist.recorded_leaves(tmp_path / "leaves") == 0


def test_a_lie_in_a_later_group_names_its_leaf_and_keeps_the_groups_before(tmp_path: Path) -> None:
    with pytest.raises(DurableError) as caught:
        copy(tmp_path, content(6 * LEAF_SIZE), disk=LyingFiles(3 * LEAF_SIZE + 5))
    assert caught.value.code == "read-back-differs"
    assert caught.value.where.endswith(f"byte {3 * LEAF_SIZE}")
    assert leaflist.recorded_leaves(tmp_path / "leaves") == 2


def test_a_cancelled_copy_stops_and_keeps_what_is_durable(tmp_path: Path) -> None:
    data, cancel = content(5 * LEAF_SIZE), threading.Event()

    def read(offset: int, length: int) -> bytes:
        if offset >= 3 * LEAF_SIZE:
            cancel.set()
        return data[offset : offset + length]

    with pytest.raises(DurableError) as caught:
        copy(tmp_path, data, read=read, cancel=cancel)
    assert caught.value.code == "cancelled"
    kept = leaflist.recorded_leaves(tmp_path / "leaves")
    check(tmp_path, data, copy(tmp_path, data, first_leaf=kept))
    with pytest.raises(DurableError, match="cancelled"):
        copy(tmp_path, data[:100], cancel=cancel)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no tmpfs")
@pytest.mark.parametrize("size", [10_000, 5 * LEAF_SIZE + 3])
@pytest.mark.parametrize("overlay", [False, True])
def test_a_copy_in_memory_is_never_called_read_back(
    monkeypatch: pytest.MonkeyPatch, size: int, overlay: bool
) -> None:
    if overlay:  # the name of the upper file system is all that can be seen; below is a tmpfs
        monkeypatch.setattr(readback, "file_system", lambda fd: 0x794C7630)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        data = content(size)
        copied = copy(Path(folder), data)
        check(Path(folder), data, copied)
        assert copied.read_back == "none"


@pytest.mark.parametrize("size", [10_000, 5 * LEAF_SIZE + 3])
def test_a_copy_that_cannot_be_read_directly_is_dropped_from_the_cache_group_by_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    class ThroughTheCache(OsFiles):
        def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
            if flags & os.O_DIRECT:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return super().open(path, flags, mode)

    monkeypatch.setattr(readback, "file_system", lambda fd: 0xEF53)
    copied = copy(tmp_path, content(size), disk=ThroughTheCache())
    check(tmp_path, content(size), copied)
    assert copied.read_back == ("dropped" if on_a_disk(tmp_path) else "none")


def on_a_disk(folder: Path) -> bool:
    fd = os.open(folder, os.O_RDONLY)
    try:
        return file_system(fd) in {0xEF53, 0x58465342}
    finally:
        os.close(fd)


class PulledOut(Exception):
    """The device is gone."""


@settings(max_examples=60)
@given(st.integers(2 * LEAF_SIZE, 9 * LEAF_SIZE), st.data())
def test_what_was_read_before_the_source_failed_is_on_the_disk_and_is_not_read_again(
    size: int, draw: st.DataObject
) -> None:
    how = draw.draw(st.sampled_from(["raises", "ends", "is cancelled"]))
    # Who cancels in the last buffer may be too late: then the copy is done.
    last = size - 1 if how != "is cancelled" else ((size - 1) // LEAF_SIZE - 1) * LEAF_SIZE
    data, place = content(size), draw.draw(st.integers(0, last))
    first = draw.draw(st.integers(0, place // LEAF_SIZE))
    piece = draw.draw(st.sampled_from([LEAF_SIZE // 3, LEAF_SIZE, 1 << 30]))
    cancel, given_to = threading.Event(), first * LEAF_SIZE

    def read(offset: int, length: int) -> bytes:
        nonlocal given_to
        if offset >= place and how == "raises":
            raise PulledOut
        if offset >= place and how == "is cancelled":
            cancel.set()
        end = min(offset + length, offset + piece, max(place, offset) if how != "is cancelled" else size)
        given_to = max(given_to, end)
        return data[offset:end]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if first:
            check(folder, data, copy(folder, data))
            os.truncate(folder / "leaves", first * leaflist.HASH_SIZE)
        with pytest.raises((PulledOut, DurableError)) as caught:
            copy(folder, data, read=read, first_leaf=first, cancel=cancel)
        codes = {"raises": None, "ends": "source-ended", "is cancelled": "cancelled"}
        assert getattr(caught.value, "code", None) == codes[how]
        kept = leaflist.recorded_leaves(folder / "leaves")
        assert kept == given_to // LEAF_SIZE
        assert (folder / "original").read_bytes()[: kept * LEAF_SIZE] == data[: kept * LEAF_SIZE]
        check(folder, data, copy(folder, data, read=reader_of(data, None, kept * LEAF_SIZE), first_leaf=kept))


def test_a_copy_that_is_cancelled_while_it_reads_what_was_staged_keeps_all_of_it(tmp_path: Path) -> None:
    data, cancel = content(7 * LEAF_SIZE + 5), threading.Event()
    check(tmp_path, data, copy(tmp_path, data))
    os.truncate(tmp_path / "leaves", 6 * leaflist.HASH_SIZE)

    def progress(done: int) -> None:
        if done >= 3 * LEAF_SIZE:
            cancel.set()

    with pytest.raises(DurableError, match="cancelled"):
        copy(tmp_path, data, first_leaf=6, cancel=cancel, progress=progress)
    assert leaflist.recorded_leaves(tmp_path / "leaves") == 6
    check(tmp_path, data, copy(tmp_path, data, read=reader_of(data, None, 6 * LEAF_SIZE), first_leaf=6))


def test_a_disk_that_lies_about_what_was_read_last_is_found_though_the_source_failed(tmp_path: Path) -> None:
    data = content(6 * LEAF_SIZE)

    def read(offset: int, length: int) -> bytes:
        if offset >= 3 * LEAF_SIZE:
            raise PulledOut
        return data[offset : offset + length]

    with pytest.raises(DurableError) as caught:
        copy(tmp_path, data, read=read, disk=LyingFiles(2 * LEAF_SIZE + 5))
    assert caught.value.code == "read-back-differs"
    assert leaflist.recorded_leaves(tmp_path / "leaves") == 2


def test_the_reading_is_never_far_ahead_of_the_read_back(tmp_path: Path) -> None:
    """Else what is left to prove when a device is pulled out has no bound."""
    data, read_back, ahead = content(24 * LEAF_SIZE), 0, []

    class Slow(OsFiles):
        def pread(self, fd: int, buffer: memoryview, offset: int) -> int:
            nonlocal read_back
            if len(buffer) >= LEAF_SIZE:
                time.sleep(0.02)
                read_back = offset + len(buffer)
            return super().pread(fd, buffer, offset)

    def read(offset: int, length: int) -> bytes:
        ahead.append(offset - read_back)
        return data[offset : offset + length]

    check(tmp_path, data, copy(tmp_path, data, read=read, disk=Slow()))
    assert max(ahead) <= (LEAD + 1) * SMALL.group + SMALL.buffers * SMALL.buffer


def steps_of(size: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        disk = FaultyFiles()
        copy(Path(folder), content(size), disk=disk)
        return len(disk.trace)


FAULTS = [(done, kill) for done in (False, True) for kill in (False, True)]
STEPS = [(size, step) for size in (10_001, 5 * LEAF_SIZE + 3) for step in range(steps_of(size))]


@pytest.mark.parametrize(("size", "step"), STEPS)
@pytest.mark.parametrize(("done", "kill"), FAULTS)
def test_after_a_fault_at_any_step_the_same_copy_goes_on_from_what_is_durable(
    tmp_path: Path, size: int, step: int, done: bool, kill: bool
) -> None:
    data = content(size)
    with pytest.raises(Killed if kill else DurableError):
        copy(tmp_path, data, disk=FaultyFiles(step, done=done, kill=kill))
    kept = leaflist.recorded_leaves(tmp_path / "leaves")
    listed = leaflist.read_leaf_list(tmp_path / "leaves", 0, kept) if kept else []
    measure = Measure()
    measure.update(data)
    measure.finish()
    assert listed == measure.leaves[:kept]
    assert (tmp_path / "original").read_bytes()[: kept * LEAF_SIZE] == data[: kept * LEAF_SIZE]
    check(tmp_path, data, copy(tmp_path, data, first_leaf=kept))


def test_bytes_are_synced_before_they_are_read_back_and_read_back_before_they_are_listed(tmp_path: Path) -> None:
    class Watched(OsFiles):
        def __init__(self) -> None:
            self.done: list[str] = []
            self.list_fd = -1

        def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
            fd = super().open(path, flags, mode)
            self.list_fd = fd if path.name == "leaves" else self.list_fd
            return fd

        def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> None:
            self.done.append("list" if fd == self.list_fd else "write")
            super().pwrite(fd, data, offset)

        def fdatasync(self, fd: int) -> None:
            super().fdatasync(fd)
            self.done.append("list-sync" if fd == self.list_fd else "sync")

        def pread(self, fd: int, buffer: memoryview, offset: int) -> int:
            if len(buffer) > BLOCK or "write" in self.done:
                self.done.append("read")
            return super().pread(fd, buffer, offset)

        def truncate(self, fd: int, size: int) -> None:
            if fd != self.list_fd:
                self.done.append("truncate")
            super().truncate(fd, size)

    disk = Watched()
    copy(tmp_path, content(10_000), disk=disk)
    order = [step for step in disk.done if step != "sync" or "write" in disk.done]
    write = order.index("write")
    assert order[write:] == ["write", "truncate", "sync", "read", "list", "list-sync"]


def test_memory_does_not_grow_with_the_file() -> None:
    pump = Pump(LEAF_SIZE, 2)
    seen: set[int] = set()

    def consume(blocks: object) -> None:
        for block in blocks:  # type: ignore[attr-defined]  # an iterator of blocks
            seen.add(id(block.frame))

    pump.consume(consume)

    def read() -> None:
        for number in range(20):
            pump.claim()
            pump.put(number * LEAF_SIZE, LEAF_SIZE)

    pump.run(read)
    assert len(seen) <= 2


@pytest.mark.parametrize("geometry", [(LEAF_SIZE + 1, 2, LEAF_SIZE), (LEAF_SIZE, 0, LEAF_SIZE), (LEAF_SIZE, 1, 7)])
def test_buffers_are_whole_leaves_and_groups_whole_buffers(geometry: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="whole"):
        Geometry(*geometry)


@pytest.mark.system
def test_a_full_disk_shows_before_anything_is_read(tmp_path: Path) -> None:
    def read(offset: int, length: int) -> bytes:
        pytest.fail("the source was read")

    with small_disk(tmp_path) as place:
        with pytest.raises(DurableError) as caught:
            copy(place, b"", size=40 * MIB, read=read)
        assert caught.value.code in {"disk-full", "file-too-large"}
        assert (place / "original").stat().st_blocks * 512 < MIB  # what it took meanwhile is given back
        data = content(3 * LEAF_SIZE)
        check(place, data, copy(place, data))


@pytest.mark.system
def test_a_disk_that_fills_up_meanwhile_loses_nothing_that_was_listed(tmp_path: Path) -> None:
    data = content(6 * LEAF_SIZE)
    with small_disk(tmp_path) as place:
        disk = FaultyFiles()
        copy(place, data, disk=disk)
        list_writes = [number for number, step in enumerate(disk.trace) if step == ("pwrite",)]
        (place / "original").unlink()
        (place / "leaves").unlink()
        with pytest.raises(DurableError) as caught:
            copy(place, data, disk=FaultyFiles(list_writes[-1], code=errno.ENOSPC))
        assert caught.value.code == "disk-full"
        kept = leaflist.recorded_leaves(place / "leaves")
        check(place, data, copy(place, data, first_leaf=kept))
