"""The volumes of one plugged disk, as one device. They are mounted already, read-only, by the bay service."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack

from dockwarden.agent.drivers import profiles as known
from dockwarden.agent.drivers.clearing import MakeWritable
from dockwarden.agent.drivers.mass_storage import MassStorage, look
from dockwarden.agent.drivers.occupancy import Occupancy, Volume
from dockwarden.agent.drivers.profiles import Profile, Seen
from dockwarden.agent.drivers.source import (
    Clearing,
    ClockReading,
    DeviceInfo,
    Reader,
    SourceError,
    SourceInfo,
    Unlisted,
    decode_name,
    device_key,
)


class Volumes:
    """A Device over all volumes of one plugged disk."""

    def __init__(self, info: DeviceInfo, parts: Sequence[MassStorage], left: Sequence[Unlisted]) -> None:
        self.info = info
        self._parts = parts
        self._left = tuple(left)

    def sources(self) -> list[SourceInfo]:
        """See Device."""
        found = [source for part in self._parts for source in part.sources()]
        return sorted(found, key=lambda source: (source.name.raw, source.volume))

    def unlisted(self) -> list[Unlisted]:
        """See Device. Also the volumes that could not be mounted."""
        return [*self._left, *(each for part in self._parts for each in part.unlisted())]

    def open(self, source: SourceInfo, uncached: bool) -> Reader:
        """See Device."""
        for part in self._parts:
            if part.volume == source.volume:
                return part.open(source, uncached)
        raise SourceError("vanished", f"device {self.info.key}")

    def clock(self) -> ClockReading | None:
        """See Device: as far as the newest file of any volume tells."""
        readings = [reading for part in self._parts if (reading := part.clock()) is not None]
        return max(readings, key=lambda reading: reading.device_ms, default=None)

    def clearing(self) -> Clearing | None:
        """See Device: all volumes, or none."""
        opened: dict[str, Clearing] = {}
        try:
            for part in self._parts:
                found = part.clearing()
                if found is None:
                    break
                opened[part.volume] = found
        except SourceError:
            _close_all(opened.values())
            raise
        if not opened or len(opened) < len(self._parts):
            _close_all(opened.values())
            return None
        return _VolumesClearing(opened, f"device {self.info.key}")

    def close(self) -> None:
        """See Device."""
        for part in self._parts:
            part.close()


class _VolumesClearing:
    """A Clearing of several volumes."""

    def __init__(self, volumes: Mapping[str, Clearing], where: str) -> None:
        self._volumes = volumes
        self._where = where

    def remove(self, source: SourceInfo, proven: Callable[[Reader], bool]) -> None:
        """See Clearing."""
        volume = self._volumes.get(source.volume)
        if volume is None:
            raise SourceError("vanished", self._where)
        volume.remove(source, proven)

    def close(self) -> None:
        """See Clearing."""
        _close_all(self._volumes.values())


def _close_all(opened: Iterable[Clearing]) -> None:
    """Close all, whatever one does; the first error is the one to tell."""
    with ExitStack() as stack:
        for each in opened:
            stack.callback(each.close)


def open_volumes(
    occupancy: Occupancy, profile: Profile, writable: Callable[[Volume], MakeWritable] | None = None
) -> Volumes:
    """The device that sits in a bay; `writable` is how its volumes are made so. Raises SourceError where it has left
    meanwhile."""
    model = occupancy.product or "disk"
    first = occupancy.volumes[0].name if occupancy.volumes else "none"
    info = DeviceInfo(
        key=device_key(model, occupancy.serial, first),
        family=profile.family,
        profile=profile.name,
        kind=profile.kind,
        serial=occupancy.serial,
        model=model,
    )
    parts: list[MassStorage] = []
    try:
        for each in occupancy.volumes:
            make = writable(each) if writable is not None else None
            parts.append(MassStorage(each.point, info, each.name, profile, make))
    except SourceError:
        for part in parts:
            part.close()
        raise
    left = [Unlisted(decode_name(os.fsencode(each.name)), each.reason) for each in occupancy.left]
    return Volumes(info, parts, left)


def profile_of(occupancy: Occupancy, profiles: Sequence[Profile]) -> Profile:
    """The profile that fits a device. Raises ProfileError where none does, or several."""
    return known.choose(profiles, seen_of(occupancy))


def seen_of(occupancy: Occupancy) -> Seen:
    """What all volumes of a device together show."""
    folders = frozenset(name for each in occupancy.volumes for name in look(each.point).folders)
    label = next((each.label for each in occupancy.volumes if each.label), None)
    return Seen(occupancy.vendor, occupancy.product, label, folders, occupancy.usb)
