"""What a station can have open at the centre is bounded, and what is put away goes on where it was."""

import pytest
from tests.centre.centre_samples import Footage, StationSide, chunk, chunks, drawn, record_id
from tests.centre.desk import Talk, gathered, open_files

from dockwarden.centre import archive as archives
from dockwarden.centre import receiver as receivers
from dockwarden.evidence.digests import LEAF_SIZE
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.transfer import State

FOOTAGE = Footage(record_id("one"), drawn("one", 3 * LEAF_SIZE + 5))


def many(side: StationSide, count: int, size: int = 1) -> list[Footage]:
    return [Footage(record_id(f"many {number}"), drawn(f"{number}", size)) for number in range(count)]


def test_thousands_of_offers_keep_files_and_folders_bounded(talk: Talk) -> None:
    before = open_files()
    for footage in many(talk.side, 300):
        talk.offer(footage, talk.side.seal(footage))
    assert open_files() - before <= 2 * receivers.MOST_OPEN
    assert len(gathered(talk.desk)) <= receivers.MOST_OPEN
    assert len(talk.receiving._open) == receivers.MOST_OPEN


def test_unfinished_items_on_the_disk_are_bounded_and_the_newest_stay(talk: Talk) -> None:
    offered = many(talk.side, archives.MOST_GATHERED + 10, LEAF_SIZE + 1)
    for footage in offered:
        talk.offer(footage, talk.side.seal(footage))
        talk.send(chunk(footage, 0, talk.want()))
        talk.flush()
    kept = gathered(talk.desk)
    assert len(kept) == archives.MOST_GATHERED
    assert {path.name[:26] for path in kept} == {footage.record for footage in offered[-archives.MOST_GATHERED :]}
    talk.desk.restart()
    talk = talk.desk.talks["st-01"]
    talk.offer(offered[-1], talk.side.seal(offered[-1]))
    assert talk.want().ranges == ((1, 1),)


def test_what_is_put_away_goes_on_where_it_was(talk: Talk) -> None:
    seal = talk.side.seal(FOOTAGE)
    talk.offer(FOOTAGE, seal)
    talk.send(*chunks(FOOTAGE, talk.want(), [0, 1]))
    talk.flush()
    for footage in many(talk.side, receivers.MOST_OPEN):
        talk.offer(footage, talk.side.seal(footage))
    assert (FOOTAGE.record, 0) not in talk.receiving._open
    home = next(path for path in gathered(talk.desk) if path.name.startswith(FOOTAGE.record))
    original = home / "v1" / "content" / "original"
    assert original.stat().st_size == 2 * LEAF_SIZE  # the rest of the space was given back
    talk.said.clear()
    talk.offer(FOOTAGE, seal)
    assert talk.want().ranges == ((2, 2),)
    assert len(talk.upload(FOOTAGE, seal)) == 1
    assert talk.desk.original(FOOTAGE.record) == FOOTAGE.data


def test_what_is_being_stored_is_not_put_away(talk: Talk) -> None:
    offered = many(talk.side, receivers.MOST_OPEN)
    for footage in offered:
        talk.offer(footage, talk.side.seal(footage))
        talk.send(*chunks(footage, talk.want()))
        talk.flush()
    with pytest.raises(RemoteError, match="being stored"):
        talk.offer(FOOTAGE, talk.side.seal(FOOTAGE))
    talk.check()
    assert len(talk.take("receipt")) == receivers.MOST_OPEN
    assert len(talk.upload(FOOTAGE, talk.side.seal(FOOTAGE))) == 1


def test_what_is_remembered_of_stored_items_is_bounded(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "MOST_SETTLED", 4)
    offered = many(talk.side, 10)
    for footage in offered:
        talk.upload(footage, talk.side.seal(footage))
    assert len(talk.receiving._settled) == 4
    for footage in offered:  # forgotten or not: stored is stored
        talk.offer(footage, talk.side.seal(footage))
        assert len(talk.take("receipt")) == 1
    assert all(talk.desk.stored(footage.record) == ["done"] for footage in offered)


def test_an_item_of_which_nothing_is_heard_is_closed(talk: Talk) -> None:
    before = open_files()
    talk.offer(FOOTAGE, talk.side.seal(FOOTAGE))
    assert open_files() > before
    talk.receiving.rest()
    talk.tick(receivers.IDLE_S + 1)
    assert (open_files(), gathered(talk.desk)) == (before, [])


def test_a_station_that_is_gone_is_not_spoken_to_until_it_offers_again(talk: Talk) -> None:
    seal = talk.side.seal(FOOTAGE)
    talk.offer(FOOTAGE, seal)
    want = talk.want()
    talk.receiving.rest()
    for _ in range(20):
        talk.tick(10.0)
    assert talk.said == []
    talk.offer(FOOTAGE, seal, epoch=want.epoch)
    assert talk.want().epoch > want.epoch


def test_a_sender_that_stalls_is_asked_anew_and_then_left_alone(talk: Talk) -> None:
    talk.offer(FOOTAGE, talk.side.seal(FOOTAGE))
    talk.said.clear()
    for _ in range(200):
        talk.tick(2.0)
    assert 2 <= len(talk.take("want")) <= 8
    found = talk.receiving._open[FOOTAGE.record, 0]
    assert found.receiver.state is State.IDLE


def test_a_check_that_ends_after_its_item_was_closed_does_no_harm(talk: Talk) -> None:
    seal = talk.side.seal(FOOTAGE)
    talk.offer(FOOTAGE, seal)
    talk.send(*chunks(FOOTAGE, talk.want()))
    talk.flush()
    talk.receiving.close()
    talk.said.clear()
    talk.check()
    assert talk.said == []
    talk.offer(FOOTAGE, seal)
    assert len(talk.take("receipt")) == 1
    assert talk.desk.stored(FOOTAGE.record) == ["done"]
