"""Stages: the plan comes first, nothing is lost at any step, and what cannot be explained is shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.durable.disks import FaultyFiles, Killed

from dockwarden.durable import staging
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.durable.leaflist import HASH_SIZE, read_leaf_list
from dockwarden.durable.staging import Found, Stage, StagePlan
from dockwarden.evidence import canonical, ids
from dockwarden.evidence.digests import LEAF_SIZE

RECORD, OTHER = ids.new_record_id(bytes(16)), ids.new_record_id(bytes(15) + b"\x01")
PLAN = StagePlan(RECORD, {"raw": "44434d", "volume": "AB-1"}, 3 * LEAF_SIZE + 1, {"session": "s", "bay": 2})

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text(st.characters(codec="utf-8")), values, max_size=4)


def new(root: Path, plan: StagePlan = PLAN) -> Stage:
    return staging.create_stage(OsFiles(), root, plan)


def listed(stage: Stage, data: bytes) -> int:
    stage.leaves.write_bytes(data)
    return staging.durable_leaves(stage)


@given(objects, objects, st.integers(0, 2**53 - 1))
def test_a_plan_reads_back_as_it_was(
    source_key: dict[str, canonical.Value], context: dict[str, canonical.Value], size: int
) -> None:
    plan = StagePlan(RECORD, source_key, size, context)
    assert StagePlan.decode(plan.encode()) == plan


def test_the_plan_is_durable_before_the_folder_is_made(tmp_path: Path) -> None:
    disk = FaultyFiles()
    stage = staging.create_stage(disk, tmp_path, PLAN)
    steps = [step[0] for step in disk.trace]
    assert steps.index("replace") < steps.index("mkdir")
    assert steps[-2:] == ["mkdir", "fsync_folder"]
    assert staging.find_stages(tmp_path) == Found((stage,), ())
    assert (stage.original.name, stage.leaves.name, stage.seal.name) == ("original", "leaves", "seal.note")
    assert staging.durable_leaves(stage) == 0


def test_a_record_is_staged_once(tmp_path: Path) -> None:
    new(tmp_path)
    with pytest.raises(DurableError) as caught:
        new(tmp_path)
    assert caught.value.code == "exists"


@pytest.mark.parametrize("step", range(7))
@pytest.mark.parametrize("done", [False, True])
def test_a_kill_while_a_stage_is_made_leaves_none_or_one_that_goes_on(tmp_path: Path, step: int, done: bool) -> None:
    with pytest.raises(Killed):
        staging.create_stage(FaultyFiles(step, done=done, kill=True), tmp_path / "staging", PLAN)
    found = staging.find_stages(tmp_path / "staging")
    assert found.unknown == ()
    for stage in found.stages:
        assert stage.plan == PLAN
        assert staging.reopen_stage(OsFiles(), stage) == 0
        assert stage.folder.is_dir()
    if not found.stages:
        new(tmp_path / "staging")


def test_a_torn_or_unwritten_tail_of_the_leaf_list_does_not_count(tmp_path: Path) -> None:
    stage = new(tmp_path)
    hashes = [bytes([number]) * HASH_SIZE for number in range(1, 5)]
    assert listed(stage, b"") == 0
    assert listed(stage, hashes[0][:-1]) == 0
    assert listed(stage, hashes[0]) == 1
    assert listed(stage, hashes[0] + hashes[1][:5]) == 1
    assert listed(stage, hashes[0] + hashes[1] + bytes(3 * HASH_SIZE)) == 2
    assert listed(stage, b"".join(hashes)) == 4
    assert listed(stage, b"".join([*hashes, hashes[0]])) == 4  # a file of that size has no fifth
    assert read_leaf_list(stage.leaves, 1, 2) == hashes[1:3]


def test_a_dropped_stage_leaves_nothing_whether_its_folder_was_published_or_not(tmp_path: Path) -> None:
    stage = new(tmp_path / "staging")
    stage.original.write_bytes(b"abc")
    staging.drop_stage(OsFiles(), stage)
    assert list((tmp_path / "staging").iterdir()) == []
    stage = new(tmp_path / "staging")
    stage.folder.rename(tmp_path / "published")
    staging.drop_stage(OsFiles(), stage)
    staging.drop_stage(OsFiles(), stage)
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("done", [False, True])
def test_a_kill_while_a_stage_is_dropped_can_be_finished(tmp_path: Path, step: int, done: bool) -> None:
    stage = new(tmp_path)
    with pytest.raises(Killed):
        staging.drop_stage(FaultyFiles(step, done=done, kill=True), stage)
    found = staging.find_stages(tmp_path)
    assert found.unknown == ()
    for left in found.stages:
        staging.drop_stage(OsFiles(), left)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_is_set_aside_keeps_its_bytes_and_its_plan(tmp_path: Path) -> None:
    for number in (1, 2):
        stage = new(tmp_path)
        stage.original.write_bytes(bytes([number]))
        kept = staging.set_aside(OsFiles(), stage, "device-differs")
        assert kept == tmp_path / "kept" / f"{RECORD}.{number}"
        assert (kept / "original").read_bytes() == bytes([number])
        note = canonical.decode_object((tmp_path / "kept" / f"{RECORD}.{number}.json").read_bytes(), "kept")
        assert note == {"plan": PLAN.to_object(), "reason": "device-differs", "v": 1}
        assert staging.find_stages(tmp_path) == Found((), ())


@pytest.mark.parametrize("step", range(11))
@pytest.mark.parametrize("done", [False, True])
def test_a_kill_while_a_stage_is_set_aside_loses_no_bytes(tmp_path: Path, step: int, done: bool) -> None:
    stage = new(tmp_path)
    stage.original.write_bytes(b"abc")
    with pytest.raises(Killed):
        staging.set_aside(FaultyFiles(step, done=done, kill=True), stage, "device-differs")
    found = staging.find_stages(tmp_path)
    assert found.unknown == ()
    for left in found.stages:
        staging.set_aside(OsFiles(), left, "device-differs")
    originals = list(tmp_path.rglob("original"))
    assert [path.read_bytes() for path in originals] == [b"abc"]
    assert originals[0].parent.parent.name == "kept"
    assert staging.find_stages(tmp_path) == Found((), ())


def test_a_stage_that_goes_while_the_folder_is_being_looked_at_is_gone(tmp_path: Path) -> None:
    stage = new(tmp_path)
    # What is listed and not there any more when it is read; its folder is a moment behind.
    (tmp_path / f"{OTHER}.json").symlink_to(tmp_path / "published meanwhile")
    (tmp_path / OTHER).mkdir()
    assert staging.find_stages(tmp_path) == Found((stage,), ())


def test_what_no_plan_explains_is_shown(tmp_path: Path) -> None:
    stage = new(tmp_path)
    (tmp_path / OTHER).mkdir()
    (tmp_path / "damaged.json").write_bytes(b"{")
    (tmp_path / f"{OTHER}.json").write_bytes(PLAN.encode())  # another record's plan
    (tmp_path / ".0123456789abcdef.part").touch()
    found = staging.find_stages(tmp_path)
    assert found.stages == (stage,)
    assert {path.name for path in found.unknown} == {OTHER, "damaged.json", f"{OTHER}.json"}
    assert staging.find_stages(tmp_path / "not there") == Found((), ())
