"""Matching: which ranges of a target are ranges of the base. Pure.

Three ways, from the cheapest to the dearest: blocks that still stand at their own offset (`at_own_offsets`); in what is left, the
block that follows the last match; and where that fails, every offset (`search`), by the rolling sum.

Hostile or repetitive input is bounded: of the blocks with one weak sum no more than `MAX_CHAIN` are compared at an offset, and the bytes
hashed in vain are at most half of those scanned, beyond which a block's length is passed over. The result is a worse delta, never a
wrong one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from blake3 import blake3

from deltasync._native import Kernel
from deltasync.delta.signature import Signature
from deltasync.delta.spans import Span, Spans

__all__ = ["MAX_CHAIN", "Copy", "at_own_offsets", "search", "uncovered"]

MAX_CHAIN = 64
"""Most blocks of one weak sum that are compared at an offset (rsync has 1,024)."""
MAX_BURST = 16
"""Most blocks that are hashed at once because they are likely to follow."""
FREE_FAILURES = 16
"""How many blocks a search may hash in vain before it counts."""


class Copy(NamedTuple):
    """A range of the target that is a range of the base."""

    target_at: int
    base_at: int
    length: int


def at_own_offsets(signature: Signature, first: int, digests: Sequence[bytes], last_bytes: int) -> list[Copy]:
    """Compare blocks of the target with those of the base at the same offsets.

    Args:
        signature: It has come as far as needed here.
        first: Number of the first block; all of them lie in one range of the base.
        digests: The BLAKE3 of this and the following blocks of the target.
        last_bytes: The length of the last of these blocks of the target; where the base's block is shorter or longer, it can't be equal.

    Returns: Coalesced ranges.
    """
    copies: list[Copy] = []
    block_bytes = signature.layout.block_bytes
    end = first + min(len(digests), len(signature.layout) - first)
    run = -1
    for index in range(first, end + 1):
        same = index < end and signature.equals(index, digests[index - first])
        if same and index == end - 1:
            start, stop = signature.layout.span(index)
            same = stop - start == (last_bytes if index - first == len(digests) - 1 else block_bytes)
        if same and run < 0:
            run = index
        elif not same and run >= 0:
            start, stop = signature.layout.span(run).start, signature.layout.span(index - 1).end
            copies.append(Copy(start, start, stop - start))
            run = -1
    return copies


def search(kernel: Kernel, signature: Signature, target: memoryview, at: int, span: Span, follow: int = -1) -> list[Copy]:
    """Find blocks of the base at any offset of a range of the target.

    Args:
        kernel: What rolls.
        signature: A complete and indexed signature.
        target: A part of the target that holds the range, and if it can be a block less one byte beyond it.
        at: Where that part begins in the target.
        span: The range of the target in which matches may begin.
        follow: A block that is likely to be at its start, or -1.

    Returns: Coalesced ranges in order, which may reach beyond the range's end by less than a block.
    """
    layout, table = signature.layout, signature.table
    block_bytes = layout.block_bytes
    copies: list[Copy] = []
    pos, stop = span.start - at, span.end - at
    debt = -FREE_FAILURES * block_bytes
    burst = 1
    while pos < stop:
        if follow >= 0:
            start, length, follow = _followed(signature, target, pos, stop, follow, burst)
            burst = min(2 * burst, MAX_BURST)
            if length:
                _append(copies, Copy(at + pos, start, length))
                pos += length
            continue
        burst = 1
        found, weak = kernel.scan(target, pos, stop, block_bytes, table)
        if found < 0:
            break
        debt -= (found - pos) // 2
        index = _confirmed(signature, weak, target[found : found + block_bytes])
        if index >= 0:
            _append(copies, Copy(at + found, layout.span(index).start, block_bytes))
            pos = found + block_bytes
            follow = layout.follower(index)
        else:
            debt += block_bytes
            pos = found + (block_bytes if debt > 0 else 1)
    return copies


def _followed(signature: Signature, target: memoryview, pos: int, stop: int, follow: int, burst: int) -> tuple[int, int, int]:
    """Compare the blocks that are likely to be at a place of the target, `burst` of them at most.

    Returns: Where the range that matches begins in the base, its length, 0 for none, and the block that is likely behind it, or -1.
    """
    layout = signature.layout
    block_bytes = layout.block_bytes
    start, end = layout.span(follow)
    count = min(burst, layout.full_blocks(follow), (len(target) - pos) // block_bytes, -(-(stop - pos) // block_bytes))
    if count < 1:
        # The last block of a range of the base may be short.
        length = end - start
        if pos + length <= len(target) and signature.equals(follow, blake3(target[pos : pos + length]).digest()):
            return start, length, layout.follower(follow)
        return start, 0, -1
    digests = [blake3(target[at : at + block_bytes]).digest() for at in range(pos, pos + count * block_bytes, block_bytes)]
    matching = signature.matching(follow, digests)
    return start, matching * block_bytes, layout.follower(follow + count - 1) if matching == count else -1


def _confirmed(signature: Signature, weak: int, window: memoryview) -> int:
    """Return the block that a window of this weak sum is, or -1."""
    digest = blake3(window).digest()
    table = signature.table
    index = table.first(weak)
    for _ in range(MAX_CHAIN):
        if index < 0:
            break
        if signature.equals(index, digest):
            start, end = signature.layout.span(index)
            if end - start == len(window):
                return index
        index = table.next(index)
    return -1


def _append(copies: list[Copy], copy: Copy) -> None:
    """Add a range behind the others, as one with the last if both the target and the base go on."""
    if copies:
        target_at, base_at, length = copies[-1]
        if target_at + length == copy.target_at and base_at + length == copy.base_at:
            copies[-1] = Copy(target_at, base_at, length + copy.length)
            return
    copies.append(copy)


def uncovered(copies: Iterable[Copy], covered: Spans, limit: int) -> list[Copy]:
    """Return what of these ranges is not covered yet and lies before `limit`, and note it as covered."""
    fresh: list[Copy] = []
    for target_at, base_at, length in copies:
        for start, end in covered.missing(target_at, min(target_at + length, limit)):
            covered.add(start, end)
            _append(fresh, Copy(start, base_at + start - target_at, end - start))
    return fresh
