"""Sets of ranges of a file, as sorted spans that neither overlap nor touch. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["Extent", "Span", "Spans", "complement", "extents"]


class Span(NamedTuple):
    """A range of a file: from `start` up to, not including, `end`; never empty."""

    start: int
    end: int


class Spans:
    """A set of byte positions of one file; it grows, and never shrinks.

    Attributes:
        covered_bytes: How many positions are in it.
    """

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self.covered_bytes = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        for span in spans:
            self.add(*span)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Span]:
        return map(Span, self._starts, self._ends)

    def add(self, start: int, end: int) -> bool:
        """Add a range; False, with nothing done, if any of it is there already or it is empty."""
        starts, ends = self._starts, self._ends
        after = bisect_left(starts, end)
        before = bisect_right(ends, start)
        if after != before or start >= end:
            return False
        self.covered_bytes += end - start
        joins_left = before > 0 and ends[before - 1] == start
        joins_right = after < len(starts) and starts[after] == end
        if joins_left and joins_right:
            ends[before - 1] = ends[after]
            del starts[after], ends[after]
        elif joins_left:
            ends[before - 1] = end
        elif joins_right:
            starts[after] = start
        else:
            starts.insert(before, start)
            ends.insert(before, end)
        return True

    def missing(self, start: int, end: int) -> list[Span]:
        """Return what of a range is not there, in order."""
        missing: list[Span] = []
        at = start
        for index in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[index] >= end:
                break
            if self._starts[index] > at:
                missing.append(Span(at, self._starts[index]))
            at = self._ends[index]
        if at < end:
            missing.append(Span(at, end))
        return missing

    def first_missing(self, start: int, end: int) -> Span | None:
        """Return the first range that `missing` returns, without looking for more; None if there is none."""
        index = bisect_right(self._ends, start)
        if index < len(self._starts) and self._starts[index] <= start:
            start, index = self._ends[index], index + 1
        stop = min(self._starts[index], end) if index < len(self._starts) else end
        return Span(start, stop) if start < stop else None

    def last_missing(self, start: int, end: int) -> Span | None:
        """Return the last range that `missing` returns, without looking for more; None if there is none."""
        index = bisect_left(self._starts, end) - 1
        if index >= 0 and self._ends[index] >= end:
            end, index = self._starts[index], index - 1
        begin = max(self._ends[index], start) if index >= 0 else start
        return Span(begin, end) if begin < end else None

    def holds(self, start: int, end: int) -> bool:
        """Tell whether a whole range is there; an empty one is."""
        if start >= end:
            return True
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and self._ends[index] >= end


def complement(spans: Iterable[Span], size: int) -> list[Span]:
    """Return what of a file of `size` bytes none of these spans covers; they may overlap, and come in any order."""
    free: list[Span] = []
    at = 0
    for start, end in sorted(spans):
        if start > at:
            free.append(Span(at, start))
        at = max(at, end)
    if at < size:
        free.append(Span(at, size))
    return free


class Extent(NamedTuple):
    """Ranges of a file that are so near to each other that they are best read at once.

    Attributes:
        start, end: From the first of them to the last.
        spans: The ranges, in order.
    """

    start: int
    end: int
    spans: list[Span]


def extents(spans: Iterable[Span], gap_bytes: int, most_bytes: int) -> Iterator[Extent]:
    """Gather ranges that follow each other with gaps of at most `gap_bytes`, up to `most_bytes` with their gaps; a longer one is alone.

    Args:
        spans: Ranges in any order; where one does not begin behind the one before, an extent ends.
        gap_bytes: 0 or more.
        most_bytes: 1 or more.
    """
    start = end = 0
    near: list[Span] = []
    for span in spans:
        if near and (not end <= span.start <= end + gap_bytes or span.end - start > most_bytes):
            yield Extent(start, end, near)
            near = []
        if not near:
            start = span.start
        end = span.end
        near.append(span)
    if near:
        yield Extent(start, end, near)
