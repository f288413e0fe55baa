"""Runs in the guest: a whole station, and the bay service beside it; appends each change of its bays to a file.

    guest_station.py FOLDER

FOLDER holds `agent.toml`. A line of its `report` is `{"serving", "bays", "records"}`: whether the bay service runs,
the bays as the status shows them, the digests of all records. While the file `pause` is there the service does not
run and its controllers are open to all; once `stop` is there, everything ends. `pid` is this process's.
"""

import json
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

from dockwarden.agent import setup
from dockwarden.agent.drivers import bay_service
from dockwarden.agent.drivers.bay_service import BayService
from dockwarden.agent.drivers.mounting import Owner
from dockwarden.agent.drivers.occupancy import FOLDER
from dockwarden.agent.drivers.ports import read_ports
from dockwarden.agent.settings import read_settings
from dockwarden.agent.station import Station
from dockwarden.agent.status import records
from dockwarden.agent.stores import Folders
from dockwarden.durable.files import OsFiles
from dockwarden.service.logs import configure

LOOK_S = 0.1
PAUSED_S = 0.5


class Serving:
    """The bay service in a thread of its own."""

    def __init__(self, root: Path) -> None:
        self._service = BayService(partial(read_ports, Folders(root).ports), FOLDER, Owner(0, 0))
        self._thread = threading.Thread(target=self._service.run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._service.stop()
        self._thread.join()
        for hub in Path("/sys/bus/usb/devices").glob("usb*"):
            (hub / "authorized_default").write_text("1")


def main() -> None:
    folder = Path(sys.argv[1])
    configure("agent")
    bay_service.BUFFER = 1 << 14  # a small one, so that a few hundred events are too many
    settings = read_settings(folder / "agent.toml")
    setup.make_keys(settings, OsFiles())
    station = Station(settings)
    station.start()
    (folder / "pid").write_text(str(os.getpid()))
    serving: Serving | None = None
    before: object = None
    with (folder / "report").open("a") as file:
        while not (folder / "stop").exists():
            wanted = not (folder / "pause").exists()
            if wanted and serving is None:
                serving = Serving(settings.root)
            elif not wanted and serving is not None:
                serving.end()
                serving = None
            if (now := (wanted, station.bays.snapshot())) != before:
                taken = [record["sha256"] for record in records(station.view)]  # type: ignore[index,call-overload]
                said = {"serving": wanted, "bays": now[1], "records": sorted(taken)}
                print(json.dumps(said), file=file, flush=True)
                before = now
            time.sleep(LOOK_S if wanted else PAUSED_S)
    if serving is not None:
        serving.end()
    station.stop()


if __name__ == "__main__":
    main()
