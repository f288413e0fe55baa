"""Runs in the guest: learns a bay; makes the file ASKED once it waits, and prints the ports of the bay.

guest_learning.py ASKED
"""

import json
import sys
import tempfile
from pathlib import Path

from dockwarden.agent.learning import learn_bay
from dockwarden.agent.settings import Settings
from dockwarden.durable.files import OsFiles


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(station="st-02", root=Path(folder), bays=["7"], release="keep")
        asked = Path(sys.argv[1])
        print(json.dumps(list(learn_bay(settings, OsFiles(), "7", 60, asked.write_text))))


if __name__ == "__main__":
    main()
