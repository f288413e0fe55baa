"""What a record's facts say of it: withheld bodies, void facts, hostile ones, and none at all."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.centre.centre_samples import (
    T0,
    Footage,
    StationSide,
    drawn,
    label_body,
    receipt_body,
    receipt_note,
    record_id,
    sealed_body,
)

from dockwarden.evidence.notes import SigningKey
from dockwarden.rules.deadlines import Policy
from dockwarden.rules.records import Witnesses, describe

POLICY = Policy()
NOW = "2026-11-24T12:00:00.000Z"
CENTRE = SigningKey("centre", drawn("key centre", 32))
FOOTAGE = Footage(record_id("one"), b"footage")
TRUSTED: Witnesses = {
    "station": [StationSide().key.verifier],
    "centre": [CENTRE.verifier],
    "off-site": [StationSide().key.verifier],
}


def shown(station: StationSide, witnesses: Witnesses | None = None, now: str = NOW) -> dict[str, Any]:
    return cast(dict[str, Any], describe(FOOTAGE.record, station.entries, POLICY, now, witnesses))


def test_without_any_fact_nothing_is_known_and_nothing_breaks() -> None:
    found = shown(StationSide())
    assert found["record"] == FOOTAGE.record
    assert (found["sha256"], found["vault_path"], found["label"], found["copies"], found["facts"]) == (None,) * 3 + (
        [],
        [],
    )
    assert found["deadline"]["state"] == "unknown"


def test_a_sealed_and_labelled_record_has_met_its_deadline() -> None:
    station = StationSide()
    note = station.sealed(FOOTAGE)
    station.say("labelled", FOOTAGE.record, label_body(), at="2026-11-24T09:00:00.000Z")
    for witnesses in (None, TRUSTED):
        found = shown(station, witnesses)
        assert found["sha256"] == FOOTAGE.digests.sha256
        assert found["seal_sha256"] == sealed_body(note)["seal_sha256"]
        assert found["deadline"] == {
            "mode": "strict",
            "starts": T0,
            "due": "2026-11-26T08:00:00.000Z",
            "state": "met",
        }
        assert [copy["place"] for copy in found["copies"]] == ["station"]
        assert found["label"]["case"]["key"] == "某市监罚/2026/1"
        assert (found["malformed"], found["secret"]) == ([], False)


def test_an_incomplete_label_does_not_meet_the_deadline() -> None:
    station = StationSide()
    station.sealed(FOOTAGE)
    station.say("labelled", FOOTAGE.record, label_body(party=None), outcome="failed")
    found = shown(station, now="2026-11-26T08:00:00.001Z")
    assert found["deadline"]["state"] == "late"
    assert found["label"]["missing"] == ["party"]


def test_a_label_that_was_complete_in_time_is_not_late_because_it_is_corrected_later() -> None:
    station = StationSide()
    station.sealed(FOOTAGE)
    station.say("labelled", FOOTAGE.record, label_body(), at="2026-11-24T09:00:00.000Z")
    station.say("labelled", FOOTAGE.record, label_body(party="乙"), at="2026-12-24T09:00:00.000Z")
    assert shown(station)["deadline"]["state"] == "met"
    assert shown(station)["label"]["party"] == "乙"


def test_a_label_that_became_incomplete_counts_from_when_it_was_complete_again() -> None:
    station = StationSide()
    station.sealed(FOOTAGE)
    for outcome, at in (("done", "2026-11-24T09"), ("void", "2026-11-24T10"), ("done", "2026-11-27T09")):
        station.say("labelled", FOOTAGE.record, label_body(), outcome=outcome, at=f"{at}:00:00.000Z")  # type: ignore[arg-type]  # they are outcomes
    assert shown(station)["deadline"]["state"] == "met-late"


def test_a_recording_cannot_end_after_it_was_sealed() -> None:
    station = StationSide()
    note = station.seal(FOOTAGE, captured_end="2036-01-01T00:00:00.000Z")
    station.say("sealed", FOOTAGE.record, sealed_body(note), place="station")
    assert shown(station)["deadline"]["starts"] == T0


@pytest.mark.parametrize("end", [None, 7, "yesterday", "2026-13-01T00:00:00.000Z", []])
def test_an_end_that_is_no_moment_is_not_known(end: object) -> None:
    station = StationSide()
    note = station.seal(FOOTAGE, captured_end=end)
    station.say("sealed", FOOTAGE.record, sealed_body(note), place="station")
    assert shown(station)["deadline"]["starts"] == T0


def test_what_a_withheld_body_would_say_is_null() -> None:
    station = StationSide()
    note = station.seal(FOOTAGE)
    station.say("sealed", FOOTAGE.record, sealed_body(note), place="station", withheld=True)
    station.say("labelled", FOOTAGE.record, label_body(), withheld=True)
    station.say("received", FOOTAGE.record, receipt_body(receipt_note(note, CENTRE)), place="centre", withheld=True)
    for witnesses in (None, TRUSTED):
        found = shown(station, witnesses)
        assert (found["sha256"], found["source_name"], found["label"], found["secret"]) == (None,) * 4
        assert [copy["place"] for copy in found["copies"]] == ["station"]
        assert found["deadline"]["state"] == "met"
        assert found["malformed"] == []
        assert [fact["kind"] for fact in found["facts"]] == ["sealed", "labelled", "received"]


def test_void_facts_count_for_nothing() -> None:
    station = StationSide()
    note = station.sealed(FOOTAGE)
    station.say("labelled", FOOTAGE.record, label_body())
    station.say("received", FOOTAGE.record, receipt_body(receipt_note(note, CENTRE)), place="centre")
    for kind in ("sealed", "labelled", "received"):
        station.say(kind, FOOTAGE.record, {}, outcome="void")
    found = shown(station)
    assert (found["copies"], found["sha256"], found["vault_path"], found["label"]) == ([], None, None, None)
    assert found["deadline"]["state"] == "unknown"


def test_receipts_are_copies_where_their_witness_signed_them() -> None:
    station = StationSide()
    note = station.sealed(FOOTAGE)
    station.say("received", FOOTAGE.record, receipt_body(receipt_note(note, CENTRE)), place="centre")
    off_site = receipt_note(note, station.key, "off-site")
    station.say("backed-up", FOOTAGE.record, receipt_body(off_site), place="off-site")
    for witnesses in (None, TRUSTED):
        assert [copy["place"] for copy in shown(station, witnesses)["copies"]] == ["station", "centre", "off-site"]


def bad_receipts() -> dict[str, bytes]:
    station, other = StationSide(), Footage(record_id("two"), b"other")
    seal = station.seal(FOOTAGE)
    return {
        "another record's": receipt_note(station.seal(other), CENTRE),
        "another seal's": receipt_note(seal, CENTRE, seal_sha256="0" * 64),
        "signed by the station itself": receipt_note(seal, station.key),
        "signed by a stranger": receipt_note(seal, SigningKey("centre", drawn("stranger", 32))),
        "from another place": receipt_note(seal, CENTRE, "off-site"),
        "no receipt": b"nothing",
    }


@pytest.mark.parametrize("which", list(bad_receipts()))
def test_a_receipt_that_proves_nothing_is_no_copy(which: str) -> None:
    station = StationSide()
    station.sealed(FOOTAGE)
    station.say("received", FOOTAGE.record, receipt_body(bad_receipts()[which]), place="centre")
    found = shown(station, TRUSTED)
    assert [copy["place"] for copy in found["copies"]] == ["station"]
    assert found["malformed"] == ["received"]


def test_a_seal_counts_only_for_its_record_and_under_its_stations_key() -> None:
    stranger = StationSide("st-02")
    for note in (
        StationSide().seal(Footage(record_id("two"), b"other")),
        stranger.seal(FOOTAGE),
        b"nothing",
    ):
        station = StationSide()
        body = {**sealed_body(station.seal(FOOTAGE)), **receipt_body(note)}
        station.say("sealed", FOOTAGE.record, {**body, "seal": body["receipt"]}, place="station")
        found = shown(station, TRUSTED)
        assert (found["sha256"], found["malformed"]) == (None, ["sealed"])


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(st.characters(codec="utf-8"), max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = ("case", "party", "officer", "activity", "important", "secret", "receipt", "seal", "seal_sha256", "missing")
KINDS = ("sealed", "labelled", "received", "backed-up", "previewed", "word")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.sampled_from(["done", "failed", "void"]),
            st.dictionaries(st.sampled_from(KEYS), JSON),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_no_fact_of_any_form_breaks_it(said: list[tuple[str, Any, dict[str, Any], bool]]) -> None:
    station = StationSide()
    for kind, outcome, body, withheld in said:
        station.say(kind, FOOTAGE.record, body, outcome=outcome, withheld=withheld)
    for witnesses in (None, TRUSTED):
        found = shown(station, witnesses)
        assert {copy["place"] for copy in found["copies"]} <= {"station"}
        assert len(found["facts"]) == len(said)
