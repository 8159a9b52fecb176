"""The engine on numpy, for where there is no compiler: sums of all offsets at once, by prefix sums, a piece of the data at a time.

With S1 the prefix sums of the bytes and S2 those of S1, the block of n bytes at offset o has

    a = S1[o + n] - S1[o]        b = S2[o + n] - S2[o] - n * S1[o]

all modulo 2**32, of which the lower 16 bits count.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

__all__ = ["NAME", "Table", "build_table", "scan", "weak_sums"]

NAME = "numpy"
MAX_BLOCK_BYTES = 1 << 26
MAX_SUMS = 1 << 22
PIECE_OFFSETS = 128 << 10
"""Offsets looked at in one go: what they need then stays in the cache; over 64 MiB at once it is thirty times slower."""
_FACTOR = np.uint32(0x9E3779B1)
_FILTER_LOG = 22

Words = NDArray[np.uint32]


class Table:
    """Sorted sums; see `KernelTable`."""

    def __init__(self, sums: array[int]) -> None:
        words = np.frombuffer(sums, np.uint32)
        self._order = np.argsort(words, kind="stable")
        self.sorted = words[self._order]
        self._places = np.empty(len(words), np.int64)
        self._places[self._order] = np.arange(len(words))
        self.filter = np.zeros(1 << _FILTER_LOG, bool)
        self.filter[_hashed(words)] = True

    def first(self, weak: int, /) -> int:
        """See `KernelTable`."""
        place = int(np.searchsorted(self.sorted, np.uint32(weak)))
        return int(self._order[place]) if place < len(self.sorted) and int(self.sorted[place]) == weak else -1

    def next(self, index: int, /) -> int:
        """See `KernelTable`."""
        if not 0 <= index < len(self.sorted):
            raise ValueError("there is no block of this number")
        place = int(self._places[index])
        if place + 1 < len(self.sorted) and self.sorted[place + 1] == self.sorted[place]:
            return int(self._order[place + 1])
        return -1


def _hashed(words: Words) -> Words:
    return (words * _FACTOR) >> np.uint32(32 - _FILTER_LOG)


def build_table(sums: array[int], /) -> Table:
    """See `Kernel`."""
    if len(sums) > MAX_SUMS:
        raise ValueError("a table has at most 4,194,304 sums")
    return Table(sums)


def weak_sums(data: bytes | bytearray | memoryview, block_bytes: int, out: array[int], /) -> None:
    """See `Kernel`."""
    if not 1 <= block_bytes <= MAX_BLOCK_BYTES:
        raise ValueError("a block has 1 to 67,108,864 bytes")
    if len(out) != -(-len(data) // block_bytes):
        raise ValueError("there must be room for exactly one sum for each block")
    made = np.frombuffer(out, np.uint32)
    content = np.frombuffer(data, np.uint8)
    for index in range(len(out)):
        made[index] = _sum(content[index * block_bytes : (index + 1) * block_bytes])


def _sum(block: NDArray[np.uint8]) -> int:
    a, b, size = 0, 0, len(block)
    # Products of bytes and weights are summed in 32 bits without loss for so many at once.
    for at in range(0, size, 4096):
        part = block[at : at + 4096].astype(np.uint32)
        total = int(part.sum(dtype=np.uint32))
        weighted = int(np.dot(part, np.arange(len(part), dtype=np.uint32)))
        a += total
        b += (size - at) * total - weighted
    return (a & 0xFFFF) | (b & 0xFFFF) << 16


def scan(data: bytes | bytearray | memoryview, start: int, stop: int, block_bytes: int, table: Table, /) -> tuple[int, int]:
    """See `Kernel`."""
    if not (0 <= start <= stop <= len(data) and 1 <= block_bytes <= MAX_BLOCK_BYTES):
        raise ValueError("a range or the length of a block is beyond its limits")
    content = np.frombuffer(data, np.uint8)
    stop = min(stop, len(data) - block_bytes + 1)
    for at in range(start, stop, PIECE_OFFSETS):
        end = min(at + PIECE_OFFSETS, stop)
        sums = _all_sums(content[at : end + block_bytes - 1], end - at, block_bytes)
        for place in np.flatnonzero(table.filter[_hashed(sums)]):
            weak = int(sums[place])
            if table.first(weak) >= 0:
                return at + int(place), weak
    return -1, 0


def _all_sums(content: NDArray[np.uint8], offsets: int, block_bytes: int) -> Words:
    """Return the weak sum of the block at each of so many offsets."""
    once = np.zeros(len(content) + 1, np.uint32)
    np.cumsum(content, dtype=np.uint32, out=once[1:])
    twice = np.cumsum(once, dtype=np.uint32)
    a = once[block_bytes : block_bytes + offsets] - once[:offsets]
    b = twice[block_bytes : block_bytes + offsets] - twice[:offsets] - np.uint32(block_bytes & 0xFFFFFFFF) * once[:offsets]
    sums: Words = (a & np.uint32(0xFFFF)) | (b << np.uint32(16))
    return sums
