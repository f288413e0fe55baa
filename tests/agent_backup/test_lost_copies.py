"""An off-site copy that is destroyed later is missed, said, and sent again as soon as the repository can take it."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.agent_backup.station import Station
from tests.offsite.samples import STATION, flip, repository

from dockwarden.agent.status import StatusView, status
from dockwarden.durable.queries import keep_head
from dockwarden.durable.tables import writing
from dockwarden.evidence import fields
from dockwarden.evidence.checkpoints import Head, open_head, sign_head
from dockwarden.evidence.merkle import EMPTY_ROOT
from dockwarden.evidence.notes import SigningKey, verify_cosignatures
from dockwarden.offsite.errors import OffsiteError
from dockwarden.offsite.logcopy import CENTRE, COSIGNED
from dockwarden.rules.deadlines import Policy
from dockwarden.simulators.offsite_server import OffsiteServer

pytestmark = pytest.mark.system

CENTRE_KEY = SigningKey("centre", bytes(range(1, 33)))


def some(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def outcomes(station: Station, kind: str, record: str | None) -> list[str]:
    said = [entry.envelope for entry in station.said(kind)]
    return [envelope.outcome for envelope in said if envelope.record == record]


def largest_pack(served: Path) -> Path:
    return max(served.glob("data/*/*"), key=lambda path: path.stat().st_size)


def test_a_copy_that_is_lost_after_its_first_drill_is_missed_and_healed_by_a_repair_at_the_server(
    station: Station, served: Path, tmp_path: Path
) -> None:
    lost = station.add(some(3_000_000, 1), 1)
    station.backup()
    pack = largest_pack(served)
    whole = station.add(some(2_000_000, 2), 2)
    station.backup()
    assert station.drill()["failed"] == []
    pack.unlink()
    (failed,) = station.drill()["failed"]
    assert failed["record"] == lost.record
    assert "new repository" in failed["do"]
    assert outcomes(station, "drilled", lost.record) == ["done", "failed"]
    assert outcomes(station, "backed-up", lost.record)[-1] == "void"
    # Restic believes its index, so the next night cannot heal it, and says so instead of claiming it.
    assert [found["record"] for found in station.backup()["failed"]] == [lost.record]
    assert outcomes(station, "backed-up", lost.record)[-1] == "failed"
    words = ["restic", "-r", str(served), "--password-file", str(tmp_path / "settings" / "password")]
    subprocess.run([*words, "rebuild-index"], check=True, capture_output=True)
    assert station.backup()["failed"] == []
    assert outcomes(station, "backed-up", lost.record)[-1] == "done"
    assert station.drill()["failed"] == []
    assert outcomes(station, "drilled", whole.record)[-1] == "done"


def test_a_copy_that_is_bent_after_its_first_drill_is_missed_and_a_new_repository_heals_it(
    station: Station, served: Path, server: OffsiteServer, tmp_path: Path
) -> None:
    bent = station.add(some(3_000_000, 1), 1)
    station.backup()
    assert station.drill()["failed"] == []
    flip(largest_pack(served), 500_000)
    assert bent.record in {found["record"] for found in station.drill()["failed"]}
    assert outcomes(station, "backed-up", bent.record) == ["done", "void"]
    assert fields.obj(status(StatusView(station.stores, Policy(hours=48), list)), "offsite")["failed"] == 1
    station.repository = repository(tmp_path / "new", server.repository(f"{tmp_path.name}-new"))
    assert station.backup(new_repository=True)["failed"] == []
    assert (station.drill()["failed"], outcomes(station, "backed-up", bent.record)[-1]) == ([], "done")


def test_a_snapshot_that_is_gone_is_missed_on_the_next_night_and_its_records_go_again(
    station: Station, served: Path
) -> None:
    lost = station.add(some(1000, 1), 1)
    first = station.backup()["snapshot"]
    (served / "snapshots" / first).unlink()
    night = station.backup()
    assert [(found["record"], found["code"]) for found in night["failed"]] == [(lost.record, "snapshot-gone")]
    assert (night["records"], outcomes(station, "backed-up", lost.record)) == (1, ["done", "failed", "done"])
    assert station.drill()["failed"] == []


def test_a_repository_that_is_gone_is_missed_on_a_night_with_nothing_new(station: Station, served: Path) -> None:
    station.add(some(1000, 1), 1)
    station.backup()
    shutil.rmtree(served)
    with pytest.raises(OffsiteError) as raised:
        station.backup()
    assert raised.value.code in ("no-repository", "wrong-password")  # restic's word where only the keys are missed


def test_the_log_is_said_to_be_backed_up_and_drilled_without_a_record(station: Station) -> None:
    view = StatusView(station.stores, Policy(hours=48), list)
    assert status(view)["offsite"] == {"backed_up_at": None, "drilled_at": None, "failed": 0}
    night = station.backup()
    station.drill()
    (backed_up,), (drilled,) = station.said("backed-up"), station.said("drilled")
    assert backed_up.envelope.record is drilled.envelope.record is None
    assert (backed_up.body or {})["snapshot"] == (drilled.body or {})["snapshot"] == night["snapshot"]
    assert (drilled.envelope.outcome, drilled.envelope.place) == ("done", "off-site")
    assert status(view)["offsite"] == {
        "backed_up_at": backed_up.envelope.at.utc,
        "drilled_at": drilled.envelope.at.utc,
        "failed": 0,
    }


def keep_witnessed(station: Station, key: SigningKey = CENTRE_KEY) -> None:
    """The centre has cosigned the log as it is now, and the station a head of the centre's."""
    ledger = station.stores.ledger
    ours = Head(ledger.log, ledger.size(), ledger.root())
    centres = Head("centre.aaaaaaaa", 0, EMPTY_ROOT)
    with writing(ledger.engine, station.stores.files) as connection:
        keep_head(connection, ours, "centre", key.cosign(sign_head(ours, STATION), 1_795_000_000))
        keep_head(connection, centres, "st-01", STATION.cosign(sign_head(centres, CENTRE_KEY), 1_795_000_000))


def test_heads_that_each_side_has_cosigned_go_off_site_and_are_held_against_the_log(
    station: Station, tmp_path: Path
) -> None:
    station.add(some(1000), 1)
    keep_witnessed(station)
    station.add(some(1000, 2), 2)  # the log goes on after what was cosigned
    night = station.backup()
    station.repository.restore(night["snapshot"], tmp_path / "out", 1 << 20)
    cosigned, centres = ((tmp_path / "out" / path).read_bytes() for path in (COSIGNED, CENTRE))
    assert open_head(cosigned, [STATION.verifier]).log == station.stores.ledger.log
    assert [key.name for key, _ in verify_cosignatures(cosigned, [CENTRE_KEY.verifier])] == ["centre"]
    assert open_head(centres, [CENTRE_KEY.verifier]).log == "centre.aaaaaaaa"
    assert station.drill(centre=CENTRE_KEY)["failed"] == []


def test_a_cosignature_of_an_unknown_centre_and_a_head_of_another_history_are_found(station: Station) -> None:
    station.add(some(1000), 1)
    keep_witnessed(station, SigningKey("centre", bytes(range(2, 34))))
    station.backup()
    assert {found["code"] for found in station.drill(centre=CENTRE_KEY)["failed"]} >= {"witness"}
    ledger = station.stores.ledger
    other = Head(ledger.log, 1, bytes(32))
    with writing(ledger.engine, station.stores.files) as connection:
        keep_head(connection, other, "centre", CENTRE_KEY.cosign(sign_head(other, STATION), 1_795_000_000))
    station.backup()
    failed = station.drill(centre=CENTRE_KEY)["failed"]
    assert {found["code"] for found in failed} >= {"witness"}
    assert outcomes(station, "drilled", None)[-1] == "failed"


def test_a_log_that_fails_does_not_void_the_copies_of_records(station: Station) -> None:
    item = station.add(some(1000), 1)
    station.backup()
    station.drill(SigningKey.generate("st-01"))
    assert outcomes(station, "drilled", item.record) == ["failed"]
    assert outcomes(station, "backed-up", item.record) == ["done"]
