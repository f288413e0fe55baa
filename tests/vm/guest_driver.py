"""Runs in the guest: the agent's own driver over a mounted card; prints what it sees and reads, as JSON.

    guest_driver.py FOLDER

The card is read twice, the second time past the cache. Names are hex: they are bytes.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.drivers.source import Device, SourceError, SourceInfo

STEP = 524_288


def main() -> None:
    device = recognise(Path(sys.argv[1]), profiles.load().profiles, model="disk", serial=None, volume="card")
    print(json.dumps(told(device)))


def told(device: Device) -> dict[str, object]:
    """What the device in the bay gives."""
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
