"""Matching and patching together: any delta leads to its target, whatever the engine, the blocks and the segments."""

from __future__ import annotations

import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync._native import Kernel, choose
from deltasync._native.columns import packed
from deltasync.delta.blocks import Layout
from deltasync.delta.match import FREE_FAILURES, MAX_CHAIN, Copy, at_own_offsets, search, uncovered
from deltasync.delta.signature import Signature, block_digests
from deltasync.delta.spans import Span, Spans
from tests.delta.deltas import match, patched, signature

FAST = choose()
REFERENCE = choose("python")
ALPHABETS = (b"\0", b"ab", b"\0\0\0\1", bytes(range(256)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A base, and a target made of it by insertions, deletions, overwrites and moves."""
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    base = bytes(rng.choices(draw(st.sampled_from(ALPHABETS)), k=draw(st.integers(0, 500))))
    target = bytearray(base)
    for _ in range(draw(st.integers(0, 4))):
        at, length = rng.randrange(len(target) + 1), rng.randrange(60)
        match rng.randrange(4):
            case 0:
                target[at:at] = rng.randbytes(length)
            case 1:
                del target[at : at + length]
            case 2:
                target[at : at + 5] = b"....."
            case _:
                to = rng.randrange(len(target) + 1)
                target[to:to] = target[at : at + length]
    return base, bytes(target)


@given(pairs(), st.sampled_from([1, 4, 16, 50, 128]), st.sampled_from([1, 7, 64, 1000]), st.sampled_from([0, 2, 9]))
def test_a_patched_base_is_the_target(pair: tuple[bytes, bytes], block_bytes: int, segment_bytes: int, fine_bytes: int) -> None:
    """In one round and in two; the engines give the same operations; and no operation reaches outside of the base."""
    base, target = pair
    copies = match(FAST, base, target, block_bytes, segment_bytes, fine_bytes)
    assert copies == match(REFERENCE, base, target, block_bytes, segment_bytes, fine_bytes)
    covered = Spans(Span(copy.target_at, copy.target_at + copy.length) for copy in copies)
    assert all(0 <= copy.base_at < copy.base_at + copy.length <= len(base) for copy in copies)
    literals = b"".join(target[start:end] for start, end in covered.missing(0, len(target)))
    assert patched(base, len(target), copies, literals) == target


def literal_bytes(base: bytes, target: bytes, block_bytes: int = 512, fine_bytes: int = 0) -> int:
    """How many bytes of the target no range of the base covers."""
    return len(target) - sum(copy.length for copy in match(FAST, base, target, block_bytes, 1 << 20, fine_bytes))


BASE = random.Random(1).randbytes(64 << 10)


@pytest.mark.parametrize(
    ("target", "most"),
    [
        (BASE, 0),
        (b"x" + BASE, 1),
        (BASE[1:], 511),
        (BASE + b"tail", 4),
        (BASE[:40_000], 40_000 % 512),
        (BASE[30_000:] + BASE[:30_000], 2 * 512),
        (BASE[:20_000] + b"inserted" + BASE[20_000:], 512 + 8),
        (BASE + BASE, 0),
        (b"", 0),
    ],
    ids=["equal", "one byte in front", "first byte gone", "appended", "cut", "halves exchanged", "inserted", "doubled", "empty"],
)
def test_common_changes_cost_little(target: bytes, most: int) -> None:
    """What is sent literally is what is new, and less than a block at each seam."""
    assert literal_bytes(BASE, target) <= most


def test_a_second_round_of_small_blocks_costs_near_what_has_changed() -> None:
    """Of a changed large block only the small blocks around the change are sent."""
    target = bytearray(BASE)
    for at in range(1000, len(BASE), 8000):
        target[at : at + 10] = b"0123456789"
    assert literal_bytes(BASE, bytes(target), 4096) > 8 * 4096 - 1
    assert literal_bytes(BASE, bytes(target), 4096, 64) <= 9 * 2 * 64


def test_a_short_last_block_of_the_base_is_found_behind_its_neighbour() -> None:
    """A base whose length is no multiple of the block's costs nothing when all of it moves."""
    assert literal_bytes(BASE[:60_100], b"front" + BASE[:60_100]) == 5


class Counting:
    """A kernel that counts how often it was asked to scan."""

    NAME = "counting"

    def __init__(self) -> None:
        self.scans = 0
        self.weak_sums = FAST.weak_sums
        self.build_table = FAST.build_table

    def scan(self, *args: object) -> tuple[int, int]:
        """Count, and scan."""
        self.scans += 1
        return FAST.scan(*args)  # type: ignore[arg-type]


def test_colliding_blocks_cost_a_bounded_number_of_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^12 blocks of one weak sum, which the target has everywhere: few of its places are hashed, and few blocks compared with each."""
    block = 64
    # +1, -2, +1 in three neighbouring bytes leaves both halves of the sum as they are.
    base = bytearray()
    for number in range(1 << 12):
        at, by = number % 60, number // 60 % 40 + 1
        piece = bytearray(b"\x80" * block)
        for off, change in ((0, by), (1, -2 * by), (2, by)):
            piece[at + off] += change
        base += piece
    sums = array("I", bytes(4 << 12))
    FAST.weak_sums(bytes(base), block, sums)
    assert len(set(sums)) == 1
    target = b"\x80" * (256 << 10)
    equals = Signature.equals
    compared: list[int] = []

    def compare(self: Signature, index: int, digest: bytes) -> bool:
        compared.append(index)
        return equals(self, index, digest)

    monkeypatch.setattr(Signature, "equals", compare)
    kernel = Counting()
    assert match(kernel, bytes(base), target, block, 1 << 20) == []
    assert len(target) // block <= kernel.scans <= len(target) // block + FREE_FAILURES + 1
    assert MAX_CHAIN * len(target) // block <= len(compared) <= MAX_CHAIN * kernel.scans + len(target) // block


@pytest.mark.parametrize("content", [bytes(1 << 18), bytes(range(64)) * (1 << 12), b"\0" * (1 << 17) + b"\1" * (1 << 17)])
def test_repetitive_content_is_matched_by_a_few_ranges(content: bytes) -> None:
    """Zeros, and a repeated page, moved by one byte: nearly all of it matches, and it takes few scans."""
    kernel = Counting()
    copies = match(kernel, content, b"\7" + content, 1024, 1 << 20)
    assert sum(copy.length for copy in copies) >= len(content) - 1024
    assert kernel.scans < 100


def test_own_offsets_compare_lengths_too() -> None:
    """A last block that is shorter in the target than in the base, or longer, is not taken for equal."""
    made = signature(FAST, BASE[:1000], 512)
    digests = block_digests(BASE[:1000], 512)
    assert at_own_offsets(made, 0, digests, 488) == [Copy(0, 0, 1000)]
    assert at_own_offsets(made, 0, digests, 400) == [Copy(0, 0, 512)]


def test_ranges_that_go_on_are_joined_and_what_is_covered_is_left_out() -> None:
    """Joined where both the target and the base go on; clipped to what is not covered yet and lies in the file."""
    assert uncovered([Copy(0, 10, 5), Copy(5, 15, 5), Copy(10, 30, 5)], Spans(), 100) == [Copy(0, 10, 10), Copy(10, 30, 5)]
    covered = Spans([Span(3, 6)])
    assert uncovered([Copy(0, 100, 10)], covered, 8) == [Copy(0, 100, 3), Copy(6, 106, 2)]
    assert list(covered) == [Span(0, 8)]


def test_searching_needs_an_index() -> None:
    """A signature that was not indexed can't be searched."""
    made = Signature(Layout(4, [Span(0, 4)]), 8)
    with pytest.raises(ValueError, match="not ready"):
        search(FAST, made, memoryview(b"12345678"), 0, Span(0, 5))


@pytest.mark.parametrize("change", ["first", "length", "beyond"])
def test_a_signature_comes_in_order(change: str) -> None:
    """What does not go on where it was, has checksums of another length, or goes beyond the end is refused."""
    made = Signature(Layout(4, [Span(0, 8)]), 8)
    made.extend(0, packed("I", [1]), bytes(8))
    blocks = 2 if change == "beyond" else 1
    with pytest.raises(ValueError, match="signature"):
        made.extend(0 if change == "first" else 1, packed("I", range(blocks)), bytes(8 * blocks - (change == "length")))
    assert made.count == 1


GOLDEN = "abc " * 300
GOLDEN_WEAK = [2181079808, 2181079808, 1869625352]
GOLDEN_STRONG = ["f3ea58177a1b4943", "f3ea58177a1b4943", "725e75dfb82394e2"]


def test_the_golden_signature() -> None:
    """The checksums of fixed content, so that no engine and no version ever gives others: they may be remembered between runs."""
    made = array("I", bytes(4 * 3))
    kernels: list[Kernel] = [FAST, REFERENCE]
    for kernel in kernels:
        kernel.weak_sums(GOLDEN.encode(), 512, made)
        assert list(made) == GOLDEN_WEAK
    assert [digest[:8].hex() for digest in block_digests(GOLDEN.encode(), 512)] == GOLDEN_STRONG
