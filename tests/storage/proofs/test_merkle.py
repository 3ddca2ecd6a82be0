"""The tree's mathematics: against published trees, against the definition, and against every flipped bit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest

from storage.proofs.merkle import (
    EMPTY_ROOT,
    ProofError,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    tree_root,
)
from tests.vectors import merkle as published

SIZE_MAX = 40
RECORDS = [b"record %d" % number for number in range(SIZE_MAX)]
SIZES = range(SIZE_MAX + 1)


@cache
def defined_root(start: int, stop: int) -> bytes:
    """The root of a range, word for word as RFC 6962 §2.1 defines it."""
    if start == stop:
        return EMPTY_ROOT
    if stop - start == 1:
        return leaf_hash(RECORDS[start])
    split = 1
    while split * 2 < stop - start:
        split *= 2
    return node_hash(defined_root(start, start + split), defined_root(start + split, stop))


def subtree(height: int, place: int) -> bytes:
    return defined_root(place << height, (place + 1) << height)


def flipped(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """The proof with each bit of each hash flipped, each in its turn."""
    return [
        [
            *hashes[:place],
            bytes([*each[:octet], each[octet] ^ 1 << bit, *each[octet + 1 :]]),
            *hashes[place + 1 :],
        ]
        for place, each in enumerate(hashes)
        for octet in range(len(each))
        for bit in range(8)
    ]


def bent(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """The proof shorter, longer, in another order, and with a hash of another length."""
    others = [
        [*hashes, bytes(32)],
        [bytes(32), *hashes],
        list(hashes[:-1]),
        list(hashes[1:]),
        list(reversed(hashes)),
        *([*hashes[:place], each[:-1], *hashes[place + 1 :]] for place, each in enumerate(hashes)),
    ]
    return [other for other in others if other != list(hashes)]


def test_published_roots() -> None:
    leaves = [leaf_hash(leaf) for leaf in published.LEAVES]
    assert [root_of(leaves[:size]) for size in range(1, 9)] == published.ROOTS
    assert root_of([]) == EMPTY_ROOT


@pytest.mark.parametrize(("old", "new"), published.CONSISTENCY)
def test_published_consistency(old: int, new: int) -> None:
    leaves = [leaf_hash(leaf) for leaf in published.LEAVES]

    def of_leaves(height: int, place: int) -> bytes:
        return root_of(leaves[place << height : (place + 1) << height])

    proof = published.CONSISTENCY[old, new]
    assert consistency_proof(old, new, of_leaves) == proof
    check_consistency(old, published.ROOTS[old - 1], new, published.ROOTS[new - 1], proof)


def test_published_inclusion() -> None:
    where = (published.PUBLIC_LEAF_HASH, published.PUBLIC_INDEX, published.PUBLIC_SIZE)
    check_inclusion(*where, published.PUBLIC_PROOF, published.PUBLIC_ROOT)
    for wrong in (*flipped(published.PUBLIC_PROOF)[::17], *bent(published.PUBLIC_PROOF)):
        with pytest.raises(ProofError):
            check_inclusion(*where, wrong, published.PUBLIC_ROOT)


@pytest.mark.parametrize("size", SIZES)
def test_roots_are_as_defined(size: int) -> None:
    root = defined_root(0, size)
    assert root_of([leaf_hash(record) for record in RECORDS[:size]]) == root
    assert tree_root(size, subtree) == root


@pytest.mark.parametrize("size", SIZES[1:])
def test_every_leaf_is_included_where_it_stands_and_nowhere_else(size: int) -> None:
    root = defined_root(0, size)
    for index in range(size):
        leaf = leaf_hash(RECORDS[index])
        proof = inclusion_proof(index, size, subtree)
        check_inclusion(leaf, index, size, proof, root)
        for other in {*range(-1, size + 1)} - {index}:
            with pytest.raises(ProofError):
                check_inclusion(leaf, other, size, proof, root)
        for wrong in bent(proof):
            with pytest.raises(ProofError):
                check_inclusion(leaf, index, size, wrong, root)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 13])
def test_no_bit_of_an_inclusion_can_be_another(size: int) -> None:
    root = defined_root(0, size)
    for index in range(size):
        leaf = leaf_hash(RECORDS[index])
        proof = inclusion_proof(index, size, subtree)
        for wrong in flipped(proof):
            with pytest.raises(ProofError):
                check_inclusion(leaf, index, size, wrong, root)
        for [wrong_leaf] in flipped([leaf]):
            with pytest.raises(ProofError):
                check_inclusion(wrong_leaf, index, size, proof, root)


@pytest.mark.parametrize("new", SIZES)
def test_every_tree_extends_all_before_it(new: int) -> None:
    new_root = defined_root(0, new)
    for old in range(new + 1):
        old_root = defined_root(0, old)
        proof = consistency_proof(old, new, subtree)
        check_consistency(old, old_root, new, new_root, proof)
        for wrong in bent(proof):
            with pytest.raises(ProofError):
                check_consistency(old, old_root, new, new_root, wrong)
        for [other_root] in flipped([old_root])[::37]:
            with pytest.raises(ProofError):
                check_consistency(old, other_root, new, new_root, proof)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 4), (3, 7), (4, 7), (6, 8), (7, 13)])
def test_no_bit_of_a_consistency_can_be_another(old: int, new: int) -> None:
    roots = defined_root(0, old), defined_root(0, new)
    proof = consistency_proof(old, new, subtree)
    for wrong in flipped(proof):
        with pytest.raises(ProofError):
            check_consistency(old, roots[0], new, roots[1], wrong)
    for [other_root] in flipped([roots[1]]):
        with pytest.raises(ProofError):
            check_consistency(old, roots[0], new, other_root, proof)


def test_a_later_tree_never_precedes_an_earlier_one() -> None:
    with pytest.raises(ProofError, match="a tree of 4 extends none of 5"):
        check_consistency(5, defined_root(0, 5), 4, defined_root(0, 4), [])
