#!/usr/bin/env python3
"""dockwarden-verify: check a case package, a vault record or a log export without trusting who made it.

One file of plain Python (3.9 and later, standard library alone) that can be handed over with the evidence. It
follows docs/formats/ and shares no line with the programs that wrote what it checks. It reads, never writes, and
follows no symbolic link. Whatever it is given, a broken form is a finding that names the file.

Exit status: 0 consistent and signed by whom you trust; 1 findings; 2 it could not run; 3 consistent, but the
signer is none that you named (its fingerprint is printed, to be compared with one that you got another way).
"""

from __future__ import annotations

import argparse
import base64
import datetime
import hashlib
import io
import json
import os
import re
import stat
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

LEAF = 512 * 1024
MAX_NOTE = 4 << 20
MAX_LINE = 2 << 20
MAX_BODY = 1 << 20
MAX_ENVELOPE = 1 << 14
MAX_FILES = 100_000
MAX_KEYS = 1000
MAX_FINDINGS = 1000
MAX_RANGES = 16

HEX = re.compile(r"[0-9a-f]{64}")
RECORD = re.compile(r"[a-z2-7]{25}[aeimquy4]")
PLACE_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
LOG = re.compile(r"[a-z][a-z0-9-]{0,30}\.[a-z2-7]{8}")
UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
PATH = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
RECEIPT = re.compile(r"records/[^/]+/receipts/(station|centre|off-site)-[0-9]+\.note")
PLACES = re.compile(r"station|centre|off-site")
BOOT = re.compile(r"[0-9a-f]{32}")
ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ACTORS = re.compile(r"person|stage|device")
HOW = re.compile(r"(?s).{0,128}")
KIND = re.compile(r"(?=.{1,64}$)[a-z]+(-[a-z]+)*")
OUTCOME = re.compile(r"done|failed|void")

ZH = {
    "changed": "内容被改动",
    "disagrees": "相互矛盾",
    "extra": "多余内容",
    "malformed": "格式错误",
    "missing": "文件缺失",
    "signature": "签名不符",
    "unproven": "账本未证明",
    "partial": "部分内容",
    "unreadable": "无法读取",
    "no-cosignature": "未经对方会签",
    "no-key": "缺少公钥",
    "no-receipt": "无回执",
    "void": "已作废",
}


class Malformed(ValueError):
    """Something that breaks a format or a promise; `code` says which."""

    def __init__(self, text: str, code: str = "malformed") -> None:
        super().__init__(text)
        self.code = code


# --- canonical JSON (RFC 8785 without floats, integers below 2^53, at most 32 levels) -------------------------------


def encode(value: object) -> bytes:
    """Canonical bytes of a value."""
    return json.dumps(_ordered(value, 0), ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def decode(data: bytes) -> dict[str, Any]:
    """Parse one canonical object; nothing else is accepted."""
    try:
        value = json.loads(data.decode("utf-8"), parse_int=_integer, parse_float=_refuse, parse_constant=_refuse)
        if not isinstance(value, dict) or encode(value) != data:
            raise Malformed("is not one object in canonical form")
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed("is not canonical JSON") from error
    return value


def _ordered(value: object, depth: int) -> object:
    if depth > 32:
        raise Malformed("is nested too deeply")
    if isinstance(value, dict):
        return {
            key: _ordered(value[key], depth + 1) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))
        }
    return [_ordered(item, depth + 1) for item in value] if isinstance(value, list) else value


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) >= 2**53:
        raise Malformed("holds an integer of 2^53 or more")
    return int(text)


def _refuse(text: str) -> None:
    raise Malformed("holds a number that is not an integer")


def word(source: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    """A field of text of a given form."""
    value = source.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Malformed(f"has no sound {key!r}")
    return value


def number(source: Mapping[str, Any], key: str) -> int:
    """A field that is an integer of 0 or more."""
    value = source.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Malformed(f"has no sound {key!r}")
    return value


def moment(source: Mapping[str, Any], key: str) -> None:
    """A field that is a moment of a day that there is, in UTC with milliseconds."""
    try:
        datetime.datetime.fromisoformat(word(source, key, UTC)[:-1])
    except ValueError as error:
        raise Malformed(f"has no sound {key!r}") from error


def items(source: Mapping[str, Any], key: str) -> list[Any]:
    """A field that is a list."""
    value = source.get(key)
    if not isinstance(value, list):
        raise Malformed(f"has no list {key!r}")
    return value


def table(source: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A field that is an object."""
    value = source.get(key)
    if not isinstance(value, dict):
        raise Malformed(f"has no object {key!r}")
    return value


def unbase64(text: object) -> bytes:
    """Bytes of base64 that prints back identically (RFC 4648 section 4)."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except ValueError:
        data = None
    if data is None or base64.b64encode(data).decode() != text:
        raise Malformed("holds base64 of another form")
    return data


# --- SM3 (GB/T 32905-2016), for a Python whose OpenSSL lacks it; slow -----------------------------------------------


class PlainSm3:
    """SM3 in plain Python: about a quarter of a MB a second."""

    def __init__(self) -> None:
        self._state = bytes.fromhex("7380166f4914b2b9172442d7da8a0600a96f30bc163138aae38dee4db0fb0e4e")
        self._rest = b""
        self._size = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self._size += len(data)
        whole = self._rest + data
        end = len(whole) - len(whole) % 64
        for start in range(0, end, 64):
            self._state = _sm3_block(self._state, whole[start : start + 64])
        self._rest = whole[end:]

    def hexdigest(self) -> str:
        """Digest of all bytes taken."""
        tail = self._rest + b"\x80" + bytes(-(len(self._rest) + 9) % 64) + struct.pack(">Q", self._size * 8)
        state = self._state
        for start in range(0, len(tail), 64):
            state = _sm3_block(state, tail[start : start + 64])
        return state.hex()


def _turn(value: int, places: int) -> int:
    return (value << places | value >> (32 - places)) & 0xFFFFFFFF if places else value


def _sm3_block(state: bytes, block: bytes) -> bytes:
    w = list(struct.unpack(">16I", block))
    for j in range(16, 68):
        x = w[j - 16] ^ w[j - 9] ^ _turn(w[j - 3], 15)
        w.append(x ^ _turn(x, 15) ^ _turn(x, 23) ^ _turn(w[j - 13], 7) ^ w[j - 6])
    before = struct.unpack(">8I", state)
    a, b, c, d, e, f, g, h = before
    for j in range(64):
        ff, gg, t = (
            (a ^ b ^ c, e ^ f ^ g, 0x79CC4519) if j < 16 else (a & b | a & c | b & c, e & f | ~e & g, 0x7A879D8A)
        )
        ss1 = _turn(_turn(a, 12) + e + _turn(t, j % 32) & 0xFFFFFFFF, 7)
        one = ff + d + (ss1 ^ _turn(a, 12)) + (w[j] ^ w[j + 4]) & 0xFFFFFFFF
        two = gg + h + ss1 + w[j] & 0xFFFFFFFF
        a, b, c, d = one, a, _turn(b, 9), c
        e, f, g, h = two ^ _turn(two, 9) ^ _turn(two, 17), e, _turn(f, 19), g
    return struct.pack(">8I", *(x ^ y for x, y in zip(before, (a, b, c, d, e, f, g, h))))  # noqa: B905 (new in 3.10)


def new_sm3() -> Any:
    """A fresh SM3, by OpenSSL where it can."""
    try:
        return hashlib.new("sm3")
    except ValueError:
        return PlainSm3()


# --- Ed25519 (RFC 8032), strict: canonical S and points, none of small order, no cofactor ---------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
NEUTRAL = (0, 1, 1, 0)


def _add(p: tuple[int, int, int, int], q: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _point(data: bytes) -> tuple[int, int, int, int] | None:
    y, sign = int.from_bytes(data, "little") % 2**255, data[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x % 2 != sign else x
    return x, y, 1, x * y % P


def _is_small(point: tuple[int, int, int, int]) -> bool:
    for _ in range(3):
        point = _add(point, point)
    return point[0] == 0 and point[1] == point[2]


BASE = _point((4 * pow(5, -1, P) % P).to_bytes(32, "little")) or NEUTRAL


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature over a message is that of a public key."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, s = _point(public), int.from_bytes(signature[32:], "little")
    if key is None or s >= L or _is_small(key):
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    minus = (P - key[0], key[1], 1, P - key[3])
    steps = (NEUTRAL, BASE, minus, _add(BASE, minus))
    found = NEUTRAL
    for bit in range(252, -1, -1):
        found = _add(_add(found, found), steps[(s >> bit & 1) | (k >> bit & 1) << 1])
    scale = pow(found[2], -1, P)
    x, y = found[0] * scale % P, found[1] * scale % P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32] and not _is_small(found)


# --- signed notes (C2SP signed-note, tlog-cosignature) --------------------------------------------------------------

SIGNATURE_LINE = re.compile(r"— ([^\s+\x00-\x1f]{1,128}) ([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True)
class Key:
    """A named public key; its line is `name+id+base64(01, public)`."""

    name: str
    public: bytes

    def id(self, algorithm: int = 1) -> bytes:
        """The four bytes by which signature lines name it."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([algorithm]) + self.public).digest()[:4]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the raw public key."""
        return hashlib.sha256(self.public).hexdigest()


def parse_key(line: object) -> Key:
    """Read a key line."""
    name, _, rest = line.partition("+") if isinstance(line, str) else ("", "", "")
    shown, _, encoded = rest.partition("+")
    raw = unbase64(encoded)
    key = Key(name, raw[1:])
    if len(raw) != 33 or raw[0] != 1 or not re.fullmatch(r"[^\s+\x00-\x1f]{1,128}", name) or shown != key.id().hex():
        raise Malformed("holds a key line of another form")
    point = _point(key.public)
    if point is None or _is_small(point):
        raise Malformed("holds a key that is no sound point")
    return key


@dataclass(frozen=True)
class Note:
    """A note whose signatures are not yet checked: its text, and (name, key id, signature) of each line."""

    text: str
    lines: tuple[tuple[str, bytes, bytes], ...]

    def signer(self, keys: Iterable[Key]) -> Key | None:
        """Which of `keys` signed; Malformed where a line claims one of them and is wrong."""
        found = None
        for key in keys:
            for name, key_id, value in self.lines:
                if found is None and (name, key_id) == (key.name, key.id()):
                    if not ed25519(key.public, self.text.encode(), value):
                        raise Malformed(f"has a wrong signature of {key.name}", "signature")
                    found = key
        return found

    def cosigners(self, keys: Iterable[Key]) -> set[str]:
        """Names of those of `keys` that cosigned; Malformed where one is wrong."""
        found = set()
        for key in keys:
            for name, key_id, value in self.lines:
                if (name, key_id) == (key.name, key.id(4)):
                    seconds = int.from_bytes(value[:8], "big")
                    message = f"cosignature/v1\ntime {seconds}\n{self.text}".encode()
                    if len(value) != 72 or seconds >= 2**63 or not ed25519(key.public, message, value[8:]):
                        raise Malformed(f"has a wrong cosignature of {key.name}", "signature")
                    found.add(key.name)
        return found


def parse_note(data: bytes) -> Note:
    """Read a note's form."""
    try:
        head, gap, tail = data.decode("utf-8").rpartition("\n\n")
    except UnicodeDecodeError as error:
        raise Malformed("is not UTF-8") from error
    if not gap or not head or not tail.endswith("\n") or re.search(r"[\x00-\x09\x0b-\x1f]", head):
        raise Malformed("is not a signed note")
    lines = [SIGNATURE_LINE.fullmatch(line) for line in tail[:-1].split("\n")]
    if len(lines) > 32:
        raise Malformed("has too many signatures")
    found = [(line[1], unbase64(line[2])) for line in lines if line]
    if len(found) != len(lines) or any(len(value) < 5 for _, value in found):
        raise Malformed("has a signature line of another form")
    return Note(head + "\n", tuple((name, value[:4], value[4:]) for name, value in found))


def statement(note: Note, kind: str) -> dict[str, Any]:
    """The object that a signed statement of this kind states."""
    lines = note.text.split("\n")
    if len(lines) != 3 or lines[0] != f"dockwarden/{kind}/1":
        raise Malformed(f"is not a {kind}")
    body = decode(lines[1].encode())
    if number(body, "v") != 1:
        raise Malformed("is of another version")
    return body


# --- Merkle trees (RFC 6962, proofs of RFC 9162) --------------------------------------------------------------------


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """Takes leaf hashes in order and keeps only the roots of complete subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Take the next leaf hash."""
        size, value = self.size, leaf
        while size & 1:
            value, size = node_hash(self._roots.pop(), value), size >> 1
        self._roots.append(value)
        self.size += 1

    def root(self) -> bytes:
        """Root of all leaves taken."""
        if not self._roots:
            return hashlib.sha256(b"").digest()
        value = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            value = node_hash(left, value)
        return value


def included(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    """Whether a proof leads from leaf number `index` to the root of `size` leaves."""
    if not 0 <= index < size or any(len(step) != 32 for step in proof):
        return False
    place, last, value = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            value = node_hash(step, value)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            value = node_hash(value, step)
        place, last = place >> 1, last >> 1
    return last == 0 and value == root


# --- what was found -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guard:
    """See Report.guard."""

    report: Report
    path: str
    span: tuple[int, int] | None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Malformed):
            self.report.find(error.code, self.path, str(error), self.span)
        elif isinstance(error, OSError):
            self.report.find("unreadable", self.path, error.strerror or "cannot be read", self.span)
        elif isinstance(error, (ValueError, RecursionError)):
            self.report.find("malformed", self.path, "is of no form that is known", self.span)
        else:
            return False
        return True


@dataclass
class Report:
    """Findings and notes as {code, path, range, text}, how many things of each kind were checked, and who signed."""

    findings: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    signer: Key | None = None
    anchored: bool = False

    def find(self, code: str, path: str, text: str, span: tuple[int, int] | None = None) -> None:
        """Record what is wrong; `span` is (offset, length) in bytes of the file."""
        _append(self.findings, code, path, text, span)

    def note(self, code: str, path: str, text: str, span: tuple[int, int] | None = None) -> None:
        """Record what a reader should know although nothing is wrong."""
        _append(self.notes, code, path, text, span)

    def count(self, kind: str, number: int = 1) -> None:
        """Count something as looked at."""
        self.checked[kind] = self.checked.get(kind, 0) + number

    def guard(self, path: str, span: tuple[int, int] | None = None) -> Guard:
        """A `with` that turns whatever a hostile file can cause into a finding that names it."""
        return Guard(self, path, span)

    def to_object(self) -> dict[str, Any]:
        """The report as JSON (docs/formats/package.md)."""
        signer = self.signer and {"name": self.signer.name, "fingerprint": self.signer.fingerprint}
        return {
            "consistent": self.consistent,
            "anchored": self.anchored,
            "checked": self.checked,
            "findings": self.findings,
            "notes": self.notes,
            "signer": signer,
        }

    @property
    def consistent(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def exit_status(self) -> int:
        """0 consistent and anchored, 1 findings, 3 consistent only."""
        return 1 if self.findings else 0 if self.anchored else 3


def _append(into: list[dict[str, Any]], code: str, path: str, text: str, span: tuple[int, int] | None) -> None:
    if len(into) < MAX_FINDINGS:
        into.append({"code": code, "path": plain(path), "range": span and list(span), "text": plain(text)})
    elif len(into) == MAX_FINDINGS:
        into.append(
            {"code": code, "path": "", "range": None, "text": f"more than {MAX_FINDINGS}; the rest is left out"}
        )


def plain(text: str) -> str:
    """Text without anything that a terminal could obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# --- files ----------------------------------------------------------------------------------------------------------


class Folder:
    """The regular files and the folders below a folder, by path with slashes; links and all else are findings."""

    def __init__(self, root: Path, report: Report) -> None:
        self.root = root
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.strange: set[str] = set()
        waiting = [""]
        while waiting and self._count <= MAX_FILES:
            folder = waiting.pop()
            with report.guard(folder or "."), os.scandir(root / folder) as found:
                for entry in found:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                        self.folders.add(path)
                    elif entry.is_file(follow_symlinks=False):
                        self.files.add(path)
                    else:
                        self.strange.add(path)
                        report.find("unreadable", path, "is a link or a special file")
                    if self._count > MAX_FILES:
                        report.find("extra", path, f"there are more than {MAX_FILES} files and folders")
                        break

    @property
    def _count(self) -> int:
        return len(self.files) + len(self.folders) + len(self.strange)

    def find_extra(self, known: Iterable[str], text: str, report: Report) -> None:
        """Name files that are not known, and folders in which no known file is, empty or not."""
        listed = set(known)
        homes = {path[:place] for path in listed for place, letter in enumerate(path) if letter == "/"}
        for path in sorted(self.files - listed | self.folders - homes):
            report.find("extra", path, text)

    def open(self, path: str) -> BinaryIO:
        """Open a regular file without following a link."""
        wanted = ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK")
        handle = os.open(self.root / path, os.O_RDONLY | sum(getattr(os, name, 0) for name in wanted))
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise Malformed("is no regular file", "unreadable")
        return os.fdopen(handle, "rb")

    def read(self, path: str) -> bytes:
        """Bytes of a note or another small file."""
        with self.open(path) as stream:
            data = stream.read(MAX_NOTE + 1)
        if len(data) > MAX_NOTE:
            raise Malformed(f"is larger than {MAX_NOTE} bytes")
        return data

    def leaves(self, path: str, tree: Tree) -> Iterator[bytes]:
        """The leaf hashes in a file of them, which join `tree` as they are read."""
        with self.open(path) as stream:
            while leaf := stream.read(32):
                tree.add(leaf)
                yield leaf

    def lines(self, path: str) -> Iterator[tuple[int, bytes]]:
        """Offset and bytes of each line, the newline included."""
        offset = 0
        with self.open(path) as stream:
            while line := stream.readline(MAX_LINE):
                if not line.endswith(b"\n"):
                    raise Malformed(f"has a line without end at byte {offset}")
                yield offset, line
                offset += len(line)


@dataclass(frozen=True)
class Digests:
    """Size in bytes, SHA-256, SM3 and the root over leaves of 512 KiB (None where nobody has said it)."""

    size: int
    sha256: str
    sm3: str
    root: str | None = None

    def all(self) -> tuple[int, str, str, str | None]:
        """The four, in order."""
        return self.size, self.sha256, self.sm3, self.root


def check_bytes(folder: Folder, path: str, wanted: Digests, leaves: str, report: Report) -> None:
    """Compare a file with its digests. Where an original differs, its leaf hashes give the damaged ranges, provided
    that they themselves lead to the root that the seal names."""
    sha256, sm3, tree, listed = hashlib.sha256(), new_sm3(), Tree(), Tree()
    spans: list[tuple[int, int]] = []
    listing = folder.leaves(leaves, listed) if leaves in folder.files else iter(())
    position = 0
    with report.guard(path):
        with folder.open(path) as stream:
            while piece := stream.read(min(LEAF, wanted.size - position)):
                leaf = leaf_hash(piece)
                sha256.update(piece)
                sm3.update(piece)
                tree.add(leaf)
                if next(listing, None) != leaf:
                    _add_span(spans, position, len(piece))
                position += len(piece)
            actual = os.fstat(stream.fileno()).st_size
        if actual != wanted.size:
            _add_span(spans, position, abs(wanted.size - actual))
        found = (actual, sha256.hexdigest(), sm3.hexdigest(), tree.root().hex() if wanted.root else None)
        names = zip(("size", "SHA-256", "SM3", "leaves root"), found, wanted.all())  # noqa: B905 (new in 3.10)
        wrong = [name for name, is_so, should in names if is_so != should]
        for _ in listing:
            pass
        known = listed.root().hex() == wanted.root
        if leaves in folder.files and not known:
            report.find("disagrees", leaves, "does not give the root that the seal names")
        if wrong:
            where = spans if known and spans else [(0, actual)]
            for span in where if wanted.root else [None]:
                report.find("changed", path, f"other bytes than were promised: {', '.join(wrong)} differ", span)


def _add_span(spans: list[tuple[int, int]], offset: int, length: int) -> None:
    if spans and (sum(spans[-1]) == offset or len(spans) == MAX_RANGES):
        offset, length = spans[-1][0], offset + length - spans.pop()[0]
    spans.append((offset, length))


# --- whom to believe ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trust:
    """What the person who checks knows from elsewhere: key lines, fingerprints, or nothing."""

    keys: tuple[Key, ...] = ()
    fingerprints: frozenset[str] = frozenset()

    def knows(self, key: Key) -> bool:
        """Whether this key is one of them."""
        return key in self.keys or key.fingerprint in self.fingerprints

    def with_listed(self, listed: Iterable[Key]) -> list[Key]:
        """Keys to compute with: a name that is trusted speaks with its trusted keys alone, others as listed."""
        names = {key.name for key in self.keys}
        return [*self.keys, *(key for key in listed if key.name not in names)]


def read_trust(text: str | None) -> Trust:
    """Read --trust: a fingerprint (colons and spaces are dropped), or a file of key lines and fingerprints."""
    lines = [] if text is None else [text]
    if text is not None and not HEX.fullmatch(_digits(text)):
        with Path(text).open("rb") as stream:
            lines = [line.strip() for line in stream.read(MAX_NOTE).decode().splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if not lines:
            raise Malformed("holds no key")
    prints = frozenset(_digits(line) for line in lines if HEX.fullmatch(_digits(line)))
    return Trust(tuple(parse_key(line) for line in lines if _digits(line) not in prints), prints)


def _digits(text: str) -> str:
    return re.sub(r"[\s:]", "", text).lower()


# --- seals, receipts, heads, facts ----------------------------------------------------------------------------------


def place_of(log: str) -> str:
    """Name of the place that keeps a log."""
    return log.partition(".")[0]


def sums(source: Mapping[str, Any]) -> tuple[int, str, str]:
    """Size, SHA-256 and SM3 of a file."""
    return number(source, "size"), word(source, "sha256", HEX), word(source, "sm3", HEX)


@dataclass(frozen=True)
class Seal:
    """What matters of a seal; `sha256` is that of the note's file."""

    note: Note
    record: str
    log: str
    digests: Digests
    sha256: str
    holes: tuple[tuple[int, int, str], ...] = ()

    @property
    def place(self) -> str:
        """Name of the place that sealed."""
        return place_of(self.log)


def parse_seal(data: bytes) -> Seal:
    """Read a seal's form."""
    note = parse_note(data)
    body = statement(note, "seal")
    digests = table(body, "digests")
    if number(digests, "leaf_size") != LEAF:
        raise Malformed("has leaves of another size")
    moment(body, "sealed_at")
    word(body, "read_back", re.compile(r"direct|dropped|none"))
    word(table(table(body, "source"), "name"), "raw", re.compile(r"([0-9a-f]{2})+"))
    own = Digests(*sums(digests), word(digests, "leaves_root", HEX))
    sha256 = hashlib.sha256(data).hexdigest()
    return Seal(note, word(body, "record", RECORD), word(body, "log", LOG), own, sha256, parse_holes(body, own.size))


def parse_holes(body: Mapping[str, Any], size: int) -> tuple[tuple[int, int, str], ...]:
    """The ranges (offset, length, reason) that the device did not give: in order, apart, within the file."""
    if "holes" not in body:
        return ()
    holes, end = [], 0
    for hole in body["holes"] if isinstance(body["holes"], list) else [None]:
        if not isinstance(hole, dict):
            raise Malformed("has a hole that is none")
        offset, length = number(hole, "offset"), number(hole, "length")
        if not length or offset < end:
            raise Malformed("has holes that are not in order")
        end = offset + length
        holes.append((offset, length, word(hole, "reason", re.compile(r"unreadable|given-up"))))
    if not holes or end > size:
        raise Malformed("has holes that are not of this file")
    return tuple(holes)


def tell_holes(seal: Seal, original: str, report: Report) -> None:
    """Say which ranges of an original are not its recording's: zeros keep their place."""
    for offset, length, reason in seal.holes:
        why = "could not be read" if reason == "unreadable" else "was not tried to the end"
        report.note(
            "partial", original, f"the device did not give these bytes ({why}): no contents", (offset, length)
        )


@dataclass(frozen=True)
class Head:
    """A log's head and the note that holds it."""

    note: Note
    log: str
    size: int
    root: bytes

    @property
    def place(self) -> str:
        """Name of the place that keeps the log."""
        return place_of(self.log)


def parse_head(data: bytes) -> Head:
    """Read a head's form (C2SP tlog-checkpoint)."""
    note = parse_note(data)
    lines = note.text.split("\n")
    if len(lines) != 4 or not lines[0].startswith("dockwarden/") or not LOG.fullmatch(lines[0][11:]):
        raise Malformed("is not the head of a log of ours")
    if not re.fullmatch(r"0|[1-9][0-9]{0,15}", lines[1]) or int(lines[1]) >= 2**53:
        raise Malformed("has no sound size")
    head = Head(note, lines[0][11:], int(lines[1]), unbase64(lines[2]))
    if len(head.root) != 32 or (head.size == 0 and head.root != Tree().root()):
        raise Malformed("has no sound root")
    return head


def parse_envelope(data: bytes) -> dict[str, Any]:
    """Read an envelope: all its fields, and none that is unknown."""
    source = decode(data)
    needed = {"at", "body_sha256", "by", "kind", "log", "outcome", "seq", "v"}
    if not needed <= set(source) <= needed | {"record", "place"} or number(source, "v") != 1:
        raise Malformed("holds an envelope of another version")
    at, by = table(source, "at"), table(source, "by")
    if set(at) != {"boot", "mono", "synchronised", "utc"} or set(by) != {"how", "id", "kind"}:
        raise Malformed("holds an envelope with unknown fields")
    forms = [(at, "boot", BOOT), (by, "id", ACTOR), (by, "kind", ACTORS), (by, "how", HOW), (source, "log", LOG)]
    forms += [(source, "kind", KIND), (source, "outcome", OUTCOME), (source, "body_sha256", HEX)]
    forms += [(source, key, pattern) for key, pattern in (("record", RECORD), ("place", PLACES)) if key in source]
    for where, key, pattern in forms:
        word(where, key, pattern)
    moment(at, "utc")
    number(at, "mono")
    number(source, "seq")
    if not isinstance(at["synchronised"], bool):
        raise Malformed("has no sound 'synchronised'")
    return source


def check_signature(
    note: Note, name: str, keys: list[Key], path: str, report: Report, must: bool = True
) -> Key | None:
    """The key of `name` that signed. A wrong signature is a finding, and so is the lack of one that must be there."""
    with report.guard(path):
        signer = note.signer(key for key in keys if key.name == name)
        if signer is None and must:
            raise Malformed(f"is not signed by a listed key of {name}", "signature")
        return signer
    return None


def check_receipt(folder: Folder, path: str, seal: Seal | None, keys: list[Key], report: Report) -> None:
    """Check a receipt: its witness signed it, and it is about this seal and these bytes."""
    report.count("receipts")
    note = parse_note(folder.read(path))
    body = statement(note, "receipt")
    place = word(body, "place", PLACES)
    word(body, "method", re.compile(r"full"))
    moment(body, "at")
    word(body, "generation", re.compile(r"[a-z0-9]{8,64}"))
    about = (word(body, "record", RECORD), word(body, "seal_sha256", HEX), *sums(body))
    check_signature(note, word(body, "witness", PLACE_NAME), keys, path, report)
    if not path.rpartition("/")[2].startswith(f"{place}-"):
        raise Malformed(f"is about the place {place}, which its name does not say", "disagrees")
    if seal and about != (seal.record, seal.sha256, seal.digests.size, seal.digests.sha256, seal.digests.sm3):
        raise Malformed("is not about this record's seal and bytes", "disagrees")
    if body.get("head") is not None:
        head = parse_head(word(body, "head", re.compile(r"(?s).{1,8192}")).encode())
        check_signature(head.note, head.place, keys, path, report)


class Facts:
    """What logs say of the records in question: only what the checks need is kept."""

    def __init__(self, records: Iterable[str], files: Mapping[str, Digests], report: Report) -> None:
        self._records = set(records)
        self._files = files
        self._report = report
        self._sealed: dict[tuple[str, str], tuple[str, object]] = {}
        self._previews: dict[str, bool] = {}

    def take(self, path: str, envelope: dict[str, Any], body: dict[str, Any] | None) -> None:
        """Take the next fact of a log."""
        record, kind, outcome = envelope.get("record", ""), envelope["kind"], envelope["outcome"]
        if outcome == "void":
            self._report.note("void", path, f"fact {envelope['seq']}: {kind} {record} is void")
        if kind == "sealed" and envelope.get("place") == "station" and record in self._records:
            self._sealed[record, envelope["log"]] = (outcome, body and body.get("seal_sha256"))
        if kind == "previewed" and outcome == "done" and body and isinstance(body.get("parts"), list):
            for part in body["parts"]:
                where = f"records/{record}/{part.get('name')}" if isinstance(part, dict) else ""
                if where in self._files:
                    same = part.get("sha256") == self._files[where].sha256
                    self._previews[where] = self._previews.get(where, False) or same

    def check_seal(self, seal: Seal, path: str) -> None:
        """Look for the latest `sealed` in a log of the place that sealed: it must say this very seal."""
        own = [
            said
            for (record, log), said in self._sealed.items()
            if (record, place_of(log)) == (seal.record, seal.place)
        ]
        if ("done", seal.sha256) in own:
            return
        why = "no fact `sealed` with its body is in a log of this place"
        if any(sha256 not in (None, seal.sha256) for _, sha256 in own):
            why = "the log speaks of another seal"
        elif any(outcome != "done" for outcome, _ in own):
            why = "the log calls the sealing void or failed"
        self._report.find("unproven", path, why)

    def check_previews(self) -> None:
        """Previews must be files of which a log speaks, where one speaks of them."""
        for path in (path for path, same in self._previews.items() if not same):
            self._report.find("disagrees", path, "is not the file of which the log speaks")


def check_entry(
    line: bytes, head: Head, after: int, whole: Tree | None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Check a line of entries.jsonl against its log's head; returns envelope and body (None where withheld)."""
    source = decode(line[:-1])
    if set(source) != {"body", "envelope"} | ({"proof"} if whole is None else set()):
        raise Malformed("is not an envelope, a body and (where the log is not whole) a proof")
    data = str(source["envelope"]).encode()
    if len(data) > MAX_ENVELOPE:
        raise Malformed(f"has an envelope of more than {MAX_ENVELOPE} bytes")
    envelope, leaf = parse_envelope(data), leaf_hash(data)
    seq = envelope["seq"]
    if envelope["log"] != head.log or seq <= after:
        raise Malformed(f"is fact {seq} of the log {envelope['log']}, which does not belong here", "disagrees")
    if whole is not None:
        whole.add(leaf)
    elif not included(leaf, seq, head.size, [unbase64(step) for step in items(source, "proof")], head.root):
        raise Malformed(f"is fact {seq}, whose proof does not lead to the log's head", "unproven")
    if source["body"] is None:
        return envelope, None
    body = unbase64(source["body"])
    if len(body) > MAX_BODY or hashlib.sha256(body).hexdigest() != envelope["body_sha256"]:
        raise Malformed(f"has a body that is not the one of fact {seq}", "disagrees")
    return envelope, decode(body[16:])


def check_entries(folder: Folder, path: str, head: Head, facts: Facts, report: Report, alone: bool) -> None:
    """Check all lines. Alone, a whole log needs no proofs: its leaves give the root."""
    whole, after = Tree() if alone else None, -1
    for offset, line in folder.lines(path):
        if offset == 0 and b'"proof":' in line:
            whole = None
        with report.guard(path, (offset, len(line))):
            envelope, body = check_entry(line, head, after, whole)
            after = envelope["seq"]
            facts.take(path, envelope, body)
            report.count("entries")
            report.count("bodies", int(body is not None))
    if whole is not None and (whole.size, whole.root()) != (head.size, head.root):
        report.find("unproven", path, "its entries do not give the root that the head names")


def check_log(
    folder: Folder, base: str, keys: list[Key], facts: Facts, report: Report
) -> tuple[Head, Key | None] | None:
    """Check a log's head and the entries beside it; returns the head and the key that signed it."""
    where, entries = f"{base}head.note", f"{base}entries.jsonl"
    for path in sorted({where, entries} - folder.files - folder.strange):
        report.find("missing", path, "a log has a head and entries")
    if not {where, entries} <= folder.files:
        return None
    with report.guard(where):
        head = parse_head(folder.read(where))
        if base not in ("", f"logs/{head.log}/"):
            raise Malformed(f"is the head of the log {head.log}", "disagrees")
        report.count("heads")
        signer = check_signature(head.note, head.place, keys, where, report, must=base != "")
        with report.guard(where):
            cosigners = head.note.cosigners(key for key in keys if key.name != head.place)
            report.count("cosignatures", len(cosigners))
            if not cosigners:
                report.note("no-cosignature", where, "nobody else has cosigned this head")
        with report.guard(entries):
            check_entries(folder, entries, head, facts, report, alone=base == "")
        return head, signer
    return None


# --- the three things that can be checked ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Manifest:
    """What matters of a package's manifest."""

    note: Note
    centre: str
    key_lines: list[str]
    keys: list[Key]
    records: list[str]
    files: dict[str, Digests]


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest's form."""
    note = parse_note(data)
    body = statement(note, "package")
    moment(body, "made_at")
    lines, records = items(body, "keys"), items(body, "records")
    if not all(isinstance(record, str) and RECORD.fullmatch(record) for record in records):
        raise Malformed("lists something that is no record")
    files: dict[str, Digests] = {}
    for item in items(body, "files"):
        if not isinstance(item, dict):
            raise Malformed("lists something that is no file")
        files[word(item, "path", PATH)] = Digests(*sums(item))
    if len(set(records)) != len(records) or len(files) != len(body["files"]) or "package.note" in files:
        raise Malformed("lists something twice, or itself")
    if len(lines) > MAX_KEYS:
        raise Malformed(f"lists more than {MAX_KEYS} keys")
    return Manifest(
        note, word(body, "centre", PLACE_NAME), lines, [parse_key(line) for line in lines], records, files
    )


def check_package(folder: Folder, trust: Trust, report: Report) -> None:
    """Check a case package (docs/formats/package.md)."""
    manifest = None
    with report.guard("package.note"):
        if "package.note" not in folder.files | folder.strange:
            raise Malformed("the centre's signed list of files is not here", "missing")
        manifest = parse_manifest(folder.read("package.note"))
    if manifest is None:
        return
    report.signer = check_signature(manifest.note, manifest.centre, manifest.keys, "package.note", report)
    report.anchored = report.signer is not None and trust.knows(report.signer)
    keys = trust.with_listed(manifest.keys)
    seals = check_seals(folder, manifest, keys, report)
    check_files(folder, manifest, seals, report)
    with report.guard("keys.txt"):
        if "keys.txt" in folder.files and folder.read("keys.txt").decode() != "".join(
            f"{k}\n" for k in manifest.key_lines
        ):
            raise Malformed("does not list the manifest's keys", "disagrees")
    for path in sorted(path for path in manifest.files if RECEIPT.fullmatch(path) and path in folder.files):
        with report.guard(path):
            check_receipt(folder, path, seals.get(path.split("/")[1]), keys, report)
    facts = Facts(manifest.records, manifest.files, report)
    for log in sorted({path.split("/")[1] for path in manifest.files if path.startswith("logs/")}):
        check_log(folder, f"logs/{log}/", keys, facts, report)
    for record, seal in seals.items():
        facts.check_seal(seal, f"records/{record}/seal.note")
    facts.check_previews()


def check_seals(folder: Folder, manifest: Manifest, keys: list[Key], report: Report) -> dict[str, Seal]:
    """Check that each record of a package has its files and a seal of the place that took it in."""
    seals: dict[str, Seal] = {}
    witnessed = {path.split("/")[1] for path in manifest.files if re.search(r"/receipts/(centre|off-site)-", path)}
    announced = set(manifest.records)
    for path in manifest.files:
        if path.startswith("records/") and path.split("/")[1] not in announced:
            report.find("extra", path, "belongs to no record of this package")
    for record in manifest.records:
        report.count("records")
        path, original = f"records/{record}/seal.note", f"records/{record}/original"
        for lost in sorted({path, original} - manifest.files.keys()):
            report.find("missing", lost, "a record has an original and a seal")
        if record not in witnessed:
            report.note("no-receipt", f"records/{record}", "no receipt of another place than the station is here")
        with report.guard(path):
            if path not in manifest.files or path not in folder.files:
                continue
            report.count("seals")
            seal = seals[record] = parse_seal(folder.read(path))
            check_signature(seal.note, seal.place, keys, path, report)
            listed, own = manifest.files.get(original), seal.digests
            if seal.record != record:
                raise Malformed(f"is the seal of {seal.record}", "disagrees")
            tell_holes(seal, original, report)
            if listed and (listed.size, listed.sha256, listed.sm3) != (own.size, own.sha256, own.sm3):
                raise Malformed("is not about the original that the manifest lists", "disagrees")
    return seals


def check_files(folder: Folder, manifest: Manifest, seals: Mapping[str, Seal], report: Report) -> None:
    """Compare every listed file byte by byte; name those that are missing and those that nobody listed."""
    folder.find_extra([*manifest.files, "package.note"], "is not listed in the manifest", report)
    for path in sorted(manifest.files.keys() - folder.files - folder.strange):
        report.find("missing", path, "is listed in the manifest")
    for path in sorted(manifest.files.keys() & folder.files):
        wanted, leaves = manifest.files[path], ""
        seal = seals.get(path.split("/")[1]) if re.fullmatch(r"records/[^/]+/original", path) else None
        if seal:
            wanted = Digests(wanted.size, wanted.sha256, wanted.sm3, seal.digests.root)
            leaves = path.replace("/original", "/leaves")
            report.count("originals")
        report.count("files")
        check_bytes(folder, path, wanted, leaves, report)


def check_record(folder: Folder, trust: Trust, report: Report) -> None:
    """Check a record as a vault keeps it: original, leaves, seal.note."""
    keys = check_lone(folder, {"original", "seal.note"}, {"leaves"}, trust, report)
    if "seal.note" not in folder.files:
        return
    with report.guard("seal.note"):
        seal = parse_seal(folder.read("seal.note"))
        report.count("seals")
        signer = check_signature(seal.note, seal.place, keys, "seal.note", report, must=False)
        settle(signer, seal.note, "seal.note", trust, report)
        tell_holes(seal, "original", report)
        if "original" in folder.files:
            report.count("originals")
            check_bytes(folder, "original", seal.digests, "leaves", report)


def check_export(folder: Folder, trust: Trust, report: Report) -> None:
    """Check a log's export: head.note and entries.jsonl, whole or with proofs."""
    keys = check_lone(folder, {"head.note", "entries.jsonl"}, set(), trust, report)
    found = check_log(folder, "", keys, Facts((), {}, report), report)
    if found is not None:
        settle(found[1], found[0].note, "head.note", trust, report)


def check_lone(folder: Folder, needed: set[str], more: set[str], trust: Trust, report: Report) -> list[Key]:
    """Name missing and extra files; returns the keys to compute with: the trusted ones and those of a keys.txt."""
    for path in sorted(needed - folder.files - folder.strange):
        report.find("missing", path, "belongs here")
    folder.find_extra(needed | more | {"keys.txt"}, "does not belong here", report)
    listed: list[Key] = []
    with report.guard("keys.txt"):
        if "keys.txt" in folder.files:
            listed = [parse_key(line) for line in folder.read("keys.txt").decode().splitlines()]
    return trust.with_listed(listed)


def settle(signer: Key | None, note: Note, path: str, trust: Trust, report: Report) -> None:
    """Say who signed, and whether that is somebody who is trusted."""
    report.signer, report.anchored = signer, signer is not None and trust.knows(signer)
    if signer is None:
        ids = ", ".join(f"{name} {key_id.hex()}" for name, key_id, _ in note.lines)
        report.note("no-key", path, f"the signature is NOT checked: none of the keys given made it (made by {ids})")


# --- command line ---------------------------------------------------------------------------------------------------


def check(path: Path, trust: Trust) -> Report:
    """Check whatever the folder is; raises Malformed where it is nothing that can be checked."""
    report = Report()
    if not path.is_dir():
        raise Malformed("is no folder")
    folder = Folder(path, report)
    names = {name.partition("/")[0] for name in folder.files | folder.strange}
    if names & {"package.note", "records", "logs"}:
        check_package(folder, trust, report)
    elif names & {"seal.note", "original"}:
        check_record(folder, trust, report)
    elif names & {"head.note", "entries.jsonl"}:
        check_export(folder, trust, report)
    else:
        raise Malformed("is neither a case package nor a vault record nor a log export")
    return report


def show(report: Report) -> None:
    """Print the report for people, in Chinese and English."""
    verdict = "一致 consistent" if report.consistent else "发现问题 findings"
    print(f"{verdict} · {'签名者可信 anchored' if report.anchored else '签名者未确认 signer unknown'}")
    print(" · ".join(f"{kind} {count}" for kind, count in report.checked.items()))
    for mark, entries in (("✗", report.findings), ("·", report.notes)):
        for entry in entries:
            span = entry["range"]
            where = f" [{span[0]}, {span[0] + span[1]})" if span else ""
            print(f"{mark} {ZH[entry['code']]} {entry['code']}  {entry['path']}{where}: {entry['text']}")
    if report.signer:
        print(f"签名者 signer  {report.signer.name}\n公钥指纹 fingerprint  {report.signer.fingerprint}")


def wrong_usage(message: str) -> NoReturn:
    """Say what is wrong with the command line."""
    raise ValueError(message)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="dockwarden-verify", description="Check a Dockwarden evidence package.")
    parser.add_argument("path", metavar="PATH", help="folder of a case package, a vault record or a log export")
    parser.add_argument("--trust", metavar="FILE|FINGERPRINT", help="key lines, or the signer's fingerprint")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    given = sys.argv[1:] if arguments is None else arguments
    parser.error = wrong_usage  # type: ignore[method-assign]  # its own prints text, even where JSON is asked for
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    where, do = "the command line", "See --help."
    try:
        options = parser.parse_args(given)
        where, do = options.trust, "Give a file of key lines or 64 hexadecimal digits."
        trust = read_trust(options.trust)
        where, do = options.path, "Give the folder of a case package, a vault record or a log export."
        report = check(Path(options.path), trust)
    except (OSError, ValueError) as error:
        what = (error.strerror if isinstance(error, OSError) else None) or str(error)
        failure = {"code": "cannot-run", "what": plain(what), "where": plain(where), "do": do}
        told = f"无法核验 cannot run: {failure['where']}: {failure['what']}. {do}"
        print(json.dumps(failure, ensure_ascii=False) if "--json" in given else told, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(report.to_object(), ensure_ascii=False, indent=1))
    else:
        show(report)
    return report.exit_status


if __name__ == "__main__":
    sys.exit(main())
