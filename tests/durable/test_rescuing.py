"""A rescue keeps just what was read, knows its holes, and believes no disk."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.durable.disks import LyingFiles

from dockwarden.durable.files import DurableError, Files, OsFiles
from dockwarden.durable.leaflist import read_leaf_list
from dockwarden.durable.rescue_map import BLOCK
from dockwarden.durable.rescuing import Patience, Rescued, rescue
from dockwarden.evidence.digests import LEAF_SIZE, Measure

ENDLESS = Patience(10_000, 3600)


class PulledOut(Exception):
    """The device is gone."""


def rescued(folder: Path, data: bytes, bad: set[int], files: Files | None = None, most: int = 1 << 30) -> Rescued:
    """Rescue `data` of which some blocks cannot be read, from a device that gives `most` bytes."""
    given = 0

    def read(offset: int, length: int) -> bytes | None:
        nonlocal given
        if bad.intersection(range(offset // BLOCK, (offset + length - 1) // BLOCK + 1)):
            return None
        given += length
        if given > most:
            raise PulledOut("pulled out")
        return data[offset : offset + length]

    folder.mkdir(exist_ok=True)
    return rescue(files or OsFiles(), read, len(data), folder, first_leaf=0, patience=ENDLESS)


@settings(max_examples=40, deadline=None)
@given(st.integers(BLOCK + 1, 5 * LEAF_SIZE), st.data())
def test_all_is_there_but_the_bad_blocks(
    tmp_path_factory: pytest.TempPathFactory, size: int, data: st.DataObject
) -> None:
    contents, folder = os.urandom(size), tmp_path_factory.mktemp("stage") / "record"
    blocks = -(-size // BLOCK)
    bad = data.draw(st.sets(st.integers(0, blocks - 1), max_size=8).filter(lambda found: len(found) < blocks))
    most = data.draw(st.integers(0, 2 * size))
    try:
        found = rescued(folder, contents, bad, most=most)
    except PulledOut:
        found = rescued(folder, contents, bad)
    expected = bytearray(contents)
    for block in bad:
        expected[block * BLOCK : (block + 1) * BLOCK] = bytes(min(BLOCK, size - block * BLOCK))
    assert (folder / "original").read_bytes() == expected
    measure = Measure()
    measure.update(bytes(expected))
    assert found.copied.digests == measure.finish()
    assert read_leaf_list(folder / "leaves") == measure.leaves
    assert sum(hole.length for hole in found.holes) == sum(min(BLOCK, size - block * BLOCK) for block in bad)


def test_what_the_disk_does_not_give_back_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(DurableError) as caught:
        rescued(tmp_path / "record", os.urandom(3 * LEAF_SIZE), {7}, LyingFiles(2 * LEAF_SIZE + 5))
    assert caught.value.code == "read-back-differs"
    assert not (tmp_path / "record" / "map").exists()


def test_what_was_proven_and_rots_before_the_rescue_goes_on_is_noticed(tmp_path: Path) -> None:
    data = os.urandom(4 * LEAF_SIZE)
    with pytest.raises(PulledOut):
        rescued(tmp_path / "record", data, {7}, most=2 * LEAF_SIZE)
    with (tmp_path / "record" / "original").open("r+b") as file:
        file.seek(LEAF_SIZE + 9)
        file.write(b"rot")
    with pytest.raises(DurableError) as caught:
        rescued(tmp_path / "record", data, {7})
    assert caught.value.code == "stage-differs"


def test_nothing_but_a_hole_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(DurableError) as caught:
        rescued(tmp_path / "record", os.urandom(2 * BLOCK), {0, 1})
    assert caught.value.code == "nothing-read"
    assert not (tmp_path / "record" / "leaves").exists()
