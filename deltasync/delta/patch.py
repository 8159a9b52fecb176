"""Patching, as far as it can be told without a file: which bytes of the target come from where, and whether all have come. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deltasync.delta.match import Copy
from deltasync.delta.spans import Span, Spans

__all__ = ["Patch"]


class Patch:
    """Takes the operations of a delta, checks them, and says where each goes.

    Ranges of the base come first, in any order of the target; then literals fill what is left, from the target's start to its end.

    Args:
        base_bytes: Length of the base; 0 for none, and the target is all literals.
        target_bytes: Length of the target.
    """

    def __init__(self, base_bytes: int, target_bytes: int) -> None:
        self.base_bytes = base_bytes
        self.target_bytes = target_bytes
        self._covered = Spans()
        self._gaps: Iterator[Span] | None = None
        self._gap = Span(0, 0)
        self._literal_bytes = 0

    @property
    def matched_bytes(self) -> int:
        """How many bytes come from the base."""
        return self._covered.covered_bytes

    @property
    def literal_bytes(self) -> int:
        """How many bytes have come as literals."""
        return self._literal_bytes

    @property
    def complete(self) -> bool:
        """Whether every byte of the target has come."""
        return self._literal_bytes + self._covered.covered_bytes == self.target_bytes

    def copy(self, copy: Copy) -> None:
        """Take a range of the base.

        Raises:
            ValueError: It reaches beyond the base or the target, overlaps another, or comes after a literal.
        """
        target_at, base_at, length = copy
        if self._gaps is not None:
            raise ValueError("a range of the base comes after a literal")
        if min(target_at, base_at, length - 1) < 0 or target_at + length > self.target_bytes or base_at + length > self.base_bytes:
            raise ValueError("a range reaches beyond its file")
        if not self._covered.add(target_at, target_at + length):
            raise ValueError("two ranges overlap")

    def fill(self, count: int) -> list[Span]:
        """Take the next `count` bytes of literals; return where they go, in order.

        Raises:
            ValueError: There is no room for so many.
        """
        if self._gaps is None:
            self._gaps = iter(self._covered.missing(0, self.target_bytes))
        if self._literal_bytes + count > self.target_bytes - self._covered.covered_bytes:
            raise ValueError("more literals than there is room for")
        self._literal_bytes += count
        places: list[Span] = []
        while count:
            if self._gap.start == self._gap.end:
                self._gap = next(self._gaps)
            start, end = self._gap
            take = min(count, end - start)
            places.append(Span(start, start + take))
            self._gap = Span(start + take, end)
            count -= take
        return places
