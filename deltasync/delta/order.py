"""In which order a file can be changed in place: nothing is overwritten that is still to be read. Pure.

The target is made of ranges of the base that keep their offset (nothing is done for them), ranges of the base that move, and literals. A
range may be written once no byte of the base that it destroys is still wanted by a range that is not written yet. Writing a range frees the
place that it was read from, so one range leads to the next. Where moves go round in a circle, the bytes that stand in the way are set aside
first, and their room is used again when they have been read.

The work is cut into windows. What a window writes is gathered before any of it is written, so inside one window no order is needed; that is
how a range that overlaps its own new place is moved. Compare Rasch and Burns, "In-place rsync" (USENIX 2003), which cuts nothing and has
the bytes that close a circle sent again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from deltasync.delta.match import Copy
from deltasync.delta.needs import Needs, NoOrder, Save
from deltasync.delta.spans import Span, Spans, complement

__all__ = ["MAX_WRITES", "Limits", "NoOrder", "Window", "Write", "in_order"]

_DESTROYED_SHARE = 64
_WRITE_COST = 16
"""A digest of 8 bytes is kept of each sector of 512 bytes that is destroyed, and of one begun at either end."""

MAX_WRITES = 1 << 20
"""Most writes that a patch may be cut into: four for each range that a delta may have."""
_SMALL_SHARE = 64
"""A free range of less than this share of a step is only written when nothing better can be done: it would lead to ever smaller ones."""
_LOOKED_AT = 8


class Limits(NamedTuple):
    """What one patch may use; all in bytes.

    Attributes:
        window: Most that one window gathers, as `Write.cost` counts.
        aside: Room for what is set aside.
        step: How much is moved at once where something has to be set aside for it; a smaller free place is joined with what is around it.
    """

    window: int
    aside: int
    step: int


class Write(NamedTuple):
    """What is written at `target_at`: `length` bytes of the base, of what was set aside (at `source_at` there), or literals.

    For literals `source_at` is the offset in the target as well. `source` is `b`, `a` or `l`.
    """

    target_at: int
    length: int
    source: str
    source_at: int

    @property
    def cost(self) -> int:
        """What it adds to its window: moved bytes, which have to be gathered, and a little for what is destroyed."""
        return (0 if self.source == "l" else self.length) + self.length // _DESTROYED_SHARE + _WRITE_COST


class Window(NamedTuple):
    """What is done at once: first bytes are set aside, then all that is written is gathered, then it is written."""

    saves: list[Save]
    writes: list[Write]


def in_order(moves: Iterable[Copy], literals: Iterable[Span], base_bytes: int, limits: Limits) -> Iterator[Window]:
    """Yield the windows that turn the base into the target, in order.

    Args:
        moves: Ranges of the base that have another offset in the target; they don't overlap there.
        literals: Ranges of the target that are new; they overlap neither each other nor the moves.
        base_bytes: The length of the base; nothing beyond it is ever wanted.
        limits: What may be used.

    Raises:
        NoOrder: That is not enough.
    """
    ordered = sorted(moves)
    yield from _Order(ordered, sorted(literals), base_bytes, limits).windows() if ordered else _plain(sorted(literals), limits)


def _plain(literals: list[Span], limits: Limits) -> Iterator[Window]:
    """Yield the windows of a patch that moves nothing, so that any order will do."""
    window, gathered = Window([], []), 0
    for start, end in literals:
        for at in range(start, end, limits.window):
            write = Write(at, min(limits.window, end - at), "l", at)
            if window.writes and gathered + write.cost > limits.window:
                yield window
                window, gathered = Window([], []), 0
            window.writes.append(write)
            gathered += write.cost
    if window.writes:
        yield window


class _Order:
    """The state of the search: what is still to be written, and what has been set aside for it."""

    def __init__(self, moves: list[Copy], literals: list[Span], base_bytes: int, limits: Limits) -> None:
        self._limits = limits
        self._base_bytes = base_bytes
        step = limits.step
        cut = [Copy(to + at, base_at + at, min(step, length - at)) for to, base_at, length in moves for at in range(0, length, step)]
        moved = [Write(piece.target_at, piece.length, "b", piece.base_at) for piece in cut]
        self._pieces = sorted(moved + [Write(start, stop - start, "l", start) for start, stop in literals])
        self._starts = [piece.target_at for piece in self._pieces]
        end = max((piece.target_at + piece.length for piece in self._pieces), default=0)
        self._left = sum(piece.length for piece in self._pieces)
        self._settled = Spans(complement((Span(piece.target_at, piece.target_at + piece.length) for piece in self._pieces), end))
        self._end = end
        self._needs = Needs(cut, self._settled, base_bytes)
        self._room = [Span(0, limits.aside)] if limits.aside else []
        self._saves: list[Save] = []
        self._writes: list[Write] = []
        self._gathered = self._count = 0

    def windows(self) -> Iterator[Window]:
        """Yield the windows."""
        seeds = [Span(piece.target_at, piece.target_at + piece.length) for piece in reversed(self._pieces)]
        small: list[tuple[int, Span]] = []
        while self._left:
            if seeds:
                yield from self._grow(seeds.pop(), seeds, small)
                continue
            if self._writes and self._gathered + 2 * self._limits.step > self._limits.window:
                yield self._window()
            if self._make_room(small, seeds):
                continue
            if not self._writes:
                raise NoOrder("moved ranges go round in circles that are too long for the room to set bytes aside")
            yield self._window()
        if self._writes:
            yield self._window()

    def _window(self) -> Window:
        window = Window(self._saves, sorted(self._writes))
        self._saves, self._writes, self._gathered = [], [], 0
        # All of a window is set aside before any of it is read, so the room of what it has read is free only now; the first comes last.
        taken = (Span(save.aside_at, save.aside_at + save.length) for save in self._needs.aside)
        self._room = complement(taken, self._limits.aside)[::-1]
        return window

    # Free places --------------------------------------------------------------------------------------------------------------------

    def _grow(self, seed: Span, seeds: list[Span], small: list[tuple[int, Span]]) -> Iterator[Window]:
        """Write what of a range is free by now; where that is little, with what around it is only in its own way."""
        for start, end in self._free(self._about(seed)):
            at = start
            while at < end:
                free = Span(at, end)
                fitting = self._fitting(free)
                if fitting is None or (self._writes and self._gathered + 2 * self._limits.step > self._limits.window):
                    yield self._window()
                    continue
                at = fitting.end
                if end - fitting.start >= self._limits.step or self._stands_alone(free):
                    self._take(fitting, seeds)
                elif (wider := self._wider(free)) is None:
                    heappush(small, (fitting.start - fitting.end, fitting))
                else:
                    self._take(wider, seeds)
                    seeds.append(seed)
                    return

    def _fitting(self, span: Span) -> Span | None:
        """Return the beginning of a range of the target that this window has still room for; None if there is none."""
        room = self._limits.window - self._gathered
        for start, end in self._parts(span):
            piece = self._pieces[bisect_right(self._starts, start) - 1]
            base_at = piece.source_at + start - piece.target_at
            # Each save that it is read from may cut it once more on either side.
            cuts = 2 * len(self._needs.aside_in(base_at, base_at + end - start)) if piece.source == "b" else 0
            room -= Write(start, end - start, "b", 0).cost + cuts * _WRITE_COST
            if room < 0:
                least = max(start, end + room)
                return Span(span.start, least) if least > span.start else None
        return span

    def _parts(self, span: Span) -> Iterator[Span]:
        """Yield the parts of a range of the target that lie in one piece each."""
        index = max(bisect_right(self._starts, span.start) - 1, 0)
        while index < len(self._pieces) and self._starts[index] < span.end:
            piece = self._pieces[index]
            start, end = max(span.start, piece.target_at), min(span.end, piece.target_at + piece.length)
            if start < end:
                yield Span(start, end)
            index += 1

    def _stands_alone(self, span: Span) -> bool:
        """Tell whether neither end of a range lies inside a piece of what is still to be written."""
        return self._is_edge(span.start) and self._is_edge(span.end)

    def _is_edge(self, at: int) -> bool:
        index = bisect_right(self._starts, at) - 1
        piece = self._pieces[index]
        return (
            at in (piece.target_at, piece.target_at + piece.length)
            or not self._settled.missing(at - 1, at)
            or not self._settled.missing(at, at + 1)
        )

    def _about(self, span: Span) -> Span:
        """Return a range with the whole of the pieces that it begins and ends in."""
        first, last = (bisect_right(self._starts, at) - 1 for at in (span.start, span.end - 1))
        start = self._starts[first] if first >= 0 else span.start
        return Span(
            min(start, span.start), max(self._pieces[last].target_at + self._pieces[last].length, span.end) if last >= 0 else span.end
        )

    def _wider(self, seed: Span) -> Span | None:
        """Return a longer range about a free one that is free as a whole, because it is only in its own way; None if there is none."""
        most = self._limits.window - self._gathered
        while most > 2 * (seed.end - seed.start):
            for span in (self._todo_before(seed.end, most), self._todo_after(seed.start, most)):
                if (
                    span is not None
                    and span.end - span.start > seed.end - seed.start
                    and self._fitting(span) == span
                    and not self._needs.outside(span)
                ):
                    return span
            most //= 2
        return None

    def _todo_before(self, end: int, most: int) -> Span | None:
        """Return the last range before an offset, of at most so many bytes, that is all still to be written; None if all is written."""
        return self._settled.last_missing(max(end - most, 0), end)

    def _todo_after(self, start: int, most: int) -> Span | None:
        """Return the first range behind an offset; as `_todo_before`."""
        return self._settled.first_missing(start, min(start + most, self._end))

    def _free(self, span: Span) -> list[Span]:
        """Return what of a range is still to be written and no longer wanted as base."""
        free: list[Span] = []
        for start, end in self._settled.missing(span.start, min(span.end, self._end)):
            at = start
            for wanted in self._needs.inside(Span(start, min(end, self._base_bytes))):
                if wanted.start > at:
                    free.append(Span(at, wanted.start))
                at = max(at, wanted.end)
            if at < end:
                free.append(Span(at, end))
        return free

    # Writing ------------------------------------------------------------------------------------------------------------------------

    def _take(self, span: Span, seeds: list[Span]) -> None:
        """Have a range written in this window."""
        read: list[Span] = []
        for start, end in self._parts(span):
            piece = self._pieces[bisect_right(self._starts, start) - 1]
            self._emit(piece, start, end)
            if piece.source == "b":
                moved = piece.source_at + start - piece.target_at
                read.append(Span(moved, moved + end - start))
        self._settled.add(*span)
        self._left -= span.end - span.start
        seeds += read
        for start, end in read:
            self._needs.tidy(start, end)

    def _emit(self, piece: Write, start: int, end: int) -> None:
        """Note a write, cut where a part of what it reads was set aside."""
        shift = piece.source_at - piece.target_at
        at = start
        if piece.source == "b":
            for save in self._needs.aside_in(start + shift, end + shift):
                low, high = max(at, save.base_at - shift), min(end, save.base_at + save.length - shift)
                if at < low:
                    self._note(Write(at, low - at, "b", at + shift))
                self._note(Write(low, high - low, "a", save.aside_at + low + shift - save.base_at))
                at = high
        if at < end:
            self._note(Write(at, end - at, piece.source, at + shift))

    def _note(self, write: Write) -> None:
        self._count += 1
        if self._count > MAX_WRITES:
            raise NoOrder("moved ranges overlap in too many ways")
        self._writes.append(write)
        self._gathered += write.cost

    # Circles ------------------------------------------------------------------------------------------------------------------------

    def _make_room(self, small: list[tuple[int, Span]], seeds: list[Span]) -> bool:
        """Nothing large is free: write something small, or set aside what stands in the way of something large; False if neither goes."""
        # Of nothing at all there is always room: that would be no progress.
        least = max(self._limits.step // _SMALL_SHARE, 1)
        if self._take_small(small, seeds, least):
            return True
        best = self._cheapest([span for _, span in small[:_LOOKED_AT]])
        return self._take_aside(best, seeds, least) or self._take_small(small, seeds, 1) or self._take_aside(best, seeds, 1)

    def _take_aside(self, span: Span, seeds: list[Span], least: int) -> bool:
        """Have the beginning of a range written, as much of it as bytes can be set aside for; False if that is less than so much."""
        while span.end - span.start >= least:
            if self._set_aside(span):
                # What was set aside may cut what is written into more pieces than before.
                fitting = self._fitting(span)
                if fitting is not None:
                    self._take(fitting, seeds)
                return fitting is not None
            span = Span(span.start, span.start + (span.end - span.start) // 2)
        return False

    def _take_small(self, small: list[tuple[int, Span]], seeds: list[Span], least: int) -> bool:
        """Have the longest of the small free ranges written, if it has at least so many bytes."""
        while small and -small[0][0] >= least:
            for span in self._free(heappop(small)[1]):
                fitting = self._fitting(span)
                if fitting is not None:
                    self._take(fitting, seeds)
                    seeds.append(span)
                    return True
        return False

    def _cheapest(self, near: list[Span]) -> Span:
        """Return a range, one of a few, for which the least has to be set aside."""
        step = self._limits.step
        gaps = [gap(*one) for one in (*near, Span(0, self._end)) for gap in (self._settled.first_missing, self._settled.last_missing)]
        choices = [
            span
            for gap in filter(None, gaps)
            for span in (self._todo_after(gap.start, step), self._todo_before(gap.end, step))
            if span is not None
        ]
        costed = [(sum(end - start for start, end in self._needs.outside(span)) - span.end + span.start, span) for span in choices]
        best = min(costed)[1]
        return self._fitting(best) or best

    def _set_aside(self, span: Span) -> bool:
        """Set aside what a range of the target destroys and others want; False, with nothing done, if there is no room for it."""
        made: list[Save] = []
        room = list(self._room)
        for start, end in self._needs.outside(span):
            at = start
            while at < end:
                if not room:
                    return False
                free = room.pop()
                take = min(free.end - free.start, end - at)
                made.append(Save(at, free.start, take))
                at += take
                if free.start + take < free.end:
                    room.append(Span(free.start + take, free.end))
        self._needs.set_aside(made)
        self._saves += made
        self._room = room
        return True
