"""A foreign, malformed, replayed, retained or oversized message on each topic, both ways: nobody falls over, nothing
is believed, all is counted; and the broker lets nobody speak or listen where it is not his place."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.centre.centre_samples import Footage, StationSide, drawn, receipt_note, record_id
from tests.system.raw_client import NOT_AUTHORISED, Raw, enrolled, is_let_in, strangers
from tests.system.sync_world import SETTINGS, Uploads

from dockwarden.evidence import seals
from dockwarden.evidence.notes import SigningKey
from dockwarden.simulators.world import World, outcomes, running_world, wait_for
from dockwarden.wire.ledgers import HeadMessage
from dockwarden.wire.messages import LIMITS, Answer, Ask, Offer, Presence, Want
from dockwarden.wire.topics import DOWN, UP, Lane

OTHER = StationSide("st-02")
T0 = "2026-11-24T08:00:00.000Z"
TOO_LARGE_FOR_THE_BROKER = 2_000_001
FOOTAGE = Footage(record_id("theirs"), drawn("theirs", 1000))
MALFORMED = (
    b"",
    b"{}",
    b"null",
    b'{"v":1}',
    b'{"v":1}' + b" " * 50,
    b"[" * 900,
    b"\xff\xfe",
    os.urandom(200),
    b"DWC1" + bytes(57),
)


def topic(station: str, direction: str, lane: str) -> str:
    return f"dockwarden/1/{station}/{direction}/{lane}"


def refused(world: World, process: str = "centre") -> dict[str, int]:
    found: dict[str, int] = getattr(world, process).call("info")["rejected"]
    return found


def grown(before: dict[str, int], after: dict[str, int], lane: str) -> int:
    return sum(count - before.get(reason, 0) for reason, count in after.items() if reason.startswith(f"{lane}:"))


def known(world: World) -> dict[str, Any]:
    """What the centre holds of the real station, and of whom it knows."""
    shown = {station["station"]: station for station in world.centre.call("stations")["stations"]}
    records = {record["record"]: [fact["kind"] for fact in record["facts"]] for record in world.centre_records()}
    real = shown["st-01"]
    return {"records": records, "head": real["head"], "alarms": real["alarms"], "state": real["state"]}


def sealed_at_the_station(world: World, record: str) -> bytes:
    """The real seal of one of the real station's records."""
    found = next(shown for shown in world.centre_records() if shown["record"] == record)
    body = next(fact["body"] for fact in found["facts"] if fact["kind"] == "sealed")
    return base64.b64decode(body["seal"])


# --- up ----------------------------------------------------------------------------------------------------------


def foreign(world: World) -> Iterator[tuple[Lane, bytes]]:
    """Good messages in the wrong mouth: what belongs to the real station, said by another."""
    record = world.centre_records()[0]["record"]
    note = sealed_at_the_station(world, record)
    seal = seals.read_seal(note)
    digests = seal.digests
    impostor = StationSide("st-01", "aaaaaaaa")
    impostor.sealed(FOOTAGE)
    yield "offer", Offer(OTHER.session, record, 0, 0, digests.size, digests.leaves_root, note).encode()
    yield (
        "offer",
        Offer(
            OTHER.session,
            record,
            0,
            0,
            FOOTAGE.digests.size,
            FOOTAGE.digests.leaves_root,
            OTHER.seal(Footage(record, FOOTAGE.data)),
        ).encode(),
    )
    yield "fact", impostor.batch()
    yield "head", HeadMessage(impostor.head()).encode()
    yield (
        "head",
        HeadMessage(
            OTHER.key.sign(f"dockwarden/st-01.aaaaaaaa\n0\n{base64.b64encode(bytes(32)).decode()}\n")
        ).encode(),
    )
    yield "answer", Answer(record_id("nobody asked"), T0, {"station": "st-01"}).encode()


def attack_the_centre(world: World, raw: Raw) -> None:
    before, state = refused(world), known(world)
    for lane in UP:
        for payload in (*MALFORMED, bytes(LIMITS[lane] + 1)):
            assert raw.publish(topic("st-02", "up", lane), payload) == 0
    for lane, payload in foreign(world):
        raw.publish(topic("st-02", "up", lane), payload)
    raw.publish(topic("st-02", "up", "offer"), OTHER.offer(FOOTAGE, OTHER.seal(FOOTAGE)), retain=True)
    for odd in ("up/nothing", "up/fact/deeper", "up"):
        raw.publish(f"dockwarden/1/st-02/{odd}", b"{}")
    taken = Answer(record_id("last"), T0, {}).encode()
    raw.publish(topic("st-02", "up", "answer"), taken)
    wait_for("all to be taken", lambda: grown(before, refused(world), "answer") >= len(MALFORMED) + 2)
    after = refused(world)
    for lane in UP:
        assert grown(before, after, lane) >= len(MALFORMED), lane
    assert after["link:too-large"] - before.get("link:too-large", 0) == len(UP)
    assert after["link:malformed"] >= 2
    assert {"offer:another-station", "fact:not-its-log", "answer:not-asked"} <= set(after)
    assert not [reason for reason in after if "defect" in reason]
    assert known(world) == state


def speak_of_anothers_record(world: World, raw: Raw) -> None:
    """Well formed and well signed, in its own log: kept there, believed by nobody, and told."""
    state, record = known(world), world.centre_records()[0]["record"]
    OTHER.say("docked")
    OTHER.sealed(Footage(record, FOOTAGE.data))
    OTHER.say("labelled", record, {"case": None, "party": "a lie"})
    raw.publish(topic("st-02", "up", "fact"), OTHER.batch())

    def alarmed() -> list[str]:
        shown = world.centre.call("stations")["stations"]
        return [alarm["code"] for station in shown if station["station"] == "st-02" for alarm in station["alarms"]]

    wait_for("the alarm", lambda: alarmed() == ["another-station"] * 2)
    assert known(world) == state


def replay_presence(world: World, raw: Raw) -> None:
    """A will that comes late, of a session that is over, does not take a station away."""
    old, new = record_id("old"), record_id("new")

    def say(state: str, session: str, at: str) -> None:
        raw.publish(topic("st-02", "up", "presence"), Presence(state, session, T0, at).encode(), retain=True)  # type: ignore[arg-type]  # it is one

    def shown() -> str:
        stations = world.centre.call("stations")["stations"]
        return next(str(station["state"]) for station in stations if station["station"] == "st-02")

    say("online", old, T0)
    say("online", new, "2026-11-24T08:00:01.000Z")
    wait_for("st-02 to be online", lambda: shown() == "online")
    before = refused(world)
    say("offline", old, T0)
    wait_for("the late will", lambda: grown(before, refused(world), "presence") == 1)
    assert shown() == "online"
    say("offline", new, "2026-11-24T08:00:02.000Z")
    wait_for("st-02 to be gone", lambda: shown() == "offline")


# --- rights ------------------------------------------------------------------------------------------------------


def nobody_speaks_in_anothers_place(world: World, raw: Raw) -> None:
    before, state, station = refused(world), known(world), refused(world, "station")
    places = [topic("st-01", "up", lane) for lane in UP] + [topic("st-01", "down", lane) for lane in DOWN]
    places += [topic("st-02", "down", lane) for lane in DOWN] + [
        topic("centre", "up", "fact"),
        topic("st-03", "up", "fact"),
    ]
    places += ["dockwarden/2/st-02/up/fact", "dockwarden/1/st-02", "anything", "$SYS/broker/x"]
    for place in places:
        assert raw.publish(place, b"{}") == NOT_AUTHORISED, place
        assert raw.publish(place, b"{}", retain=True) == NOT_AUTHORISED, place
    assert (refused(world), known(world), refused(world, "station")) == (before, state, station)


def strangers_are_not_let_in(world: World, files: tuple[Path, Path]) -> None:
    assert is_let_in(world, "st-02", *files)
    assert not is_let_in(world, "st-01", None, None)
    assert not is_let_in(world, "st-01", *strangers(world, "st-01"))
    with Raw(world, "st-01", *files) as raw:  # whatever it calls itself, it is who its certificate says
        assert raw.publish(topic("st-01", "up", "presence"), b"{}") == NOT_AUTHORISED
    assert world.station.call("info")["online"]


# --- down --------------------------------------------------------------------------------------------------------


def replayed(world: World, centre: SigningKey, waiting: str, received: str) -> Iterator[tuple[Lane, bytes]]:
    """What the centre has really signed, in another session, for another station, or for what is done."""
    notes = {
        record: (world.station_root / "vault" / record[:2] / record / "seal.note").read_bytes()
        for record in (waiting, received)
    }
    for record, note in notes.items():
        seal = seals.read_seal(note)
        for session in (record_id("another session"), seal.session):
            for complete in (True, False):
                ranges, credit = ((), 0) if complete else (((0, 1),), 1 << 20)
                want = Want("st-01", session, record, 0, seal.digests.leaves_root, 2**31, 0, credit, ranges, complete)
                yield "want", want.sign(centre)
        yield "receipt", receipt_note(note, centre)
        yield "receipt", receipt_note(note, centre, generation="another1")
        yield "receipt", receipt_note(note, SigningKey("centre", bytes(range(32))))
        yield "receipt", receipt_note(note, OTHER.key, "off-site")
    foreign = Want("st-02", OTHER.session, waiting, 0, "0" * 64, 1, 0, 0, (), True)
    yield "want", foreign.sign(centre)
    yield "want", foreign.sign(OTHER.key)
    yield (
        "head",
        HeadMessage(
            OTHER.key.sign(f"dockwarden/st-02.aaaaaaaa\n0\n{base64.b64encode(bytes(32)).decode()}\n")
        ).encode(),
    )
    yield "ask", Ask(record_id("ask"), "nothing-that-is-known").encode()


def attack_the_station(world: World, raw: Raw, centre: SigningKey, waiting: str, received: str) -> None:
    before, log = refused(world, "station"), world.status()["ledger"]
    for lane in DOWN:
        for payload in (*MALFORMED, bytes(LIMITS[lane] + 1)):
            raw.publish(topic("st-01", "down", lane), payload)
    for lane, payload in replayed(world, centre, waiting, received):
        raw.publish(topic("st-01", "down", lane), payload)
    raw.publish(topic("st-01", "down", "receipt"), receipt_note(_seal(world, waiting), centre), retain=True)
    for odd in ("down/nothing", "down/want/deeper"):
        raw.publish(f"dockwarden/1/st-01/{odd}", b"{}")
    raw.publish(topic("st-01", "down", "receipt"), b"the last")
    wait_for("all to be taken", lambda: grown(before, refused(world, "station"), "receipt") >= len(MALFORMED) + 7)
    after = refused(world, "station")
    for lane in DOWN:
        assert grown(before, after, lane) >= len(MALFORMED), lane
    assert after["link:too-large"] - before.get("link:too-large", 0) == len(DOWN)
    assert world.status()["ledger"] == log  # nothing was said of anything
    found = {record["record"]: outcomes(record) for record in world.records()}
    assert "received" not in found[waiting]
    assert found[received]["received"] == "done"


def _seal(world: World, record: str) -> bytes:
    return (world.station_root / "vault" / record[:2] / record / "seal.note").read_bytes()


@pytest.mark.system
@pytest.mark.timeout(600)
def test_hostile_messages_change_nothing_on_either_side(tmp_path: Path) -> None:
    with running_world(tmp_path / "world", bays=["1"], settings=SETTINGS) as world:
        uploads = Uploads(world)
        files = enrolled(world, OTHER.key)
        with Raw(world, "st-02", *files) as listening:
            listening.subscribe("#", "dockwarden/#", "dockwarden/1/+/up/#", "dockwarden/1/st-01/down/#", "$SYS/#")
            uploads.dock(700_000, 100)
            uploads.wait()
            wait_for("the station to be online", lambda: known(world)["state"] == "online")
            nobody_speaks_in_anothers_place(world, listening)
            attack_the_centre(world, listening)
            speak_of_anothers_record(world, listening)
            replay_presence(world, listening)
            assert {
                heard for heard, _, _ in listening.heard if not heard.startswith("dockwarden/1/st-02/down/")
            } == set()
            assert listening.publish(topic("st-02", "up", "fact"), bytes(TOO_LARGE_FOR_THE_BROKER)) is None
        strangers_are_not_let_in(world, files)
        received = world.records()[0]["record"]
        world.centre.stop()
        uploads.dock(100)
        world.wait_for_facts({"labelled"})
        waiting = next(record["record"] for record in world.records() if "received" not in outcomes(record))
        keys = world.centre_root / "keys"
        centre = SigningKey("centre", bytes.fromhex((keys / "centre.seed").read_text().strip()))
        with Raw(world, "centre", keys / "tls.crt", keys / "tls.key") as raw:
            attack_the_station(world, raw, centre, waiting, received)
        world.broker.restart()  # what is retained comes again, to both
        world.centre.start()
        uploads.wait()
        wait_for(
            "the retained ones",
            lambda: "link:retained" in refused(world) and "link:retained" in refused(world, "station"),
        )
        assert uploads.wrong() == []
        assert not [reason for reason in refused(world, "station") if "defect" in reason]
