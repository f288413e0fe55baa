"""A mounted device: everything on it is listed or said to be unlisted, and what is read is what was listed."""

import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.durable.disks import loop_mounted

from dockwarden.agent.drivers import reading
from dockwarden.agent.drivers.mass_storage import MassStorage, look, recognise
from dockwarden.agent.drivers.profiles import Limits, Profile, load
from dockwarden.agent.drivers.source import SourceError, SourceInfo
from dockwarden.simulators import hostile

PROFILES = load().profiles
DATA = bytes(range(256)) * 4096


def device(root: Path, serial: str | None = "S1") -> MassStorage:
    return recognise(root, PROFILES, model="X3", serial=serial, volume="card")


@pytest.fixture
def card(tmp_path: Path) -> Path:
    root = tmp_path / "card"
    (root / "DCIM").mkdir(parents=True)
    (root / "DCIM" / "a.mp4").write_bytes(DATA)
    return root


@pytest.fixture
def docked(card: Path) -> Iterator[MassStorage]:
    with closing(device(card)) as opened:
        yield opened


def read_all(docked: MassStorage, source: SourceInfo, uncached: bool, step: int = 300_000) -> bytes:
    with closing(docked.open(source, uncached)) as reader:
        return b"".join(reader.read(offset, step) for offset in range(0, source.size + 1, step))


def code_of(docked: MassStorage, source: SourceInfo, uncached: bool = False) -> str:
    with pytest.raises(SourceError) as caught:
        read_all(docked, source, uncached)
    return str(caught.value.code)


def test_every_file_is_a_source_also_hidden_empty_and_absurd_ones(tmp_path: Path) -> None:
    root = tmp_path / "card"
    root.mkdir()
    contents = {raw: bytes([index]) * index for index, raw in enumerate(hostile.NAMES)}
    contents |= dict.fromkeys(hostile.EMPTY, b"")
    for raw, data in contents.items():
        hostile.write(root, raw, data)
    with closing(device(root)) as opened:
        found = opened.sources()
        assert [source.name.raw for source in found] == sorted(contents)
        assert opened.unlisted() == []
        for source in found:
            for uncached in (False, True):
                assert read_all(opened, source, uncached) == contents[source.name.raw]


def test_links_pipes_and_what_lies_too_deep_are_unlisted_with_a_reason(card: Path, tmp_path: Path) -> None:
    secret = tmp_path / "outside"
    secret.write_bytes(b"not the card's")
    names = hostile.tricks(card, secret)
    with closing(device(card)) as opened:
        assert [source.name.raw for source in opened.sources()] == [b"DCIM/a.mp4"]
        reasons = {item.name.raw: item.reason for item in opened.unlisted()}
    assert all("symbolic link" in reasons[raw] or "pipe" in reasons[raw] for raw in names)
    assert [reason for raw, reason in reasons.items() if raw not in names] == ["lies more than 24 folders deep"]


def test_a_link_that_takes_a_files_place_or_its_folders_is_not_followed(card: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy2(card / "DCIM" / "a.mp4", outside / "a.mp4")
    with closing(device(card)) as opened:
        (source,) = opened.sources()
        (card / "DCIM").rename(card / "moved")
        (card / "DCIM").symlink_to(outside)
        assert code_of(opened, source) in ("vanished", "changed")
        (card / "DCIM").unlink()
        (card / "moved").rename(card / "DCIM")
        (card / "DCIM" / "a.mp4").unlink()
        (card / "DCIM" / "a.mp4").symlink_to(outside / "a.mp4")
        assert code_of(opened, source) == "changed"


@pytest.mark.parametrize(
    "raw", [b"../outside", b"DCIM/../../outside", b"/etc/passwd", b"DCIM//a.mp4", b"", b"DCIM/."]
)
def test_no_name_leads_out_of_the_card(docked: MassStorage, raw: bytes) -> None:
    (listed,) = docked.sources()
    forged = SourceInfo(listed.volume, type(listed.name)("x", raw, "utf-8"), listed.size, listed.modified_raw)
    with pytest.raises(SourceError) as caught:
        docked.open(forged, False)
    assert caught.value.code == "vanished"


def test_more_files_and_longer_names_than_the_limits_are_unlisted(card: Path) -> None:
    for index in range(5):
        hostile.write(card, b"f%d" % index, b"x")
    profile = Profile(name="tight", family="mass-storage", kind="camera", limits=Limits(files=3))
    with closing(device(card)) as known, closing(MassStorage(card, known.info, "card", profile)) as opened:
        assert len(opened.sources()) == 3
        assert "more than 3 files" in opened.unlisted()[-1].reason
    hostile.write(card, b"n" * 40 + b"/x.mp4", b"x")
    profile = Profile(name="tight", family="mass-storage", kind="camera", limits=Limits(name_bytes=45))
    with closing(device(card)) as known, closing(MassStorage(card, known.info, "card", profile)) as opened:
        assert len(opened.sources()) == 6
        (item,) = opened.unlisted()
        assert item.reason == "its path is longer than 45 bytes"
        assert len(item.name.raw) == 45


def test_a_folder_that_cannot_be_read_is_unlisted_and_the_rest_is_taken(
    card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (card / "closed").mkdir()
    scandir = os.scandir

    def refusing(path: bytes) -> Any:
        if path.endswith(b"closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scandir(path)

    with closing(device(card)) as opened:
        monkeypatch.setattr(os, "scandir", refusing)
        assert len(opened.sources()) == 1
        (item,) = opened.unlisted()
    assert (item.name.raw, item.reason) == (b"closed", "a folder that cannot be read: Permission denied")


def test_volume_size_and_raw_time_are_listed_as_the_card_has_them(card: Path) -> None:
    os.utime(card / "DCIM" / "a.mp4", ns=(0, 1_795_550_000_999_999_999))
    with closing(device(card)) as opened:
        (source,) = opened.sources()
    assert (source.volume, source.size, source.modified_raw) == ("card", len(DATA), 1_795_550_000)


def test_marks_come_from_the_name_the_folder_and_the_read_only_bit(tmp_path: Path) -> None:
    root, day = tmp_path / "card", "DCIM/20261124"
    names = {
        f"{day}/DCAM_Z1_65_20261124_091500_IMP.mp4": {"important"},
        f"{day}/DCAM_Z1_65_20261124_092500.mp4": set(),
        f"{day}/DCAM_Z1_65_20261124_093500.mp4": {"important"},
        "IMP/x.mp4": {"important"},
        "LOG/20261124.txt": {"log"},
        "GPS/DCAM_Z1_65_20261124_092500.txt": {"position"},
    }
    for name in names:
        hostile.write(root, name.encode(), b"x")
    (root / day / "DCAM_Z1_65_20261124_093500.mp4").chmod(0o444)
    with closing(device(root)) as opened:
        assert opened.info.profile == "dcam"
        assert {source.name.text: set(source.marks) for source in opened.sources()} == names


@pytest.mark.parametrize("uncached", [False, True])
def test_any_range_can_be_read_and_nothing_behind_the_listed_size(docked: MassStorage, uncached: bool) -> None:
    (source,) = docked.sources()
    with closing(docked.open(source, uncached)) as reader:
        for offset, length in ((0, 10), (1, 4096), (511, 524_288), (len(DATA) - 3, 100), (len(DATA), 1)):
            assert reader.read(offset, length) == DATA[offset : offset + length]
    assert read_all(docked, source, uncached) == DATA


@pytest.mark.parametrize("uncached", [False, True])
def test_a_file_that_grew_shrank_changed_or_vanished_since_it_was_listed_is_not_opened(
    card: Path, docked: MassStorage, uncached: bool
) -> None:
    path = card / "DCIM" / "a.mp4"
    for change, code in ((DATA + b"x", "grew"), (DATA[:-1], "shrank"), (DATA[::-1], "changed")):
        path.write_bytes(DATA)
        (source,) = docked.sources()
        path.write_bytes(change)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 5_000_000_000))
        assert code_of(docked, source, uncached) == code
    (source,) = docked.sources()
    path.unlink()
    assert code_of(docked, source, uncached) == "vanished"


@pytest.mark.parametrize("uncached", [False, True])
@pytest.mark.parametrize("code", ["grew", "shrank", "changed", "vanished"])
def test_what_happens_to_a_file_while_it_is_read_is_noticed_at_its_end(
    card: Path, docked: MassStorage, uncached: bool, code: str
) -> None:
    path = card / "DCIM" / "a.mp4"
    (source,) = docked.sources()
    with closing(docked.open(source, uncached)) as reader:
        assert reader.read(0, 1000) == DATA[:1000]
        if code == "grew":
            with path.open("ab") as file:
                file.write(b"more")
        elif code == "shrank":
            os.truncate(path, 5000)
        elif code == "vanished":
            path.unlink()
        else:
            copy = card / "DCIM" / "b.mp4"
            shutil.copy2(path, copy)
            copy.replace(path)
        with pytest.raises(SourceError) as caught:
            reader.read(1000, source.size)
        assert caught.value.code == code


def test_a_file_with_another_time_in_the_same_second_is_noticed_by_who_listed_it(card: Path) -> None:
    path = card / "DCIM" / "a.mp4"
    os.utime(path, ns=(0, 1_795_550_000_000_000_000))
    with closing(device(card)) as opened:
        (source,) = opened.sources()
        os.utime(path, ns=(0, 1_795_550_000_500_000_000))
        assert code_of(opened, source) == "changed"


def test_a_card_that_is_gone_is_unplugged(card: Path, docked: MassStorage) -> None:
    (source,) = docked.sources()
    shutil.rmtree(card)
    for call in (docked.sources, docked.unlisted):
        with pytest.raises(SourceError) as caught:
            call()
        assert caught.value.code == "unplugged"
    assert code_of(docked, source) == "unplugged"
    with pytest.raises(SourceError):
        device(card)


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EIO, "unreadable"), (errno.ENODEV, "unplugged"), (errno.ESTALE, "unplugged"), (errno.ENOENT, "vanished")],
)
def test_errors_of_the_kernel_become_errors_of_the_source(card: Path, number: int, code: str) -> None:
    root = os.open(card, os.O_RDONLY)
    try:
        error = reading.broken(OSError(number, "x"), root, "device X", 4096, 100)
    finally:
        os.close(root)
    assert error.code == code
    assert (error.offset, error.length) == ((4096, 100) if code == "unreadable" else (None, None))


def test_a_reading_that_ends_early_without_an_error_is_a_range_that_cannot_be_read(
    docked: MassStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = docked.sources()
    with closing(docked.open(source, False)) as reader:
        whole = os.pread
        monkeypatch.setattr(
            os, "pread", lambda fd, length, offset: whole(fd, min(length, max(0, 9 - offset)), offset)
        )
        with pytest.raises(SourceError) as caught:
            reader.read(0, 100)
    assert (caught.value.code, caught.value.offset, caught.value.length) == ("unreadable", 9, 91)


def test_the_second_reading_comes_past_the_cache_or_says_that_it_does_not(docked: MassStorage) -> None:
    (source,) = docked.sources()
    with closing(docked.open(source, False)) as reader:
        reader.read(0, source.size)
        assert reader.how == "none"
    with closing(docked.open(source, True)) as reader:
        reader.read(0, source.size)
        assert reader.how in ("direct", "dropped", "none")


def test_closing_twice_closes_nothing_else(docked: MassStorage, card: Path) -> None:
    (source,) = docked.sources()
    reader = docked.open(source, True)
    reader.close()
    other = os.open(card, os.O_RDONLY)
    reader.close()
    os.close(other)


def test_no_descriptor_is_left_open(card: Path) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    opened = device(card)
    (source,) = opened.sources()
    for uncached in (False, True):
        opened.open(source, uncached).close()
    (card / "DCIM" / "a.mp4").unlink()
    with pytest.raises(SourceError):
        opened.open(source, True)
    opened.close()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_the_newest_file_is_a_lower_bound_of_the_clock(card: Path) -> None:
    os.utime(card / "DCIM" / "a.mp4", (0, 1_795_550_000))
    with closing(device(card)) as opened:
        reading = opened.clock()
    assert reading is not None
    assert (reading.device_ms, reading.uncertainty_ms, reading.method) == (1_795_550_000_000, None, "newest-file")


def test_an_empty_card_has_no_sources_and_no_clock(tmp_path: Path) -> None:
    with closing(device(tmp_path, None)) as opened:
        assert (opened.sources(), opened.unlisted(), opened.clock()) == ([], [], None)
        assert opened.info.key == "X3-volume-card"


def test_what_can_be_seen_before_a_profile_is_chosen_is_two_levels_of_folders(card: Path) -> None:
    (card / "DCIM" / "20261124" / "deep").mkdir(parents=True)
    (card / "link").symlink_to("/")
    assert look(card).folders == {"DCIM", "DCIM/20261124"}


@given(
    st.sets(
        st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))
    )
)
def test_any_names_come_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, names: set[bytes]) -> None:
    root = tmp_path_factory.mktemp("card")
    for name in names:
        (root / os.fsdecode(name)).write_bytes(name)
    with closing(device(root)) as opened:
        found = opened.sources()
        assert [source.name.raw for source in found] == sorted(names)
        for source in found:
            assert read_all(opened, source, False) == source.name.raw


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small ext4 on a loop device."""
    image, place = tmp_path / "image", tmp_path / "mounted"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    with loop_mounted(image, place):
        yield place


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.system
def test_a_card_that_is_mounted_read_only_is_read_past_the_cache(mounted: Path) -> None:
    (mounted / "a.mp4").write_bytes(DATA)
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with closing(device(mounted)) as opened:
        (source,) = opened.sources()
        with closing(opened.open(source, True)) as reader:
            assert reader.read(0, source.size) == DATA
            assert reader.how in ("direct", "dropped")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.system
def test_another_file_system_inside_a_card_is_unlisted(mounted: Path, tmp_path: Path) -> None:
    (mounted / "not-the-cards").write_bytes(DATA)
    with closing(device(tmp_path)) as opened:
        assert [source.name.raw for source in opened.sources()] == [b"image"]
        (item,) = opened.unlisted()
    assert (item.name.raw, item.reason) == (b"mounted", "belongs to another file system")


def block_device(tree: Path, number: int, state: str, *, partition: bool = False) -> None:
    """What sysfs(5) shows of a USB disk or of a partition on it."""
    disk = tree / "devices" / "usb1" / "1-1" / "block" / "sda"
    (disk / "device").mkdir(parents=True, exist_ok=True)
    (disk / "device" / "state").write_text(f"{state}\n")
    if partition:
        (disk / "sda1").mkdir(exist_ok=True)
        (disk / "sda1" / "partition").write_text("1\n")
    (tree / f"{os.major(number)}:{os.minor(number)}").symlink_to(disk / "sda1" if partition else disk)


@pytest.mark.parametrize("partition", [False, True])
@pytest.mark.parametrize(
    ("state", "lost"), [("running", False), ("blocked", False), ("offline", True), ("cancel", True)]
)
def test_a_disk_that_the_kernel_has_given_up_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, lost: bool, partition: bool
) -> None:
    number = os.makedev(8, 1)
    block_device(tmp_path, number, state, partition=partition)
    monkeypatch.setattr(reading, "_BLOCK_DEVICES", tmp_path)
    assert reading.has_lost_its_device(number) is lost
    assert reading.has_lost_its_device(os.makedev(8, 2))


def test_a_read_that_fails_just_before_a_usb_disk_goes_is_no_defect_of_the_file(
    docked: MassStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = os.makedev(8, 1)
    block_device(tmp_path / "sys", number, "running")
    source = docked.sources()[0]
    real = os.fstat

    def failing(self: object, offset: int, length: int) -> bytes:
        state = tmp_path / "sys" / "devices/usb1/1-1/block/sda/device/state"
        threading.Timer(0.2, state.write_text, ["cancel\n"]).start()
        raise OSError(errno.EIO, "no answer")

    with closing(docked.open(source, False)) as reader:
        assert isinstance(reader, reading.FileReader)
        root = reader._root

        def on_that_disk(fd: int) -> os.stat_result:
            shown = real(fd)
            return shown if fd != root else os.stat_result([*shown[:2], number, *shown[3:]])

        monkeypatch.setattr(reading, "_BLOCK_DEVICES", tmp_path / "sys")
        monkeypatch.setattr(reading._Cached, "read", failing)
        monkeypatch.setattr(os, "fstat", on_that_disk)
        with pytest.raises(SourceError) as caught:
            reader.read(0, source.size)
        monkeypatch.undo()
    assert caught.value.code == "unplugged"
