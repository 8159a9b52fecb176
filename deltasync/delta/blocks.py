"""How a base is cut into blocks, and how long their checksums are. Pure.

Round one uses the leaves of the base's file digest as its blocks, so that each side hashes its content once. Round two cuts only those
ranges of the base that had no match, into small blocks.

A block is taken for another if its weak sum and its truncated BLAKE3 agree by chance. With `t` offsets of the target compared to `b`
blocks there are `t * b` chances; the weak sum of 32 bits is counted as 24, since sums of few or similar bytes are not spread evenly.
The strong checksum is so long that

    t * b * 2**-24 * 2**-(8 * strong_bytes) <= 2**-32

which is the probability that a file is sent a second time. A wrong file is never the result of it: the file digest, of 256 bits, is proven
before anything is committed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from deltasync.delta.digest import leaf_bytes
from deltasync.delta.spans import Span

__all__ = ["MAX_BLOCKS", "Layout", "fine_block_bytes", "first_block_bytes", "strong_bytes"]

MAX_BLOCKS = 1 << 20
"""Most blocks that one round of a file may have: about 64 MiB of checksums and tables."""
MIN_STRONG_BYTES = 5
MAX_STRONG_BYTES = 16
FINE_BLOCK_BYTES = 2048
"""The small block of round two; measured in docs/design.md."""
FINE_BLOCKS = 1 << 18
"""Beyond so many small blocks in one file they are doubled in length."""
_WEAK_BITS = 24
_FAILURE_BITS = 32


def first_block_bytes(base_bytes: int, wanted_bytes: int = 0) -> int:
    """Return the length of the blocks of round one: that of the leaves, or what the user wants (`--block-size`)."""
    if not wanted_bytes:
        return leaf_bytes(base_bytes)
    block = wanted_bytes
    while base_bytes > block * MAX_BLOCKS:
        block *= 2
    return block


def fine_block_bytes(range_bytes: int) -> int:
    """Return the length of the blocks of round two over `range_bytes` of a base."""
    block = FINE_BLOCK_BYTES
    while block * FINE_BLOCKS < range_bytes:
        block *= 2
    return block


def strong_bytes(target_bytes: int, blocks: int) -> int:
    """Return how many bytes of BLAKE3 tell a block from every offset of a target; see the module's formula."""
    bits = target_bytes.bit_length() + blocks.bit_length() - _WEAK_BITS + _FAILURE_BITS
    return min(max(-(-bits // 8), MIN_STRONG_BYTES), MAX_STRONG_BYTES)


class Layout:
    """Where the blocks of a round lie in the base: each range begins with a block and ends with one that may be shorter.

    Args:
        block_bytes: The length of a block.
        ranges: Ascending ranges of the base.

    Attributes:
        block_bytes: As given.
        ranges: As given.
    """

    def __init__(self, block_bytes: int, ranges: Sequence[Span]) -> None:
        self.block_bytes = block_bytes
        self.ranges = ranges
        self._firsts = [0, *accumulate(-(-(end - start) // block_bytes) for start, end in ranges)]

    def __len__(self) -> int:
        return self._firsts[-1]

    def span(self, index: int) -> Span:
        """Return where a block lies in the base."""
        number = bisect_right(self._firsts, index) - 1
        start, end = self.ranges[number]
        at = start + (index - self._firsts[number]) * self.block_bytes
        return Span(at, min(at + self.block_bytes, end))

    def follower(self, index: int) -> int:
        """Return the block that follows in the base, or -1."""
        number = bisect_right(self._firsts, index) - 1
        after = index + 1
        if after < self._firsts[number + 1]:
            return after
        touching = number + 1 < len(self.ranges) and self.ranges[number].end == self.ranges[number + 1].start
        return after if touching else -1

    def full_blocks(self, index: int) -> int:
        """Return how many blocks from this one on lie one behind the other and have the full length."""
        number = bisect_right(self._firsts, index) - 1
        start, end = self.ranges[number]
        return (end - start) // self.block_bytes - (index - self._firsts[number])

    def at(self, base_at: int) -> int:
        """Return the block that begins at a place of the base, or -1."""
        number = bisect_right(self.ranges, base_at, key=lambda span: span.start) - 1
        if number < 0:
            return -1
        start, end = self.ranges[number]
        index, off = divmod(base_at - start, self.block_bytes)
        return self._firsts[number] + index if not off and base_at < end else -1
