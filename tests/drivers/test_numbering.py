"""Missing numbers: found where files are missing, and nowhere else."""

from hypothesis import given
from hypothesis import strategies as st
from tests.drivers.listings import PROFILES, source

from dockwarden.agent.drivers.source import SourceInfo
from dockwarden.agent.metadata.listing import read_listing
from dockwarden.agent.metadata.numbering import holes, numbers_missing

LAST = 9999


def dcf(number: int, folder: int = 100, name: str = "DSCF", ending: str = "JPG") -> SourceInfo:
    return source(f"DCIM/{folder}MEDIA/{name}{number:04d}.{ending}")


def camera(number: int, at: str = "20261124091500", who: str = "ZB2041") -> SourceInfo:
    return source(f"VIDEO/{who}_650113_{at}_{number:04d}.MP4")


def found(sources: list[SourceInfo], profile: str = "dcf") -> list[tuple[int, int, int]]:
    return [(hole.first, hole.last, hole.count) for hole in holes(read_listing(sources, PROFILES[profile]))]


def test_a_whole_sequence_lacks_nothing_also_where_it_comes_round() -> None:
    assert found([dcf(number) for number in (1, 2, 3)]) == []
    assert found([dcf(number) for number in (9998, 9999, 1, 2)]) == []
    assert found([dcf(9999, 100), dcf(1, 101), dcf(2, 101)]) == []
    assert found([dcf(7)]) == found([]) == []


def test_what_lies_between_two_files_is_missing() -> None:
    assert found([dcf(3), dcf(7), dcf(8), dcf(10)]) == [(4, 6, 3), (9, 9, 1)]
    assert found([dcf(9997), dcf(2)]) == [(9998, 1, 3)]


def test_a_number_is_one_object_whatever_its_letters_and_endings() -> None:
    assert found([dcf(1), dcf(1, ending="WAV"), dcf(2, name="MVI_", ending="MOV"), dcf(3)]) == []


def test_numbers_go_on_in_the_next_folder() -> None:
    assert found([dcf(998), dcf(999), dcf(1001, 101)]) == [(1000, 1000, 1)]
    assert found([dcf(998), dcf(999), dcf(1000, 101)]) == []
    assert found([dcf(9998), dcf(1, 101)]) == [(9999, 9999, 1)]


def test_a_folder_that_begins_anew_tells_nothing_of_the_one_before() -> None:
    assert found([dcf(500), dcf(501), dcf(1, 101), dcf(2, 101)]) == []
    assert found([dcf(1), dcf(2), dcf(3), dcf(1, 101), dcf(3, 101)]) == [(2, 2, 1)]
    assert found([dcf(1), dcf(2), dcf(5, 102)]) == []


def test_a_large_step_is_a_jump_and_no_list_of_missing_files() -> None:
    (jump,) = holes(read_listing([dcf(10), dcf(950)], PROFILES["dcf"]))
    assert (jump.first, jump.last, jump.count, jump.is_jump) == (11, 949, 939, True)
    for first in (1, 10):
        (jump,) = holes(read_listing([dcf(first), dcf(950, 101)], PROFILES["dcf"]))
        assert (jump.first, jump.last, jump.is_jump) == (first + 1, 949, True)


def test_a_counter_through_the_volume_is_of_one_camera() -> None:
    ours, theirs = [camera(number) for number in (1, 2, 4)], [camera(number, who="ZB9") for number in (70, 71)]
    assert found([*ours, *theirs], "dcam") == [(3, 3, 1)]


def test_a_number_that_comes_twice_at_two_times_means_that_the_counter_began_anew() -> None:
    old = [camera(number, f"202611230915{number:02d}") for number in range(1, 9)]
    new = [camera(number, f"202611240915{number:02d}") for number in (1, 2, 4, 5)]
    assert found([*old, *new], "dcam") == [(3, 3, 1)]
    assert found(old + [camera(number, f"202611240915{number:02d}") for number in (1, 2, 3)], "dcam") == []


def test_files_on_both_sides_of_a_hole_are_named() -> None:
    (hole,) = holes(read_listing([dcf(1), dcf(3)], PROFILES["dcf"]))
    assert (hole.before.name.text, hole.after.name.text) == (
        "DCIM/100MEDIA/DSCF0001.JPG",
        "DCIM/100MEDIA/DSCF0003.JPG",
    )


@st.composite
def sequences(draw: st.DrawFn) -> list[int]:
    first, length = draw(st.integers(1, LAST)), draw(st.integers(1, 300))
    return [(first + step - 1) % LAST + 1 for step in range(length)]


@given(sequences(), st.data())
def test_of_any_sequence_just_what_was_taken_from_its_middle_is_missing(
    whole: list[int], data: st.DataObject
) -> None:
    assert numbers_missing(whole, LAST) == []
    removed = data.draw(st.sets(st.sampled_from(whole[1:-1]), max_size=100)) if len(whole) > 2 else set()
    left = [number for number in whole if number not in removed]
    assert set(numbers_missing(data.draw(st.permutations(left)), LAST)) == removed


@given(sequences(), st.data())
def test_the_same_holds_of_listings(whole: list[int], data: st.DataObject) -> None:
    """The camera's folder changes somewhere on the way, its clock does not go backwards."""
    change = data.draw(st.integers(0, len(whole)))
    removed = data.draw(st.sets(st.sampled_from(whole[1:-1]), max_size=100)) if len(whole) > 2 else set()
    kept = [(index, number) for index, number in enumerate(whole) if number not in removed]
    in_folders = [dcf(number, 100 if index < change else 101) for index, number in kept]
    on_volume = [camera(number, f"20261124{index // 60:02d}{index % 60:02d}00") for index, number in kept]
    if whole[change : change + 1] == [1] or any(number == 1 for number in removed):
        in_folders = [dcf(number) for _, number in kept]  # a folder that begins with 1 tells nothing
    for sources, profile in ((in_folders, "dcf"), (on_volume, "dcam")):
        spelled = {
            (first + step - 1) % LAST + 1 for first, _, count in found(sources, profile) for step in range(count)
        }
        assert spelled == removed, profile


@given(st.lists(st.integers(-5, 20_000)), st.integers(9, 99_999))
def test_no_numbers_are_too_absurd(numbers: list[int], last: int) -> None:
    within = [number for number in numbers if 1 <= number <= last]
    missing = numbers_missing(within, last)
    assert not set(missing) & set(within)
    assert all(1 <= number <= last for number in missing)
