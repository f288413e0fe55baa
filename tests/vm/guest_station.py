"""Runs in the guest: a whole station, and the bay service beside it; appends each change of its bays to a file.

    guest_station.py SETTINGS REPORT STOP

A line of the report is the list of the bays as the status shows them. It ends once the file STOP is there.
"""

import json
import sys
import threading
import time
from functools import partial
from pathlib import Path

from dockwarden.agent import setup
from dockwarden.agent.drivers.bay_service import BayService
from dockwarden.agent.drivers.mounting import Owner
from dockwarden.agent.drivers.occupancy import FOLDER
from dockwarden.agent.drivers.ports import read_ports
from dockwarden.agent.settings import read_settings
from dockwarden.agent.station import Station
from dockwarden.agent.status import records
from dockwarden.agent.stores import Folders
from dockwarden.durable.files import OsFiles

LOOK_S = 0.1


def main() -> None:
    settings, report, stop = read_settings(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])
    setup.make_keys(settings, OsFiles())
    service = BayService(partial(read_ports, Folders(settings.root).ports), FOLDER, Owner(0, 0))
    serving = threading.Thread(target=service.run, daemon=True)
    serving.start()
    station = Station(settings)
    station.start()
    before = ""
    with report.open("a") as file:
        while not stop.exists():
            taken = [record["sha256"] for record in records(station.view)]  # type: ignore[index,call-overload]
            now = json.dumps({"bays": station.bays.snapshot(), "records": sorted(taken)})
            if now != before:
                print(now, file=file, flush=True)
                before = now
            time.sleep(LOOK_S)
    station.stop()
    service.stop()
    serving.join()


if __name__ == "__main__":
    main()
