"""How bases are cut, and how long checksums are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.delta.blocks import MAX_BLOCKS, Layout, fine_block_bytes, first_block_bytes, strong_bytes
from deltasync.delta.digest import leaf_bytes
from deltasync.delta.spans import Span


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 50)), min_size=1, max_size=8), st.integers(1, 12))
def test_blocks_lie_one_behind_the_other_in_their_ranges(pairs: list[tuple[int, int]], block_bytes: int) -> None:
    """The blocks of a layout cover its ranges, each but the last of a range with the full length; and every look-up agrees with that."""
    ranges: list[Span] = []
    at = 0
    for gap, length in pairs:
        ranges.append(Span(at + gap, at + gap + length))
        at += gap + length
    layout = Layout(block_bytes, ranges)
    expected = [Span(at, min(at + block_bytes, end)) for start, end in ranges for at in range(start, end, block_bytes)]
    assert [layout.span(index) for index in range(len(layout))] == expected
    begins = {span.start: index for index, span in enumerate(expected)}
    for base_at in range(at + 5):
        assert layout.at(base_at) == begins.get(base_at, -1)
    for index, span in enumerate(expected):
        follows = index + 1 < len(expected) and expected[index + 1].start == span.end
        assert layout.follower(index) == (index + 1 if follows else -1)
        full = 0
        end = next(end for start, end in ranges if start <= span.start < end)
        while span.start + (full + 1) * block_bytes <= end:
            full += 1
        assert layout.full_blocks(index) == full


@pytest.mark.parametrize("size", [1, 1 << 15, 1 << 20, 1 << 30, (1 << 31) + 1, 1 << 40])
def test_round_one_uses_the_leaves_of_the_digest(size: int) -> None:
    """Each side then hashes its content once."""
    assert first_block_bytes(size) == leaf_bytes(size)


def test_a_block_length_of_the_users_is_kept_unless_the_base_has_too_many_of_them() -> None:
    """`--block-size` is taken as it is; beyond a million blocks it is doubled."""
    assert first_block_bytes(1 << 30, 5000) == 5000
    assert first_block_bytes(1 << 40, 5000) == 5000 * 256
    assert first_block_bytes(1 << 40, 5000) * MAX_BLOCKS >= (1 << 40)


def test_small_blocks_grow_with_what_they_are_to_cover() -> None:
    """2 KiB up to 512 MiB of unmatched base; their number stays bounded."""
    assert fine_block_bytes(1) == fine_block_bytes(512 << 20) == 2048
    assert fine_block_bytes((512 << 20) + 1) == 4096
    assert fine_block_bytes(1 << 40) == 4 << 20


@given(st.integers(1, 1 << 50), st.integers(1, 1 << 20))
def test_a_chance_match_is_less_likely_than_promised(target_bytes: int, blocks: int) -> None:
    """Offsets times blocks times the odds of both checksums is at most 2^-32, unless BLAKE3's 16 bytes are all in use."""
    strong = strong_bytes(target_bytes, blocks)
    assert 5 <= strong <= 16
    assert strong == 16 or target_bytes * blocks <= 2 ** (24 + 8 * strong - 32)


@pytest.mark.parametrize(("size", "strong"), [(1 << 17, 5), (1 << 20, 5), (1 << 25, 6), (1 << 30, 7), (1 << 34, 8), (1 << 40, 9)])
def test_the_lengths_of_the_documentation(size: int, strong: int) -> None:
    """The table of docs/design.md."""
    assert strong_bytes(size, -(-size // leaf_bytes(size))) == strong
