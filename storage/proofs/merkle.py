"""The mathematics of the Merkle tree over records (RFC 6962 §2.1, RFC 9162 §2.1): no files, no state.

A leaf is a record; leaf 0 is record 1.  A *complete subtree* is named by its height and its place among those
of that height: it covers the leaves from `place << height` on, `1 << height` of them, and never changes once
they are there.  Every root and proof is put together from complete subtrees, which the caller reads wherever
it keeps them (storage/proofs/tiles.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from storage.errors import EvidenceError

HASH_OCTETS: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()

# What the hashes of leaves and of nodes begin with.
_LEAF: Final = sha256(b"\0")
_NODE: Final = sha256(b"\1")

# The hash of the complete subtree of this height at this place.
Subtree = Callable[[int, int], bytes]


class ProofError(EvidenceError):
    """A proof does not prove what it is said to prove; the text names what is wrong with it."""


def leaf_hash(record: bytes) -> bytes:
    """The hash of one leaf: SHA-256 of a zero octet and the record."""
    return sha256(b"\0" + record).digest()


def leaf_hashes(records: Sequence[bytes]) -> list[bytes]:
    """As leaf_hash of each, for less: a copy costs less than a new hash."""
    copy = _LEAF.copy
    hashes = []
    for record in records:
        leaf = copy()
        leaf.update(record)
        hashes.append(leaf.digest())
    return hashes


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash above two others: SHA-256 of the octet 1 and both."""
    return sha256(b"\1" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over hashes of one height, of which the last may be that of an incomplete subtree.

    Pairing from the bottom, with an odd last one carried up, gives the same tree as the splitting from the
    top that RFC 6962 §2.1 describes: to the left of each split stands a power of two.
    """
    if not hashes:
        return EMPTY_ROOT
    copy = _NODE.copy
    level = list(hashes)
    while len(level) > 1:
        # Written out: the calls of node_hash would cost half as much again.
        above = []
        each = iter(level)
        for left, right in zip(each, each, strict=False):  # an odd last one is left out
            node = copy()
            node.update(left + right)
            above.append(node.digest())
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def tree_root(size: int, subtree: Subtree) -> bytes:
    """The root of the tree over the first `size` leaves."""
    return _range_root(0, size, subtree) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The proof that leaf `index` is in the tree over the first `size` leaves, from the leaf's sibling up
    (RFC 6962 §2.1.1)."""
    assert 0 <= index < size
    proof = []
    start, stop = 0, size
    while stop - start > 1:
        split = start + _largest_power_below(stop - start)
        if index < split:
            proof.append(_range_root(split, stop, subtree))
            stop = split
        else:
            proof.append(_range_root(start, split, subtree))
            start = split
    return proof[::-1]


def consistency_proof(old_size: int, new_size: int, subtree: Subtree) -> list[bytes]:
    """The proof that the tree over the first `new_size` leaves extends the one over the first `old_size`
    (RFC 6962 §2.1.2); empty where the sizes are equal, or the old one is 0."""
    assert 0 <= old_size <= new_size
    proof = []
    start, stop = 0, new_size
    known = True  # the old root itself is what the verifier has
    while old_size and stop != old_size:
        split = start + _largest_power_below(stop - start)
        if old_size <= split:
            proof.append(_range_root(split, stop, subtree))
            stop = split
        else:
            proof.append(_range_root(start, split, subtree))
            start, known = split, False
    if not known:
        proof.append(_range_root(start, stop, subtree))
    return proof[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raises ProofError unless `proof` shows that the leaf with this hash is the one at `index` of the tree
    with this size and root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of {size}")
    node, last = index, size - 1
    found = leaf
    for sibling in proof:
        _check_hash(sibling)
        if not last:
            raise ProofError("the proof has more hashes than the tree is high")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:  # subtrees that the right edge does not have
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the proof has fewer hashes than the tree is high")
    if found != root:
        raise ProofError("the proof leads to another root")


def check_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Raises ProofError unless `proof` shows that the new tree extends the old one (RFC 9162 §2.1.4.2)."""
    if not 0 <= old_size <= new_size:
        raise ProofError(f"a tree of {new_size} extends none of {old_size}")
    if old_size in (0, new_size):
        if proof:
            raise ProofError("nothing needs to be proved, and there is a proof")
        if old_root != (EMPTY_ROOT if old_size == 0 else new_root):
            raise ProofError("the sizes need no proof, and the old root is another")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)  # a complete subtree: the verifier has it
    if not path:
        raise ProofError("the proof is empty")
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    _check_hash(path[0])
    old_found = new_found = path[0]
    for sibling in path[1:]:
        _check_hash(sibling)
        if not last:
            raise ProofError("the proof has more hashes than the tree is high")
        if node & 1 or node == last:
            old_found = node_hash(sibling, old_found)
            new_found = node_hash(sibling, new_found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_found = node_hash(new_found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the proof has fewer hashes than the tree is high")
    if old_found != old_root:
        raise ProofError("the proof does not lead to the old root")
    if new_found != new_root:
        raise ProofError("the proof does not lead to the new root")


def _check_hash(octets: bytes) -> None:
    if len(octets) != HASH_OCTETS:
        raise ProofError(f"a hash of {len(octets)} octets")


def _range_root(start: int, stop: int, subtree: Subtree) -> bytes:
    """The root over a range of leaves that begins where a subtree at least as large begins."""
    root = b""
    for height, place in reversed(list(complete_subtrees(start, stop))):
        found = subtree(height, place)
        root = node_hash(found, root) if root else found
    return root


def complete_subtrees(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The complete subtrees, as (height, place), that make up a range of leaves, the largest first.

    `start` is a multiple of the largest power of two within the range.
    """
    while start < stop:
        height = (stop - start).bit_length() - 1
        assert start % (1 << height) == 0
        yield height, start >> height
        start += 1 << height


def _largest_power_below(count: int) -> int:
    """The largest power of two below `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)
