"""A device is cleared on proof: what was not proven a moment ago is left as it is, and the log tells what is true."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.agent.cards import LEAF, PROFILES, Room, kinds, make_card
from tests.agent.witness import Centre

from dockwarden.agent.bays import Progress, Stay
from dockwarden.agent.docking import dock
from dockwarden.agent.drivers.clearing import open_folder
from dockwarden.agent.drivers.mass_storage import recognise
from dockwarden.agent.release import Outcome, release
from dockwarden.agent.sessions import Session
from dockwarden.evidence.facts import Entry
from dockwarden.simulators.camera import at
from dockwarden.simulators.faults import Fault, FaultyDevice

DAY = "DCIM/20261124"
FIRST = f"{DAY}/DCAM_ZB2041_650113_20261124_091500.mp4"
SECOND = f"{DAY}/DCAM_ZB2041_650113_20261124_093000_IMP.mp4"
GPS = "GPS/DCAM_ZB2041_650113_20261124_091500.txt"
STAYING = {"LOG/20261124.txt": b"POWER ON", "settings.ini": b"[camera]"}
RECORDINGS = {FIRST: os.urandom(2 * LEAF + 7), SECOND: os.urandom(1000), GPS: b"$GPRMC"}


class Visit:
    """A device that sits in a bay and has its verdict."""

    def __init__(self, room: Room, centre: Centre, root: Path, *faults: Fault, writable: bool = True) -> None:
        self.room, self.centre, self.root = room, centre, root
        opened = open_folder(root) if writable else None
        profiles = tuple(PROFILES.values())
        inner = recognise(root, profiles, model="BODYCAM", serial="CAM001", volume="1234-ABCD", writable=opened)
        self.device = FaultyDevice(inner, root, faults)
        self.progress, self.stay = Progress("1", state="reading"), Stay()
        self.session: Session = dock(room.desk, "1", self.device, self.progress, self.stay)

    def release(self, **rules: object) -> Outcome:
        """What comes of clearing it."""
        return release(self.session, self.device, self.centre.rules(**rules))

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.stay.ended.set()
        self.device.close()

    def files(self) -> dict[str, bytes]:
        """What is on the card."""
        return {
            str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()
        }

    def facts(self, kind: str) -> list[Entry]:
        """The facts of a kind."""
        return [entry for entry in self.room.stores.ledger.entries(limit=100_000) if entry.envelope.kind == kind]

    def record(self, name: str) -> str:
        """The record of a file."""
        return self.session.taken["1234-ABCD", os.fsencode(name)]


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    with closing(Centre(tmp_path / "centre")) as opened:
        yield opened


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return make_card(tmp_path / "card", {**RECORDINGS, **STAYING})


@pytest.fixture
def docked(room: Room, centre: Centre, card: Path) -> Iterator[Visit]:
    """A card that is safe, and all of it received."""
    with Visit(room, centre, card) as visit:
        assert visit.progress.state == "safe", visit.progress.findings
        centre.receive(room.stores)
        yield visit


def why(outcome: Outcome) -> list[str]:
    return [finding.code for finding in outcome.why]


def test_recordings_go_on_proof_and_what_is_no_recording_stays(docked: Visit) -> None:
    outcome = docked.release()
    assert (outcome.cleared, outcome.left, why(outcome)) == (3, 2, [])
    assert docked.files() == STAYING
    assert docked.progress.state == "safe"
    assert docked.progress.snapshot()["cleared"] == 3
    released = docked.facts("released")
    assert {entry.envelope.record for entry in released} == {docked.record(name) for name in RECORDINGS}
    assert all(entry.envelope.outcome == "done" and len(entry.body["receipts"]) == 1 for entry in released)  # type: ignore[index,arg-type]
    (begun,) = docked.facts("release-begun")
    assert kinds(docked.room.stores).index("release-begun") < kinds(docked.room.stores).index("released")
    assert len(begun.body["records"]) == 3  # type: ignore[index,arg-type]


def test_what_is_left_is_safe_and_nothing_is_cleared_twice(docked: Visit) -> None:
    docked.release()
    again = docked.release()
    assert (again.cleared, again.left, why(again)) == (0, 2, ["nothing-to-clear"])
    assert docked.progress.state == "safe"


def test_the_policy_to_keep_touches_nothing_and_asks_nobody(docked: Visit) -> None:
    before = docked.files()
    outcome = docked.release(policy="keep")
    assert (outcome.cleared, why(outcome)) == (0, ["kept-by-policy"])
    assert docked.files() == before
    assert docked.centre.asked == []
    assert docked.progress.state == "safe"


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ({"witnesses": []}, "no-witness"),
        ({"must_stay": lambda _: True}, "secret"),
        ({"must_stay": lambda _: None}, "secret"),
    ],
)
def test_without_a_witness_or_with_secrecy_nothing_goes(docked: Visit, rules: dict[str, object], code: str) -> None:
    before = docked.files()
    outcome = docked.release(**rules)
    assert (outcome.cleared, why(outcome)) == (0, [code])
    assert docked.files() == before
    assert docked.facts("release-begun") == []


def test_what_is_secret_or_held_stays_and_the_rest_goes(docked: Visit) -> None:
    secret, held = docked.record(FIRST), docked.record(SECOND)
    docked.room.stores.ledger.append("held", record=held, by=docked.room.stores.by("test"), body={})
    outcome = docked.release(must_stay=lambda record: record == secret)
    assert (outcome.cleared, sorted(why(outcome))) == (1, ["held", "secret"])
    assert set(docked.files()) == {FIRST, SECOND, *STAYING}
    docked.room.stores.ledger.append("unheld", record=held, by=docked.room.stores.by("test"), body={})
    assert docked.release(must_stay=lambda record: record == secret).cleared == 1


def test_nothing_goes_before_the_centre_has_all(room: Room, centre: Centre, card: Path) -> None:
    with Visit(room, centre, card) as visit:
        before = visit.files()
        assert why(visit.release()) == ["not-received"]
        assert visit.files() == before
        assert visit.progress.state == "safe"


def test_a_centre_whose_copy_has_changed_does_not_sign_and_nothing_goes(docked: Visit) -> None:
    before = docked.files()
    place = docked.centre.original(docked.record(SECOND))
    place.chmod(0o600)
    place.write_bytes(b"x" + place.read_bytes()[1:])
    outcome = docked.release()
    assert why(outcome) == ["not-proven"]
    assert "damaged" in outcome.why[0].what
    assert docked.files() == before
    assert [alarm.code for alarm in docked.centre.desk.archive.catalogue.alarms("st-01")] == ["damaged"]


def test_a_record_that_the_centre_holds_is_not_cleared(docked: Visit) -> None:
    archive = docked.centre.desk.archive
    by = docked.room.stores.by("test")
    archive.ledger.append("held", record=docked.record(GPS), by=by, body={})
    outcome = docked.release()
    assert why(outcome) == ["not-proven"]
    assert "held" in outcome.why[0].what


def test_a_receipt_of_an_earlier_day_proves_nothing(docked: Visit) -> None:
    kept: dict[str, object] = {}

    def first(asked, ended):  # type: ignore[no-untyped-def]
        kept.update(docked.centre.ask(asked, ended))
        return {}

    before = docked.files()
    witness = docked.centre.rules().witnesses[0]
    assert why(docked.release(witnesses=[type(witness)("centre", witness.keys, first)])) == ["not-proven"]
    replayed = type(witness)("centre", witness.keys, lambda asked, ended: kept)
    assert why(docked.release(witnesses=[replayed])) == ["not-proven"]
    assert docked.files() == before


def test_the_stations_own_word_is_no_witness(docked: Visit) -> None:
    witness = docked.centre.rules().witnesses[0]
    alone = type(witness)("centre", [docked.room.stores.key.verifier], witness.ask)
    assert why(docked.release(witnesses=[alone])) == ["not-proven"]


def test_a_driver_that_only_reads_clears_nothing(room: Room, centre: Centre, card: Path) -> None:
    with Visit(room, centre, card, writable=False) as visit:
        centre.receive(room.stores)
        before = visit.files()
        assert why(visit.release()) == ["not-clearable"]
        assert visit.files() == before
        assert visit.facts("release-begun") == []


@pytest.mark.parametrize("name", [FIRST, "LOG/20261124.txt"])
def test_a_device_that_shows_something_new_or_other_is_no_longer_safe(docked: Visit, name: str) -> None:
    place = at(docked.root, os.fsencode(name))
    kept = place.stat()
    place.write_bytes(place.read_bytes()[::-1])
    os.utime(place, ns=(kept.st_atime_ns, kept.st_mtime_ns + 5_000_000_000))
    before = docked.files()
    outcome = docked.release()
    assert (outcome.cleared, why(outcome)) == (0, ["device-differs"])
    assert docked.files() == before
    assert docked.progress.state == "incomplete"
    assert docked.facts("release-begun") == []


def test_other_bytes_under_the_same_name_size_and_time_are_seen(docked: Visit) -> None:
    place = at(docked.root, os.fsencode(FIRST))
    kept = place.stat()
    with place.open("r+b") as file:
        file.seek(LEAF + 3)
        file.write(b"other")
    os.utime(place, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    before = docked.files()
    assert why(docked.release()) == ["device-differs"]
    assert docked.files() == before
    assert docked.progress.state == "incomplete"


def test_a_new_file_stops_it(docked: Visit) -> None:
    (docked.root / "new.mp4").write_bytes(b"new")
    assert why(docked.release()) == ["device-differs"]
    assert docked.progress.state == "incomplete"


def swap_after(visit: Visit, reading: int, swap: Callable[[], None]) -> None:
    """Do something to the card once its file FIRST has been read for the n-th time from now, to its end."""
    seen = [0]
    faulty = visit.device.faulty

    class Watched:
        def __init__(self, inner):  # type: ignore[no-untyped-def]
            self.inner = inner

        def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
            return getattr(self.inner, name)

        def read(self, offset: int, length: int) -> bytes:
            data: bytes = self.inner.read(offset, length)
            if offset + len(data) == len(RECORDINGS[FIRST]):
                seen[0] += 1
                if seen[0] == reading:
                    swap()
            return data

    def watched(inner, source):  # type: ignore[no-untyped-def]
        found = faulty(inner, source)
        return Watched(found) if source.name.raw == os.fsencode(FIRST) else found

    visit.device.faulty = watched  # type: ignore[method-assign]


def test_a_file_that_takes_the_name_between_reading_and_removal_is_not_removed(docked: Visit) -> None:
    place = at(docked.root, os.fsencode(FIRST))
    other = docked.root.parent / "other"
    other.write_bytes(RECORDINGS[FIRST][::-1])
    kept = place.stat()
    os.utime(other, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    swap_after(docked, 2, lambda: other.replace(place))
    outcome = docked.release()
    assert (outcome.cleared, why(outcome)) == (0, ["changed"])
    assert place.read_bytes() == RECORDINGS[FIRST][::-1]
    assert docked.progress.state == "incomplete"
    (failed,) = docked.facts("released")
    assert (failed.envelope.outcome, failed.envelope.record) == ("failed", docked.record(FIRST))


def test_nobody_can_write_to_a_file_between_reading_and_removal(docked: Visit) -> None:
    place, tried = at(docked.root, os.fsencode(FIRST)), []

    def write() -> None:
        with pytest.raises(BlockingIOError):
            os.open(place, os.O_WRONLY | os.O_NONBLOCK)
        tried.append(1)

    swap_after(docked, 2, write)
    outcome = docked.release()
    assert tried == [1]
    assert (outcome.cleared, why(outcome)) == (0, ["held-open"])
    assert place.read_bytes() == RECORDINGS[FIRST]


def test_a_file_that_somebody_has_open_for_writing_stays(docked: Visit) -> None:
    with at(docked.root, os.fsencode(FIRST)).open("r+b"):
        assert why(docked.release()) == ["held-open"]
    assert set(docked.files()) == {*RECORDINGS, *STAYING}


@pytest.mark.parametrize("reading", [1, 2, 3, 4, 5, 6])
def test_a_device_that_is_pulled_out_at_any_step_has_lost_only_what_the_log_says(docked: Visit, reading: int) -> None:
    count = [0]
    faulty = docked.device.faulty

    def pulling(inner, source):  # type: ignore[no-untyped-def]
        count[0] += 1
        if count[0] == reading:
            docked.device.pull()
        return faulty(inner, source)

    docked.device.faulty = pulling  # type: ignore[method-assign]
    docked.release()
    left = docked.files()
    assert {name: left[name] for name in STAYING} == STAYING
    assert all(left[name] == RECORDINGS[name] for name in RECORDINGS if name in left)
    removed = {docked.record(name) for name in RECORDINGS if name not in left}
    said = {entry.envelope.record: entry.envelope.outcome for entry in docked.facts("released")}
    assert removed <= set(said), "of each file that is gone the log says that it was begun"
    assert "done" not in said.values(), "nobody has seen the device without them"
    begun = docked.facts("release-begun")
    assert len(begun) == (reading > 3)


def test_a_station_that_stops_in_the_middle_leaves_the_rest(docked: Visit) -> None:
    swap_after(docked, 2, docked.stay.ended.set)
    outcome = docked.release()
    assert outcome.cleared == 0
    assert "release-cut" in why(outcome)
    assert set(docked.files()) >= {SECOND, GPS, *STAYING}


def test_what_was_cleared_is_not_missed_at_the_next_docking(room: Room, centre: Centre, docked: Visit) -> None:
    docked.release()
    docked.stay.ended.set()
    with Visit(room, centre, docked.root) as again:
        assert again.progress.state == "safe"
        assert again.release().cleared == 0
    assert threading.active_count() < 50
