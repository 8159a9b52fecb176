"""Sets of ranges, against sets of positions."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deltasync.delta.spans import Span, Spans, complement, extents

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: Span(pair[0], pair[0] + pair[1])), max_size=30)


def positions(spans: list[Span]) -> set[int]:
    """All positions of some spans."""
    return {at for start, end in spans for at in range(start, end)}


@given(RANGES, RANGES)
def test_a_set_of_ranges_is_a_set_of_positions(added: list[Span], asked: list[Span]) -> None:
    """Ranges that overlap what is there, or are empty, are refused and change nothing; the rest counts, and what is missing is the rest."""
    spans = Spans()
    there: set[int] = set()
    for span in added:
        fresh = positions([span])
        assert spans.add(*span) is (bool(fresh) and not fresh & there)
        if fresh and not fresh & there:
            there |= fresh
        assert positions(list(spans)) == there
        assert spans.covered_bytes == len(there)
    listed = list(spans)
    assert all(one.end < other.start for one, other in pairwise(listed)), "they neither overlap nor touch"
    assert len(spans) == len(listed)
    for start, end in asked:
        missing = spans.missing(start, end)
        assert positions(missing) == set(range(start, end)) - there
        assert spans.first_missing(start, end) == (missing[0] if missing else None)
        assert spans.last_missing(start, end) == (missing[-1] if missing else None)


@given(RANGES)
def test_the_complement_is_what_no_span_covers(spans: list[Span]) -> None:
    """Overlapping spans in any order leave exactly the other positions, as spans in order."""
    free = complement(spans, 70)
    assert positions(free) == set(range(70)) - positions(spans)
    assert free == sorted(free)


@given(RANGES, st.integers(0, 10), st.integers(1, 40))
def test_extents_hold_each_range_once_and_in_order(spans: list[Span], gap_bytes: int, most_bytes: int) -> None:
    """None is longer than allowed, unless it is of one range; gaps within are no longer than allowed; whoever could have gone on did."""
    found = list(extents(spans, gap_bytes, most_bytes))
    assert [span for extent in found for span in extent.spans] == spans
    for extent in found:
        assert (extent.start, extent.end) == (extent.spans[0].start, extent.spans[-1].end)
        assert len(extent.spans) == 1 or extent.end - extent.start <= most_bytes
        assert all(0 <= after.start - before.end <= gap_bytes for before, after in pairwise(extent.spans))
    for one, other in pairwise(found):
        following = other.spans[0]
        assert not one.end <= following.start <= one.end + gap_bytes or following.end - one.start > most_bytes
