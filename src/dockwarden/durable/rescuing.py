"""Rescue: the copy of a source that cannot be read everywhere (design: intake, step 6).

What can be read is kept and proven like any other copy; the rest are holes. A hole is never filled: where it is, the
file has zeros that keep the place, and whoever names its digests names its holes too.
"""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TypeAlias

from dockwarden.durable.copying import Copied
from dockwarden.durable.files import DurableError, Files, explained, opened, reserve, write_durably
from dockwarden.durable.leaflist import LeafList, read_leaf_list
from dockwarden.durable.pump import cancelled
from dockwarden.durable.readback import UncachedReader, hash_uncached, worst
from dockwarden.durable.rescue_map import RescueMap
from dockwarden.evidence import canonical, fields
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.digests import LEAF_SIZE
from dockwarden.evidence.seals import Hole

GROUP = 32 * 1024 * 1024
"""Bytes that are synced, read back and entered into the map together."""

Try: TypeAlias = Callable[[int, int], bytes | None]
"""`try(offset, length)`: those bytes of the source, or None where not all of them can be read."""


@dataclass(frozen=True)
class Patience:
    """How long a bad medium is insisted on: tries that fail, and seconds in all. What is left then is a hole."""

    failures: int
    seconds: float


@dataclass(frozen=True)
class Rescued:
    """The copy, whose digests cover the zeros in the holes, and the holes in order."""

    copied: Copied
    holes: tuple[Hole, ...]


def rescue(
    files: Files,
    read: Try,
    size: int,
    folder: Path,
    *,
    first_leaf: int,
    patience: Patience,
    keep_free: int = 0,
    progress: Callable[[int], None] | None = None,
    cancel: Event | None = None,
) -> Rescued:
    """Copy what can be read of a source of `size` bytes to `original` in `folder`, with its leaf list `leaves`.

    `map` in the same folder holds what was read, with its digests: only what is on the disk and was read back from
    there equal to what the source gave. A call goes on with the map of an earlier one, and tries again what failed
    then; without one the first `first_leaf` leaves are taken for copied and proven. All of it is held against those
    digests once more at the end.
    The map stays: as long as there is no seal, it alone tells holes from bytes.
    `progress` is called with the number of bytes that are there. Whatever `read` raises passes through; DurableError
    codes are those of `copy_in_one_pass`, and `nothing-read` where there is nothing but a hole.
    """
    original, leaves, place = folder / "original", folder / "leaves", folder / "map"
    reserve(files, original, size, keep_free)
    begun = _read_map(place, size) or _Begun(RescueMap(size, min(first_leaf * LEAF_SIZE, size)), [], first_leaf)
    found = begun.map
    found.insist()
    with ExitStack() as stack:
        reader = UncachedReader(files, original, drop=False)
        stack.callback(reader.close)
        work = _Rescue(files, reader, original, place, begun)
        stack.enter_context(explained(original))
        work.fd = stack.enter_context(opened(files, original, os.O_WRONLY))
        work.run(read, patience, progress or (lambda done: None), cancel)
        if not found.good_bytes:
            what = "nothing of a file can be read"
            raise DurableError("nothing-read", what, str(original), "Hand the device to the office.")
        holes = _holes(found)
        work.close_holes(holes, size)
        work.check_all()
        how = reader.how
    hashing, _, again = hash_uncached(original, files, cancel)
    _same_prefix(leaves, hashing.leaves, begun.copied)
    leaf_list = LeafList(files, leaves)
    try:
        leaf_list.append(0, hashing.leaves)
        leaf_list.cut(len(hashing.leaves))
    finally:
        leaf_list.close()
    return Rescued(Copied(hashing.digests(size), worst(how, again)), holes)


def whole_leaves(place: Path, size: int, count: int) -> list[int]:
    """Which of the first `count` leaves of a stage were read in full, by the map at `place`. Raises DurableError,
    MalformedError."""
    begun = _read_map(place, size)
    edges = ((index, index * LEAF_SIZE) for index in range(count))
    good = (index for index, start in edges if begun and begun.map.is_good(start, min(start + LEAF_SIZE, size)))
    return list(good)


_Proof: TypeAlias = tuple[int, int, str]
"""A range that was read in one go: offset and length in bytes, SHA-256."""


@dataclass(frozen=True)
class _Begun:
    """How far a rescue is; `proven` were read back. The first `copied` leaves came by an ordinary copy."""

    map: RescueMap
    proven: list[_Proof]
    copied: int


@dataclass
class _Rescue:
    """A rescue at work; `fresh` were only written so far."""

    files: Files
    reader: UncachedReader
    original: Path
    place: Path
    begun: _Begun
    fresh: list[_Proof] = field(default_factory=list)
    fd: int = -1

    def run(self, read: Try, patience: Patience, progress: Callable[[int], None], cancel: Event | None) -> None:
        """Try everything, or as much as patience allows; whatever ends it, what was read is proven and kept."""
        until, pending = time.monotonic() + patience.seconds, 0
        try:
            while self.begun.map.failures < patience.failures and time.monotonic() < until:
                if cancel is not None and cancel.is_set():
                    raise cancelled()
                step = self.begun.map.next()
                if step is None:
                    break
                data = read(*step)
                self._take(step, data)
                progress(self.begun.map.good_bytes)
                pending += step[1] if data is not None else 0
                if pending >= GROUP:
                    self._prove()
                    pending = 0
        finally:
            self._prove()

    def close_holes(self, holes: tuple[Hole, ...], size: int) -> None:
        """Zeros where nothing could be read, whatever an earlier try has left there; the file gets its size."""
        zeros = bytes(LEAF_SIZE)
        for hole in holes:
            for start in range(hole.offset, hole.offset + hole.length, LEAF_SIZE):
                self.files.pwrite(self.fd, zeros[: min(LEAF_SIZE, hole.offset + hole.length - start)], start)
        self.files.truncate(self.fd, size)
        self.files.fdatasync(self.fd)

    def check_all(self) -> None:
        """Hold everything that was ever read against its digest: an earlier call may have been weeks ago."""
        for proof in self.begun.proven:
            if not self._holds(proof):
                what = "the staged copy is not what was read from the device"
                where = f"{self.original}, byte {proof[0]}"
                raise DurableError("stage-differs", what, where, "Copy the file from its beginning.")

    def _take(self, step: tuple[int, int], data: bytes | None) -> None:
        offset, length = step
        if data is not None:
            self.files.pwrite(self.fd, data, offset)
            self.fresh.append((offset, length, hashlib.sha256(data).hexdigest()))
        self.begun.map.note(offset, length, data is not None)

    def _prove(self) -> None:
        """Sync, read back, compare, and only then write the map."""
        self.files.fdatasync(self.fd)
        for proof in self.fresh:
            if not self._holds(proof):
                raise DurableError(
                    "read-back-differs",
                    "the disk gave back other bytes than were written",
                    f"{self.original}, byte {proof[0]}",
                    "Do not trust this disk or its memory; check both before you go on.",
                )
        self.begun.proven.extend(self.fresh)
        self.fresh.clear()
        proven: list[canonical.Value] = [[*proof] for proof in self.begun.proven]
        written: Object = {
            "copied": self.begun.copied,
            "map": self.begun.map.to_object(),
            "proven": proven,
            "v": 1,
        }
        write_durably(self.files, self.place, canonical.encode(written))

    def _holds(self, proof: _Proof) -> bool:
        offset, length, digest = proof
        self.reader.drop(offset, length)
        return hashlib.sha256(self.reader.read(offset, length)).hexdigest() == digest


def _read_map(place: Path, size: int) -> _Begun | None:
    try:
        with explained(place):
            data = place.read_bytes()
    except DurableError as error:
        if error.code != "missing":
            raise
        return None
    source = canonical.decode_object(data, "rescue map")
    fields.version(source)
    found = RescueMap.read(fields.obj(source, "map"), size)
    proven = [_proof(value, found) for value in fields.array(source, "proven", 1 << 22)]
    return _Begun(found, proven, fields.integer(source, "copied"))


def _proof(value: object, found: RescueMap) -> _Proof:
    match value:
        case [int(offset), int(length), str(digest)] if length > 0 and found.is_good(offset, offset + length):
            return offset, length, digest
    raise MalformedError("rescue map", "has a proof that is none")


def _holes(found: RescueMap) -> tuple[Hole, ...]:
    spans = (span for span in found.spans if span.state != "good")
    reasons = ((span, "unreadable" if span.state == "bad" else "given-up") for span in spans)
    return tuple(Hole(span.start, span.end - span.start, reason) for span, reason in reasons)


def _same_prefix(leaves: Path, found: list[bytes], count: int) -> None:
    """What was proven before this rescue must still be so: nobody else holds it against the source again."""
    known = read_leaf_list(leaves, 0, count) if count else []
    for number, (before, now) in enumerate(zip(known, found, strict=False)):
        if before != now:
            what = "the staged copy is not what the leaf list says"
            raise DurableError("stage-differs", what, f"{leaves}, leaf {number}", "Copy the file from its beginning.")
