"""The operations of a delta are checked before anything is written by them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.delta.match import Copy
from deltasync.delta.patch import Patch
from deltasync.delta.spans import Span


@given(
    st.lists(st.tuples(st.integers(-2, 40), st.integers(-2, 40), st.integers(-2, 12)), max_size=12),
    st.lists(st.integers(1, 20), max_size=9),
)
def test_operations_of_a_hostile_peer(copies: list[tuple[int, int, int]], literals: list[int]) -> None:
    """What is let through stays within base and target, never covers a byte twice, and literals fill exactly the rest, in order."""
    patch = Patch(base_bytes=30, target_bytes=35)
    come: list[int] = []
    for numbers in copies:
        try:
            patch.copy(Copy(*numbers))
        except ValueError:
            continue
        target_at, base_at, length = numbers
        assert length > 0
        assert base_at >= 0
        assert base_at + length <= 30
        come += range(target_at, target_at + length)
    matched = len(come)
    filled: list[int] = []
    for count in literals:
        room = 35 - matched - len(filled)
        if count > room:
            with pytest.raises(ValueError, match="room"):
                patch.fill(count)
            continue
        filled += [at for start, end in patch.fill(count) for at in range(start, end)]
    assert filled == sorted(filled)
    assert len(set(come + filled)) == len(come) + len(filled)
    assert set(come + filled) <= set(range(35))
    assert (patch.matched_bytes, patch.literal_bytes) == (matched, len(filled))
    assert patch.complete is (matched + len(filled) == 35)


def test_literals_come_last() -> None:
    """A range of the base behind a literal is refused: where literals go is settled by then."""
    patch = Patch(10, 10)
    assert patch.fill(3) == [Span(0, 3)]
    with pytest.raises(ValueError, match="after a literal"):
        patch.copy(Copy(5, 5, 2))


def test_an_empty_target_is_complete() -> None:
    """Nothing has to come for it."""
    assert Patch(10, 0).complete
