"""The nightly backup believes only what it has read back, claims nothing else, and tries again what is missing."""

import json
import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.agent_backup.station import Station
from tests.offsite.samples import STATION, flip, repository, stub

from dockwarden.evidence import facts, fields, receipts
from dockwarden.evidence.facts import Entry
from dockwarden.offsite.errors import OffsiteError
from dockwarden.offsite.logcopy import ENTRIES, verify_log
from dockwarden.simulators.offsite_server import OffsiteServer, serve_restic

pytestmark = pytest.mark.system


def some(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def outcomes(station: Station, record: str | None = None) -> list[str]:
    """What was said of a record's backup, or of all records'."""
    said = [entry.envelope for entry in station.said("backed-up", record)]
    return [envelope.outcome for envelope in said if envelope.record is not None]


def restored(station: Station, snapshot: str, target: Path) -> set[str]:
    """Restore all of a snapshot; returns the files' paths in it."""
    station.repository.restore(snapshot, target, 1 << 20)
    return {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}


def test_every_record_gets_a_receipt_that_verifies_and_the_snapshot_holds_just_them(
    station: Station, tmp_path: Path
) -> None:
    items = [station.add(data, number) for number, data in enumerate([some(2_000_000), b"", b"small"])]
    summary = station.backup()
    identity = station.repository.repository_id()
    assert {key: summary[key] for key in ("repository", "records", "bytes", "failed")} == {
        "repository": identity,
        "records": 3,
        "bytes": 2_000_005,
        "failed": [],
    }
    for item in items:
        (entry,) = station.said("backed-up", item.record)
        body = entry.body or {}
        receipt = receipts.open_receipt(fields.data(body, "receipt"), [STATION.verifier])
        assert (entry.envelope.outcome, entry.envelope.place) == ("done", "off-site")
        assert receipt.agrees(item.record, item.seal_sha256, item.digests)
        assert (receipt.place, receipt.generation, receipt.witness) == ("off-site", identity, "st-01")
        assert (body["snapshot"], body["repository"], body["path"]) == (summary["snapshot"], identity, item.path)
    parts = {f"{item.path}/{part}" for item in items for part in ("original", "leaves", "seal.note")}
    assert restored(station, summary["snapshot"], tmp_path / "out") == parts | {"log/entries.jsonl", "log/head.note"}
    assert verify_log(tmp_path / "out", [STATION.verifier]).findings == ()
    assert list(station.stores.folders.scratch.iterdir()) == []


def test_a_night_with_nothing_new_takes_the_log_and_the_next_snapshot_holds_only_what_is_new(
    station: Station, tmp_path: Path
) -> None:
    station.add(some(1000), 1)
    first = station.backup()
    again = station.backup()
    assert (again["records"], again["failed"]) == (0, [])
    assert restored(station, again["snapshot"], tmp_path / "night") == {"log/entries.jsonl", "log/head.note"}
    assert sorted(station.repository.snapshots()) == sorted([first["snapshot"], again["snapshot"]])
    new = station.add(some(1000, 2), 2)
    second = station.backup()
    assert second["records"] == 1
    held = restored(station, second["snapshot"], tmp_path / "out")
    assert {path for path in held if path.startswith("vault/")} == {
        f"{new.path}/{part}" for part in ("original", "leaves", "seal.note")
    }


def test_what_was_never_confirmed_is_backed_up_too(station: Station) -> None:
    """The only copy in the world does not wait for a second reading that may never come."""
    item = station.add(some(1000), 1, confirmed=False)
    assert station.backup()["records"] == 1
    assert outcomes(station, item.record) == ["done"]


def test_secret_and_not_yet_known_records_are_in_no_snapshot_and_their_bodies_in_no_log(
    station: Station, tmp_path: Path
) -> None:
    shown, secret, unknown = (station.add(some(5000, number), number) for number in (1, 2, 3))
    station.secret = {secret.record: True, unknown.record: None}
    summary = station.backup()
    held = restored(station, summary["snapshot"], tmp_path / "out")
    assert not [path for path in held if secret.record in path or unknown.record in path]
    lines = [json.loads(line) for line in (tmp_path / "out" / ENTRIES).read_text("utf-8").splitlines()]
    entries = [facts.entry_from_object(line) for line in lines]
    bodies = {entry.envelope.record: entry.body_bytes for entry in entries if entry.envelope.kind == "sealed"}
    assert b"name-of-1" in (bodies[shown.record] or b"")
    assert bodies[secret.record] is bodies[unknown.record] is None
    assert verify_log(tmp_path / "out", [STATION.verifier]).findings == ()
    assert outcomes(station, secret.record) == outcomes(station, unknown.record) == []
    station.secret = {secret.record: True}
    assert (station.backup()["records"], outcomes(station, unknown.record)) == (1, ["done"])


def test_a_repository_that_has_gone_is_not_made_anew_unasked_and_then_everything_is_due_again(
    station: Station, server: OffsiteServer, tmp_path: Path
) -> None:
    item = station.add(some(1000), 1)
    station.repository = repository(tmp_path / "first", server.repository(f"{tmp_path.name}-first"))
    first = station.backup()  # the first one of all makes its repository
    station.repository = repository(tmp_path / "gone", server.repository(f"{tmp_path.name}-gone"))
    with pytest.raises(OffsiteError) as raised:
        station.backup()
    assert raised.value.code == "no-repository"
    assert outcomes(station) == ["done"]
    second = station.backup(new_repository=True)
    assert (second["records"], station.backup()["records"]) == (1, 0)
    bodies = [entry.body or {} for entry in station.said("backed-up", item.record)]
    generations = [receipts.open_receipt(fields.data(b, "receipt"), [STATION.verifier]).generation for b in bodies]
    assert generations == [first["repository"], second["repository"]]
    assert len(set(generations)) == 2


def test_a_damaged_pack_gives_no_receipt_but_a_failure_that_names_its_record_alone(
    station: Station, served: Path, tmp_path: Path
) -> None:
    """The server bends a pack between the backup and the read-back."""
    items = [station.add(some(3_000_000, number), number) for number in range(3)]
    # The second record's blobs are known to the repository already, in a pack of their own.
    base = tmp_path / "base"
    base.mkdir()
    (base / "x").write_bytes(some(3_000_000, 1))
    station.repository.backup(base, ["x"], "st-01", "tag")
    largest = max(served.glob("data/*/*"), key=lambda path: path.stat().st_size)
    flip(largest, 500_000)
    summary = station.backup()
    assert summary["records"] == 2
    assert [(found["record"], found["code"]) for found in summary["failed"]] == [(items[1].record, "damaged")]
    assert [outcomes(station, item.record) for item in items] == [["done"], ["failed"], ["done"]]
    body = station.said("backed-up", items[1].record)[0].body or {}
    assert (body["snapshot"], "receipt" in body) == (summary["snapshot"], False)
    flip(largest, 500_000)
    assert station.backup()["records"] == 1
    assert outcomes(station, items[1].record) == ["failed", "done"]


def test_a_killed_backup_claims_nothing_and_the_next_run_completes(
    station: Station, served: Path, tmp_path: Path
) -> None:
    item = station.add(some(30_000_000), 1)
    killing = stub(
        tmp_path / "restic",
        f'[ $1 = backup ] || exec restic "$@"\nrestic "$@" & child=$!\n'
        f"while [ -z \"$(find '{served}/data' -type f)\" ]; do sleep 0.01; done\nkill -KILL $child; wait $child",
    )
    real = station.repository
    station.repository = replace(real, binary=killing)
    with pytest.raises(OffsiteError):
        station.backup()
    assert outcomes(station) == []
    assert list(station.stores.folders.scratch.iterdir()) == []
    station.repository = real
    assert real.snapshots() == []
    assert station.backup()["records"] == 1
    assert outcomes(station, item.record) == ["done"]


def test_a_server_that_is_down_gives_a_clear_error_and_nothing_is_claimed(station: Station, tmp_path: Path) -> None:
    station.add(some(1000), 1)
    station.repository = repository(tmp_path / "down", "rest:http://127.0.0.1:1/r/")
    with pytest.raises(OffsiteError) as raised:
        station.backup()
    assert raised.value.to_object()["code"] == "unreachable"
    assert "server" in raised.value.do
    assert outcomes(station) == []


def test_a_server_that_goes_before_the_read_back_claims_nothing_and_refutes_nothing(
    station: Station, tmp_path: Path
) -> None:
    station.add(some(3_000_000), 1)
    (tmp_path / "served").mkdir()
    with serve_restic(tmp_path / "served") as server:
        address = server.repository("r")
        going = stub(tmp_path / "restic", f'[ $1 = dump ] && kill -KILL {server.pid}\nexec restic "$@"')
        station.repository = replace(repository(tmp_path / "r", address), binary=going)
        with pytest.raises(OffsiteError) as raised:
            station.backup()
    assert raised.value.code == "unreachable"
    assert outcomes(station) == []
    with serve_restic(tmp_path / "served", port=int(address.split(":")[3].split("/")[0])):
        station.repository = repository(tmp_path / "r", address)
        assert station.backup()["records"] == 1


def test_a_record_that_the_vault_does_not_hold_as_sealed_is_said_to_have_failed(station: Station) -> None:
    good, gone, bent = (station.add(some(1000, number), number) for number in (1, 2, 3))
    root = station.stores.folders.root
    (root / gone.path / "original").unlink()
    flip(root / bent.path / "seal.note", 40)
    summary = station.backup()
    assert summary["records"] == 1
    assert {(found["record"], found["code"]) for found in summary["failed"]} == {
        (gone.record, "vault"),
        (bent.record, "vault"),
    }
    assert outcomes(station, good.record) == ["done"]


def test_a_vault_whose_bytes_have_changed_gets_no_receipt(station: Station) -> None:
    item = station.add(some(1000), 1)
    flip(station.stores.folders.root / item.path / "original", 500)
    (found,) = station.backup()["failed"]
    assert (found["record"], found["code"]) == (item.record, "differs")
    assert outcomes(station, item.record) == ["failed"]


def test_what_restic_could_not_read_is_a_failure_of_that_record(station: Station, tmp_path: Path) -> None:
    """Exit code 3, played by a stand-in that leaves one record out as restic does."""
    read, unread = station.add(some(1000, 1), 1), station.add(some(1000, 2), 2)
    script = (
        '[ $1 = backup ] || exec restic "$@"\n'
        f'grep -v {unread.record} paths > paths.left; mv paths.left paths\nrestic "$@" && exit 3'
    )
    station.repository = replace(station.repository, binary=stub(tmp_path / "restic", script))
    summary = station.backup()
    assert [(found["record"], found["code"]) for found in summary["failed"]] == [(unread.record, "unread")]
    assert (outcomes(station, read.record), outcomes(station, unread.record)) == (["done"], ["failed"])


def test_a_log_that_does_not_come_back_as_written_is_told(station: Station, tmp_path: Path) -> None:
    station.add(some(1000), 1)
    script = '[ $1 = backup ] || exec restic "$@"\necho more >> log/entries.jsonl\nexec restic "$@"'
    station.repository = replace(station.repository, binary=stub(tmp_path / "restic", script))
    summary = station.backup()
    assert summary["records"] == 1
    assert [(found["record"], found["code"]) for found in summary["failed"]] == [(None, "log")]


def test_a_stop_ends_the_run_and_what_was_proven_by_then_stands(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        station.add(some(4_000_000, number), number)
    stop = threading.Event()
    station.repository = replace(station.repository, stop=stop)
    append = station.stores.ledger.append

    def append_and_stop(*args: Any, **more: Any) -> Entry:
        stop.set()
        return append(*args, **more)

    with monkeypatch.context() as patch, pytest.raises(OffsiteError) as raised:
        patch.setattr(station.stores.ledger, "append", append_and_stop)
        station.backup()
    assert raised.value.code == "stopped"
    assert outcomes(station) == ["done"]
    stop.clear()
    assert station.backup()["records"] == 3


def test_a_snapshot_that_is_being_made_is_given_up_when_it_is_told_to(station: Station) -> None:
    item = station.add(b"a" * 100, 1)
    halt = threading.Event()
    halt.set()
    with pytest.raises(OffsiteError) as error:
        station.backup(halt=halt)
    assert error.value.code == "stopped"
    assert station.said("backed-up") == []
    assert station.repository.snapshots() == []
    halt.clear()
    station.secret[item.record] = True
    assert station.backup(halt=halt)["records"] == 0
