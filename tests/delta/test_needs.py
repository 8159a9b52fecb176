"""What of the base is still to be read, beside a count byte by byte."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deltasync.delta.match import Copy
from deltasync.delta.needs import Needs, Save
from deltasync.delta.spans import Span, Spans, complement

BASE = 200


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Copy], list[Save], list[Span]]:
    """Moves that don't overlap in the target, what was set aside of the base, and what of the target is settled."""
    moves: list[Copy] = []
    at = 0
    for gap, length, base_at in draw(
        st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40), st.integers(0, BASE - 1)), min_size=1, max_size=8)
    ):
        moves.append(Copy(at + gap, base_at, min(length, BASE - base_at)))
        at += gap + moves[-1].length
    saves = [Save(start, 7 * start, 4) for start in draw(st.sets(st.sampled_from(range(0, BASE, 5)), max_size=6))]
    settled = complement([Span(start, start + 6) for start in draw(st.sets(st.sampled_from(range(0, at, 6))))], at)
    return moves, saves, settled


def _wanted(moves: list[Copy], saves: list[Save], settled: Spans, readers_outside: Span | None) -> set[int]:
    """The bytes of the base that are still to be read, by what is written outside of a range of the target."""
    aside = {at for save in saves for at in range(save.base_at, save.base_at + save.length)}
    return {
        base_at + at
        for target_at, base_at, length in moves
        for at in range(length)
        if not settled.holds(target_at + at, target_at + at + 1)
        and base_at + at not in aside
        and (readers_outside is None or not readers_outside.start <= target_at + at < readers_outside.end)
    }


def _bytes(spans: list[Span]) -> set[int]:
    assert spans == sorted(spans)
    assert all(one.end < other.start for one, other in pairwise(spans))
    return {at for start, end in spans for at in range(start, end)}


@given(situations(), st.integers(0, BASE - 1), st.integers(1, BASE))
def test_what_is_wanted_is_told_byte_for_byte(situation: tuple[list[Copy], list[Save], list[Span]], start: int, length: int) -> None:
    """By all that is still to be written, and by what is written outside of a range."""
    moves, saves, spans = situation
    settled = Spans(spans)
    needs = Needs(moves, settled, BASE)
    needs.set_aside(saves)
    span = Span(start, start + length)
    reach = set(range(start, min(start + length, BASE)))
    assert _bytes(needs.inside(Span(start, min(span.end, BASE)))) == _wanted(moves, saves, settled, None) & reach
    assert _bytes(needs.outside(span)) == _wanted(moves, saves, settled, span) & reach


@given(situations(), st.integers(0, BASE - 1), st.integers(1, BASE))
def test_what_was_set_aside_is_forgotten_when_all_have_read_it(
    situation: tuple[list[Copy], list[Save], list[Span]], start: int, length: int
) -> None:
    """And only then; what lies outside of the range is not looked at."""
    moves, saves, spans = situation
    settled = Spans(spans)
    needs = Needs(moves, settled, BASE)
    needs.set_aside(saves)
    assert needs.aside == sorted(saves)
    wanted = _wanted(moves, [], settled, None)
    needs.tidy(start, start + length)
    for save in saves:
        kept = wanted & set(range(save.base_at, save.base_at + save.length)) or save.base_at >= start + length or save.base_at + 4 <= start
        assert (save in needs.aside) == bool(kept)
