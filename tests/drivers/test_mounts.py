"""Devices that the operating system mounts: the mount table is the hot-plug source."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.hotplug import Event, Plugged, Refused, Unplugged
from dockwarden.agent.drivers.mounts import MountedBays, parse_mounts

LINE = b"36 35 98:0 /mnt1 /bays/bay\\0401 ro,nosuid - vfat /dev/sdb1 ro,errors=continue\n"


def test_a_mount_with_a_space_in_its_path_is_read() -> None:
    (mount,) = parse_mounts(LINE)
    assert (mount.point, mount.read_only, mount.source) == ("/bays/bay 1", True, "/dev/sdb1")


@given(st.binary(max_size=300))
def test_a_strange_mount_table_is_read_without_an_error(noise: bytes) -> None:
    assert parse_mounts(LINE + noise)[0].point == "/bays/bay 1"


@contextmanager
def mounted(image: Path, point: Path, how: str) -> Iterator[None]:
    subprocess.run(["mount", "-o", f"loop,{how}", str(image), str(point)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.system
def test_a_read_only_mount_is_a_device_and_a_writable_one_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    image, point = tmp_path / "card.img", tmp_path / "bays" / "1"
    point.mkdir(parents=True)
    subprocess.run(["truncate", "-s", "8M", str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    events: list[Event] = []
    heard = threading.Semaphore(0)

    def put(event: Event) -> None:
        events.append(event)
        heard.release()

    bays = MountedBays(tmp_path / "bays", ["1"], profiles.load().profiles)
    bays.start(put)
    try:
        with mounted(image, point, "ro"):
            assert heard.acquire(timeout=30)
            assert isinstance(events[0], Plugged)
            assert [source.name.raw for source in events[0].device.sources()] == []
            events[0].device.close()
        assert heard.acquire(timeout=30)
        assert isinstance(events[1], Unplugged)
        with mounted(image, point, "rw"):
            assert heard.acquire(timeout=30)
            assert isinstance(events[2], Refused)
            assert events[2].error.code == "writable"
    finally:
        bays.stop()
