"""Faults: what is planted happens where it was planted, and nowhere else."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.drivers.profiles import load
from dockwarden.agent.drivers.source import SourceError, SourceInfo
from dockwarden.agent.metadata.clock import measure
from dockwarden.simulators.faults import Clock, Fault, FaultyDevice, strike

PROFILES = load().profiles
DATA = bytes(range(256)) * 1000
STEP = 100_000

Make = Callable[..., FaultyDevice]


@pytest.fixture
def card(tmp_path: Path) -> Path:
    root = tmp_path / "card"
    root.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (root / name).write_bytes(DATA)
    return root


@pytest.fixture
def make(card: Path) -> Make:
    def faulty(*faults: Fault, clock: Clock | None = None) -> FaultyDevice:
        inner = recognise(card, PROFILES, model="X3", serial="S1", volume="card")
        return FaultyDevice(inner, card, faults, clock)

    return faulty


def read(device: FaultyDevice, source: SourceInfo, uncached: bool = False) -> bytes:
    """The whole source, as a copier reads it: piece by piece, and once more behind its end."""
    with closing(device.open(source, uncached)) as reader:
        pieces = []
        done = 0
        while piece := reader.read(done, min(STEP, source.size - done)):
            pieces.append(piece)
            done += len(piece)
        pieces.append(reader.read(source.size, 1))
        return b"".join(pieces)


def code_of(device: FaultyDevice, source: SourceInfo) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(device, source)
    return caught.value


def test_a_device_without_faults_is_the_device_itself(make: Make) -> None:
    with closing(make()) as device:
        assert [read(device, source) for source in device.sources()] == [DATA, DATA]
        assert device.unlisted() == []
        assert device.info.serial == "S1"


@pytest.mark.parametrize("reading", [1, 2])
def test_a_flipped_bit_is_in_the_reading_it_was_planted_in_and_in_no_other(make: Make, reading: int) -> None:
    with closing(make(Fault("flip", "a.mp4", at=150_000, reading=reading))) as device:
        a, b = device.sources()
        for number in (1, 2, 3):
            wrong = [place for place, byte in enumerate(read(device, a, number > 1)) if byte != DATA[place]]
            assert wrong == ([150_000] if number == reading else [])
            assert read(device, b) == DATA


def test_a_third_reading_through_the_same_opening_is_another_reading(make: Make) -> None:
    device = make(Fault("flip", at=0, reading=1))
    with closing(device), closing(device.open(device.sources()[0], True)) as reader:
        assert reader.read(0, 10) != DATA[:10]
        assert reader.read(0, 10) == DATA[:10]


def test_a_bad_range_cannot_be_read_and_what_is_beside_it_can(make: Make) -> None:
    with closing(make(Fault("unreadable", "a.mp4", at=1000, length=512))) as device:
        a, _ = device.sources()
        with closing(device.open(a, True)) as reader:
            assert reader.read(0, 1000) == DATA[:1000]
            assert reader.read(1512, 100) == DATA[1512:1612]
            for offset, length, first in ((0, 4096, 1000), (1511, 1, 1511), (999, 2, 1000)):
                with pytest.raises(SourceError) as caught:
                    reader.read(offset, length)
                assert (caught.value.code, caught.value.offset) == ("unreadable", first)


def test_a_bad_range_of_the_first_reading_is_good_in_the_second(make: Make) -> None:
    with closing(make(Fault("unreadable", "a.mp4", at=1000, length=512, reading=1))) as device:
        a, _ = device.sources()
        assert code_of(device, a).code == "unreadable"
        assert read(device, a) == DATA


def test_a_file_that_ends_early_without_an_error_ends_early(make: Make) -> None:
    with closing(make(Fault("eof", "a.mp4", at=150_000))) as device:
        a, _ = device.sources()
        with closing(device.open(a, False)) as reader:
            assert reader.read(100_000, 100_000) == DATA[100_000:150_000]
            assert reader.read(150_000, 50_000) == b""


def test_an_early_end_of_the_first_opening_stays_for_that_opening(make: Make) -> None:
    with closing(make(Fault("eof", "a.mp4", at=150_000, reading=1))) as device:
        a, _ = device.sources()
        with closing(device.open(a, False)) as reader:
            assert [len(reader.read(150_000, 10)) for _ in range(3)] == [0, 0, 0]
        assert read(device, a) == DATA


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("grow", "a.mp4", at=150_000, length=70_000), "grew"),
        (Fault("shrink", "a.mp4", at=150_000, length=170_000), "shrank"),
        (Fault("vanish", "a.mp4", at=150_000), "vanished"),
        (Fault("alter", "a.mp4", at=150_000), "changed"),
        (Fault("vanish", "a.mp4", at=len(DATA) - 1), "vanished"),
    ],
)
def test_what_happens_to_the_card_is_noticed_and_the_other_file_is_well(make: Make, fault: Fault, code: str) -> None:
    with closing(make(fault)) as device:
        a, b = device.sources()
        assert code_of(device, a).code == code
        assert read(device, b) == DATA


def test_a_file_that_has_a_second_name_is_never_struck(card: Path, tmp_path: Path) -> None:
    os.link(card / "a.mp4", tmp_path / "somebodys")
    for kind in ("grow", "shrink", "alter", "vanish"):
        with pytest.raises(ValueError, match="second name"):
            strike(card / "a.mp4", Fault(kind, length=5))  # type: ignore[arg-type]
    assert (tmp_path / "somebodys").read_bytes() == DATA


def test_a_device_pulled_out_in_the_middle_gives_what_came_before_and_then_nothing(make: Make) -> None:
    with closing(make(Fault("unplug", at=len(DATA) + 120_000))) as device:
        a, b = device.sources()
        assert read(device, a) == DATA
        with closing(device.open(b, False)) as reader:
            assert reader.read(0, 100_000) == DATA[:100_000]
            with pytest.raises(SourceError) as caught:
                reader.read(100_000, 100_000)
            assert caught.value.code == "unplugged"
        assert device.gone.is_set()
        for call in (device.sources, device.unlisted, device.clock, lambda: device.open(a, False)):
            with pytest.raises(SourceError) as caught:
                call()
            assert caught.value.code == "unplugged"


def test_pulling_out_is_told_once_and_stops_a_reading_that_is_slow(card: Path) -> None:
    told: list[str] = []
    inner = recognise(card, PROFILES, model="X3", serial="S1", volume="card")
    slow = Fault("slow", rate=1)
    with closing(
        FaultyDevice(inner, card, [slow, Fault("unplug", at=10)], None, lambda: told.append("out"))
    ) as device:
        a, _ = device.sources()
        assert code_of(device, a).code == "unplugged"
        device.pull()
    assert told == ["out"]


def test_a_slow_device_still_gives_everything(make: Make) -> None:
    with closing(make(Fault("slow", rate=50_000_000))) as device:
        assert read(device, device.sources()[0]) == DATA


@pytest.mark.parametrize(("length", "code"), [(100, "shrank"), (-100, "grew")])
def test_a_listing_that_says_a_wrong_size_is_found_out_when_the_file_is_opened(
    make: Make, length: int, code: str
) -> None:
    with closing(make(Fault("wrong-size", "a.mp4", length=length))) as device:
        a, b = device.sources()
        assert (a.size, b.size) == (len(DATA) + length, len(DATA))
        assert code_of(device, a).code == code


@pytest.mark.parametrize(
    ("clock", "offset", "finding"),
    [
        (Clock(), 0, "none"),
        (Clock(offset_ms=90_000), 90_000, "none"),
        (Clock(offset_ms=-7_200_000), -7_200_000, "zone"),
        (Clock(unset=True), None, "unset"),
    ],
)
def test_a_clock_can_be_right_wrong_in_another_zone_or_never_set(
    make: Make, clock: Clock, offset: int | None, finding: str
) -> None:
    with closing(make(clock=clock)) as device:
        found = measure(device.clock(), 480)
    assert (found.offset_ms, found.finding, found.method) == (offset, finding, "asked")


def test_without_a_clock_that_can_be_asked_the_newest_file_speaks(make: Make) -> None:
    with closing(make()) as device:
        reading = device.clock()
    assert reading is not None and reading.method == "newest-file"
