"""The line to a station: presence that no late word spoils, logs that are borne out, a centre that was set back."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from tests.centre.centre_samples import T0, Footage, StationSide, fact, record_id
from tests.centre.desk import CENTRE, Desk, Talk

from dockwarden.centre import forks
from dockwarden.centre.forks import branch_of
from dockwarden.centre.hearing import SILENT_S
from dockwarden.centre.records import station_state
from dockwarden.centre.stations import ASK_AGAIN_S
from dockwarden.durable.ledger import ForkError
from dockwarden.evidence import checkpoints, merkle, notes
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.checkpoints import Head, sign_head
from dockwarden.evidence.notes import SignatureError, SigningKey
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.ledgers import FactBatch, HeadMessage, LogSize
from dockwarden.wire.messages import Presence

MakeDesk = Callable[..., Desk]
FIRST, SECOND, THIRD = (record_id(f"session {number}") for number in range(3))


def say(talk: Talk, state: str, session: str = FIRST, at: str | None = None, since: str = T0) -> str:
    """A presence; returns what the centre then shows of the station."""
    presence = Presence(state, session, since, at or talk.desk.time.wall)  # type: ignore[arg-type]  # it is one of them
    talk.line.on_presence(presence.encode())
    return shown(talk)


def shown(talk: Talk) -> str:
    return str(station_state(talk.desk.archive, talk.desk.hearing, talk.side.name)["state"])


def head_of(talk: Talk) -> HeadMessage:
    """The newest head message that the centre said."""
    return HeadMessage.decode(talk.take("head")[-1])


def own_head(message: HeadMessage) -> Head:
    return checkpoints.open_head(message.head, [CENTRE.verifier])


def sealed_log(side: StationSide, count: int = 3) -> None:
    for number in range(count):
        side.sealed(Footage(record_id(f"{side.name} {number}"), b"%d" % number))


# --- presence ----------------------------------------------------------------------------------------------------


def test_a_station_comes_and_goes(talk: Talk) -> None:
    assert shown(talk) == "unknown"
    assert say(talk, "online") == "online"
    talk.desk.time.go(SILENT_S + 1)
    assert shown(talk) == "offline"
    assert say(talk, "online") == "online"
    assert say(talk, "offline") == "offline"
    assert say(talk, "online", SECOND) == "online"


def test_the_will_of_an_older_session_does_not_mark_a_live_station_offline(talk: Talk) -> None:
    say(talk, "online", FIRST)
    say(talk, "online", SECOND)
    for session in (FIRST, THIRD):
        with pytest.raises(RemoteError, match="is over"):
            say(talk, "offline", session)
        assert shown(talk) == "online"


def test_an_older_session_that_speaks_again_is_not_believed(talk: Talk) -> None:
    say(talk, "online", FIRST)
    say(talk, "online", SECOND)
    say(talk, "offline", SECOND)
    talk.desk.time.go(1)
    with pytest.raises(RemoteError):
        say(talk, "online", FIRST)
    assert shown(talk) == "offline"


def test_the_will_of_a_session_that_nobody_heard_counts_where_nobody_is_live(talk: Talk) -> None:
    say(talk, "online", FIRST)
    talk.desk.time.go(SILENT_S + 1)
    assert say(talk, "offline", SECOND) == "offline"


def test_a_will_that_came_late_is_made_good_by_the_next_heartbeat(talk: Talk) -> None:
    say(talk, "online", FIRST)
    assert say(talk, "offline", FIRST, at=T0) == "offline"
    talk.desk.time.go(1)
    assert say(talk, "online", FIRST) == "online"


def test_the_retained_presence_of_a_dead_station_does_not_make_it_live(talk: Talk) -> None:
    say(talk, "online", FIRST, at="2026-11-24T09:00:00.000Z")
    talk.desk.time.go(1000)
    for _ in range(3):
        assert say(talk, "online", FIRST, at="2026-11-24T09:00:00.000Z") == "offline"
    talk.desk.restart()
    talk = talk.desk.talks["st-01"]
    assert say(talk, "online", FIRST, at="2026-11-24T09:00:00.000Z") == "unknown"  # it has time to speak
    talk.desk.time.go(SILENT_S + 1)
    assert shown(talk) == "offline"


def test_a_presence_of_another_form_changes_nothing(talk: Talk) -> None:
    say(talk, "online")
    for payload in (b"", b"{}", b"offline", b'{"state":"offline"}', b"\x00" * 2000):
        with pytest.raises(MalformedError):
            talk.line.on_presence(payload)
    assert shown(talk) == "online"


def test_open_questions_go_out_when_the_station_comes_and_now_and_then(talk: Talk) -> None:
    say(talk, "online")
    talk.desk.questions.put("st-01", "status", T0)
    talk.desk.time.go(ASK_AGAIN_S / 2)
    say(talk, "online")
    assert talk.take("ask") == []
    talk.desk.time.go(ASK_AGAIN_S / 2)
    say(talk, "online")
    assert len(talk.take("ask")) == 1
    say(talk, "online", SECOND)
    assert len(talk.take("ask")) == 1
    say(talk, "offline", SECOND)
    talk.desk.time.go(100)
    assert talk.take("ask") == []


def test_heartbeats_are_not_each_written_down(talk: Talk) -> None:
    for _ in range(20):
        talk.desk.time.go(5)
        say(talk, "online")
    known = talk.desk.archive.catalogue.presence("st-01")
    assert known is not None and known.heard_at < talk.desk.time.wall
    found = station_state(talk.desk.archive, talk.desk.hearing, "st-01")
    talk.desk.hearing.link(False)
    assert station_state(talk.desk.archive, talk.desk.hearing, "st-01")["since"] == talk.desk.time.wall
    assert (found["state"], found["since"]) == ("online", T0)


# --- logs and heads ----------------------------------------------------------------------------------------------


def test_facts_are_mirrored_and_the_reply_says_how_far(talk: Talk) -> None:
    sealed_log(talk.side, 5)
    talk.line.on_facts(talk.side.batch(0, 2))
    assert head_of(talk).seen == LogSize(talk.side.log, 2)
    talk.line.on_facts(talk.side.batch(3))  # the third was lost
    assert head_of(talk).seen == LogSize(talk.side.log, 2)
    talk.line.on_facts(talk.side.batch(1))  # some come twice
    assert head_of(talk).seen == LogSize(talk.side.log, 5)


def test_a_head_is_cosigned_only_if_the_mirror_bears_it_out(talk: Talk) -> None:
    sealed_log(talk.side)
    talk.line.on_facts(talk.side.batch(0, 2))
    talk.take("head")
    talk.line.on_head(HeadMessage(talk.side.head()).encode())
    assert head_of(talk).cosigned is None  # it is not that far yet
    talk.line.on_facts(talk.side.batch(2))
    talk.take("head")
    talk.line.on_head(HeadMessage(talk.side.head()).encode())
    cosigned = head_of(talk).cosigned
    assert cosigned is not None
    assert [key for key, _ in notes.verify_cosignatures(cosigned, [CENTRE.verifier])] == [CENTRE.verifier]
    assert checkpoints.open_head(cosigned, [talk.side.key.verifier]).size == 3
    talk.line.on_head(HeadMessage(talk.side.head(2)).encode())  # an older one came late
    assert head_of(talk).cosigned == cosigned


def test_a_forked_head_is_not_cosigned_and_raises_an_alarm(talk: Talk) -> None:
    sealed_log(talk.side)
    talk.line.on_facts(talk.side.batch())
    talk.take("head")
    forked = sign_head(Head(talk.side.log, 3, merkle.leaf_hash(b"another history")), talk.side.key)
    for _ in range(2):
        with pytest.raises(RemoteError) as caught:
            talk.line.on_head(HeadMessage(forked).encode())
        assert caught.value.code == "fork"
        message = head_of(talk)
        assert (message.cosigned, message.seen) == (None, LogSize(talk.side.log, 0))  # it is to tell its branch
    alarms = station_state(talk.desk.archive, talk.desk.hearing, "st-01")["alarms"]
    assert [(alarm["code"], alarm["where"]) for alarm in alarms] == [("fork", talk.side.log)]
    later = Footage(record_id("later"), b"later")
    assert len(talk.upload(later, talk.side.seal(later))) == 1  # what it has sealed is taken all the same


def test_forked_entries_are_not_taken_and_raise_an_alarm(talk: Talk) -> None:
    sealed_log(talk.side)
    talk.line.on_facts(talk.side.batch())
    talk.take("head")
    other = FactBatch(talk.side.log, 2, (fact(talk.side.log, 2, "docked"), fact(talk.side.log, 3, "docked")))
    with pytest.raises(ForkError):
        talk.line.on_facts(other.encode())
    assert (talk.said, talk.desk.archive.ledger.size(talk.side.log)) == ([], 3)
    assert [alarm.code for alarm in talk.desk.archive.catalogue.alarms("st-01")] == ["fork"]


def other_history(side: StationSide, since: int, count: int) -> StationSide:
    """The same station, which goes on from its entry `since` in another way."""
    other = StationSide(side.name)
    other.entries = side.entries[:since]
    for _ in range(count):
        other.say("docked", None, {"bay": "2"})
    return other


def findings(talk: Talk) -> list[Object]:
    entries = talk.desk.archive.ledger.entries()
    return [entry.body or {} for entry in entries if entry.envelope.kind == "finding"]


def tell_all(talk: Talk, side: StationSide) -> None:
    """What a station does after it has connected, as long as it is answered."""
    for _ in range(20):
        talk.said.clear()
        with suppress(RemoteError):
            talk.line.on_head(HeadMessage(side.head()).encode())
        if not talk.said:
            return
        message = head_of(talk)
        if message.cosigned is not None:
            return
        assert message.seen is not None
        batch = FactBatch(side.log, message.seen.size, tuple(side.entries[message.seen.size :][:2]))
        if batch.entries:
            talk.line.on_facts(batch.encode())
    pytest.fail("it is asked for ever")


@pytest.mark.parametrize("count", [1, 3, 9])
def test_both_branches_of_a_forked_log_are_kept_and_our_own_log_says_so_once(talk: Talk, count: int) -> None:
    sealed_log(talk.side, 4)
    talk.line.on_facts(talk.side.batch())
    other = other_history(talk.side, 2, count)
    for _ in range(2):
        tell_all(talk, other)
    mirrored = talk.desk.archive.ledger.entries(log=other.log)
    assert mirrored[:4] == talk.side.entries
    beside = branch_of(talk.desk.archive.catalogue, other.log)
    held = {entry.envelope_bytes for entry in [*mirrored, *beside]}
    assert {entry.envelope_bytes for entry in [*talk.side.entries, *other.entries]} == held
    assert [(body["code"], body["log"]) for body in findings(talk)] == [("fork", other.log)]
    talk.desk.restart()
    talk = talk.desk.talks["st-01"]
    tell_all(talk, other)
    assert branch_of(talk.desk.archive.catalogue, other.log) == beside
    assert len(findings(talk)) == 1
    assert talk.take("head") == []  # nothing is cosigned, and nothing more is asked for
    footage = Footage(record_id("later"), b"later")
    assert len(talk.upload(footage, talk.side.seal(footage))) == 1  # intake goes on


@pytest.mark.parametrize("restart", [False, True])
def test_a_station_that_goes_on_where_the_mirror_is_is_mirrored_and_cosigned_again(talk: Talk, restart: bool) -> None:
    sealed_log(talk.side, 4)
    talk.line.on_facts(talk.side.batch())
    tell_all(talk, other_history(talk.side, 2, 1))
    talk.side.say("docked", None, {"bay": "1"})
    if restart:
        talk.desk.restart()
        talk = talk.desk.talks["st-01"]
    tell_all(talk, talk.side)
    assert talk.desk.archive.ledger.entries(log=talk.side.log) == talk.side.entries
    talk.line.on_head(HeadMessage(talk.side.head()).encode())
    assert head_of(talk).cosigned is not None


def test_another_branch_never_grows_out_of_the_mirrors_end(talk: Talk) -> None:
    sealed_log(talk.side, 4)
    talk.line.on_facts(talk.side.batch())
    other = other_history(talk.side, 2, 9)
    with suppress(RemoteError):
        talk.line.on_head(HeadMessage(other.head(3)).encode())
    talk.line.on_facts(FactBatch(other.log, 4, tuple(other.entries[4:])).encode())
    assert talk.desk.archive.ledger.size(other.log) == 4


def test_what_is_kept_of_a_branch_has_an_end(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "MOST_ENTRIES", 3)
    sealed_log(talk.side, 4)
    talk.line.on_facts(talk.side.batch())
    other = other_history(talk.side, 0, 4)
    tell_all(talk, other)
    assert len(branch_of(talk.desk.archive.catalogue, other.log)) == 3


def test_a_station_may_not_speak_of_anothers_log(make_desk: MakeDesk, side: StationSide) -> None:
    other = StationSide("st-02")
    desk = make_desk(side, other)
    sealed_log(side)
    stranger = desk.talks["st-02"]
    with pytest.raises(RemoteError, match="another's log"):
        stranger.line.on_facts(side.batch())
    with pytest.raises(SignatureError):
        stranger.line.on_head(HeadMessage(side.head()).encode())
    centres = FactBatch(desk.archive.ledger.log, 0, tuple(desk.archive.ledger.entries()))
    with pytest.raises(RemoteError, match="another's log"):
        stranger.line.on_facts(centres.encode())
    assert stranger.said == []
    assert desk.archive.ledger.size(side.log) == 0


def test_a_head_that_is_wrong_in_any_part_changes_nothing(talk: Talk) -> None:
    sealed_log(talk.side)
    talk.line.on_facts(talk.side.batch())
    own = talk.desk.archive.ledger.head(CENTRE)
    talk.said.clear()
    good = HeadMessage(talk.side.head(), LogSize(talk.desk.archive.ledger.log, 1))
    wrong = [
        (replace(good, cosigned=own), MalformedError),  # bears no cosignature
        (replace(good, cosigned=StationSide("st-02").key.cosign(own, 1)), MalformedError),
        (replace(good, cosigned=talk.side.key.cosign(talk.side.head(), 1)), SignatureError),
        (replace(good, head=own), SignatureError),
        (replace(good, seen=LogSize(talk.desk.archive.ledger.log, 99)), RemoteError),
    ]
    for message, error in wrong:
        with pytest.raises(error):
            talk.line.on_head(message.encode())
    assert talk.said == []
    talk.line.on_head(good.encode())
    assert head_of(talk).cosigned is not None


def test_our_own_head_is_kept_under_the_stations_cosignature_and_an_older_one_does_not_replace_it(talk: Talk) -> None:
    ledger, by = talk.desk.archive.ledger, fact("centre.aaaaaaaa", 0, "x").envelope.by
    heads = []
    for _ in range(3):
        ledger.append("exported", by=by, body={})
        heads.append(talk.side.key.cosign(ledger.head(CENTRE), 1))
    sealed_log(talk.side, 1)
    for note in (heads[2], heads[0], heads[1]):
        talk.line.on_head(HeadMessage(talk.side.head(), None, note).encode())
    with talk.desk.archive.catalogue.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT note FROM heads WHERE keeper = 'st-01'").scalars().all()
    assert kept == [heads[2]]


def test_the_reply_proves_that_our_log_only_grew(talk: Talk) -> None:
    ledger, by = talk.desk.archive.ledger, fact("centre.aaaaaaaa", 0, "x").envelope.by
    sealed_log(talk.side, 1)
    talk.line.on_facts(talk.side.batch())
    before = own_head(head_of(talk))
    for _ in range(5):
        ledger.append("exported", by=by, body={})
    talk.line.on_head(HeadMessage(talk.side.head(), LogSize(before.log, before.size)).encode())
    message = head_of(talk)
    after = own_head(message)
    merkle.verify_consistency(before.size, before.root, after.size, after.root, message.consistency)


def test_a_centre_that_has_started_anew_proves_its_growth_from_what_the_station_has_cosigned(talk: Talk) -> None:
    """The station speaks of facts, not of heads, while its own line stayed up: it must be able to take the answer."""
    sealed_log(talk.side)
    ledger, by = talk.desk.archive.ledger, fact("centre.aaaaaaaa", 0, "x").envelope.by
    ledger.append("exported", by=by, body={})
    note = talk.side.key.cosign(ledger.head(CENTRE), 1)
    seen = checkpoints.open_head(note, [CENTRE.verifier])
    talk.line.on_head(HeadMessage(talk.side.head(), LogSize(seen.log, seen.size), note).encode())
    for _ in range(3):
        ledger.append("exported", by=by, body={})
    talk.desk.restart()
    talk = talk.desk.talks["st-01"]
    talk.line.on_facts(talk.side.batch())
    message = head_of(talk)
    now = own_head(message)
    assert now.size == seen.size + 3
    merkle.verify_consistency(seen.size, seen.root, now.size, now.root, message.consistency)


# --- a centre that was set back ----------------------------------------------------------------------------------


def set_back(talk: Talk, grown: int) -> tuple[Talk, bytes, Head]:
    """Copy the centre's database, go on, bring the copy back and let `grown` entries be added: what the station has
    cosigned meanwhile, and that head."""
    desk = talk.desk
    ledger, by = desk.archive.ledger, fact("centre.aaaaaaaa", 0, "x").envelope.by
    sealed_log(talk.side)
    talk.line.on_facts(talk.side.batch())
    desk.close()
    shutil.copy(desk.root / "catalogue.sqlite", desk.root / "copy")
    desk.restart()
    ledger = desk.archive.ledger
    for _ in range(3):
        ledger.append("exported", by=by, body={"n": 1})
    note = talk.side.key.cosign(ledger.head(CENTRE), 1)
    desk.close()
    for stale in desk.root.glob("catalogue.sqlite*"):
        stale.unlink()
    (desk.root / "copy").rename(desk.root / "catalogue.sqlite")
    desk.restart()
    for _ in range(grown):
        desk.archive.ledger.append("exported", by=by, body={"n": 2})
    return desk.talks["st-01"], note, checkpoints.open_head(note, [CENTRE.verifier])


@pytest.mark.parametrize("grown", [0, 1, 10])
def test_a_centre_that_was_set_back_goes_on_in_a_new_log(talk: Talk, grown: int) -> None:
    talk, note, seen = set_back(talk, grown)
    old = talk.desk.archive.ledger.log
    before = talk.desk.archive.ledger.size()
    talk.line.on_head(HeadMessage(talk.side.head(), LogSize(seen.log, seen.size), note).encode())
    message = head_of(talk)
    head = own_head(message)
    assert head.log != old
    assert (message.seen, message.consistency) == (LogSize(talk.side.log, 3), ())
    new = talk.desk.archive.ledger
    assert [entry.envelope.kind for entry in new.entries()] == ["restored", "key-rotated"]
    assert new.entries()[0].body == {
        "log": old, "size": before, "why": "a head that we have signed is not that of our log"
    }  # fmt: skip
    assert [alarm.code for alarm in talk.desk.archive.catalogue.alarms("st-01")] == ["set-back"]
    talk.line.on_head(HeadMessage(talk.side.head(), LogSize(seen.log, seen.size), note).encode())
    assert own_head(head_of(talk)).log == new.log
    footage = Footage(record_id("later"), b"later")
    assert len(talk.upload(footage, talk.side.seal(footage))) == 1
    assert talk.desk.archive.ledger.size(old) == before
    talk.desk.restart()
    assert talk.desk.archive.ledger.log == new.log


def test_a_mere_claim_that_we_were_set_back_is_not_believed(talk: Talk) -> None:
    sealed_log(talk.side)
    talk.line.on_facts(talk.side.batch())
    ledger = talk.desk.archive.ledger
    forged = sign_head(Head(ledger.log, 99, merkle.leaf_hash(b"x")), SigningKey("centre", bytes(range(32))))
    ours = sign_head(Head(ledger.log, ledger.size(), ledger.root()), CENTRE)
    for note in (talk.side.key.cosign(forged, 1), ours):
        with pytest.raises((SignatureError, MalformedError)):
            talk.line.on_head(HeadMessage(talk.side.head(), LogSize(ledger.log, 99), note).encode())
    with pytest.raises(RemoteError, match="has seen more of our log"):
        talk.line.on_head(HeadMessage(talk.side.head(), LogSize(ledger.log, 99)).encode())
    assert talk.desk.archive.ledger is ledger
    assert talk.desk.archive.catalogue.alarms("st-01") == []
