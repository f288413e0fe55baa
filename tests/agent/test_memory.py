"""The agent's memory is flat in the size of a file."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.cards import make_card

MIB = 1024 * 1024
MOST = 1.25

PROGRAM = """
import resource, sys
from pathlib import Path
from tests.agent.cards import Room, folder_device
room = Room(Path(sys.argv[1]))
for _ in range(2):  # new, then known
    progress = room.visit(folder_device(Path(sys.argv[2])))
    assert progress.state == "safe", progress.findings
room.stores.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder: Path, size: int) -> int:
    """The most memory, in KiB, of a process that takes one file of `size` bytes, and again when it is known."""
    folder.mkdir()
    card = make_card(folder / "card", {"a.mp4": b"\xa5" * MIB})
    with (card / "a.mp4").open("r+b") as file:
        file.truncate(size)
    command = [sys.executable, "-c", PROGRAM, str(folder / "station"), str(card)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return int(ran.stdout.split()[-1])


@pytest.mark.system
def test_a_file_sixty_times_as_large_takes_no_more_memory(tmp_path: Path) -> None:
    small, large = peak(tmp_path / "small", 10 * MIB), peak(tmp_path / "large", 600 * MIB)
    assert large <= MOST * small
