"""Heads of logs: C2SP checkpoints (c2sp.org/tlog-checkpoint), signed by the log and cosigned by witnesses."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dockwarden.evidence import ids, merkle, notes
from dockwarden.evidence.canonical import INTEGER_LIMIT, MalformedError
from dockwarden.evidence.fields import base64_bytes, base64_text

ORIGIN_PREFIX = "dockwarden/"
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True)
class Head:
    """A log's id, its number of entries, and its root hash (32 bytes)."""

    log: str
    size: int
    root: bytes

    def text(self) -> str:
        """The checkpoint's text: origin, size, root, a line each."""
        return f"{ORIGIN_PREFIX}{self.log}\n{self.size}\n{base64_text(self.root)}\n"

    @staticmethod
    def parse(text: str) -> "Head":
        """Read a checkpoint's text; only what prints back identically is accepted."""
        lines = text.split("\n")
        if len(lines) != 4 or not lines[0].startswith(ORIGIN_PREFIX):
            raise MalformedError("head", "is not three lines that begin with our origin")
        log, size, root = lines[0].removeprefix(ORIGIN_PREFIX), lines[1], base64_bytes(lines[2], "head")
        if not ids.LOG_ID.fullmatch(log) or not _SIZE.fullmatch(size) or len(root) != 32:
            raise MalformedError("head", "has a log id, size or root of another form")
        head = Head(log, int(size), root)
        if head.size >= INTEGER_LIMIT or (head.size == 0 and root != merkle.EMPTY_ROOT):
            raise MalformedError("head", "has a size that it cannot have")
        if head.text() != text:
            raise MalformedError("head", "does not print back identically")
        return head

    @property
    def place_name(self) -> str:
        """Name of the place that keeps the log; its key has the same name."""
        return self.log.partition(".")[0]


def sign_head(head: Head, key: notes.SigningKey) -> bytes:
    """Return the signed checkpoint. A place speaks for its own log alone: the key bears the place's name."""
    if head.place_name != key.name:
        raise ValueError("a place signs its own log alone")
    if Head.parse(head.text()) != head:
        raise MalformedError("head", "does not read back identically")
    return key.sign(head.text())


def open_head(data: bytes, keys: Iterable[notes.VerifierKey]) -> Head:
    """Return the head in `data`.

    Raises SignatureError unless a key that bears the name of the log's place signed it (a place speaks for its
    own log alone), and MalformedError for another form.
    """
    head = Head.parse(notes.parse(data).text)
    notes.verify(data, [key for key in keys if key.name == head.place_name])
    return head
