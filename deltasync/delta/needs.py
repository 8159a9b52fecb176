"""What of the base is still to be read while a file is changed in place: the moved ranges, by where they are read from. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from deltasync.delta.match import Copy
from deltasync.delta.spans import Span, Spans

__all__ = ["MAX_LOOKS", "Needs", "NoOrder", "Save"]

MAX_LOOKS = 1 << 22
"""How often moved ranges may be looked at for one file: for half a minute or less. A shuffled file needs 3 to 6 for each of its blocks."""


class NoOrder(ValueError):
    """The file can't be changed in place within the limits."""


class Save(NamedTuple):
    """Bytes of the base that are set aside: `length` bytes at `base_at` go to `aside_at`."""

    base_at: int
    aside_at: int
    length: int


class Needs:
    """Knows for each range of the base who still has to read it.

    Whatever looks may raise `NoOrder`, when there was more to look at than a peer may cause.

    Args:
        moves: The ranges that move; long ones are best cut, since each look considers all that begin within the longest.
        settled: What of the target needs no more work; it grows while this is used.
        base_bytes: The length of the base.

    Attributes:
        looks: How many moved ranges were looked at.
    """

    def __init__(self, moves: Iterable[Copy], settled: Spans, base_bytes: int) -> None:
        self.looks = 0
        self._aside: list[Save] = []
        self._settled = settled
        self._base_bytes = base_bytes
        self._readers = sorted(moves, key=lambda copy: copy.base_at)
        self._starts = [reader.base_at for reader in self._readers]
        self._longest = max((reader.length for reader in self._readers), default=0)

    def inside(self, span: Span) -> list[Span]:
        """Return what of a range of the base is still to be read from there."""
        wanted: list[Span] = []
        for reader, start, end in self._reading(span):
            shift = reader.target_at - reader.base_at
            for low, high in self._settled.missing(start + shift, end + shift):
                wanted += self._not_aside(low - shift, high - shift)
        return _joined(wanted)

    def outside(self, span: Span) -> list[Span]:
        """Return what of a range of the base is still to be read by what is written outside of this range of the target."""
        wanted: list[Span] = []
        for reader, start, end in self._reading(Span(span.start, min(span.end, self._base_bytes))):
            shift = reader.target_at - reader.base_at
            for low, high in self._settled.missing(start + shift, end + shift):
                for left, right in ((low, min(high, span.start)), (max(low, span.end), high)):
                    if left < right:
                        wanted += self._not_aside(left - shift, right - shift)
        return _joined(wanted)

    def _reading(self, span: Span) -> Iterator[tuple[Copy, int, int]]:
        """Yield the moves that read from a range of the base, and the part of it that each reads."""
        first, last = bisect_right(self._starts, span.start - self._longest), bisect_left(self._starts, span.end)
        for reader in self._readers[first:last]:
            self._look()
            start, end = max(span.start, reader.base_at), min(span.end, reader.base_at + reader.length)
            if start < end:
                yield reader, start, end

    def _look(self) -> None:
        self.looks += 1
        if self.looks > MAX_LOOKS:
            raise NoOrder("moved ranges overlap in too many ways")

    # Set aside ----------------------------------------------------------------------------------------------------------------------

    @property
    def aside(self) -> Sequence[Save]:
        """What was set aside and is still to be read, by its place in the base; no two overlap there."""
        return self._aside

    def set_aside(self, saves: Iterable[Save]) -> None:
        """Take note of what is set aside."""
        for save in saves:
            insort(self._aside, save)

    def aside_in(self, start: int, end: int) -> list[Save]:
        """Return what was set aside of a range of the base, in order."""
        first = bisect_right(self._aside, start, key=_base_end)
        return self._aside[first : bisect_left(self._aside, end, lo=first, key=_base_at)]

    def _not_aside(self, start: int, end: int) -> Iterator[Span]:
        """Yield what of a range of the base was not set aside."""
        for save in self.aside_in(start, end):
            self._look()
            if start < save.base_at:
                yield Span(start, save.base_at)
            start = save.base_at + save.length
        if start < end:
            yield Span(start, end)

    def tidy(self, start: int, end: int) -> None:
        """Forget what was set aside of a range of the base and has been read."""
        for save in self.aside_in(start, end):
            if not self._still_read(save):
                self._aside.remove(save)

    def _still_read(self, save: Save) -> bool:
        return any(
            self._settled.first_missing(start + reader.target_at - reader.base_at, end + reader.target_at - reader.base_at)
            for reader, start, end in self._reading(Span(save.base_at, save.base_at + save.length))
        )


def _base_at(save: Save) -> int:
    return save.base_at


def _base_end(save: Save) -> int:
    return save.base_at + save.length


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Return the union of spans, in order."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, end))
        else:
            joined.append(Span(start, end))
    return joined
