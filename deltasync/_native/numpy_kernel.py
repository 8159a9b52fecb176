"""The engine on numpy, for where there is no compiler: sums of all offsets at once, by prefix sums, a piece of the data at a time.

With S1 the prefix sums of the bytes and S2 those of S1, the block of n bytes at offset o has

    a = S1[o + n] - S1[o]        b = S2[o + n] - S2[o] - n * S1[o]

all modulo 2**32, of which the lower 16 bits count.
"""

from __future__ import annotations

from array import array
from threading import local

import numpy as np
from numpy.typing import NDArray

from deltasync._native.checks import check_index, check_scan, check_table, check_weak_sums

__all__ = ["NAME", "Table", "build_table", "scan", "weak_sums"]

NAME = "numpy"
PIECE_OFFSETS = 128 << 10
"""Offsets looked at in one go: what they need then stays in the cache; over 64 MiB at once it is thirty times slower."""
FIRST_OFFSETS = 4096
"""Fewer at first: where matches are dense, what is looked at behind one is looked at in vain."""
PART_BYTES = 32 << 10
"""What a block is summed by, so that the weights of its bytes stay in the cache."""
KEPT_BLOCK_BYTES = 1 << 20
"""For blocks up to this length a thread keeps its memory between scans, at most 24 MiB."""
_THREAD = local()
_FILTERS = ((0x9E3779B1, 5), (0x85EBCA6B, 3))
"""The factor of each filter, and the logarithm of its size beside the sums: the first is looked into for every offset, from the cache."""

Words = NDArray[np.uint32]


class _Filter:
    """Tells of most sums that are not among `words` that they are not, by one bit of a hash.

    Args:
        words: Sums.
        factor: An odd number that makes the hash.
        spread: Binary logarithm of how many values of the hash there are for each of `words`.
    """

    def __init__(self, words: Words, factor: int, spread: int) -> None:
        log = min(max(len(words).bit_length() + spread, 16), 24)
        self._factor, self._shift = np.uint32(factor), np.uint32(32 - log)
        self._known = np.zeros(1 << log, bool)
        self._known[self._hashed(words)] = True

    def _hashed(self, words: Words) -> Words:
        hashed: Words = words * self._factor
        return np.right_shift(hashed, self._shift, out=hashed)

    def passes(self, words: Words) -> NDArray[np.bool]:
        """Tell of each sum whether it may be among those."""
        return self._known.take(self._hashed(words))


class Table:
    """Sorted sums; see `KernelTable`."""

    def __init__(self, sums: array[int]) -> None:
        words = np.frombuffer(sums, np.uint32)
        self._order = np.argsort(words, kind="stable")
        self.sorted = words[self._order]
        self._places = np.empty(len(words), np.int64)
        self._places[self._order] = np.arange(len(words))
        # A search in the sorted sums costs a hundred times as much as a look into a filter: so two of them stand before it.
        self._filters = [_Filter(words, factor, spread) for factor, spread in _FILTERS]

    def first(self, weak: int, /) -> int:
        """See `KernelTable`."""
        place = int(np.searchsorted(self.sorted, np.uint32(weak)))
        return int(self._order[place]) if place < len(self.sorted) and int(self.sorted[place]) == weak else -1

    def next(self, index: int, /) -> int:
        """See `KernelTable`."""
        check_index(index, len(self.sorted))
        place = int(self._places[index])
        if place + 1 < len(self.sorted) and self.sorted[place + 1] == self.sorted[place]:
            return int(self._order[place + 1])
        return -1

    def first_of(self, sums: Words) -> tuple[int, int]:
        """Return the place of the first of `sums` that is in the table, and this sum; (-1, 0) for none."""
        coarse, fine = self._filters
        places = np.flatnonzero(coarse.passes(sums))
        places = places[fine.passes(sums[places])]
        wanted = sums[places]
        found = np.searchsorted(self.sorted[:-1], wanted)
        hits = np.flatnonzero(self.sorted[found] == wanted) if len(self.sorted) else places
        return (int(places[hits[0]]), int(wanted[hits[0]])) if len(hits) else (-1, 0)


def build_table(sums: array[int], /) -> Table:
    """See `Kernel`."""
    check_table(len(sums))
    return Table(sums)


def weak_sums(data: bytes | bytearray | memoryview, block_bytes: int, out: array[int], /) -> None:
    """See `Kernel`."""
    check_weak_sums(len(data), block_bytes, len(out))
    made = np.frombuffer(out, np.uint32)
    content = np.frombuffer(data, np.uint8)
    whole, rest = divmod(len(content), block_bytes)
    made[:whole] = _sums(content[: len(content) - rest].reshape(whole, block_bytes))
    if rest:
        made[whole:] = _sums(content[len(content) - rest :].reshape(1, rest))


def _sums(blocks: NDArray[np.uint8]) -> Words:
    """Return the weak sum of each row."""
    count, size = blocks.shape
    a, b = np.zeros(count, np.uint32), np.zeros(count, np.uint32)
    for at in range(0, size, PART_BYTES):
        part = blocks[:, at : at + PART_BYTES]
        weights = np.arange(size - at, size - at - part.shape[1], -1, dtype=np.int64).astype(np.uint32)
        a += part.sum(axis=1, dtype=np.uint32)
        b += np.einsum("ij,j->i", part, weights, dtype=np.uint32, casting="unsafe")
    return _joined(a, b)


def scan(data: bytes | bytearray | memoryview, start: int, stop: int, block_bytes: int, table: Table, /) -> tuple[int, int]:
    """See `Kernel`."""
    check_scan(len(data), start, stop, block_bytes)
    content = np.frombuffer(data, np.uint8)
    stop = min(stop, len(data) - block_bytes + 1)
    at, offsets = start, max(FIRST_OFFSETS, block_bytes // 4)
    rolling = _rolling(block_bytes)
    while at < stop:
        end = min(at + offsets, stop)
        place, weak = table.first_of(rolling.sums(content[at : end + block_bytes - 1], end - at))
        if place >= 0:
            return at + place, weak
        at, offsets = end, min(4 * offsets, rolling.offsets)
    return -1, 0


def _rolling(block_bytes: int) -> _Rolling:
    """Return this thread's memory for blocks of this length: that of its last scan, if it was made for as long ones."""
    kept: _Rolling | None = getattr(_THREAD, "rolling", None)
    if kept is None or kept.block_bytes != block_bytes:
        kept = _Rolling(max(PIECE_OFFSETS, block_bytes), block_bytes)
        _THREAD.rolling = kept if block_bytes <= KEPT_BLOCK_BYTES else None
    return kept


class _Rolling:
    """Makes the sums of all offsets, a piece at a time, always in the same memory: to get new memory costs more than the sums.

    Args:
        offsets: Most offsets of a piece.
        block_bytes: The length of a block.

    Attributes:
        offsets, block_bytes: As given.
    """

    def __init__(self, offsets: int, block_bytes: int) -> None:
        self.offsets = offsets
        self.block_bytes = block_bytes
        self._once = np.zeros(offsets + block_bytes, np.uint32)
        self._twice = np.empty(offsets + block_bytes, np.uint32)
        self._a, self._b, self._c = (np.empty(offsets, np.uint32) for _ in range(3))

    def sums(self, content: NDArray[np.uint8], offsets: int) -> Words:
        """Return the weak sum of the block at each of so many offsets; it is overwritten by the next call."""
        size = self.block_bytes
        once, twice = self._once[: len(content) + 1], self._twice[: len(content) + 1]
        a, b, c = self._a[:offsets], self._b[:offsets], self._c[:offsets]
        np.cumsum(content, dtype=np.uint32, out=once[1:])
        np.cumsum(once, dtype=np.uint32, out=twice)
        np.subtract(once[size : size + offsets], once[:offsets], out=a)
        np.subtract(twice[size : size + offsets], twice[:offsets], out=b)
        np.multiply(once[:offsets], np.uint32(size), out=c)
        np.subtract(b, c, out=b)
        np.bitwise_and(a, np.uint32(0xFFFF), out=a)
        np.left_shift(b, np.uint32(16), out=b)
        return np.bitwise_or(a, b, out=a)


def _joined(a: Words, b: Words) -> Words:
    sums: Words = (a & np.uint32(0xFFFF)) | (b << np.uint32(16))
    return sums
