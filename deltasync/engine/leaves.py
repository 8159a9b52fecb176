"""The leaves of a file on its way in as a delta: which are known, by hashing or by the base's word, and what they prove."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from blake3 import blake3

from deltasync._native import Kernel
from deltasync._native.columns import packed
from deltasync.delta.digest import file_digest, leaf_bytes, zero_digest
from deltasync.delta.effort import effort
from deltasync.delta.signature import weak_sums
from deltasync.delta.spans import Span
from deltasync.engine.base import Base
from deltasync.fs.index import Remembered

__all__ = ["Leaf", "Leaves"]


class Leaf(NamedTuple):
    """What is known of a leaf: its digest, and its packed weak sum."""

    digest: bytes
    weak: bytes


class Leaves:
    """Gathers the leaves of one file. The control thread notes what is known; any thread may hash.

    Args:
        size: The file's length.
        base: What it is made from.
        kernel: The engine.

    Attributes:
        leaf_bytes: Their length.
    """

    def __init__(self, size: int, base: Base, kernel: Kernel) -> None:
        self.leaf_bytes = leaf_bytes(size)
        self._size = size
        self._count = -(-size // self.leaf_bytes)
        self._base = base
        self._kernel = kernel
        self._known: dict[int, Leaf] = {}
        # Weak sums are only of use to the index, and left out where the engine is too slow for that.
        self._remembers = max(size, base.size) <= effort(kernel.NAME).sum_bytes

    def within(self, start: int, length: int) -> list[tuple[int, int, int]]:
        """Return number, start and end of each leaf that lies within a range of the file."""
        unit, end = self.leaf_bytes, start + length
        whole: list[tuple[int, int, int]] = []
        for index in range(-(-start // unit), -(-end // unit)):
            stop = min((index + 1) * unit, self._size)
            if stop <= end:
                whole.append((index, index * unit, stop))
        return whole

    def note(self, leaves: dict[int, Leaf]) -> None:
        """Take note of leaves."""
        self._known.update(leaves)

    def missing(self) -> list[int]:
        """Return the numbers of those that are not known yet."""
        return [index for index in range(self._count) if index not in self._known]

    def span(self, index: int) -> Span:
        """Return where a leaf lies."""
        start = index * self.leaf_bytes
        return Span(start, min(start + self.leaf_bytes, self._size))

    def of_content(self, start: int, content: memoryview) -> Iterator[tuple[int, Leaf]]:
        """Hash the leaves that lie within content that stands at `start`."""
        for index, begin, end in self.within(start, len(content)):
            yield index, self.hashed(content[begin - start : end - start])

    def of_zeros(self, start: int, length: int) -> Iterator[tuple[int, Leaf]]:
        """Yield the leaves that lie within a run of zeros."""
        for index, begin, end in self.within(start, length):
            yield index, Leaf(zero_digest(end - begin), bytes(4))

    def of_base(self, start: int, length: int) -> Iterator[tuple[int, Leaf]]:
        """Yield those leaves within a range that the base has at the same place, if it vouches for them."""
        base, unit = self._base, self.leaf_bytes
        if base.block_bytes != unit:
            return
        for index, _, end in self.within(start, length):
            # The last leaf of the target is one of the base's only if that ends there as well.
            vouched = base.leaf(index) if end % unit == 0 or end == base.size else None
            if vouched:
                yield index, Leaf(*vouched)

    def hashed(self, content: memoryview) -> Leaf:
        """Hash a leaf."""
        weak = packed("I", weak_sums(self._kernel, content, len(content))) if self._remembers else bytes(4)
        return Leaf(blake3(content).digest(), weak)

    def prove(self, digest: bytes | None) -> bool:
        """Tell whether this is the file digest, once none is missing."""
        return file_digest(self._size, [self._known[index].digest for index in range(self._count)]) == digest

    @property
    def checksums(self) -> Remembered | None:
        """What to remember of the proven file; None if it is not worth it."""
        if not self._remembers:
            return None
        leaves = [self._known[index] for index in range(self._count)]
        return Remembered(self.leaf_bytes, b"".join([leaf.weak for leaf in leaves]), b"".join([leaf.digest for leaf in leaves]))
