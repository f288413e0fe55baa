"""What every driver of a device must do, whatever it speaks (docs/conformance.md). A new driver: a line in `RIGS`."""

import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, Room
from tests.agent.witness import Centre
from tests.drivers.rigs import Rig, chosen

from dockwarden.agent.bays import Progress, Stay
from dockwarden.agent.docking import dock
from dockwarden.agent.drivers.source import Device, Reader, SourceError, SourceInfo
from dockwarden.agent.release import Outcome, release
from dockwarden.agent.sealed import seal_of, sealed_records
from dockwarden.agent.sessions import Session
from dockwarden.simulators import hostile
from dockwarden.simulators.camera import at
from dockwarden.simulators.faults import Fault

DAY = b"DCIM/20261124"
TIME = 1_795_510_000
A = DAY + b"/DCAM_ZB2041_650113_20261124_091500.mp4"
B = DAY + b"/DCAM_ZB2041_650113_20261124_093000_IMP.mp4"
LOG = b"LOG/20261124.txt"
SIZE = 2 * LEAF + 4097
FILES = {A: random.Random(1).randbytes(SIZE), B: random.Random(2).randbytes(70_001), LOG: b"POWER ON"}
TOTAL = sum(len(data) for data in FILES.values())
NAMES = (
    b".hidden.mp4",
    "执法记录仪/第一 段.MP4".encode(),
    b"a b.mp4",
    b"UPPER.MP4",
    b"e\xcc\x81.mp4",
    b"n" * 200 + b".mp4",
)


@pytest.fixture(params=chosen().items(), ids=lambda item: item[0])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Each device in turn, with a card that holds FILES."""
    place = tmp_path / "rig"
    place.mkdir()
    with request.param[1](place) as made:
        made.fill(FILES, TIME)
        yield made


@pytest.fixture
def device(rig: Rig) -> Iterator[Device]:
    with closing(rig.plug()) as plugged:
        yield plugged


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    opened = Room(tmp_path / "station")
    yield opened
    opened.stores.close()


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    with closing(Centre(tmp_path / "centre")) as opened:
        yield opened


def listed(device: Device) -> dict[bytes, SourceInfo]:
    return {source.name.raw: source for source in device.sources()}


def read_all(reader: Reader, size: int, step: int = 300_000) -> bytes:
    return b"".join(reader.read(offset, step) for offset in range(0, size + 1, step))


def read(device: Device, source: SourceInfo, uncached: bool = True) -> bytes:
    with closing(device.open(source, uncached)) as reader:
        return read_all(reader, source.size)


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(SourceError) as caught:
        call()
    return str(caught.value.code)


# --- listing


def test_every_file_is_listed_once_in_order_with_its_size_and_time(rig: Rig, device: Device) -> None:
    found = device.sources()
    assert [source.name.raw for source in found] == sorted(FILES)
    assert {source.name.raw: source.size for source in found} == {raw: len(data) for raw, data in FILES.items()}
    assert all(abs(source.modified_raw - TIME) < rig.step_s for source in found)
    assert len({source.volume for source in found}) == 1
    assert device.unlisted() == []
    assert device.sources() == found


def test_hidden_empty_and_absurd_names_come_back_byte_for_byte(rig: Rig) -> None:
    more = {name: name * 3 for name in (*NAMES, *(hostile.NAMES if rig.any_bytes else ()))} | {b"empty.mp4": b""}
    rig.fill(more, TIME)
    with closing(rig.plug()) as device:
        found = listed(device)
        assert set(found) == {*FILES, *more}
        assert all(read(device, found[raw]) == data for raw, data in more.items())


def test_a_file_is_still_the_one_that_was_listed_when_the_cache_was_dropped(device: Device) -> None:
    found = listed(device)
    drop = Path("/proc/sys/vm/drop_caches")
    if os.access(drop, os.W_OK):
        drop.write_text("3")
    assert all(read(device, source) == FILES[raw] for raw, source in found.items())


def test_its_clock_is_not_behind_its_newest_file(device: Device) -> None:
    shown = device.clock()
    assert shown is not None
    assert shown.device_ms >= (TIME - 2) * 1000 or shown.uncertainty_ms is not None


# --- reading


@pytest.mark.parametrize("uncached", [False, True])
def test_any_range_is_read_and_nothing_behind_the_listed_size(device: Device, uncached: bool) -> None:
    source = listed(device)[A]
    with closing(device.open(source, uncached)) as reader:
        for offset, length in ((0, 1), (1, 4096), (4095, LEAF), (LEAF, LEAF), (SIZE - 3, 100), (SIZE, 1)):
            assert reader.read(offset, length) == FILES[A][offset : offset + length]
        assert reader.how in ("direct", "dropped", "none")


def test_a_second_reading_past_the_cache_says_how_it_came(device: Device) -> None:
    source = listed(device)[A]
    with closing(device.open(source, True)) as reader:
        read_all(reader, SIZE)
        assert reader.how in ("direct", "dropped"), "a driver that cannot read past a cache proves nothing"


def test_reading_goes_on_at_any_byte_in_a_device_that_was_plugged_anew(rig: Rig) -> None:
    with closing(rig.plug(Fault("unplug", at=LEAF))) as device:
        source = listed(device)[A]
        assert code_of(lambda: read(device, source, False)) == "unplugged"
    with closing(rig.plug()) as device:
        again = listed(device)[A]
        assert again == source
        with closing(device.open(again, True)) as reader:
            assert reader.read(LEAF - 5, SIZE) == FILES[A][LEAF - 5 :]


def test_open_readers_and_devices_that_are_closed_twice_leave_no_descriptor(rig: Rig) -> None:
    rig.plug().close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    device = rig.plug()
    for source in device.sources():
        reader = device.open(source, True)
        reader.read(0, 100)
        reader.close()
        reader.close()
    device.close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


# --- what goes wrong


@pytest.mark.parametrize("place", [0, 1, LEAF - 1, LEAF, SIZE - 1])
@pytest.mark.parametrize("uncached", [False, True])
def test_unplugged_at_any_byte_it_says_so_and_gives_no_wrong_byte(rig: Rig, place: int, uncached: bool) -> None:
    with closing(rig.plug(Fault("unplug", at=place))) as device:
        source, given = listed(device)[A], b""

        def until_it_ends() -> None:
            nonlocal given
            with closing(device.open(source, uncached)) as reader:
                for offset in range(0, SIZE, 65_536):
                    given += reader.read(offset, 65_536)

        assert code_of(until_it_ends) == "unplugged"
        assert FILES[A].startswith(given)
        assert code_of(device.sources) == "unplugged"
        assert code_of(device.unlisted) == "unplugged"


def test_a_bad_sector_is_told_with_its_range_and_all_else_is_read(rig: Rig) -> None:
    bad = Fault("unreadable", source="*091500.mp4", at=LEAF, length=4096)
    with closing(rig.plug(bad)) as device:
        found = listed(device)
        with closing(device.open(found[A], True)) as reader:
            assert reader.read(0, LEAF) == FILES[A][:LEAF]
            with pytest.raises(SourceError) as caught:
                reader.read(LEAF, 8192)
            assert reader.read(LEAF + 8192, SIZE) == FILES[A][LEAF + 8192 :]
        assert caught.value.code == "unreadable"
        assert caught.value.offset is not None
        assert caught.value.length
        assert caught.value.offset < LEAF + 4096
        assert caught.value.offset + caught.value.length > LEAF
        assert read(device, found[B]) == FILES[B]


def rewrite(raw: bytes, data: bytes, later: int) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        at(root, raw).write_bytes(data)
        os.utime(at(root, raw), (TIME + later, TIME + later))

    return act


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (rewrite(A, FILES[A] + b"x", 0), "grew"),
        (rewrite(A, FILES[A][:-1], 0), "shrank"),
        (rewrite(A, FILES[A][::-1], 10), "changed"),
        (lambda root: at(root, A).unlink(), "vanished"),
    ],
    ids=["grew", "shrank", "changed", "vanished"],
)
def test_a_file_that_changes_after_it_was_listed_is_told(
    rig: Rig, device: Device, change: Callable[[Path], None], code: str
) -> None:
    source = listed(device)[A]
    rig.alter(change)
    assert code_of(lambda: read(device, source)) == code
    assert read(device, listed(device)[B]) == FILES[B]


# --- a station and the device


def visit(room: Room, device: Device, bay: str = "1", stay: Stay | None = None) -> tuple[Session, Progress, Stay]:
    """A device that has its verdict and sits in its bay."""
    progress, stay = Progress(bay, state="reading"), stay or Stay()
    return dock(room.desk, bay, device, progress, stay), progress, stay


def sealed(room: Room) -> list[tuple[bytes, str]]:
    """Raw name and digest of every record."""
    seals = [seal_of(room.stores, record)[0] for record in sealed_records(room.stores)]
    return sorted((seal.source_name.raw, seal.digests.sha256) for seal in seals)


def digests(files: dict[bytes, bytes]) -> list[tuple[bytes, str]]:
    return sorted((raw, hashlib.sha256(data).hexdigest()) for raw, data in files.items())


def test_all_of_it_is_proven_and_nothing_is_written(rig: Rig, room: Room) -> None:
    rig.plug().close()
    before = rig.image()
    with closing(rig.plug()) as device:
        _, progress, stay = visit(room, device)
        assert (progress.state, progress.findings) == ("safe", [])
        stay.ended.set()
    assert sealed(room) == digests(FILES)
    assert rig.image() == before


def test_docked_again_nothing_is_taken_twice_and_other_bytes_under_a_known_name_are(rig: Rig, room: Room) -> None:
    for _ in range(2):
        with closing(rig.plug()) as device:
            _, progress, _ = visit(room, device)
            assert progress.state == "safe", progress.findings
        assert sealed(room) == digests(FILES)
    other = FILES[A][:LEAF] + b"?" + FILES[A][LEAF + 1 :]
    rig.fill({A: other}, TIME)  # the same name, size and time
    with closing(rig.plug()) as device:
        _, progress, _ = visit(room, device)
        assert progress.state == "safe", progress.findings
    assert sealed(room) == sorted([*digests(FILES), *digests({A: other})])


@pytest.mark.parametrize("place", [1, LEAF + 1, TOTAL - 1, TOTAL + LEAF])
def test_pulled_out_while_it_is_taken_it_heals_at_the_next_docking(rig: Rig, room: Room, place: int) -> None:
    with closing(rig.plug(Fault("unplug", at=place))) as device:
        _, progress, _ = visit(room, device)
        assert progress.state == "incomplete"
    with closing(rig.plug()) as device:
        _, progress, _ = visit(room, device)
        assert progress.state == "safe", progress.findings
    assert sealed(room) == digests(FILES)


def test_two_at_once_that_look_alike_are_told_apart_by_their_bytes(
    rig: Rig, room: Room, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    other = {A: FILES[A][::-1], B: FILES[B][::-1], LOG: FILES[LOG]}
    (tmp_path / "second").mkdir()
    name = request.node.callspec.id
    with chosen()[name](tmp_path / "second") as second:
        second.fill(other, TIME)
        with closing(rig.plug()) as one, closing(second.plug()) as two:
            found: list[Progress] = []
            docks = [
                threading.Thread(target=lambda bay=bay, device=device: found.append(visit(room, device, bay)[1]))  # type: ignore[misc]
                for bay, device in (("1", one), ("2", two))
            ]
            for each in docks:
                each.start()
            for each in docks:
                each.join()
            assert [progress.state for progress in found] == ["safe", "safe"], [each.findings for each in found]
    assert set(sealed(room)) == {*digests(FILES), *digests(other)}


# --- clearing


def is_right(raw: bytes) -> Callable[[Reader], bool]:
    return lambda reader: read_all(reader, len(FILES[raw])) == FILES[raw]


def test_a_file_is_removed_and_no_other_is_touched(rig: Rig, device: Device) -> None:
    found = listed(device)
    clearing = device.clearing()
    assert clearing is not None
    clearing.remove(found[A], is_right(A))
    clearing.close()
    clearing.close()
    assert set(listed(device)) == {B, LOG}
    assert rig.files() == {B: FILES[B], LOG: FILES[LOG]}
    assert read(device, listed(device)[B]) == FILES[B]


def test_what_is_not_right_by_its_bytes_stays(rig: Rig, device: Device) -> None:
    found, clearing = listed(device), device.clearing()
    assert clearing is not None
    with closing(clearing):
        assert code_of(lambda: clearing.remove(found[A], lambda reader: False)) == "changed"
    assert rig.files() == FILES


def swapped(root: Path) -> None:
    """Another file takes the name: the same size, the same time, other bytes."""
    new = at(root, DAY + b"/new.tmp")
    new.write_bytes(FILES[A][::-1])
    os.utime(new, (TIME, TIME))
    new.replace(at(root, A))


@pytest.mark.parametrize("change", [swapped, lambda root: at(root, A).unlink()], ids=["swapped", "gone"])
def test_what_takes_the_name_between_comparing_and_removing_is_not_removed(
    rig: Rig, device: Device, change: Callable[[Path], None]
) -> None:
    found, clearing = listed(device), device.clearing()
    assert clearing is not None

    def proven(reader: Reader) -> bool:
        right = is_right(A)(reader)
        rig.alter(change)
        return right

    with closing(clearing):
        code = code_of(lambda: clearing.remove(found[A], proven))
    left = {raw: data for raw, data in rig.files().items() if raw != A}
    assert left == {B: FILES[B], LOG: FILES[LOG]}
    assert (code, rig.files().get(A)) in [("changed", FILES[A][::-1]), ("vanished", None)]


def test_nobody_writes_to_a_file_between_comparing_and_removing(rig: Rig, device: Device) -> None:
    found, clearing = listed(device), device.clearing()
    assert clearing is not None

    def proven(reader: Reader) -> bool:
        right = is_right(A)(reader)

        def write(root: Path) -> None:
            os.close(os.open(at(root, A), os.O_WRONLY | os.O_NONBLOCK))

        with pytest.raises(BlockingIOError):
            rig.alter(write)
        return right

    with closing(clearing):
        assert code_of(lambda: clearing.remove(found[A], proven)) == "held-open"
    assert rig.files() == FILES


def test_a_file_that_is_open_for_writing_stays(rig: Rig, device: Device) -> None:
    found, clearing, opened = listed(device), device.clearing(), []
    assert clearing is not None
    try:
        with closing(clearing):
            rig.alter(lambda root: opened.append(os.open(at(root, A), os.O_WRONLY)))
            try:
                assert code_of(lambda: clearing.remove(found[A], is_right(A))) == "held-open"
            finally:
                os.close(opened[0])
    finally:
        assert rig.files() == FILES


def test_pulled_out_while_it_is_cleared_it_says_so_and_harms_no_other_file(rig: Rig, device: Device) -> None:
    found, clearing = listed(device), device.clearing()
    assert clearing is not None
    clearing.remove(found[B], is_right(B))

    def proven(reader: Reader) -> bool:
        right = is_right(A)(reader)
        rig.pull()
        return right

    assert code_of(lambda: clearing.remove(found[A], proven)) == "unplugged"
    try:
        clearing.close()
    except SourceError as error:
        assert error.code in ("unplugged", "not-writable")
    assert rig.files() == {A: FILES[A], LOG: FILES[LOG]}


def cleared(rig: Rig, room: Room, centre: Centre, *faults: Fault, receive: bool = True) -> tuple[Outcome, Progress]:
    """Dock the device, have the centre receive all, and clear it."""
    with closing(rig.plug(*faults)) as device:
        session, progress, stay = visit(room, device)
        assert progress.state == "safe", progress.findings
        if receive:
            centre.receive(room.stores)
        outcome = release(session, device, centre.rules())
        stay.ended.set()
    return outcome, progress


def said(room: Room) -> dict[bytes, str]:
    """What the log says of releasing: outcome by raw name."""
    found = [
        entry.envelope for entry in room.stores.ledger.entries(limit=10_000) if entry.envelope.kind == "released"
    ]
    return {seal_of(room.stores, each.record or "")[0].source_name.raw: each.outcome for each in found}


def test_a_device_is_cleared_on_proof_and_on_nothing_less(rig: Rig, room: Room, centre: Centre) -> None:
    rig.plug().close()
    before = rig.image()
    outcome, progress = cleared(rig, room, centre, receive=False)
    assert (outcome.cleared, progress.state, rig.image()) == (0, "safe", before)
    outcome, progress = cleared(rig, room, centre)
    assert (outcome.cleared, list(outcome.why), progress.state) == (2, [], "safe")
    assert rig.files() == {LOG: FILES[LOG]}
    assert said(room) == {A: "done", B: "done"}
    with closing(rig.plug()) as device:
        assert set(listed(device)) == {LOG}


@pytest.mark.parametrize("place", [2 * TOTAL + 20_000, 3 * TOTAL, 3 * TOTAL + LEAF, 4 * TOTAL - 100])
def test_pulled_out_at_any_step_of_clearing_the_log_is_true_and_the_rest_unharmed(
    rig: Rig, room: Room, centre: Centre, place: int
) -> None:
    outcome, _ = cleared(rig, room, centre, Fault("unplug", at=place))
    left = rig.files()
    assert outcome.cleared == 0
    assert all(left[raw] == FILES[raw] for raw in left)
    assert LOG in left
    assert {raw for raw in FILES if raw not in left} <= set(said(room))
    assert "done" not in said(room).values(), "nobody has seen the device without them"
    with closing(rig.plug()) as device:
        _, progress, _ = visit(room, device)
        assert progress.state == "safe", progress.findings
    assert sealed(room) == digests(FILES)
