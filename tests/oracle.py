"""The outside checker: reads devices, disks, logs and stores by the documented formats, and trusts no claim.

It imports nothing of the product. After every scenario `violations` returns sentences, none when all is well:
nothing is lost, nothing was wrongly called safe, stored, received or backed up, the log is what its heads say, and
quarantine holds only what the scenario planted.

    before = [show(card_folder, device="DCAM-X3-ZB2041")]
    ... the scenario ...
    assert violations(Scene(station=root, cards=before)) == []
"""

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

LEAF = 512 * 1024
SALT = 16
RECORD = re.compile(r"[a-z2-7]{26}")
VAULT_FILES = {"original", "leaves", "seal.note"}
STORED_KINDS = {"received": "centre", "backed-up": "off-site"}
HAS_SM3 = "sm3" in hashlib.algorithms_available


@dataclass(frozen=True)
class Card:
    """What a device showed before the scenario: size and SHA-256 by raw path. `device` is its key in the log, None
    where the scenario does not say; `called_safe`: somebody was told that it may be taken."""

    root: Path
    files: dict[bytes, tuple[int, str]]
    device: str | None = None
    called_safe: bool = False


@dataclass(frozen=True)
class Scene:
    """Where everything lies, and what the scenario did.

    `station` and `centre` are the roots of the two sides, `restored` a folder into which off-site copies were
    restored. `planted`: raw paths that have a fault, the only ones that may be in quarantine. `settled`: the station
    has started up again since the last crash, so nothing may be half done. `heads`: signed heads (notes) that must
    fit the log. `packages`: case packages and what `--trust` is for each.
    """

    station: Path
    cards: Sequence[Card] = ()
    planted: frozenset[bytes] = frozenset()
    centre: Path | None = None
    restored: Path | None = None
    heads: Sequence[bytes] = ()
    settled: bool = True
    packages: Sequence[tuple[Path, str]] = ()


@dataclass(frozen=True)
class Fact:
    """One entry of a log, parsed."""

    log: str
    seq: int
    kind: str
    outcome: str
    record: str | None
    place: str | None
    envelope: bytes
    body: dict[str, Any] | None


@dataclass(frozen=True)
class Bytes:
    """Digests of a file, computed here. `sm3` is empty where this Python's OpenSSL has none."""

    size: int
    sha256: str
    sm3: str
    leaves: tuple[bytes, ...]


@dataclass(frozen=True)
class Held:
    """A record in the vault: its seal's body, the seal's SHA-256, and what its original really is."""

    record: str
    seal: dict[str, Any]
    seal_sha256: str
    found: Bytes

    @property
    def source(self) -> bytes:
        """Raw path on the device."""
        return bytes.fromhex(self.seal["source"]["name"]["raw"])

    @property
    def device(self) -> str:
        """The device's key."""
        return str(self.seal["device"]["key"])


@dataclass
class _Look:
    """Everything that was read, and the violations so far."""

    scene: Scene
    wrong: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    held: dict[str, Held] = field(default_factory=dict)

    @cached_property
    def latest(self) -> dict[tuple[str, str, str | None], Fact]:
        """The latest fact of each record, kind and place (a later generation's log comes later in the list)."""
        return {(fact.record, fact.kind, fact.place): fact for fact in self.facts if fact.record is not None}

    @cached_property
    def by_source(self) -> dict[bytes, list[Held]]:
        """Records of the vault by the raw path that they had on their device."""
        found: dict[bytes, list[Held]] = {}
        for held in self.held.values():
            found.setdefault(held.source, []).append(held)
        return found

    @cached_property
    def by_record(self) -> dict[str | None, list[Fact]]:
        """The facts of each record."""
        found: dict[str | None, list[Fact]] = {}
        for fact in self.facts:
            found.setdefault(fact.record, []).append(fact)
        return found

    def done(self, record: str, kind: str, place: str) -> Fact | None:
        """The latest such fact if its outcome is done."""
        fact = self.latest.get((record, kind, place))
        return fact if fact is not None and fact.outcome == "done" else None


def show(root: Path, device: str | None = None, called_safe: bool = False) -> Card:
    """Remember what a device shows: call it before the scenario."""
    files = {}
    for raw in _files_below(os.fsencode(root), b""):
        found = measure(root / os.fsdecode(raw))
        files[raw] = (found.size, found.sha256)
    return Card(root, files, device, called_safe)


def violations(scene: Scene) -> list[str]:
    """Check everything; see the module."""
    look = _Look(scene)
    look.facts = _read_log(look, scene.station / "ledger.sqlite")
    _check_vault(look)
    _check_sealed_facts(look)
    _check_doubles(look)
    _check_partial(look)
    for card in scene.cards:
        _check_card(look, card)
    _check_verdicts(look)
    _check_quarantine(look)
    _check_copies(look)
    _check_centre(look)
    _check_packages(look)
    return look.wrong


# --- the log -----------------------------------------------------------------------------------------------------


def _read_log(look: _Look, database: Path) -> list[Fact]:
    """Every entry of every log in a ledger, checked against its columns, its body's digest and the heads."""
    if not database.exists():
        look.wrong.append(f"{database.name} is not there")
        return []
    facts: list[Fact] = []
    by_log: dict[str, list[Fact]] = {}
    rows, kept = _rows(database)
    for row in rows:
        fact = _fact(look, row)
        if fact is not None:
            by_log.setdefault(fact.log, []).append(fact)
            facts.append(fact)
    for log, entries in by_log.items():
        if [fact.seq for fact in entries] != list(range(len(entries))):
            look.wrong.append(f"log {log}: its entries are not numbered without a gap")
    for note in kept:
        _check_head(look, by_log, note, must_be_here=False)
    for note in look.scene.heads:
        _check_head(look, by_log, note, must_be_here=database.parent == look.scene.station)
    return facts


def _rows(database: Path) -> tuple[list[tuple[Any, ...]], list[bytes]]:
    """Entries and kept heads, from a copy: the checker leaves no trace beside the ledger."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("", "-wal"):
            if Path(f"{database}{part}").exists():
                shutil.copyfile(f"{database}{part}", f"{folder}/ledger{part}")
        connection = sqlite3.connect(f"{folder}/ledger")
        try:
            query = "SELECT log, seq, envelope, body, kind, record, place, outcome FROM entries ORDER BY log, seq"
            rows = connection.execute(query).fetchall()
            has_heads = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'heads'").fetchone()
            heads = connection.execute("SELECT note FROM heads").fetchall() if has_heads else []
        finally:
            connection.close()
    return rows, [bytes(note) for (note,) in heads]


def _fact(look: _Look, row: tuple[Any, ...]) -> Fact | None:
    log, seq, envelope, body, kind, record, place, outcome = row
    said = json.loads(envelope)
    columns = (said["log"], said["seq"], said["kind"], said.get("record"), said.get("place"), said["outcome"])
    if columns != (log, seq, kind, record, place, outcome):
        look.wrong.append(f"entry {log} {seq}: its columns are not what its envelope says")
    if body is not None and hashlib.sha256(body).hexdigest() != said["body_sha256"]:
        look.wrong.append(f"entry {log} {seq}: its body is not the one that it binds")
        body = None
    parsed = None if body is None else json.loads(bytes(body)[SALT:])
    return Fact(log, seq, kind, outcome, record, place, bytes(envelope), parsed)


def _check_head(look: _Look, by_log: dict[str, list[Fact]], note: bytes, must_be_here: bool) -> None:
    """A head must be the root over the first entries of its log (RFC 6962). A place may keep heads of another's log
    whose entries it does not have yet."""
    lines = note.decode().split("\n")
    log, size, root = lines[0].removeprefix("dockwarden/"), int(lines[1]), base64.b64decode(lines[2])
    entries = by_log.get(log, [])
    if size > len(entries) and must_be_here:
        look.wrong.append(f"log {log}: a head says {size} entries, {len(entries)} are here")
    if size <= len(entries) and merkle_root([_leaf(fact.envelope) for fact in entries[:size]]) != root:
        look.wrong.append(f"log {log}: the root over {size} entries is not that of its head")


# --- the vault ---------------------------------------------------------------------------------------------------


def _check_vault(look: _Look) -> None:
    """Every folder holds just its three files, and the original is what the seal says."""
    for prefix in _listed(look.scene.station / "vault"):
        for home in _listed(prefix):
            if not RECORD.fullmatch(home.name) or home.name[:2] != prefix.name:
                look.wrong.append(f"vault: {prefix.name}/{home.name} is no record's place")
                continue
            there = {path.name for path in _listed(home)}
            if there != VAULT_FILES:
                look.wrong.append(f"record {home.name}: its folder does not hold just original, leaves and seal.note")
            if there >= VAULT_FILES:
                look.held[home.name] = _held(look, home)


def _held(look: _Look, home: Path) -> Held:
    note = (home / "seal.note").read_bytes()
    seal = _statement(note, "seal")
    held = Held(home.name, seal, hashlib.sha256(note).hexdigest(), measure(home / "original"))
    if seal["record"] != home.name:
        look.wrong.append(f"record {home.name}: its seal is another's")
    _compare(look, f"record {home.name}: its seal", seal["digests"], held.found)
    if (home / "leaves").read_bytes() != b"".join(held.found.leaves):
        look.wrong.append(f"record {home.name}: its leaf list is not that of its bytes")
    return held


def _check_sealed_facts(look: _Look) -> None:
    """A sealed fact has its folder, always; a folder has its fact once the station has started up again."""
    for (record, kind, place), fact in look.latest.items():
        if (kind, place) != ("sealed", "station"):
            continue
        held = look.held.get(record)
        if held is None:
            look.wrong.append(f"record {record}: sealed by the log, not in the vault")
        elif fact.body is not None:
            if fact.body["seal_sha256"] != held.seal_sha256:
                look.wrong.append(f"record {record}: the log names another seal")
            _compare(look, f"record {record}: the sealed fact", fact.body, held.found)
    if look.scene.settled:
        for record in look.held:
            if look.done(record, "sealed", "station") is None:
                look.wrong.append(f"record {record}: in the vault, not sealed by the log")
            if (look.scene.station / "staging" / f"{record}.json").exists():
                look.wrong.append(f"record {record}: in the vault, and its stage is still there")


def _check_doubles(look: _Look) -> None:
    """The same content from the same place of the same device is one record."""
    seen: dict[tuple[str, str, bytes, str], str] = {}
    for held in look.held.values():
        key = (held.device, str(held.seal["source"]["volume"]), held.source, held.found.sha256)
        if key in seen:
            look.wrong.append(f"records {seen[key]} and {held.record} are the same file of the same device")
        seen[key] = held.record


def _check_partial(look: _Look) -> None:
    """A record with holes: only where something was planted, never confirmed, zeros in the holes, and elsewhere what
    its device shows."""
    for held in look.held.values():
        holes = [(hole["offset"], hole["length"]) for hole in held.seal.get("holes", [])]
        if not holes:
            continue
        name = _named(held.source)
        if held.source not in look.scene.planted:
            look.wrong.append(f"{name}: partial, nothing was planted there")
        if look.done(held.record, "confirmed", "station"):
            look.wrong.append(f"{name}: partial, and called confirmed")
        data = (look.scene.station / "vault" / held.record[:2] / held.record / "original").read_bytes()
        if any(data[offset : offset + length] != bytes(length) for offset, length in holes):
            look.wrong.append(f"{name}: a hole is filled")
        cards = [card.root / os.fsdecode(held.source) for card in look.scene.cards if held.source in card.files]
        whole = [path.read_bytes() for path in cards if path.is_file() and path.stat().st_size == len(data)]
        if whole and not any(_without(each, holes) == data for each in whole):
            look.wrong.append(f"{name}: a partial record differs from its device outside its holes")


def _without(data: bytes, holes: Sequence[tuple[int, int]]) -> bytes:
    kept = bytearray(data)
    for offset, length in holes:
        kept[offset : offset + length] = bytes(length)
    return bytes(kept)


# --- devices -----------------------------------------------------------------------------------------------------


def _check_card(look: _Look, card: Card) -> None:
    for raw, shown in card.files.items():
        holders = _holders(look, card, raw, shown)
        if not holders:
            if card.called_safe:
                look.wrong.append(f"{_named(raw)}: the device was called safe, this is not sealed")
            if raw not in look.scene.planted and _on_card(card, raw) != shown:
                look.wrong.append(f"{_named(raw)}: neither on its device nor in the vault")
        elif card.called_safe and not any(look.done(holder, "confirmed", "station") for holder in holders):
            look.wrong.append(f"{_named(raw)}: the device was called safe, this is not confirmed")


def _holders(look: _Look, card: Card, raw: bytes, shown: tuple[int, str]) -> list[str]:
    """Records of the vault that hold a shown file."""
    return [
        held.record
        for held in look.by_source.get(raw, [])
        if (held.found.size, held.found.sha256) == shown
        and card.device in (None, held.device)
        and (not look.scene.settled or look.done(held.record, "sealed", "station"))
    ]


def _check_verdicts(look: _Look) -> None:
    """Where the log says that a bay was safe, all of that device had been sealed and confirmed before."""
    devices: dict[str, str] = {}
    refused: dict[str, set[bytes]] = {}
    only_one = len(look.scene.cards) == 1
    for fact in look.facts:
        body = fact.body or {}
        session = str(body.get("session"))
        if fact.kind == "docked" and body:
            devices[session] = body["device"]["key"]
        if fact.kind == "quarantined" and body:
            refused.setdefault(session, set()).add(_raw(body))
        if body.get("state") == "safe":
            look.wrong += [
                f"{_named(raw)}: in quarantine, and entry {fact.seq} calls its device safe"
                for raw in sorted(refused.get(session, set()))
            ]
            for card in look.scene.cards:
                device = devices.get(session)
                if device is not None and (card.device == device or (card.device is None and only_one)):
                    _check_verdict(look, card, fact)


def _check_verdict(look: _Look, card: Card, verdict: Fact) -> None:
    for raw, before in card.files.items():
        # What the scenario itself did to a file is what the device showed in the end.
        shown = _on_card(card, raw) if raw in look.scene.planted else before
        if shown is None:
            continue
        if not any(_proven_before(look, record, verdict) for record in _holders(look, card, raw, shown)):
            look.wrong.append(f"{_named(raw)}: not proven when entry {verdict.seq} called its device safe")


def _proven_before(look: _Look, record: str, verdict: Fact) -> bool:
    said = {
        fact.kind
        for fact in look.by_record.get(record, [])
        if fact.outcome == "done" and fact.log == verdict.log and fact.seq < verdict.seq
    }
    return {"sealed", "confirmed"} <= said


def _check_quarantine(look: _Look) -> None:
    """Only what was planted is in quarantine, and every folder there says why."""
    stated = set()
    for fact in look.facts:
        if fact.kind != "quarantined" or fact.body is None:
            continue
        raw = _raw(fact.body)
        stated.add(fact.record)
        if raw not in look.scene.planted:
            look.wrong.append(
                f"{_named(raw)}: in quarantine ({fact.body['reason']['code']}), nothing was planted there"
            )
    for home in _listed(look.scene.station / "quarantine"):
        if not (home / "reason.json").exists():
            look.wrong.append(f"quarantine {home.name}: does not say why")
        if look.scene.settled and home.name not in stated:
            look.wrong.append(f"quarantine {home.name}: the log does not name it")


# --- other places ------------------------------------------------------------------------------------------------


def _check_copies(look: _Look) -> None:
    """No word of a copy elsewhere without a receipt for just these bytes, and without the bytes themselves."""
    restored = _restored(look.scene.restored)
    for (record, kind, place), fact in look.latest.items():
        if kind not in STORED_KINDS or STORED_KINDS[kind] != place or fact.outcome != "done":
            continue
        held = look.held.get(record)
        if held is None:
            look.wrong.append(f"record {record}: {kind}, and not in the vault")
            continue
        if fact.body is not None:
            _check_receipt(look, held, fact)
        if kind == "received" and look.scene.centre is not None:
            copy = look.scene.centre / "store" / record[:2] / record / "v1" / "content"
        elif kind == "backed-up" and look.scene.restored is not None:
            copy = restored.get(record, look.scene.restored / record)
        else:
            continue
        _check_copy(look, held, kind, copy)


def _check_receipt(look: _Look, held: Held, fact: Fact) -> None:
    receipt = _statement(base64.b64decode((fact.body or {})["receipt"]), "receipt")
    mine = (held.record, held.seal_sha256, held.found.size, held.found.sha256, fact.place, "full")
    said = tuple(receipt[key] for key in ("record", "seal_sha256", "size", "sha256", "place", "method"))
    if said != mine:
        look.wrong.append(f"record {held.record}: {fact.kind}, with a receipt for something else")


def _check_copy(look: _Look, held: Held, kind: str, copy: Path) -> None:
    original, note = copy / "original", copy / "seal.note"
    if not original.exists() or not note.exists():
        look.wrong.append(f"record {held.record}: {kind}, and there is no copy")
    elif measure(original) != held.found or hashlib.sha256(note.read_bytes()).hexdigest() != held.seal_sha256:
        look.wrong.append(f"record {held.record}: {kind}, and the copy is another")


def _restored(folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    return {path.parent.name: path.parent for path in folder.rglob("original") if RECORD.fullmatch(path.parent.name)}


def _check_centre(look: _Look) -> None:
    """What the centre mirrors is the station's log; what it says it has stored is there."""
    if look.scene.centre is None or not (look.scene.centre / "catalogue.sqlite").exists():
        return
    own = {(fact.log, fact.seq): fact.envelope for fact in look.facts}
    logs = {fact.log for fact in look.facts}
    for fact in _read_log(look, look.scene.centre / "catalogue.sqlite"):
        if fact.log in logs and own.get((fact.log, fact.seq)) != fact.envelope:
            look.wrong.append(f"log {fact.log}: the centre has another entry {fact.seq}")
        if (fact.kind, fact.place, fact.outcome) == ("stored", "centre", "done") and fact.record is not None:
            held = look.held.get(fact.record)
            copy = look.scene.centre / "store" / fact.record[:2] / fact.record / "v1" / "content"
            if held is not None:
                _check_copy(look, held, "stored", copy)


def _check_packages(look: _Look) -> None:
    """The product's stand-alone verifier, as a stranger runs it."""
    for package, trust in look.scene.packages:
        beside = Path(sys.executable).with_name("dockwarden-verify")
        command = [str(beside) if beside.exists() else "dockwarden-verify", str(package), "--trust", trust]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if ran.returncode:
            look.wrong.append(f"package {package.name}: the verifier says {ran.returncode}: {ran.stdout[-300:]}")


# --- bytes -------------------------------------------------------------------------------------------------------


def measure(path: Path) -> Bytes:
    """Digests of a file, whatever its size."""
    sha256, sm3, leaves, size = hashlib.sha256(), hashlib.new("sm3") if HAS_SM3 else None, [], 0
    with path.open("rb") as file:
        while piece := file.read(LEAF):
            size += len(piece)
            sha256.update(piece)
            if sm3 is not None:
                sm3.update(piece)
            leaves.append(_leaf(piece))
    return Bytes(size, sha256.hexdigest(), "" if sm3 is None else sm3.hexdigest(), tuple(leaves))


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of RFC 6962 section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + merkle_root(leaves[:half]) + merkle_root(leaves[half:])).digest()


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _compare(look: _Look, what: str, said: dict[str, Any], found: Bytes) -> None:
    mine = (found.size, found.sha256, found.sm3 or said["sm3"], merkle_root(found.leaves).hex())
    if (said["size"], said["sha256"], said["sm3"], said["leaves_root"]) != mine:
        look.wrong.append(f"{what} says other digests than its bytes have")


def _statement(note: bytes, kind: str) -> dict[str, Any]:
    lines = note.decode().split("\n")
    if lines[0] != f"dockwarden/{kind}/1":
        raise ValueError(f"a note that is no {kind}")
    return dict(json.loads(lines[1]))


def _on_card(card: Card, raw: bytes) -> tuple[int, str] | None:
    path = card.root / os.fsdecode(raw)
    if not path.is_file():
        return None
    found = measure(path)
    return found.size, found.sha256


def _files_below(root: bytes, folder: bytes) -> Iterator[bytes]:
    with os.scandir(root + b"/" + folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(root, folder + entry.name + b"/")
            elif entry.is_file(follow_symlinks=False):
                yield folder + entry.name


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _raw(body: dict[str, Any]) -> bytes:
    return bytes.fromhex(body["source"]["name"]["raw"])


def _named(raw: bytes) -> str:
    return repr(raw)[1:].strip("'\"")


def main() -> int:
    """Check from the command line, with the cards as they are now; prints violations, exits 1 where there are any."""
    parser = argparse.ArgumentParser(description="the outside checker")
    parser.add_argument("station", type=Path)
    parser.add_argument("--card", type=Path, action="append", default=[])
    parser.add_argument("--centre", type=Path)
    parser.add_argument("--restored", type=Path)
    parser.add_argument("--planted", action="append", default=[])
    parser.add_argument("--unsettled", action="store_true")
    given = parser.parse_args()
    scene = Scene(
        station=given.station,
        cards=[show(card) for card in given.card],
        planted=frozenset(os.fsencode(name) for name in given.planted),
        centre=given.centre,
        restored=given.restored,
        settled=not given.unsettled,
    )
    found = violations(scene)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
