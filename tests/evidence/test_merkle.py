"""Merkle trees against RFC 6962's own definition, and proofs that refuse every bit that is turned."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence import merkle
from dockwarden.evidence.merkle import ProofError, Tree
from evidence import verifier

# Inputs and roots of the Certificate Transparency project, used by all implementations of RFC 6962 and 9162.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [merkle.leaf_hash(bytes.fromhex(text)) for text in INPUTS]
sizes = st.integers(1, 40)


def leaves_of(size: int) -> list[bytes]:
    """Leaf hashes of a log of `size`."""
    return [merkle.leaf_hash(str(number).encode()) for number in range(size)]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word by word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = naive_split(len(leaves))
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_split(count: int) -> int:
    """The largest power of two below `count`."""
    k = 1
    while 2 * k < count:
        k *= 2
    return k


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(old: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if old <= k:
        return [*naive_subproof(old, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(old - k, leaves[k:], False), naive_root(leaves[:k])]


def flips(proof: list[bytes]) -> list[list[bytes]]:
    """The proof with each of its bits turned, one at a time (of each byte one, to be quick)."""
    found = []
    for number, step in enumerate(proof):
        for place in range(len(step)):
            bent = bytearray(step)
            bent[place] ^= 1 << place % 8
            found.append([*proof[:number], bytes(bent), *proof[number + 1 :]])
    return found


def test_the_known_roots_come_out() -> None:
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for size, expected in enumerate(ROOTS, 1):
        assert merkle.root(LEAVES[:size]).hex() == expected
        assert naive_root(LEAVES[:size]).hex() == expected


def test_a_known_consistency_proof_comes_out() -> None:
    known = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [step.hex() for step in merkle.consistency_proof(Tree(LEAVES).node, 6, 8)] == known


@given(st.integers(0, 40), st.data())
def test_roots_and_proofs_are_those_of_the_definition(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    tree, streamed = Tree(leaves), verifier.load().Tree()
    for leaf in leaves:
        streamed.add(leaf)
    assert tree.root == naive_root(leaves) == streamed.root()
    old = data.draw(st.integers(0, size))
    assert merkle.root_at(tree.node, old) == naive_root(leaves[:old])
    expected = naive_subproof(old, leaves, True) if old else []
    assert merkle.consistency_proof(tree.node, old, size) == expected
    merkle.verify_consistency(old, naive_root(leaves[:old]), size, tree.root, expected)
    if size:
        index = data.draw(st.integers(0, size - 1))
        proof = naive_path(index, leaves)
        assert tree.proof(index) == proof
        merkle.verify_inclusion(leaves[index], index, size, proof, tree.root)
        assert verifier.load().included(leaves[index], index, size, proof, tree.root)


@given(st.integers(0, 40))
def test_nodes_that_are_stored_as_they_complete_give_every_root(size: int) -> None:
    nodes: dict[tuple[int, int], bytes] = {}
    for index, leaf in enumerate(leaves_of(size)):
        for level, place, value in merkle.completed_nodes(lambda level, place: nodes[level, place], index, leaf):
            assert (level, place) not in nodes
            nodes[level, place] = value
    assert merkle.root_at(lambda level, place: nodes[level, place], size) == naive_root(leaves_of(size))


@given(sizes, st.data())
def test_an_inclusion_proof_with_anything_bent_is_refused(size: int, data: st.DataObject) -> None:
    leaves, index = leaves_of(size), data.draw(st.integers(0, size - 1))
    root, proof, leaf = naive_root(leaves), naive_path(index, leaves), leaves[index]
    claims = [(leaf, index, size, bent, root) for bent in flips(proof)]
    claims += [(leaf, index, size, [*proof, leaf], root), (leaf, index, size, proof, leaf[::-1])]
    claims += [(leaf[::-1], index, size, proof, root), (leaf, size, size, proof, root), (leaf, -1, size, proof, root)]
    claims += [(leaf, index, size, proof[:-1], root), (leaf, index, size, proof[1:], root)] if proof else []
    claims += [(leaf, index, size, [step[:-1] for step in proof], root)] if proof else []
    for claim in claims:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(*claim)
        assert not verifier.load().included(*claim)


@given(sizes, st.data())
def test_a_consistency_proof_with_anything_bent_is_refused(size: int, data: st.DataObject) -> None:
    leaves, old = leaves_of(size), data.draw(st.integers(1, size))
    before, after = naive_root(leaves[:old]), naive_root(leaves)
    proof = naive_subproof(old, leaves, True)
    claims = [(old, before, size, after, bent) for bent in flips(proof)]
    claims += [(old, before, size, after, [*proof, before]), (old, before[::-1], size, after, proof)]
    claims += [(old, before, size, after[::-1], proof), (size + 1, before, size, after, proof)]
    claims += [(old, before, size, after, proof[:-1])] if proof else []
    claims += [(old, before[:31], size, after, proof), (-1, before, size, after, proof)]
    for claim in claims:
        with pytest.raises(ProofError):
            merkle.verify_consistency(*claim)


def test_every_tree_begins_with_the_empty_one_and_no_other() -> None:
    root = naive_root(LEAVES)
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 8, root, [])
    for claim in ((0, root, 8, root, []), (0, merkle.EMPTY_ROOT, 8, root, [root]), (8, LEAVES[0], 8, root, [])):
        with pytest.raises(ProofError):
            merkle.verify_consistency(*claim)


def test_a_proof_of_what_is_not_there_is_not_made() -> None:
    tree = Tree(LEAVES)
    for index in (-1, 8):
        with pytest.raises(ProofError):
            tree.proof(index)
    for old, new in ((9, 8), (-1, 8)):
        with pytest.raises(ProofError):
            merkle.consistency_proof(tree.node, old, new)
