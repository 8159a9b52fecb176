"""The digest that keeps the checksums of leaves: the same digest, and the checksums that a signature has."""

from __future__ import annotations

import random

import pytest

from deltasync._native import choose
from deltasync._native.columns import packed
from deltasync.delta.digest import FileDigest, leaf_bytes
from deltasync.delta.signature import block_digests, weak_sums
from deltasync.delta.summed_digest import SummedDigest

LEAF = leaf_bytes(1 << 20)


@pytest.mark.parametrize("size", [LEAF, 8 * LEAF, 8 * LEAF + 1, 9 * LEAF - 1])
@pytest.mark.parametrize("piece", [LEAF, 2 * LEAF, 16 * LEAF])
def test_the_checksums_are_those_of_a_signature(size: int, piece: int) -> None:
    """However many leaves come at once; a run of zeros among them too."""
    kernel, content = choose(), bytearray(random.Random(size).randbytes(size))
    content[LEAF : 2 * LEAF] = bytes(len(content[LEAF : 2 * LEAF]))
    plain, summed = FileDigest(size), SummedDigest(size, kernel)
    for at in range(0, size, piece):
        part = content[at : at + piece]
        plain.update(part)
        if not any(part):
            summed.zeros(len(part))
        else:
            summed.update(part)
    assert summed.digest() == plain.digest()
    assert summed.checksums is not None
    assert summed.checksums.weak == packed("I", weak_sums(kernel, content, LEAF))
    assert summed.checksums.digests == b"".join(block_digests(content, LEAF))


@pytest.mark.parametrize("cut", [1, LEAF - 1, LEAF + 1])
def test_pieces_that_end_within_a_leaf_give_no_checksums(cut: int) -> None:
    """The digest is right all the same."""
    content = random.Random(cut).randbytes(4 * LEAF)
    plain, summed = FileDigest(len(content)), SummedDigest(len(content), choose())
    plain.update(content)
    for part in (content[:cut], content[cut:]):
        summed.update(part)
    assert summed.digest() == plain.digest()
    assert summed.checksums is None


def test_an_incomplete_file_has_no_checksums() -> None:
    """Nothing is to be remembered of it."""
    summed = SummedDigest(4 * LEAF, choose())
    summed.update(bytes(LEAF))
    assert summed.checksums is None
