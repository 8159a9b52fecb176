"""What of the base is still to be read while a file is changed in place: the moved ranges, by where they are read from. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from deltasync.delta.match import Copy
from deltasync.delta.spans import Span, Spans

__all__ = ["Needs", "Save"]


class Save(NamedTuple):
    """Bytes of the base that are set aside: `length` bytes at `base_at` go to `aside_at`."""

    base_at: int
    aside_at: int
    length: int


class Needs:
    """Knows for each range of the base who still has to read it.

    Args:
        moves: The ranges that move; long ones are best cut, since each look considers all that begin within the longest.
        settled: What of the target needs no more work; it grows while this is used.
        base_bytes: The length of the base.

    Attributes:
        aside: What was set aside and is still to be read.
    """

    def __init__(self, moves: Iterable[Copy], settled: Spans, base_bytes: int) -> None:
        self.aside: list[Save] = []
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
        first = bisect_right(self._starts, span.start - self._longest)
        for reader in self._readers[first : bisect_left(self._starts, span.end)]:
            start, end = max(span.start, reader.base_at), min(span.end, reader.base_at + reader.length)
            if start < end:
                yield reader, start, end

    def _not_aside(self, start: int, end: int) -> Iterator[Span]:
        """Yield what of a range of the base was not set aside."""
        for save in sorted(self.aside):
            if save.base_at < end and save.base_at + save.length > start:
                if start < save.base_at:
                    yield Span(start, save.base_at)
                start = save.base_at + save.length
        if start < end:
            yield Span(start, end)

    def tidy(self) -> list[Save]:
        """Forget what was set aside and has been read; return it."""
        read = [save for save in self.aside if not self._still_read(save)]
        if read:
            self.aside = [save for save in self.aside if save not in read]
        return read

    def _still_read(self, save: Save) -> bool:
        return any(
            self._settled.missing(start + reader.target_at - reader.base_at, end + reader.target_at - reader.base_at)
            for reader, start, end in self._reading(Span(save.base_at, save.base_at + save.length))
        )


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Return the union of spans, in order."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, end))
        else:
            joined.append(Span(start, end))
    return joined
