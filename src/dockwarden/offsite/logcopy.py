"""The station's log as it lies in a snapshot: `log/entries.jsonl` and `log/head.note`, and the heads of witnesses.

An entry a line, in the form in which it travels (facts.entry_to_object, canonical JSON), from number 0 to the head.
A withheld body is null; the log verifies without it. `log/cosigned.note` is the newest head of this log that the
centre has cosigned, `log/centre.note` the newest head of the centre's log that the station has: with both off-site,
no single place can rewrite what they cover (design: facts and ledger).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from dockwarden.evidence import canonical, checkpoints, facts, fields, merkle, notes
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.facts import Entry
from dockwarden.evidence.notes import SignatureError, VerifierKey

FOLDER = "log"
ENTRIES = "log/entries.jsonl"
HEAD = "log/head.note"
COSIGNED = "log/cosigned.note"
CENTRE = "log/centre.note"

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


def write_log(
    base: Path,
    entries: Iterable[Entry],
    head: bytes,
    withheld: Callable[[str], bool],
    witnessed: Mapping[str, bytes] = MappingProxyType({}),
) -> dict[str, str]:
    """Write a log's copy below `base`; returns the SHA-256 of each file by its path.

    `entries` are all that the head covers, in order. Bodies of facts about records that are `withheld` stay out.
    `witnessed` are the notes that there are of COSIGNED and CENTRE. Raises OSError.
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
    heads = {HEAD: head, **witnessed}
    for path, note in heads.items():
        (base / path).write_bytes(note)
    return {ENTRIES: digest.hexdigest(), **{path: hashlib.sha256(note).hexdigest() for path, note in heads.items()}}


def verify_log(base: Path, keys: Iterable[VerifierKey]) -> LogCopy:
    """Read a log's copy below `base` in full and hold it against its signed head, and against what witnesses have
    signed, where that is there. `keys` are the station's and its centre's. Memory does not grow with the log but for
    one line a record."""
    known = tuple(keys)
    try:
        head = checkpoints.open_head((base / HEAD).read_bytes(), known)
    except (MalformedError, SignatureError, OSError) as error:
        return LogCopy(None, findings=(LogFinding("head", _words(error)),))
    seals: dict[str, str | None] = {}
    findings: tuple[LogFinding, ...] = ()
    try:
        cosigned = _witnessed(base / COSIGNED, known)
        _witnessed(base / CENTRE, known)
        _follow(base / ENTRIES, head, cosigned, seals)
    except _Wrong as wrong:
        findings = (wrong.finding,)
    return LogCopy(head, seals, findings)


class _Wrong(Exception):
    """What ends the reading of a log's copy."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(code, what)
        self.finding = LogFinding(code, what)


def _follow(path: Path, head: Head, cosigned: Head | None, seals: dict[str, str | None]) -> None:
    """Read all entries up to the head, and note the seals that they name. Raises _Wrong."""
    tree = _Growing()
    is_covered = cosigned is None
    try:
        for entry in _entries(path):
            is_covered = is_covered or _are_same(cosigned, head.log, tree)
            if entry.envelope.log != head.log or entry.envelope.seq != tree.size:
                raise _Wrong("entries", f"entry {tree.size} is another log's, or out of order")
            tree.add(entry.leaf)
            _note_seal(entry, seals)
    except (MalformedError, OSError) as error:
        raise _Wrong("entries", f"entry {tree.size}: {_words(error)}") from error
    if (tree.size, tree.root) != (head.size, head.root):
        raise _Wrong("entries", f"{tree.size} entries do not lead to the head of {head.size}")
    if not is_covered and not _are_same(cosigned, head.log, tree):
        raise _Wrong("witness", "the head that was cosigned is not one of this log")


def _witnessed(path: Path, keys: Sequence[VerifierKey]) -> Head | None:
    """A head that bears the signature of its own place and the cosignature of another; None where none is there.
    Raises _Wrong."""
    if not path.exists():
        return None
    try:
        data = path.read_bytes()
        head = checkpoints.open_head(data, keys)
        found = notes.verify_cosignatures(data, [key for key in keys if key.name != head.place_name])
    except (MalformedError, SignatureError, OSError) as error:
        raise _Wrong("witness", f"{path.name}: {_words(error)}") from error
    if not found:
        raise _Wrong("witness", f"{path.name} bears no cosignature that is known")
    return head


def _are_same(cosigned: Head | None, log: str, tree: "_Growing") -> bool:
    """Whether what was read so far of the log is just what a witness has cosigned."""
    if cosigned is None or (cosigned.log, cosigned.size) != (log, tree.size):
        return False
    return cosigned.root == tree.root


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
