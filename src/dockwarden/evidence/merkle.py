"""Merkle trees of RFC 6962 section 2.1 (RFC 9162 section 2.1 for the proofs), for files and for logs alike."""

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

GetNode: TypeAlias = Callable[[int, int], bytes]
"""`get(level, index)` returns the stored hash of the complete subtree of 2^level leaves number `index`."""

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class ProofError(ValueError):
    """A proof that does not prove what it should."""


def new_leaf_hash() -> "hashlib._Hash":
    """Return a SHA-256 that has taken the leaf prefix and waits for the leaf's bytes."""
    return hashlib.sha256(b"\x00")


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes (32 bytes each), in order."""
    return Tree(leaves).root


class Tree:
    """All levels of a tree in memory (64 bytes a leaf): for files, whose leaves number in the thousands."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.size = len(leaves)
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            self._levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - len(below) % 2, 2)])

    @property
    def root(self) -> bytes:
        """The root; EMPTY_ROOT where there is no leaf."""
        return root_at(self.node, self.size)

    def proof(self, index: int) -> list[bytes]:
        """Inclusion proof of leaf `index`."""
        return inclusion_proof(self.node, index, self.size)

    def node(self, level: int, index: int) -> bytes:
        """Hash of a complete subtree."""
        return self._levels[level][index]


def completed_nodes(get: GetNode, index: int, leaf: bytes) -> list[tuple[int, int, bytes]]:
    """Return the subtrees (level, index, hash) that become complete when `leaf` joins as number `index`."""
    nodes = [(0, index, leaf)]
    level, place, value = 0, index, leaf
    while place & 1:
        value = node_hash(get(level, place - 1), value)
        level, place = level + 1, place >> 1
        nodes.append((level, place, value))
    return nodes


def root_at(get: GetNode, size: int) -> bytes:
    """Root over the first `size` leaves."""
    return _range_root(get, 0, size) if size else EMPTY_ROOT


def inclusion_proof(get: GetNode, index: int, size: int) -> list[bytes]:
    """Proof that leaf `index` is in the tree of `size` leaves, from the leaf upwards (RFC 6962 section 2.1.1)."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    proof: list[bytes] = []
    first, count = 0, size
    while count > 1:
        split = _split(count)
        if index - first < split:
            proof.append(_range_root(get, first + split, count - split))
            count = split
        else:
            proof.append(_range_root(get, first, split))
            first, count = first + split, count - split
    return proof[::-1]


def consistency_proof(get: GetNode, old: int, new: int) -> list[bytes]:
    """Proof that the tree of `old` leaves is the beginning of that of `new` (RFC 6962 section 2.1.2)."""
    if not 0 <= old <= new:
        raise ProofError(f"no tree of {old} begins one of {new}")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    first, count, whole = 0, new, True
    while old - first != count:
        split = _split(count)
        if old - first <= split:
            proof.append(_range_root(get, first + split, count - split))
            count = split
        else:
            proof.append(_range_root(get, first, split))
            first, count, whole = first + split, count - split, False
    if not whole:
        proof.append(_range_root(get, first, count))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """Raise ProofError unless `proof` leads from `leaf` to `expected` (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    _check_lengths(leaf, expected, proof)
    place, last, value = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise ProofError("the proof is too long")
        if place & 1 or place == last:
            value = node_hash(step, value)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            value = node_hash(value, step)
        place, last = place >> 1, last >> 1
    if last or value != expected:
        raise ProofError("the proof does not lead to the root")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raise ProofError unless `proof` shows that `old_root` begins `new_root` (RFC 9162 section 2.1.4.2)."""
    if not 0 <= old <= new:
        raise ProofError(f"no tree of {old} begins one of {new}")
    _check_lengths(old_root, new_root, proof)
    if old in (0, new):
        if proof or (old == new and old_root != new_root) or (old == 0 and old_root != EMPTY_ROOT):
            raise ProofError("the trees differ")
        return
    steps = list(proof) if old & (old - 1) else [old_root, *proof]
    if not steps:
        raise ProofError("the proof is too short")
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ProofError("the proof is too long")
        if place & 1 or place == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, step)
        place, last = place >> 1, last >> 1
    if last or before != old_root or after != new_root:
        raise ProofError("the trees differ")


def _check_lengths(one: bytes, other: bytes, proof: Sequence[bytes]) -> None:
    if any(len(value) != HASH_SIZE for value in (one, other, *proof)):
        raise ProofError(f"a hash has not {HASH_SIZE} bytes")


def _split(count: int) -> int:
    """Largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _range_root(get: GetNode, first: int, count: int) -> bytes:
    """Root of `count` leaves from `first`, which is a multiple of the power of two at or above `count`."""
    parts: list[bytes] = []
    while count:
        level = count.bit_length() - 1
        parts.append(get(level, first >> level))
        first, count = first + (1 << level), count - (1 << level)
    value = parts.pop()
    while parts:
        value = node_hash(parts.pop(), value)
    return value
