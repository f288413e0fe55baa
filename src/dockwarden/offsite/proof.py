"""Read-back: every byte of a record, as the off-site place gives it back, held against the record's seal.

Pure over a tar stream: whoever opens the stream decides where it comes from. Nothing here trusts a name, a size or
an order in it.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol, TypeAlias, cast

from dockwarden.durable.hashing import Hashing
from dockwarden.durable.pump import Pump
from dockwarden.evidence.digests import Digests, Measure

PIECE = 1 << 20
BUFFER = 1 << 20
"""Bytes that are hashed at a time in a large file; whole leaves."""
ORIGINAL, LEAVES, SEAL = PARTS = ("original", "leaves", "seal.note")


class Stream(Protocol):
    """Where the bytes come from: `read` gives at most `size` bytes, none only at the end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Expected:
    """A record that should be in the stream: its folder there, its seal note's SHA-256 and what was sealed."""

    record: str
    path: str
    seal_sha256: str
    digests: Digests


@dataclass(frozen=True)
class ProvenRecord:
    """A record whose original, leaf list and seal were read in full, and are just what was sealed."""

    expected: Expected


@dataclass(frozen=True)
class Mismatch:
    """A record that is not as it was sealed: `code` for programs, `what` for people, `path` in the snapshot."""

    record: str
    code: str
    what: str
    path: str


Verdict: TypeAlias = ProvenRecord | Mismatch


class ReadBack:
    """One reading of records out of streams; `pending` are those without a verdict so far.

    `others` says which further files to note; `noted` has the SHA-256 of each that was read in full.
    """

    def __init__(self, expected: Iterable[Expected], others: Iterable[str] = ()) -> None:
        self.pending = {item.record: item for item in expected}
        self.noted: dict[str, str] = {}
        self._by_path = {f"{item.path}/{part}": (item, part) for item in self.pending.values() for part in PARTS}
        self._others = frozenset(others)
        self._seen: dict[str, dict[str, str]] = {}

    def read(self, stream: Stream) -> Iterator[Verdict]:
        """Give each record's verdict as soon as it is known.

        Returns when the stream ends or breaks off: whether it was whole, its source must tell. What it did not hold
        stays pending. Errors of the stream itself pass through. Memory is bounded by a record's leaf list.
        """
        try:
            with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", bufsize=PIECE) as tar:
                while (member := tar.next()) is not None:
                    vars(tar)["members"].clear()  # tarfile keeps them all otherwise
                    yield from self._take(tar, member)
        except (tarfile.TarError, ValueError, OverflowError):  # the last two for figures that are none
            return

    def missing(self) -> Iterator[Mismatch]:
        """The verdict on all that is pending after a stream that was whole; nothing is pending then."""
        for item in list(self.pending.values()):
            absent = [part for part in PARTS if part not in self._seen.get(item.record, {})]
            yield self._refuse(item, "missing", f"{' and '.join(absent)} not in the snapshot", item.path)

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[Verdict]:
        path = member.name.strip("/")
        if path in self._others and member.isreg():
            digest = hashlib.sha256()
            for piece in _pieces(tar, member):
                digest.update(piece)
            self.noted[path] = digest.hexdigest()
        item, part = self._by_path.get(path, (None, ""))
        if item is None or item.record not in self.pending:
            return
        seen = self._seen.setdefault(item.record, {})
        if not member.isreg():
            yield self._refuse(item, "no-file", "it is not a regular file", path)
        elif part in seen:
            yield self._refuse(item, "doubled", "it is in the snapshot twice", path)
        elif part == ORIGINAL:
            digests, leaves = _measure(tar, member)
            what = _difference(digests, item.digests)
            seen[ORIGINAL] = hashlib.sha256(b"".join(leaves)).hexdigest()
            if what:
                yield self._refuse(item, "differs", what, path)
        else:
            digest = hashlib.sha256()
            for piece in _pieces(tar, member):
                digest.update(piece)
            seen[part] = digest.hexdigest()
        yield from self._judge(item, seen)

    def _judge(self, item: Expected, seen: dict[str, str]) -> Iterator[Verdict]:
        if item.record not in self.pending:
            return
        if seen.get(SEAL, item.seal_sha256) != item.seal_sha256:
            yield self._refuse(item, "differs", "the seal is another", f"{item.path}/{SEAL}")
        elif ORIGINAL in seen and LEAVES in seen and seen[LEAVES] != seen[ORIGINAL]:
            yield self._refuse(item, "differs", "the leaf list is another", f"{item.path}/{LEAVES}")
        elif len(seen) == len(PARTS):
            del self.pending[item.record], self._seen[item.record]
            yield ProvenRecord(item)

    def _refuse(self, item: Expected, code: str, what: str, path: str) -> Mismatch:
        del self.pending[item.record]
        self._seen.pop(item.record, None)
        return Mismatch(item.record, code, what, path)


def _difference(found: Digests, sealed: Digests) -> str:
    """What is not as sealed, in words; empty where all is."""
    if found == sealed:
        return ""
    if found.size != sealed.size:
        return f"it has {found.size} bytes instead of {sealed.size}"
    names = {"SHA-256": "sha256", "SM3": "sm3", "leaves root": "leaves_root"}
    return f"{', '.join(name for name, key in names.items() if getattr(found, key) != getattr(sealed, key))} differ"


def _measure(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[Digests, list[bytes]]:
    """Digests and leaf hashes of a file in the stream. A large one is hashed in threads, while more of it comes."""
    if member.size <= BUFFER:
        measure = Measure()
        for piece in _pieces(tar, member):
            measure.update(piece)
        return measure.finish(), measure.leaves
    hashing, pump, size = Hashing(), Pump(BUFFER, 4), 0
    hashing.join(pump)

    def read() -> None:
        nonlocal size
        with cast(IO[bytes], tar.extractfile(member)) as source:
            while length := _fill(source, pump.claim()):
                pump.put(size, length)
                size += length

    pump.run(read)
    return hashing.digests(size), hashing.leaves


def _fill(source: IO[bytes], frame: memoryview) -> int:
    """Fill a buffer as far as there is something; returns the number of bytes."""
    done = 0
    while done < frame.nbytes and (piece := source.read(min(PIECE, frame.nbytes - done))):
        frame[done : done + len(piece)] = piece
        done += len(piece)
    return done


def _pieces(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    with cast(IO[bytes], tar.extractfile(member)) as source:  # None is for folders and the like alone
        while piece := source.read(PIECE):
            yield piece
