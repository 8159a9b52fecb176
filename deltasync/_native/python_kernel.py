"""The readable reference of the engines, in plain Python: slow, and right."""

from __future__ import annotations

from array import array
from itertools import accumulate

from deltasync._native.checks import check_index, check_scan, check_table, check_weak_sums

__all__ = ["NAME", "Table", "build_table", "scan", "weak_sums"]

NAME = "python"


class Table:
    """The blocks of each weak sum; see `KernelTable`."""

    def __init__(self, sums: array[int]) -> None:
        self._first: dict[int, int] = {}
        self._next = array("i", [-1]) * len(sums)
        for index in range(len(sums) - 1, -1, -1):
            self._next[index] = self._first.get(sums[index], -1)
            self._first[sums[index]] = index

    def __contains__(self, weak: int) -> bool:
        return weak in self._first

    def first(self, weak: int, /) -> int:
        """See `KernelTable`."""
        return self._first.get(weak, -1)

    def next(self, index: int, /) -> int:
        """See `KernelTable`."""
        check_index(index, len(self._next))
        return self._next[index]


def build_table(sums: array[int], /) -> Table:
    """See `Kernel`."""
    check_table(len(sums))
    return Table(sums)


def weak_sums(data: bytes | bytearray | memoryview, block_bytes: int, out: array[int], /) -> None:
    """See `Kernel`."""
    view = memoryview(data)
    check_weak_sums(len(view), block_bytes, len(out))
    for index in range(len(out)):
        a, b = _sums(view[index * block_bytes : (index + 1) * block_bytes])
        out[index] = a | b << 16


def _sums(block: memoryview) -> tuple[int, int]:
    """Return the two halves of a block's weak sum, by their definition."""
    a = sum(block)
    b = sum(accumulate(block))  # Each byte counts once for itself and once for every byte behind it.
    return a & 0xFFFF, b & 0xFFFF


def scan(data: bytes | bytearray | memoryview, start: int, stop: int, block_bytes: int, table: Table, /) -> tuple[int, int]:
    """See `Kernel`."""
    view = memoryview(data)
    check_scan(len(view), start, stop, block_bytes)
    stop = min(stop, len(view) - block_bytes + 1)
    if start >= stop:
        return -1, 0
    a, b = _sums(view[start : start + block_bytes])
    at = start
    while (weak := a | b << 16) not in table:
        out = view[at]
        at += 1
        if at == stop:
            return -1, 0
        a = (a - out + view[at + block_bytes - 1]) & 0xFFFF
        b = (b - block_bytes * out + a) & 0xFFFF
    return at, weak
