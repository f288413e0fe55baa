"""What the tests of the wire send: items of small leaves, and keys and ids that are the same in each run."""

import random
from dataclasses import dataclass

from dockwarden.evidence import ids, merkle, notes
from dockwarden.wire.messages import ORIGINAL, Want
from dockwarden.wire.transfer import Item

CENTRE = notes.SigningKey("centre", bytes(range(32)))
STATION_KEY = notes.SigningKey("station-1", bytes(range(1, 33)))
STATION = "station-1"
SESSION = ids.new_record_id(b"session-one.....")
OTHER_SESSION = ids.new_record_id(b"session-two.....")
RECORD = ids.new_record_id(bytes(range(16)))
SEAL = STATION_KEY.sign("stands for a seal\n")
RECEIPT = CENTRE.sign("stands for a receipt\n")
SMALL_LEAF = 16


@dataclass(frozen=True)
class Sample:
    """An item with its bytes and the tree over its leaves."""

    item: Item
    data: bytes
    tree: merkle.Tree

    def leaf(self, number: int) -> bytes:
        """The bytes of a leaf."""
        start = self.item.offset(number)
        return self.data[start : start + self.item.length(number)]


def sample(
    size: int, part: int = ORIGINAL, record: str = RECORD, leaf_size: int = SMALL_LEAF, seed: int = 1
) -> Sample:
    """An item of `size` bytes of seeded chance."""
    data = random.Random(seed).randbytes(size)
    hashes = [merkle.leaf_hash(data[at : at + leaf_size]) for at in range(0, size, leaf_size)]
    tree = merkle.Tree(hashes)
    return Sample(Item(record, part, size, tree.root, leaf_size), data, tree)


def want(one: Sample, epoch: int, ranges: tuple[tuple[int, int], ...], **changes: object) -> Want:
    """A want for a sample, with `changes`."""
    figures: dict[str, object] = {
        "station": STATION,
        "session": SESSION,
        "record": one.item.record,
        "part": one.item.part,
        "leaves_root": one.item.leaves_root.hex(),
        "epoch": epoch,
        "seen": 0,
        "credit": 1 << 20,
        "ranges": ranges,
        "complete": False,
    }
    return Want(**{**figures, **changes})  # type: ignore[arg-type]  # the names are those of the fields
