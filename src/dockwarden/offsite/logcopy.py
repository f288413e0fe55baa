"""The station's log as it lies in a snapshot: `log/entries.jsonl` and `log/head.note`.

An entry a line, in the form in which it travels (facts.entry_to_object, canonical JSON), from number 0 to the head.
A withheld body is null; the log verifies without it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dockwarden.evidence import canonical, checkpoints, facts, fields, merkle
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.facts import Entry
from dockwarden.evidence.notes import SignatureError, VerifierKey

FOLDER = "log"
ENTRIES = "log/entries.jsonl"
HEAD = "log/head.note"

LONGEST_LINE = 4 << 20


@dataclass(frozen=True)
class LogFinding:
    """What is wrong with a log's copy: `code` for programs, `what` for people."""

    code: str
    what: str


@dataclass(frozen=True)
class LogCopy:
    """A log that was read in full: its head, and the seal (SHA-256 of the note) that it names for each record,
    None where the body is withheld. `findings` is empty where every entry leads to the signed head."""

    head: Head | None
    seals: dict[str, str | None] = field(default_factory=dict)
    findings: tuple[LogFinding, ...] = ()


def write_log(base: Path, entries: Iterable[Entry], head: bytes, withheld: Callable[[str], bool]) -> dict[str, str]:
    """Write a log's copy below `base`; returns the SHA-256 of each file by its path.

    `entries` are all that the head covers, in order. Bodies of facts about records that are `withheld` stay out.
    Raises OSError.
    """
    (base / FOLDER).mkdir()
    digest = hashlib.sha256()
    with (base / ENTRIES).open("wb") as file:
        for entry in entries:
            record = entry.envelope.record
            hidden = record is not None and withheld(record)
            line = facts.entry_to_object(Entry(entry.envelope_bytes, None) if hidden else entry)
            data = canonical.encode(line) + b"\n"
            digest.update(data)
            file.write(data)
    (base / HEAD).write_bytes(head)
    return {ENTRIES: digest.hexdigest(), HEAD: hashlib.sha256(head).hexdigest()}


def verify_log(base: Path, keys: Iterable[VerifierKey]) -> LogCopy:
    """Read a log's copy below `base` in full and hold it against its signed head. Memory does not grow with the
    log but for one line a record."""
    try:
        head = checkpoints.open_head((base / HEAD).read_bytes(), keys)
    except (MalformedError, SignatureError, OSError) as error:
        return LogCopy(None, findings=(LogFinding("head", _words(error)),))
    seals: dict[str, str | None] = {}
    tree = _Growing()
    try:
        for entry in _entries(base / ENTRIES):
            if entry.envelope.log != head.log or entry.envelope.seq != tree.size:
                finding = LogFinding("entries", f"entry {tree.size} is another log's, or out of order")
                return LogCopy(head, seals, (finding,))
            tree.add(entry.leaf)
            _note_seal(entry, seals)
    except (MalformedError, OSError) as error:
        return LogCopy(head, seals, (LogFinding("entries", f"entry {tree.size}: {_words(error)}"),))
    if (tree.size, tree.root) != (head.size, head.root):
        what = f"{tree.size} entries do not lead to the head of {head.size}"
        return LogCopy(head, seals, (LogFinding("entries", what),))
    return LogCopy(head, seals)


class _Growing:
    """A Merkle tree of which only its right edge is kept: the last complete subtree of each level."""

    def __init__(self) -> None:
        self.size = 0
        self._edge: dict[int, bytes] = {}

    def add(self, leaf: bytes) -> None:
        for level, _, value in merkle.completed_nodes(self._node, self.size, leaf):
            self._edge[level] = value
        self.size += 1

    @property
    def root(self) -> bytes:
        return merkle.root_at(self._node, self.size)

    def _node(self, level: int, _: int) -> bytes:
        return self._edge[level]


def _entries(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            if not line.endswith(b"\n"):
                raise MalformedError("line", "has no end")
            yield facts.entry_from_object(canonical.decode_object(line[:-1], "line"))


def _note_seal(entry: Entry, seals: dict[str, str | None]) -> None:
    envelope, body = entry.envelope, entry.body
    if envelope.kind == "sealed" and envelope.outcome == "done" and envelope.record is not None:
        seals[envelope.record] = None if body is None else fields.digest(body, "seal_sha256")


def _words(error: Exception) -> str:
    """An error in words, without the path that an operating system error quotes."""
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
