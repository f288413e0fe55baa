"""The receiver takes what is proven and nothing else, keeps what is durable, and is bounded whatever is offered."""

import errno
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.centre.centre_samples import Footage, StationSide, chunk, chunks, drawn, record_id, wanted
from tests.centre.desk import CENTRE, Desk, Talk, gathered, open_files
from tests.durable.disks import MIB, small_disk

from dockwarden.centre import archive as archives
from dockwarden.centre import receiver as receivers
from dockwarden.durable.files import DurableError, OsFiles
from dockwarden.evidence import seals
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.digests import LEAF_SIZE
from dockwarden.evidence.notes import SignatureError
from dockwarden.wire.chunks import Chunk
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.messages import Offer, Want

MakeDesk = Callable[..., Desk]
FOOTAGE = Footage(record_id("one"), drawn("one", 3 * LEAF_SIZE + 5))


class FailingDisk(OsFiles):
    """A disk on which writes or syncs of originals fail while `code` is set."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.at = "pwrite"

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        self._perhaps("pwrite")
        super().pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:
        self._perhaps("fdatasync")
        super().fdatasync(fd)

    def _perhaps(self, call: str) -> None:
        if self.code is not None and self.at == call:
            raise OSError(self.code, os.strerror(self.code))


def test_leaves_may_come_in_any_order_doubled_and_in_pieces(talk: Talk) -> None:
    talk.offer(FOOTAGE, talk.side.seal(FOOTAGE))
    want = talk.want()
    assert (want.ranges, want.complete) == (((0, 4),), False)
    sent = chunks(FOOTAGE, want, [3, 1, 1, 0])
    talk.send(*sent)
    assert talk.said == []  # nothing is durable yet
    talk.flush()
    want = talk.want()
    assert (want.ranges, want.seen) == (((2, 1),), 4)
    talk.send(*chunks(FOOTAGE, want))
    talk.flush()
    talk.check()
    assert len(talk.take("receipt")) == 1
    assert talk.desk.original(FOOTAGE.record) == FOOTAGE.data


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.lists(st.sampled_from(["send", "flush", "kill", "offer"]), max_size=20))
def test_a_restart_at_any_point_keeps_what_is_durable(
    make_desk: MakeDesk, tmp_path_factory: pytest.TempPathFactory, chance: random.Random, steps: list[str]
) -> None:
    side = StationSide()
    desk = make_desk(side, root=tmp_path_factory.mktemp("centre"))
    talk, seal = desk.talks["st-01"], side.seal(FOOTAGE)
    durable: set[int] = set()
    written: set[int] = set()
    talk.offer(FOOTAGE, seal)
    want = talk.want()
    for step in steps:
        missing = set(wanted(want))
        if want.complete or not missing:
            break
        assert not missing & durable
        if step == "send":
            leaf = chance.choice(sorted(missing))
            talk.send(chunk(FOOTAGE, leaf, want, chance.randrange(1, 9)))
            written.add(leaf)
        elif step == "flush":
            talk.flush()
            durable |= written
        elif step == "kill":
            desk.restart()
            talk = desk.talks["st-01"]
            written.clear()
        if step != "send":
            talk.offer(FOOTAGE, seal)
            want = talk.want()
            if step == "kill":
                assert set(wanted(want)) == set(range(4)) - durable
    desk.restart()
    talk = desk.talks["st-01"]
    assert len(talk.upload(FOOTAGE, seal)) == 1
    assert desk.original(FOOTAGE.record) == FOOTAGE.data
    desk.close()


@pytest.mark.parametrize("at", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_or_failing_disk_stops_the_sender_and_heals(talk: Talk, at: str, code: int) -> None:
    disk = FailingDisk()
    talk.desk.use(disk)
    seal = talk.side.seal(FOOTAGE)
    talk.offer(FOOTAGE, seal)
    first = talk.want()
    disk.code, disk.at = code, at
    talk.send(*chunks(FOOTAGE, first, [0]))
    talk.flush()
    stopped = talk.want()
    assert (stopped.credit, stopped.complete) == (0, False)
    assert stopped.epoch > first.epoch  # what was in flight is to be sent again
    assert stopped.ranges == ((0, 4),)
    talk.send(*chunks(FOOTAGE, first, [1]))
    talk.flush()
    talk.tick(100.0)
    again = talk.want()  # a try: the disk may be well again
    assert again.credit > 0
    talk.send(*chunks(FOOTAGE, again, [0]))
    talk.flush()
    disk.code = None
    talk.tick(100.0)
    for _ in range(5):
        want = talk.want()
        if want.complete:
            break
        talk.send(*chunks(FOOTAGE, want))
        talk.flush()
        talk.check()
    assert want.complete
    assert talk.desk.original(FOOTAGE.record) == FOOTAGE.data


def test_tries_on_a_failing_disk_become_rarer(talk: Talk) -> None:
    disk = FailingDisk()
    talk.desk.use(disk)
    talk.offer(FOOTAGE, talk.side.seal(FOOTAGE))
    want = talk.want()
    disk.code = errno.EIO
    tries = 0
    for _ in range(600):
        if want.credit:
            talk.send(*chunks(FOOTAGE, want, [0]))
            talk.flush()
            tries += 1
        talk.tick(0.2)
        if talk.said:
            want = talk.want()
    assert tries <= 12  # of 600


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted")
def test_a_disk_without_room_takes_nothing_and_leaves_nothing(
    make_desk: MakeDesk, tmp_path: Path, side: StationSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "KEEP_FREE", 2 * MIB)
    monkeypatch.setattr(receivers, "LIMIT", MIB)
    with small_disk(tmp_path, 24 * MIB) as disk:
        desk = make_desk(side, root=disk / "centre")
        talk = desk.talks["st-01"]
        large, small = Footage(record_id("large"), bytes(30 * MIB)), Footage(record_id("small"), drawn("s", 2 * MIB))
        for _ in range(3):
            with pytest.raises(DurableError) as caught:
                talk.offer(large, side.seal(large))
            assert caught.value.code == "disk-full"
        assert (talk.said, gathered(desk)) == ([], [])
        assert [alarm.code for alarm in desk.archive.catalogue.alarms("st-01")] == ["disk-full"]
        filler = disk / "filler"
        filler.write_bytes(bytes(14 * MIB))
        assert len(talk.upload(small, side.seal(small))) == 1
        second = Footage(record_id("second"), drawn("second", 5 * MIB))
        with pytest.raises(DurableError):
            talk.offer(second, side.seal(second))
        filler.unlink()
        assert len(talk.upload(second, side.seal(second))) == 1
        desk.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted")
def test_a_station_cannot_take_all_of_the_disk_by_offers(
    make_desk: MakeDesk, tmp_path: Path, side: StationSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "KEEP_FREE", 2 * MIB)
    monkeypatch.setattr(receivers, "LIMIT", MIB)
    other = StationSide("st-02")
    with small_disk(tmp_path, 40 * MIB) as disk:
        desk = make_desk(side, other, root=disk / "centre")
        greedy, honest = desk.talks["st-01"], desk.talks["st-02"]
        large = [Footage(record_id(f"large {number}"), bytes([number]) * (6 * MIB)) for number in range(5)]
        taken = 0
        for footage in large:
            try:
                greedy.offer(footage, side.seal(footage))
                taken += 1
            except RemoteError as error:
                assert error.code == "over-share"
        assert 1 <= taken <= 3
        assert len(gathered(desk)) == taken
        assert [alarm.code for alarm in desk.archive.catalogue.alarms("st-01")] == ["over-share"]
        small = Footage(record_id("small"), drawn("s", 2 * MIB))
        assert len(honest.upload(small, other.seal(small))) == 1
        assert desk.archive.catalogue.alarms("st-02") == []
        assert len(greedy.upload(large[0], side.seal(large[0]))) == 1  # what it has begun comes to its end
        desk.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted")
def test_what_a_station_left_unfinished_gives_way_to_what_it_offers_now(
    make_desk: MakeDesk, tmp_path: Path, side: StationSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "KEEP_FREE", 2 * MIB)
    monkeypatch.setattr(receivers, "LIMIT", MIB)
    with small_disk(tmp_path, 40 * MIB) as disk:
        desk = make_desk(side, root=disk / "centre")
        talk = desk.talks["st-01"]
        last = (6 * MIB) // LEAF_SIZE - 1
        for number in range(4):  # the last leaf first: nothing of the space can be given back
            footage = Footage(record_id(f"left {number}"), bytes([number]) * (6 * MIB))
            talk.offer(footage, side.seal(footage))
            talk.send(*chunks(footage, talk.want(), [last]))
            talk.flush()
            talk.receiving.rest()
            talk.tick(receivers.IDLE_S + 1)
        held = sum(path.stat().st_blocks * 512 for path in (disk / "centre" / "incoming").rglob("original"))
        assert held <= 18 * MIB
        now = Footage(record_id("now"), drawn("now", 6 * MIB))
        assert len(talk.upload(now, side.seal(now))) == 1
        assert desk.archive.catalogue.alarms("st-01") == []
        desk.close()


def test_offers_that_are_not_what_their_seal_says_change_nothing(make_desk: MakeDesk, side: StationSide) -> None:
    desk = make_desk(side)
    talk = desk.talks["st-01"]
    seal, other = side.seal(FOOTAGE), Footage(record_id("two"), b"other")
    stranger = StationSide("st-02")
    good = Offer.decode(side.offer(FOOTAGE, seal))
    hostile = [
        (replace(good, seal=stranger.seal(FOOTAGE)), SignatureError),
        (replace(good, seal=CENTRE.sign(seal.decode().split("\n\n")[0] + "\n")), SignatureError),
        (replace(good, seal=side.seal(other)), RemoteError),
        (replace(good, size=good.size + 1), RemoteError),
        (replace(good, leaves_root="0" * 64), RemoteError),
        (replace(good, record=other.record), RemoteError),
        (replace(good, size=0), RemoteError),
        (replace(good, seal=side.key.sign("dockwarden/receipt/1\n{}\n")), MalformedError),
    ]
    before = open_files()
    for offer, error in hostile:
        with pytest.raises(error):
            talk.receiving.on_offer(offer.encode(), 0.0)
    for payload in (b"", b"{}", side.offer(FOOTAGE), good.encode()[:-1], b"\xff" * 100, good.encode() + b" "):
        with pytest.raises(MalformedError):
            talk.receiving.on_offer(payload, 0.0)
    assert (talk.said, talk.checks, gathered(desk), open_files()) == ([], [], [], before)


def hostile_chunks(want: Want) -> list[bytes]:
    good = Chunk.decode(chunk(FOOTAGE, 1, want))
    data = bytes(good.data)
    return [
        b"",
        b"DWC1",
        os.urandom(1000),
        chunk(FOOTAGE, 1, want, data=data[:-1] + bytes([data[-1] ^ 1])),
        chunk(FOOTAGE, 1, want, data=data[:-1]),
        replace(good, proof=()).encode(),
        replace(good, proof=good.proof[::-1]).encode(),
        replace(good, proof=(*good.proof, bytes(32))).encode(),
        replace(good, leaf=0).encode(),
        replace(good, leaf=4).encode(),
        replace(good, leaf=2**53 - 1).encode(),
        replace(good, epoch=2**32 - 1).encode(),
        replace(good, epoch=want.epoch + 1000).encode(),
        replace(good, record=record_id("two")).encode(),
        replace(good, part=1).encode(),
        chunk(FOOTAGE, 3, want, data=b"short"),
    ]


def test_hostile_chunks_change_nothing(talk: Talk) -> None:
    talk.offer(FOOTAGE, talk.side.seal(FOOTAGE))
    want = talk.want()
    for payload in hostile_chunks(want):
        try:
            talk.send(payload)
        except (MalformedError, RemoteError):
            continue
    talk.flush()
    folder = gathered(talk.desk)[0] / "v1" / "content"
    assert (folder / "original").read_bytes() == bytes(len(FOOTAGE.data))
    assert (folder / "leaves").read_bytes() == b""
    talk.offer(FOOTAGE, talk.side.seal(FOOTAGE), epoch=want.epoch)
    assert len(talk.upload(FOOTAGE, talk.side.seal(FOOTAGE))) == 1
    assert talk.desk.original(FOOTAGE.record) == FOOTAGE.data


@given(st.binary(max_size=300))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_payload_breaks_it(talk: Talk, payload: bytes) -> None:
    for take in (talk.receiving.on_offer, talk.receiving.on_chunk):
        with pytest.raises((MalformedError, SignatureError, RemoteError)):
            take(payload, 0.0)
    assert talk.said == []


def test_leaves_that_changed_on_the_disk_are_wanted_again(talk: Talk) -> None:
    seal = talk.side.seal(FOOTAGE)
    talk.offer(FOOTAGE, seal)
    talk.send(*chunks(FOOTAGE, talk.want()))
    talk.flush()
    talk.said.clear()
    folder = gathered(talk.desk)[0] / "v1" / "content"
    with (folder / "original").open("r+b") as file:
        file.seek(2 * LEAF_SIZE)
        file.write(b"spoilt")
    talk.check()
    want = talk.want()
    assert want.ranges == ((2, 1),)
    talk.send(*chunks(FOOTAGE, want))
    talk.flush()
    talk.check()
    assert len(talk.take("receipt")) == 1
    assert talk.desk.original(FOOTAGE.record) == FOOTAGE.data


@pytest.mark.parametrize("spoil", ["short", "list", "both", "gone"])
def test_files_that_were_tampered_with_never_get_a_receipt_and_heal(talk: Talk, spoil: str) -> None:
    """The file cut, its list of leaves wrong, both wrong in the same way, the folder gone while it is stored."""
    seal = talk.side.seal(FOOTAGE)
    talk.offer(FOOTAGE, seal)
    talk.send(*chunks(FOOTAGE, talk.want()))
    talk.flush()
    folder = gathered(talk.desk)[0] / "v1" / "content"
    if spoil == "gone":
        talk.desk.archive.files.rmtree(folder)
    if spoil == "short":
        os.truncate(folder / "original", LEAF_SIZE)
    if spoil in ("list", "both"):
        with (folder / "leaves").open("r+b") as file:
            file.write(bytes.fromhex(Footage(record_id("x"), bytes(LEAF_SIZE)).digests.leaves_root))
    if spoil == "both":
        with (folder / "original").open("r+b") as file:
            file.write(bytes(LEAF_SIZE))
    talk.said.clear()
    talk.check()
    if spoil != "list":
        assert talk.take("receipt") == []
    talk.desk.restart()
    talk = talk.desk.talks["st-01"]
    talk.offer(FOOTAGE, seal)
    for _ in range(4):
        if talk.checks:
            talk.check()
        wants = talk.take("want")
        if wants:
            talk.send(*chunks(FOOTAGE, Want.open(wants[-1], [CENTRE.verifier])))
            talk.flush()
    assert talk.desk.stored(FOOTAGE.record) == ["done"]
    assert talk.desk.original(FOOTAGE.record) == FOOTAGE.data
    content = talk.desk.archive.store.find(FOOTAGE.record)
    assert content is not None
    assert (content / "leaves").read_bytes() == b"".join(FOOTAGE.tree.node(0, leaf) for leaf in range(4))


def test_a_defect_of_the_check_does_not_leave_the_item_hanging(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    seal = talk.side.seal(FOOTAGE)
    talk.offer(FOOTAGE, seal)
    talk.send(*chunks(FOOTAGE, talk.want()))
    talk.flush()

    def broken(*_: object) -> None:
        raise IndexError

    with monkeypatch.context() as patch:
        patch.setattr(archives, "measure_uncached", broken)
        talk.check()
    talk.tick(10.0)
    talk.check()
    assert len(talk.take("receipt")) == 1


def test_an_empty_recording_is_evidence_too(talk: Talk) -> None:
    empty = Footage(record_id("empty"), b"")
    seal = talk.side.seal(empty)
    assert len(talk.upload(empty, seal)) == 1
    assert talk.desk.original(empty.record) == b""
    assert seals.read_seal(seal).digests.size == 0
