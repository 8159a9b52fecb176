"""The engine on the package pyrsync2: its sums, which are never reduced, and its rolling; for comparison, since it is the slowest of all.

pyrsync2's own matching is not used: it fails on some matching tails (tests/delta/test_oracle.py), and knows no second round.
"""

from __future__ import annotations

from array import array

import pyrsync2

from deltasync._native.checks import check_scan, check_weak_sums
from deltasync._native.python_kernel import Table, build_table

__all__ = ["NAME", "Table", "build_table", "scan", "weak_sums"]

NAME = "pyrsync2"


def weak_sums(data: bytes | bytearray | memoryview, block_bytes: int, out: array[int], /) -> None:
    """See `Kernel`."""
    view = memoryview(data)
    check_weak_sums(len(view), block_bytes, len(out))
    for index in range(len(out)):
        _, a, b = pyrsync2.weakchecksum(view[index * block_bytes : (index + 1) * block_bytes])
        out[index] = _reduced(a, b)


def _reduced(a: int, b: int) -> int:
    return (a & 0xFFFF) | (b & 0xFFFF) << 16


def scan(data: bytes | bytearray | memoryview, start: int, stop: int, block_bytes: int, table: Table, /) -> tuple[int, int]:
    """See `Kernel`."""
    view = memoryview(data)
    check_scan(len(view), start, stop, block_bytes)
    stop = min(stop, len(view) - block_bytes + 1)
    if start >= stop:
        return -1, 0
    _, a, b = pyrsync2.weakchecksum(view[start : start + block_bytes])
    at = start
    while (weak := _reduced(a, b)) not in table:
        at += 1
        if at == stop:
            return -1, 0
        _, a, b = pyrsync2.rollingchecksum(view[at - 1], view[at + block_bytes - 1], a, b, block_bytes)
    return at, weak
