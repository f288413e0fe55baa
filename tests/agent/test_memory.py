"""The agent's memory is flat in the size of a file and in the number of bays."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.cards import make_card

MIB = 1024 * 1024
MOST = 1.25
EACH_MIB = 5
"""What a bay may cost beyond what all share: a buffer of its own, what is being read into it, and its threads."""

PROGRAM = """
import resource, sys, threading
from pathlib import Path
from tests.agent.cards import Room, folder_device
room, states = Room(Path(sys.argv[1])), []
def visit(number):
    for _ in range(2):  # new, then known
        states.append(room.visit(folder_device(Path(sys.argv[2]), serial=number), number).state)
bays = [threading.Thread(target=visit, args=(str(number),)) for number in range(int(sys.argv[3]))]
for bay in bays:
    bay.start()
for bay in bays:
    bay.join()
assert set(states) == {"safe"}, states
room.stores.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder: Path, size: int, bays: int = 1) -> int:
    """The most memory, in KiB, of a process that takes one file of `size` bytes in each bay, and again when it is
    known."""
    folder.mkdir()
    card = make_card(folder / "card", {"a.mp4": b"\xa5" * MIB})
    with (card / "a.mp4").open("r+b") as file:
        file.truncate(size)
    command = [sys.executable, "-c", PROGRAM, str(folder / "station"), str(card), str(bays)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return int(ran.stdout.split()[-1])


@pytest.mark.system
def test_a_file_sixty_times_as_large_takes_no_more_memory(tmp_path: Path) -> None:
    small, large = peak(tmp_path / "small", 10 * MIB), peak(tmp_path / "large", 600 * MIB)
    assert large <= MOST * small


@pytest.mark.system
def test_bays_share_their_buffers(tmp_path: Path) -> None:
    one, many = peak(tmp_path / "one", 20 * MIB), peak(tmp_path / "many", 20 * MIB, bays=12)
    assert many - one <= 11 * EACH_MIB * 1024
