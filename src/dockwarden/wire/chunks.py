"""The one binary message: a leaf of an item with its proof (QoS 0, never retained).

```
offset  bytes  big endian
     0      4  "DWC1"
     4     16  record id, its 128 bits
    20      1  part
    21      4  epoch, from the want that asked for it
    25      8  serial: 1 for the first chunk of an epoch, one more for each that follows
    33      8  leaf index
    41      1  number n of hashes in the proof
    42   32 n  inclusion proof from the leaf upwards (RFC 6962 section 2.1.1)
  42+32n  rest  the leaf's bytes
```
"""

import struct
from dataclasses import dataclass

from dockwarden.evidence import ids, merkle
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.digests import LEAF_SIZE
from dockwarden.wire.messages import LIMITS, MAX_EPOCH, MAX_SIZE, PARTS

MAGIC = b"DWC1"
HEADER = struct.Struct(">4s16sBIQQB")
HASH_SIZE = 32
MAX_PROOF = (MAX_SIZE // LEAF_SIZE - 1).bit_length()
"""Hashes of the longest proof: no item has more leaves."""
MAX_NUMBER = 2**53 - 1
"""Serials and leaf indices stay integers that a want can name."""


@dataclass(frozen=True)
class Chunk:
    """A leaf on its way. `data` may be a view into the message that it came in: do not keep it for long."""

    record: str
    part: int
    epoch: int
    serial: int
    leaf: int
    proof: tuple[bytes, ...]
    data: bytes | memoryview

    def encode(self) -> bytes:
        """The payload; raises MalformedError for figures that have no place in it."""
        self._check()
        head = HEADER.pack(
            MAGIC, ids.record_bytes(self.record), self.part, self.epoch, self.serial, self.leaf, len(self.proof)
        )
        return b"".join((head, *self.proof, self.data))

    @staticmethod
    def decode(payload: bytes) -> "Chunk":
        """Read a payload without copying the data; raises MalformedError."""
        if not HEADER.size < len(payload) <= LIMITS["chunk"]:
            raise MalformedError("chunk", "has a size that no chunk has")
        magic, record, part, epoch, serial, leaf, steps = HEADER.unpack_from(payload)
        if magic != MAGIC:
            raise MalformedError("chunk", "does not begin as a chunk does")
        end = HEADER.size + HASH_SIZE * steps
        proof = tuple(bytes(payload[at : at + HASH_SIZE]) for at in range(HEADER.size, end, HASH_SIZE))
        data = memoryview(payload)[end:]
        chunk = Chunk(ids.new_record_id(record), part, epoch, serial, leaf, proof, data)
        chunk._check()
        return chunk

    def leaf_hash(self) -> bytes:
        """Hash of the leaf that the data makes."""
        hashed = merkle.new_leaf_hash()
        hashed.update(self.data)
        return hashed.digest()

    def _check(self) -> None:
        if not 0 <= self.part < len(PARTS):
            raise MalformedError("part", "is none that we know")
        if not 1 <= self.epoch <= MAX_EPOCH or not 1 <= self.serial <= MAX_NUMBER or not 0 <= self.leaf <= MAX_NUMBER:
            raise MalformedError("chunk", "has an epoch, serial or leaf out of bounds")
        if len(self.proof) > MAX_PROOF or any(len(step) != HASH_SIZE for step in self.proof):
            raise MalformedError("chunk", "has a proof that is too long")
        if not 0 < len(self.data) <= LEAF_SIZE:
            raise MalformedError("chunk", "has no data or more than a leaf holds")
