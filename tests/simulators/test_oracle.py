"""The outside checker finds what is wrong, each thing once, and nothing where nothing is."""

import base64
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import oracle
from tests.oracle import Scene, measure, merkle_root, show, violations

LOG = "st-01.aaaaaaaa"
DEVICE = "X3-S1"
SESSION = "s" * 26
RECORDS = {b"a.mp4": "a" * 26, b"DCIM/b.mp4": "b" * 26, b"zero": "c" * 26}
CONTENTS = {b"a.mp4": bytes(1_200_000), b"DCIM/b.mp4": b"the other", b"zero": b""}


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def digests(path: Path) -> dict[str, Any]:
    found = measure(path)
    root = merkle_root(found.leaves).hex()
    return {"size": found.size, "sha256": found.sha256, "sm3": found.sm3, "leaves_root": root}


def note(kind: str, body: dict[str, Any]) -> bytes:
    return f"dockwarden/{kind}/1\n{json.dumps(body)}\n\n— st-01 AAAAAAAA\n".encode()


class World:
    """A card, a station that has taken all of it, a centre and an off-site copy, by the documented formats."""

    def __init__(self, root: Path, verdict: bool = True) -> None:
        self.root = root
        self.station, self.centre, self.restored = root / "station", root / "centre", root / "restored"
        for raw, data in CONTENTS.items():
            put(root / "card" / raw.decode(), data)
        self.card = show(root / "card", DEVICE, called_safe=True)
        self.ledger = self.make_ledger(self.station / "ledger.sqlite")
        self.fact("docked", {"device": {"key": DEVICE}, "session": SESSION})
        for raw, record in RECORDS.items():
            self.seal(raw, record)
        for record in RECORDS.values():
            self.fact("labelled", {"missing": []}, record)
            self.fact("confirmed", {"session": SESSION}, record, "station")
        if verdict:
            self.fact("judged", {"session": SESSION, "state": "safe"})
        for record in RECORDS.values():
            self.copy(record, self.centre / "store" / record[:2] / record / "v1" / "content", "received", "centre")
            self.copy(record, self.restored / "vault" / record[:2] / record, "backed-up", "off-site")

    @property
    def scene(self) -> Scene:
        return Scene(self.station, [self.card], centre=self.centre, restored=self.restored)

    @staticmethod
    def make_ledger(path: Path) -> sqlite3.Connection:
        path.parent.mkdir(parents=True)
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        columns = "log, seq, envelope, body, kind, record, place, outcome"
        connection.execute(f"CREATE TABLE entries ({columns}, PRIMARY KEY (log, seq))")
        connection.execute("CREATE TABLE heads (log, keeper, size, note)")
        return connection

    def home(self, record: str) -> Path:
        return self.station / "vault" / record[:2] / record

    def fact(self, kind: str, body: dict[str, Any], record: str | None = None, place: str | None = None) -> int:
        data = b"0123456789abcdef" + json.dumps(body).encode()
        (seq,) = self.ledger.execute("SELECT count(*) FROM entries").fetchone()
        envelope: dict[str, Any] = {"log": LOG, "seq": seq, "kind": kind, "outcome": "done"}
        envelope["body_sha256"] = hashlib.sha256(data).hexdigest()
        envelope |= {} if record is None else {"record": record}
        envelope |= {} if place is None else {"place": place}
        row = (LOG, seq, json.dumps(envelope).encode(), data, kind, record, place, "done")
        self.ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        self.ledger.commit()
        return int(seq)

    def seal(self, raw: bytes, record: str, data: bytes | None = None) -> None:
        original = put(self.home(record) / "original", CONTENTS[raw] if data is None else data)
        put(self.home(record) / "leaves", b"".join(measure(original).leaves))
        source = {"volume": "v", "name": {"raw": raw.hex()}}
        body = {"record": record, "device": {"key": DEVICE}, "source": source, "digests": digests(original)}
        made = put(self.home(record) / "seal.note", note("seal", body)).read_bytes()
        said = {**digests(original), "seal_sha256": hashlib.sha256(made).hexdigest(), "session": SESSION}
        self.fact("sealed", said, record, "station")

    def copy(self, record: str, target: Path, kind: str, place: str) -> None:
        shutil.copytree(self.home(record), target)
        self.say_copy(record, kind, place)

    def say_copy(self, record: str, kind: str, place: str, **other: Any) -> None:
        seal = (self.home(record) / "seal.note").read_bytes()
        said = {"record": record, "seal_sha256": hashlib.sha256(seal).hexdigest(), "place": place, "method": "full"}
        receipt = note("receipt", {**digests(self.home(record) / "original"), **said, **other})
        self.fact(kind, {"receipt": base64.b64encode(receipt).decode()}, record, place)

    def head(self, size: int) -> bytes:
        rows = self.ledger.execute("SELECT envelope FROM entries WHERE seq < ? ORDER BY seq", (size,)).fetchall()
        root = merkle_root([hashlib.sha256(b"\x00" + envelope).digest() for (envelope,) in rows])
        return f"dockwarden/{LOG}\n{size}\n{base64.b64encode(root).decode()}\n\n— st-01 AAAA\n".encode()


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    yield made
    made.ledger.close()


def test_a_good_world_has_no_violations_and_leaves_no_trace(world: World) -> None:
    before = sorted(world.root.rglob("*"))
    assert violations(world.scene) == []
    size = world.ledger.execute("SELECT count(*) FROM entries").fetchone()[0]
    heads = [world.head(size), world.head(size - 3), world.head(0)]
    assert violations(replace(world.scene, heads=heads)) == []
    assert sorted(world.root.rglob("*")) == before


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def drop(world: World, kind: str, record: str | None = None) -> None:
    """Make a fact never have been said, by giving its kind another name in column and envelope."""
    rows = world.ledger.execute("SELECT seq, envelope FROM entries WHERE kind = ? AND record IS ?", (kind, record))
    for seq, envelope in rows.fetchall():
        said = json.dumps({**json.loads(envelope), "kind": "probed"}).encode()
        world.ledger.execute("UPDATE entries SET kind = 'probed', envelope = ? WHERE seq = ?", (said, seq))
    world.ledger.commit()


def quarantine(world: World, raw: bytes, **more: Any) -> None:
    body = {"source": {"name": {"raw": raw.hex()}}, "reason": {"code": "grew", "what": "x"}, **more}
    put(world.station / "quarantine" / ("q" * 26) / "reason.json", b"{}")
    world.fact("quarantined", body, "q" * 26, "station")


A, B = RECORDS[b"a.mp4"], RECORDS[b"DCIM/b.mp4"]

BENT: list[tuple[str, Callable[[World], Any], list[str]]] = [
    (
        "an original with a flipped bit",
        lambda world: flip(world.home(A) / "original"),
        [
            f"record {A}: its seal says other digests",
            f"record {A}: its leaf list is not",
            f"record {A}: the sealed fact says other digests",
            "a.mp4: the device was called safe, this is not sealed",
            "a.mp4: not proven when entry",
            f"record {A}: received, with a receipt for something else",
            f"record {A}: received, and the copy is another",
            f"record {A}: backed-up, with a receipt for something else",
            f"record {A}: backed-up, and the copy is another",
        ],
    ),
    (
        "a leaf list with a flipped bit",
        lambda world: flip(world.home(A) / "leaves"),
        [f"record {A}: its leaf list is not"],
    ),
    (
        "a file that nobody knows in a record's folder",
        lambda world: put(world.home(A) / "extra", b""),
        [f"record {A}: its folder does not hold just"],
    ),
    (
        "a folder in the vault that is no record's",
        lambda world: put(world.station / "vault" / "zz" / "x" / "original", b""),
        ["vault: zz/x is no record's place"],
    ),
    (
        "a record that the log does not seal",
        lambda world: drop(world, "sealed", B),
        [
            f"record {B}: in the vault, not sealed by the log",
            "DCIM/b.mp4: the device was called safe, this is not sealed",
            "DCIM/b.mp4: not proven when entry",
        ],
    ),
    (
        "a record that was never confirmed on a device that was called safe",
        lambda world: drop(world, "confirmed", B),
        ["DCIM/b.mp4: the device was called safe, this is not confirmed", "DCIM/b.mp4: not proven when entry"],
    ),
    (
        "a stage beside its record",
        lambda world: put(world.station / "staging" / f"{A}.json", b"{}"),
        [f"record {A}: in the vault, and its stage is still there"],
    ),
    (
        "the same file twice",
        lambda world: world.seal(b"DCIM/b.mp4", "d" * 26),
        ["are the same file of the same device"],
    ),
    (
        "a quarantine that was not planted",
        lambda world: quarantine(world, b"DCIM/b.mp4"),
        ["DCIM/b.mp4: in quarantine (grew), nothing was planted there"],
    ),
    (
        "a folder in quarantine without a reason and without a fact",
        lambda world: put(world.station / "quarantine" / "x" / "original", b""),
        ["quarantine x: does not say why", "quarantine x: the log does not name it"],
    ),
    (
        "a copy at the centre with a flipped bit",
        lambda world: flip(world.centre / "store" / "aa" / A / "v1" / "content" / "original"),
        [f"record {A}: received, and the copy is another"],
    ),
    (
        "a copy at the centre that is gone",
        lambda world: shutil.rmtree(world.centre / "store" / "aa"),
        [f"record {A}: received, and there is no copy"],
    ),
    (
        "an off-site copy that is gone",
        lambda world: shutil.rmtree(world.restored / "vault" / "bb"),
        [f"record {B}: backed-up, and there is no copy"],
    ),
    (
        "a receipt for another seal",
        lambda world: world.say_copy(A, "received", "centre", seal_sha256="0" * 64),
        [f"record {A}: received, with a receipt for something else"],
    ),
    (
        "a receipt for samples",
        lambda world: world.say_copy(A, "received", "centre", method="sampled"),
        [f"record {A}: received, with a receipt for something else"],
    ),
    (
        "an entry with another body",
        lambda world: world.ledger.execute("UPDATE entries SET body = x'00' WHERE seq = 0").connection.commit(),
        [f"entry {LOG} 0: its body is not the one that it binds"],
    ),
    (
        "an entry whose columns say something else",
        lambda world: world.ledger.execute("UPDATE entries SET outcome = 'failed' WHERE seq = 0").connection.commit(),
        [f"entry {LOG} 0: its columns are not"],
    ),
]


@pytest.mark.parametrize(("bend", "expected"), [row[1:] for row in BENT], ids=[row[0] for row in BENT])
def test_one_bent_thing_is_found_and_nothing_else(
    world: World, bend: Callable[[World], Any], expected: list[str]
) -> None:
    bend(world)
    found = violations(world.scene)
    assert len(found) == len(expected), found
    for sentence in expected:
        assert any(sentence in violation for violation in found), (sentence, found)


def test_a_record_whose_folder_is_gone_is_lost_if_its_device_lacks_it_too(world: World) -> None:
    shutil.rmtree(world.home(B))
    scene = replace(world.scene, cards=[replace(world.card, called_safe=False)], centre=None, restored=None)
    found = violations(scene)
    assert f"record {B}: sealed by the log, not in the vault" in found
    assert "DCIM/b.mp4: neither on its device nor in the vault" not in found
    (world.root / "card" / "DCIM" / "b.mp4").unlink()
    assert "DCIM/b.mp4: neither on its device nor in the vault" in violations(scene)


def test_what_was_planted_may_be_in_quarantine_but_never_on_a_safe_device(world: World) -> None:
    scene = replace(world.scene, planted=frozenset({b"DCIM/b.mp4"}))
    quarantine(world, b"DCIM/b.mp4", session="another")
    assert violations(scene) == []
    world.fact("docked", {"device": {"key": DEVICE}, "session": "second"})
    body = {"source": {"name": {"raw": b"DCIM/b.mp4".hex()}}, "reason": {"code": "grew"}, "session": "second"}
    world.fact("quarantined", body, "q" * 26, "station")
    seq = world.fact("judged", {"session": "second", "state": "safe"})
    assert violations(scene) == [f"DCIM/b.mp4: in quarantine, and entry {seq} calls its device safe"]


def test_before_the_station_has_started_again_a_folder_may_lack_its_fact(tmp_path: Path) -> None:
    world = World(tmp_path, verdict=False)
    drop(world, "sealed", B)
    card = replace(world.card, called_safe=False)
    assert violations(replace(world.scene, cards=[card], settled=False)) == []
    world.ledger.close()


def test_heads_that_do_not_fit_and_rewritten_entries_are_found(world: World) -> None:
    head, beyond = world.head(5), world.head(5).replace(b"\n5\n", b"\n500\n")
    drop(world, "docked")
    found = violations(replace(world.scene, heads=[head, beyond]))
    assert f"log {LOG}: the root over 5 entries is not that of its head" in found
    assert any("a head says 500 entries" in violation for violation in found)


def test_a_kept_head_of_another_log_is_no_violation(world: World) -> None:
    other = world.head(5).replace(b"st-01", b"centre", 1)
    world.ledger.execute("INSERT INTO heads VALUES ('centre.aaaaaaaa', 'me', 5, ?)", (other,))
    world.ledger.commit()
    assert violations(world.scene) == []


def test_a_log_with_a_gap_is_found(world: World) -> None:
    world.ledger.execute("DELETE FROM entries WHERE seq = 2")
    world.ledger.commit()
    assert f"log {LOG}: its entries are not numbered without a gap" in violations(world.scene)


def test_a_centre_that_mirrors_another_entry_is_found(world: World) -> None:
    shutil.copytree(world.station, world.root / "mirror")
    world.ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(world.station / "ledger.sqlite", world.centre / "catalogue.sqlite")
    assert violations(world.scene) == []
    mirror = sqlite3.connect(world.centre / "catalogue.sqlite")
    (envelope,) = mirror.execute("SELECT envelope FROM entries WHERE seq = 1").fetchone()
    mirror.execute("UPDATE entries SET envelope = ? WHERE seq = 1", (envelope + b" ",))
    mirror.commit()
    mirror.close()
    assert f"log {LOG}: the centre has another entry 1" in violations(world.scene)


def test_a_station_without_a_ledger_is_found(tmp_path: Path) -> None:
    assert violations(Scene(tmp_path)) == ["ledger.sqlite is not there"]


def test_a_package_that_the_verifier_does_not_take_is_found(world: World) -> None:
    package = world.root / "package"
    package.mkdir()
    (found,) = violations(replace(world.scene, packages=[(package, "0" * 64)]))
    assert found.startswith("package package: the verifier says ")


def test_it_imports_nothing_that_it_judges() -> None:
    text = Path(oracle.__file__).read_text("utf-8")
    assert "import dockwarden" not in text and "from dockwarden" not in text
    code = "import sys; sys.path.insert(0, sys.argv[1]); import oracle; sys.exit('dockwarden' in sys.modules)"
    folder = str(Path(oracle.__file__).parent)
    assert subprocess.run([sys.executable, "-c", code, folder], check=False, timeout=60).returncode == 0


def test_it_can_be_asked_from_the_command_line(world: World) -> None:
    command = [sys.executable, oracle.__file__, str(world.station), f"--card={world.root / 'card'}"]
    command += [f"--centre={world.centre}", f"--restored={world.restored}"]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
    flip(world.home(B) / "original")
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 1
    assert f"record {B}: its seal says other digests" in ran.stdout
