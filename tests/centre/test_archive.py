"""The archive signs for what it has just read in full, once, and finishes what a crash has left."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.centre.centre_samples import Footage, StationSide, chunks, drawn, record_id
from tests.centre.desk import CENTRE, Desk, Talk
from tests.centre.ocfl_check import broken_rules
from tests.durable.disks import FaultyFiles, Killed

from dockwarden.centre.archive import Archive, Kept, Unsigned
from dockwarden.durable.files import DurableError
from dockwarden.evidence import receipts, seals
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.digests import LEAF_SIZE
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.messages import PARTS, PREVIEW, SHEET, Offer, Want

MakeDesk = Callable[..., Desk]
FOOTAGE = Footage(record_id("one"), drawn("one", LEAF_SIZE + 5))


def settle(talk: Talk, footage: Footage, seal: bytes) -> bytes:
    """Offer, send, wait and offer again until the centre says that it is stored; its receipt."""
    for _ in range(12):
        try:
            talk.offer(footage, seal, epoch=1)
            for _ in range(4):
                said = talk.said[:]
                talk.said.clear()
                wants = [Want.open(payload, [CENTRE.verifier]) for lane, payload in said if lane == "want"]
                if wants and wants[-1].complete:
                    return next(payload for lane, payload in said if lane == "receipt")
                if wants:
                    talk.send(*chunks(footage, wants[-1]))
                talk.flush()
                talk.check()
        except DurableError as error:
            assert error.code == "io-error"  # the offer was refused: it comes again
        talk.tick(70.0)
    raise AssertionError("it is not stored")


def proven(talk: Talk, footage: Footage, seal: bytes, note: bytes) -> None:
    """Whatever came before: stored once, in a valid store, with one receipt that is about just these bytes."""
    desk = talk.desk
    receipt = receipts.open_receipt(note, [CENTRE.verifier])
    assert receipt.agrees(footage.record, seals.seal_sha256(seal), footage.digests)
    assert (receipt.place, receipt.generation, receipt.method) == ("centre", desk.archive.store.generation, "full")
    assert desk.stored(footage.record) == ["done"]
    assert desk.original(footage.record) == footage.data
    assert broken_rules(desk.root / "store") == []
    assert [path for path in (desk.root / "incoming").rglob("*") if path.is_file()] == []


def steps_of(make_desk: MakeDesk, root: Path, side: StationSide) -> int:
    """How many durable steps a transfer has."""
    talk = make_desk(side, root=root).talks["st-01"]
    files = FaultyFiles()
    talk.desk.use(files)
    seal = side.seal(FOOTAGE)
    proven(talk, FOOTAGE, seal, settle(talk, FOOTAGE, seal))
    talk.desk.close()
    return len(files.trace)


def test_a_kill_at_any_step_of_receiving_loses_nothing_and_signs_once(
    make_desk: MakeDesk, tmp_path: Path, side: StationSide
) -> None:
    seal = side.seal(FOOTAGE)
    steps = steps_of(make_desk, tmp_path / "counted", side)
    assert steps > 25
    for step in range(steps):
        for done in (False, True):
            talk = make_desk(side, root=tmp_path / f"{step}-{done}").talks["st-01"]
            talk.desk.use(FaultyFiles(step, done=done, kill=True))
            with pytest.raises(Killed):
                settle(talk, FOOTAGE, seal)
            desk = talk.desk
            desk.use(FaultyFiles())
            desk.restart()
            talk = desk.talks["st-01"]
            proven(talk, FOOTAGE, seal, settle(talk, FOOTAGE, seal))
            proven(talk, FOOTAGE, seal, settle(talk, FOOTAGE, seal))
            desk.close()


def test_a_failure_of_any_step_heals_without_a_restart(
    make_desk: MakeDesk, tmp_path: Path, side: StationSide
) -> None:
    seal = side.seal(FOOTAGE)
    for step in range(steps_of(make_desk, tmp_path / "counted", side)):
        for done in (False, True):
            talk = make_desk(side, root=tmp_path / f"{step}-{done}").talks["st-01"]
            talk.desk.use(FaultyFiles(step, done=done))
            proven(talk, FOOTAGE, seal, settle(talk, FOOTAGE, seal))
            talk.desk.close()


def die_between_store_and_fact(talk: Talk, seal: bytes) -> Talk:
    """Receive an item, and end before the centre has said that it is stored; returns the line after the restart."""
    talk.offer(FOOTAGE, seal)
    talk.send(*chunks(FOOTAGE, talk.want()))
    talk.flush()
    work, _ = talk.checks.pop()
    talk.desk.archive.ledger.append = _no  # type: ignore[method-assign,assignment]  # it dies here
    with pytest.raises(Killed):
        work()
    talk.desk.restart()
    return talk.desk.talks["st-01"]


def _no(*_: object, **__: object) -> None:
    raise Killed


def test_a_damaged_object_is_never_signed(talk: Talk) -> None:
    """Published, not yet signed for, then damaged: it stays unsigned, and a person is told."""
    seal = talk.side.seal(FOOTAGE)
    talk = die_between_store_and_fact(talk, seal)
    desk = talk.desk
    content = desk.archive.store.find(FOOTAGE.record)
    assert content is not None
    assert desk.archive.kept(FOOTAGE.record, 0, "") == Unsigned(seal)
    original = bytearray(FOOTAGE.data)
    original[7] ^= 1
    (content / "original").write_bytes(original)
    for _ in range(3):
        talk.offer(FOOTAGE, seal)
        assert all(isinstance(result, MalformedError) for result in talk.check())
        assert (talk.take("receipt"), desk.stored(FOOTAGE.record)) == ([], [])
    assert [alarm.code for alarm in desk.archive.catalogue.alarms("st-01")] == ["not-as-sealed"]


def test_what_is_left_without_its_fact_is_read_beside_the_office_and_then_answered(talk: Talk) -> None:
    seal = talk.side.seal(FOOTAGE)
    talk = die_between_store_and_fact(talk, seal)
    talk.offer(FOOTAGE, seal)
    talk.offer(FOOTAGE, seal)
    assert (talk.said, len(talk.checks)) == ([], 1)
    talk.check()
    proven(talk, FOOTAGE, seal, talk.take("receipt")[-1])


def test_bytes_that_are_proven_and_not_what_the_seal_says_are_refused(talk: Talk) -> None:
    """A seal whose SHA-256 is another's: the leaves fit the root, the whole does not fit the seal."""
    other = Footage(FOOTAGE.record, b"other")
    lying = Footage(FOOTAGE.record, FOOTAGE.data)
    digests = FOOTAGE.digests.__class__(
        FOOTAGE.digests.size, other.digests.sha256, FOOTAGE.digests.sm3, FOOTAGE.digests.leaves_root
    )
    object.__setattr__(lying, "digests", digests)
    seal = talk.side.seal(lying)
    assert talk.upload(FOOTAGE, seal) == []
    assert talk.desk.archive.store.find(FOOTAGE.record) is None
    talk.offer(FOOTAGE, seal)
    assert (talk.said, talk.checks) == ([], [])
    assert [alarm.code for alarm in talk.desk.archive.catalogue.alarms("st-01")] == ["not-as-sealed"]


def test_a_record_stored_under_one_seal_is_not_taken_under_another(talk: Talk) -> None:
    first = talk.side.seal(FOOTAGE, 1)
    talk.upload(FOOTAGE, first)
    talk.desk.restart()
    talk = talk.desk.talks["st-01"]
    with pytest.raises(RemoteError, match="another seal"):
        talk.offer(FOOTAGE, talk.side.seal(FOOTAGE, 2))
    assert talk.take("receipt") == []


def test_another_stations_record_is_not_taken(make_desk: MakeDesk, side: StationSide) -> None:
    thief = StationSide("st-02")
    desk = make_desk(side, thief)
    side.sealed(FOOTAGE)
    desk.archive.catalogue.mirror(side.entries, desk.time.wall)
    with pytest.raises(RemoteError, match="another station"):
        desk.talks["st-02"].offer(FOOTAGE, thief.seal(FOOTAGE))
    talk = desk.talks["st-01"]
    seal = side.seal(FOOTAGE)
    assert len(talk.upload(FOOTAGE, seal)) == 1


def test_who_stored_first_under_an_unknown_name_wins_and_the_other_is_told_so(
    make_desk: MakeDesk, side: StationSide
) -> None:
    other = StationSide("st-02")
    desk = make_desk(side, other)
    one, two = desk.talks["st-01"], desk.talks["st-02"]
    two.offer(FOOTAGE, other.seal(FOOTAGE))
    two.send(*chunks(FOOTAGE, two.want()))
    assert len(one.upload(FOOTAGE, side.seal(FOOTAGE))) == 1
    two.flush()
    assert [type(result) for result in two.check()] == [RemoteError]
    assert two.take("receipt") == []
    assert desk.stored(FOOTAGE.record) == ["done"]


def test_a_receipt_of_an_older_store_proves_nothing_in_a_newer_one(talk: Talk) -> None:
    seal, desk = talk.side.seal(FOOTAGE), talk.desk
    before = talk.upload(FOOTAGE, seal)[0]
    named = desk.root / "store" / "extensions" / "dockwarden" / "generation"
    named.write_text("zzzzzzzz")
    desk.restart()
    talk = desk.talks["st-01"]
    assert desk.archive.kept(FOOTAGE.record, 0, "") == Unsigned(seal)
    talk.offer(FOOTAGE, seal)
    talk.check()
    after = talk.take("receipt")[-1]
    made = [receipts.open_receipt(note, [CENTRE.verifier]).generation for note in (before, after)]
    assert made[1] == "zzzzzzzz" != made[0]


def announce(talk: Talk, *parts: Footage, record: str = FOOTAGE.record, outcome: str = "done") -> None:
    """The station says which previews it has made."""
    body = {
        "parts": [
            {"leaves_root": part.digests.leaves_root, "name": PARTS[part.part], "part": part.part,
             "sha256": part.digests.sha256, "size": part.digests.size}
            for part in parts
        ]
    }  # fmt: skip
    talk.side.say("previewed", record, body, outcome=outcome)  # type: ignore[arg-type]  # it is one
    talk.desk.archive.catalogue.mirror(talk.side.entries, talk.desk.time.wall)


def kept(archive: Archive, footage: Footage) -> bool:
    return archive.kept(footage.record, footage.part, footage.digests.leaves_root) == Kept(None, None)


def test_a_preview_is_taken_only_if_the_stations_own_fact_names_it(make_desk: MakeDesk, side: StationSide) -> None:
    other = StationSide("st-02")
    desk = make_desk(side, other)
    talk, stranger = desk.talks["st-01"], desk.talks["st-02"]
    preview = Footage(FOOTAGE.record, b"a film", PREVIEW)
    talk.offer(preview)
    announce(talk, preview)  # without a seal it is nobody's
    talk.offer(preview)
    assert talk.said == []
    side.sealed(FOOTAGE)
    announce(talk, preview)
    announce(stranger, Footage(FOOTAGE.record, b"another film", PREVIEW))
    stranger.offer(Footage(FOOTAGE.record, b"another film", PREVIEW))
    stranger.offer(preview)
    assert stranger.said == []
    for wrong in (Footage(FOOTAGE.record, b"a fill", PREVIEW), Footage(FOOTAGE.record, b"a film", SHEET)):
        talk.offer(wrong)
        assert talk.said == []
    assert talk.upload(preview) == []
    assert kept(desk.archive, preview)
    assert desk.archive.derivative(FOOTAGE.record, PREVIEW).read_bytes() == b"a film"


def test_a_newer_preview_takes_the_place_of_an_older_one(talk: Talk) -> None:
    talk.side.sealed(FOOTAGE)
    first = Footage(FOOTAGE.record, drawn("first", 3 * LEAF_SIZE), PREVIEW)
    second = Footage(FOOTAGE.record, drawn("second", 2 * LEAF_SIZE), PREVIEW)
    third = Footage(FOOTAGE.record, b"third", PREVIEW)
    announce(talk, first)
    talk.offer(first)
    talk.send(chunks(first, talk.want())[0])
    talk.flush()
    with pytest.raises(RemoteError, match="not the newest"):
        talk.offer(second)
    announce(talk, second)
    with pytest.raises(RemoteError, match="another size or root"):
        talk.receiving._open[first.record, PREVIEW].receiver.on_offer(Offer.decode(talk.side.offer(second)), 0.0)
    talk.upload(second)
    assert kept(talk.desk.archive, second)
    announce(talk, third)
    talk.upload(third)
    assert not kept(talk.desk.archive, second)
    assert talk.desk.archive.derivative(FOOTAGE.record, PREVIEW).read_bytes() == b"third"
    with pytest.raises(RemoteError):
        talk.offer(second)
    assert talk.desk.archive.derivative(FOOTAGE.record, PREVIEW).read_bytes() == b"third"


def test_nothing_of_an_older_preview_is_taken_for_a_newer_ones_after_a_restart(talk: Talk) -> None:
    talk.side.sealed(FOOTAGE)
    first = Footage(FOOTAGE.record, drawn("first", 2 * LEAF_SIZE), PREVIEW)
    second = Footage(FOOTAGE.record, drawn("second", 2 * LEAF_SIZE), PREVIEW)
    announce(talk, first)
    talk.offer(first)
    talk.send(chunks(first, talk.want())[0])
    talk.flush()
    talk.desk.restart()
    talk = talk.desk.talks["st-01"]
    announce(talk, second)
    talk.offer(second)
    assert talk.want().ranges == ((0, 2),)


def test_a_preview_that_was_overtaken_while_it_was_checked_is_not_stored(talk: Talk) -> None:
    talk.side.sealed(FOOTAGE)
    first, second = (Footage(FOOTAGE.record, data, PREVIEW) for data in (b"first", b"second"))
    announce(talk, first)
    talk.offer(first)
    talk.send(*chunks(first, talk.want()))
    talk.flush()
    announce(talk, second)
    assert [getattr(result, "code", None) for result in talk.check()] == ["overtaken"]
    assert not kept(talk.desk.archive, first)
    talk.upload(second)
    assert kept(talk.desk.archive, second)


def test_a_withdrawn_preview_is_not_announced_any_more(talk: Talk) -> None:
    talk.side.sealed(FOOTAGE)
    preview = Footage(FOOTAGE.record, b"film", PREVIEW)
    announce(talk, preview)
    announce(talk, outcome="void")
    talk.offer(preview)
    assert talk.said == []
