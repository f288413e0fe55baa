"""Digests of a stream of blocks, each kind in a thread of its own."""

import hashlib
from collections.abc import Iterator

from dockwarden.durable.pump import Block, Pump
from dockwarden.evidence import merkle
from dockwarden.evidence.digests import LEAF_SIZE, Digests, new_sm3


def leaf_hashes(data: memoryview) -> list[bytes]:
    """Hashes of the leaves in `data`, which begins at a leaf."""
    hashes = []
    for offset in range(0, data.nbytes, LEAF_SIZE):
        leaf = merkle.new_leaf_hash()
        leaf.update(data[offset : offset + LEAF_SIZE])
        hashes.append(leaf.digest())
    return hashes


class Hashing:
    """SHA-256, SM3 and leaf hashes of all blocks of a pump; every block must begin at a leaf."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self._sha256 = hashlib.sha256()
        self._sm3 = new_sm3()

    def join(self, pump: Pump) -> None:
        """Add the hashing threads to `pump`."""
        pump.consume(self._take_sha256)
        pump.consume(self._take_sm3)
        pump.consume(self._take_leaves)

    def digests(self, size: int) -> Digests:
        """The digests, after the pump has run."""
        root = merkle.root(self.leaves)
        return Digests(size, self._sha256.hexdigest(), self._sm3.digest().hex(), root.hex())

    def _take_sha256(self, blocks: Iterator[Block]) -> None:
        for block in blocks:
            self._sha256.update(block.data)

    def _take_sm3(self, blocks: Iterator[Block]) -> None:
        for block in blocks:
            self._sm3.update(block.data)

    def _take_leaves(self, blocks: Iterator[Block]) -> None:
        for block in blocks:
            self.leaves += leaf_hashes(block.data)
