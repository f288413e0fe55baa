"""The station's drill says of each record whether it came back as it was sealed."""

import random
from pathlib import Path
from typing import Any

import pytest
from tests.agent_backup.station import Station
from tests.offsite.samples import flip, repository

from dockwarden.agent.backup import drill as station_drill
from dockwarden.evidence.notes import SigningKey
from dockwarden.offsite.drill import Drilled, drill
from dockwarden.offsite.errors import OffsiteError
from dockwarden.simulators.offsite_server import OffsiteServer

pytestmark = pytest.mark.system


def some(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def outcomes(station: Station, record: str | None = None) -> list[str]:
    """What was said of a record's drill, or of all records'."""
    said = [entry.envelope for entry in station.said("drilled", record)]
    return [envelope.outcome for envelope in said if envelope.record is not None]


def test_what_is_new_is_drilled_then_what_was_drilled_longest_ago_and_what_is_asked_for(station: Station) -> None:
    items = [station.add(some(100_000, number), number) for number in range(2)]
    first = station.backup()["snapshot"]
    items.append(station.add(some(100_000, 7), 7))
    second = station.backup()["snapshot"]
    summary = station.drill(most_bytes=150_000)
    assert summary["snapshots"] == sorted([first, second])
    assert (summary["records"], summary["bytes"], summary["failed"]) == (3, 300_000, [])
    entry = station.said("drilled", items[0].record)[0]
    assert (entry.envelope.outcome, entry.envelope.place) == ("done", "off-site")
    assert entry.body == {"repository": summary["repository"], "snapshot": first}
    assert list(station.stores.folders.scratch.iterdir()) == []
    assert (summary["again"], summary["left"]) == (0, 0)
    assert station.drill(records=[items[2].record])["snapshots"] == [second]
    assert [len(outcomes(station, item.record)) for item in items] == [1, 1, 2]
    longest_ago = station.drill(again_bytes=150_000)
    assert (longest_ago["records"], longest_ago["again"], longest_ago["left"]) == (1, 1, 2)
    assert [station.drill(again_bytes=1)["records"] for _ in range(2)] == [1, 1]
    assert [len(outcomes(station, item.record)) for item in items] == [2, 2, 3]
    assert station.drill()["again"] == 3


def test_a_record_backed_up_anew_is_drilled_anew(station: Station, server: OffsiteServer, tmp_path: Path) -> None:
    station.add(some(1000, 1), 1)
    station.backup()
    station.drill()
    station.repository = repository(tmp_path / "other", server.repository(f"{tmp_path.name}-new"))
    station.repository.ensure()
    assert station.drill()["snapshots"] == []
    station.backup()
    assert station.drill()["records"] == 1
    assert outcomes(station) == ["done", "done"]


def test_a_damaged_pack_fails_the_record_that_it_holds_and_no_other(station: Station, served: Path) -> None:
    hurt = station.add(some(3_000_000, 1), 1)
    station.backup()
    largest = max(served.glob("data/*/*"), key=lambda path: path.stat().st_size)
    whole = station.add(some(3_000_000, 2), 2)
    station.backup()
    flip(largest, 500_000)
    summary = station.drill()
    assert summary["records"] == 1
    # Where restic notices the damage itself it leaves the file out; else its bytes differ.
    assert [found["record"] for found in summary["failed"]] == [hurt.record]
    assert summary["failed"][0]["code"] in ("differs", "missing")
    assert (outcomes(station, hurt.record), outcomes(station, whole.record)) == (["failed"], ["done"])


def test_a_snapshot_that_has_vanished_fails_its_records(station: Station, served: Path) -> None:
    lost = station.add(some(1000, 1), 1)
    first = station.backup()["snapshot"]
    station.add(some(1000, 2), 2)
    station.backup()
    (served / "snapshots" / first).unlink()
    summary = station.drill()
    assert summary["records"] == 1
    assert [(found["record"], found["code"]) for found in summary["failed"]] == [(lost.record, "not-found")]


def test_a_byte_bent_after_the_restore_is_found(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bent = (station.add(some(1000, number), number) for number in (1, 2))
    station.backup()

    def bending(*args: Any, **more: Any) -> list[Drilled]:
        return drill(*args, **more, restored=lambda target: flip(target / bent.path / "original", 10))

    monkeypatch.setattr(station_drill, "drill", bending)
    summary = station.drill()
    assert [(found["record"], found["code"]) for found in summary["failed"]] == [(bent.record, "differs")]
    assert (outcomes(station, good.record), outcomes(station, bent.record)) == (["done"], ["failed"])


def test_a_log_that_does_not_verify_fails_all_that_rests_on_it(station: Station) -> None:
    """The key that signed the head is not the one that is known."""
    station.add(some(1000, 1), 1)
    station.backup()
    summary = station.drill(SigningKey.generate("st-01"))
    assert {found["code"] for found in summary["failed"]} == {"head", "seal"}
    assert summary["records"] == 0


def test_a_server_that_is_down_says_nothing_of_any_record(station: Station, tmp_path: Path) -> None:
    station.add(some(1000, 1), 1)
    station.backup()
    station.repository = repository(tmp_path / "down", "rest:http://127.0.0.1:1/r/")
    with pytest.raises(OffsiteError) as raised:
        station.drill()
    assert raised.value.code == "unreachable"
    assert outcomes(station) == []
