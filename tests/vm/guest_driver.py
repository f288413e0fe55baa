"""Runs in the guest: the agent's own driver over mounted bays; prints what it sees and reads, as JSON.

    guest_driver.py FOLDER BAY

The bay is read twice, the second time past the cache. Names are hex: they are bytes.
"""

import hashlib
import json
import queue
import sys
from collections.abc import Iterator
from pathlib import Path

from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.hotplug import Event, Plugged, Refused
from dockwarden.agent.drivers.mounts import MountedBays
from dockwarden.agent.drivers.source import Device, SourceError, SourceInfo

STEP = 524_288
WAIT_S = 60


def main() -> None:
    events: queue.Queue[Event] = queue.Queue()
    bays = MountedBays(Path(sys.argv[1]), [sys.argv[2]], profiles.load().profiles)
    bays.start(events.put)
    try:
        event = events.get(timeout=WAIT_S)
        print(json.dumps(told(event)))
    finally:
        bays.stop()


def told(event: Event) -> dict[str, object]:
    """What the event says, and what the device in it gives."""
    if isinstance(event, Refused):
        return {"refused": event.error.code}
    if not isinstance(event, Plugged):
        return {"gone": event.device_key}
    device = event.device
    try:
        sources = device.sources()
        seen: dict[str, object] = {
            "key": device.info.key,
            "profile": device.info.profile,
            "unlisted": [item.reason for item in device.unlisted()],
            "sources": [
                {
                    "raw": source.name.raw.hex(),
                    "text": source.name.text,
                    "size": source.size,
                    "modified": source.modified_raw,
                    "readings": [reading(device, source, uncached) for uncached in (False, True)],
                }
                for source in sources
            ],
        }
        return {**seen, "listed again": listed_again(device)}
    finally:
        device.close()


def listed_again(device: Device) -> int | str:
    """How many sources the device shows after all was read, or why it shows none."""
    try:
        return len(device.sources())
    except SourceError as error:
        return error.code


def reading(device: Device, source: SourceInfo, uncached: bool) -> dict[str, object]:
    """One reading of a source: its digest, or where and why it ended."""
    digest, read = hashlib.sha256(), 0
    try:
        reader = device.open(source, uncached)
    except SourceError as error:
        return {"code": error.code, "read": 0}
    try:
        for piece in pieces(reader.read, source.size):
            digest.update(piece)
            read += len(piece)
    except SourceError as error:
        return {"code": error.code, "read": read, "offset": error.offset}
    finally:
        reader.close()
    return {"sha256": digest.hexdigest(), "read": read, "how": reader.how}


def pieces(read, size: int) -> Iterator[bytes]:
    """The file's bytes in steps, up to its size or where the device ends it."""
    for offset in range(0, size + 1, STEP):
        yield read(offset, STEP)


if __name__ == "__main__":
    main()
