"""The file digest: its formula, its independence of how the content is cut, and zeros without cost."""

from __future__ import annotations

import struct

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from deltasync.delta.digest import MIN_LEAF_BYTES, FileDigest, leaf_bytes


def by_formula(content: bytes) -> bytes:
    """The digest, straight from its definition."""
    leaf = leaf_bytes(len(content))
    leaves = b"".join(blake3(content[at : at + leaf]).digest() for at in range(0, len(content), leaf))
    return blake3(struct.pack("<Q", len(content)) + leaves).digest()


@given(st.data(), st.sampled_from([0, 1, 100, MIN_LEAF_BYTES - 1, MIN_LEAF_BYTES, MIN_LEAF_BYTES + 1, 3 * MIN_LEAF_BYTES + 7]))
def test_any_cut_gives_the_digest_of_the_formula(data: st.DataObject, size: int) -> None:
    """However the content comes in pieces, some of them told as zeros, the digest is the same."""
    content = bytearray(b"\x00\x01\x02" * (size // 3 + 1))[:size]
    digest = FileDigest(size)
    at = 0
    while at < size:
        take = data.draw(st.integers(1, size - at))
        if data.draw(st.booleans()):
            content[at : at + take] = bytes(take)
            digest.zeros(take)
        else:
            digest.update(memoryview(content)[at : at + take])
        at += take
    assert digest.digest() == by_formula(bytes(content))


def test_leaves_grow_with_the_file() -> None:
    """32 KiB up to 2 GiB, then the least power of two that keeps to 65,536 leaves."""
    assert leaf_bytes(0) == leaf_bytes(2 << 30) == 32 << 10
    assert leaf_bytes((2 << 30) + 1) == 64 << 10
    assert leaf_bytes(200 << 30) == 4 << 20


def test_a_wrong_length_has_no_digest() -> None:
    """Content of another length than announced is an error."""
    digest = FileDigest(5)
    digest.update(b"1234")
    with pytest.raises(ValueError, match="4 bytes"):
        digest.digest()


def test_golden() -> None:
    """The digest of known content never changes, since peers of one protocol version compare it."""
    digest = FileDigest(100_400)
    digest.update(bytes(range(251)) * 400)
    assert digest.digest().hex() == "11a00048ac3e745e151dd359146e4dca61103438fa4e63b5d8c870457f84b5a9"


def test_a_sparse_giant_costs_little() -> None:
    """The zeros of a huge file are hashed leaf-wise from memory: the work is in its number of leaves."""
    size = 64 << 30
    digest = FileDigest(size)
    digest.zeros(size)
    leaf = blake3(bytes(leaf_bytes(size))).digest()
    assert digest.digest() == blake3(struct.pack("<Q", size) + leaf * (size // leaf_bytes(size))).digest()
