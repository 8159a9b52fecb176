"""The order in which a file is changed in place."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.delta import needs, order
from deltasync.delta.match import Copy
from deltasync.delta.needs import NoOrder
from deltasync.delta.order import Limits, Window, in_order
from deltasync.delta.spans import Span

MIB = 1 << 20
REAL = Limits(20 * MIB, 16 * MIB, 4 * MIB)
"""What a journal has room for."""


@dataclass
class Case:
    """A file to change: its moves, its new ranges, and how long it is before and after."""

    moves: list[Copy] = field(default_factory=list)
    literals: list[Span] = field(default_factory=list)
    base_bytes: int = 0
    target_bytes: int = 0

    def carried_out(self, windows: list[Window], limits: Limits) -> None:
        """Carry out the windows on bytes, and find the target; no window may use more than it is allowed."""
        chance = random.Random(0)
        base, new = chance.randbytes(self.base_bytes), chance.randbytes(self.target_bytes)
        wanted = bytearray(base[: self.target_bytes].ljust(self.target_bytes, b"\0"))
        for target_at, base_at, length in self.moves:
            wanted[target_at : target_at + length] = base[base_at : base_at + length]
        for start, end in self.literals:
            wanted[start:end] = new[start:end]
        now = bytearray(base.ljust(self.target_bytes, b"\0"))
        aside = bytearray(limits.aside)
        sources = {"b": now, "a": aside, "l": new}
        for saves, writes in windows:
            assert sum(write.cost for write in writes) <= limits.window
            for base_at, aside_at, length in saves:
                assert aside_at + length <= limits.aside
                aside[aside_at : aside_at + length] = now[base_at : base_at + length]
            read = [bytes(sources[source][at : at + length]) for _, length, source, at in writes]
            for write, content in zip(writes, read, strict=True):
                assert len(content) == write.length > 0
                now[write.target_at : write.target_at + write.length] = content
        assert now[: self.target_bytes] == wanted

    def set_aside(self, windows: list[Window]) -> int:
        """How many bytes the windows set aside."""
        return sum(save.length for window in windows for save in window.saves)


def rotated(size: int, by: int) -> Case:
    """A file whose end comes first."""
    return Case([Copy(0, by, size - by), Copy(size - by, 0, by)], [], size, size)


def shuffled(block_bytes: int, count: int, seed: int = 1) -> Case:
    """A file whose blocks have changed places."""
    blocks = list(range(count))
    random.Random(seed).shuffle(blocks)
    moves = [Copy(to * block_bytes, at * block_bytes, block_bytes) for to, at in enumerate(blocks) if to != at]
    return Case(moves, [], block_bytes * count, block_bytes * count)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Anything that a delta may say: kept ranges, moves from anywhere, several from one place too, and literals."""
    base_bytes = draw(st.integers(1, 1500))
    case = Case(base_bytes=base_bytes)
    for kind, length, at in draw(st.lists(st.tuples(st.sampled_from("kmml"), st.integers(1, 120), st.integers(0, 1500)), max_size=40)):
        start, take = case.target_bytes, min(length, base_bytes)
        base_at = at % (base_bytes - take + 1)
        if kind == "m" and base_at != start:
            case.moves.append(Copy(start, base_at, take))
        elif kind == "l" or start + take > base_bytes:
            case.literals.append(Span(start, start + take))
        case.target_bytes += take
    return case


@given(cases(), st.integers(200, 600), st.integers(0, 300), st.integers(8, 80))
def test_carried_out_the_windows_give_the_target(case: Case, window: int, aside: int, step: int) -> None:
    """Whatever moves, and whatever the limits are; or there is no order."""
    limits = Limits(window, aside, step)
    try:
        windows = list(in_order(case.moves, case.literals, case.base_bytes, limits))
    except NoOrder:
        return
    case.carried_out(windows, limits)


@given(cases(), st.integers(400, 900), st.integers(8, 80))
def test_with_room_for_the_whole_base_there_is_always_an_order(case: Case, window: int, step: int) -> None:
    """Then nothing that stands in the way can stop it."""
    limits = Limits(window, 2 * case.base_bytes, step)
    case.carried_out(list(in_order(case.moves, case.literals, case.base_bytes, limits)), limits)


@given(st.integers(1, 5000), st.integers(1, 300), st.booleans())
def test_a_shift_needs_nothing_set_aside(base_bytes: int, by: int, longer: bool) -> None:
    """An insertion at the front and a removal there go through in windows that each wait for one neighbour only."""
    limits = Limits(600, 0, 100)
    case = Case([Copy(by, 0, base_bytes)], [Span(0, by)], base_bytes, base_bytes + by)
    if not longer:
        case = Case([Copy(0, by, base_bytes)], [], base_bytes + by, base_bytes)
    windows = list(in_order(case.moves, case.literals, case.base_bytes, limits))
    case.carried_out(windows, limits)
    assert not case.set_aside(windows)


@given(st.integers(2, 40_000), st.integers(1, 39_999))
def test_a_rotation_by_any_amount_fits(size: int, by: int) -> None:
    """With the shares of window, room and step that a journal has."""
    limits = Limits(2000, 1600, 400)
    case = rotated(size, by % (size - 1) + 1)
    case.carried_out(list(in_order(case.moves, [], size, limits)), limits)


@pytest.mark.parametrize("by", [1, 100 * MIB + 1, 377_777_777, 512 * MIB])
def test_a_rotation_of_a_gibibyte_fits_a_journal(by: int) -> None:
    """Two records, the room aside and the plan take no more than 64 MiB and 1 %."""
    case = rotated(1 << 30, by)
    windows = list(in_order(case.moves, [], case.base_bytes, REAL))
    assert sum(write.length for window in windows for write in window.writes) == 1 << 30
    assert all(sum(write.cost for write in window.writes) <= REAL.window for window in windows)
    assert all(save.aside_at + save.length <= REAL.aside for window in windows for save in window.saves)
    assert 32 * sum(len(window.writes) + len(window.saves) for window in windows) < (1 << 30) // 100


@given(st.integers(2, 200), st.integers(1, 40), st.integers(0, 100))
def test_shuffled_blocks_find_their_places(count: int, block_bytes: int, seed: int) -> None:
    """With room for a few blocks aside."""
    limits = Limits(20 * block_bytes + 400, 8 * block_bytes, 4 * block_bytes)
    case = shuffled(block_bytes, count, seed)
    case.carried_out(list(in_order(case.moves, [], case.base_bytes, limits)), limits)


def test_short_steps_come_to_an_end() -> None:
    """Where a step is so short that a share of it is nothing, something is written at each all the same."""
    case = shuffled(1, 57, seed=57)
    limits = Limits(420, 8, 4)
    case.carried_out(list(in_order(case.moves, [], case.base_bytes, limits)), limits)


def test_a_large_shuffle_is_planned_with_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at grows with the number of blocks, so that the limit only meets what nobody has by chance."""
    monkeypatch.setattr(needs, "MAX_LOOKS", 8 << 13)
    case = shuffled(16 << 10, 1 << 13)
    case_windows = list(in_order(case.moves, [], case.base_bytes, REAL))
    assert sum(len(window.writes) for window in case_windows) >= len(case.moves)


def test_exchanged_crumbs_are_planned_with_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small ranges that each stand in another's way are no harder."""
    monkeypatch.setattr(needs, "MAX_LOOKS", 16 << 12)
    half = 8 << 12
    moves = [Copy(at, half + at, 8) for at in range(0, half, 16)] + [Copy(half + at, at, 8) for at in range(0, half, 16)]
    windows = list(in_order(moves, [], 2 * half, REAL))
    assert sum(len(window.writes) for window in windows) >= len(moves)


def test_no_room_for_a_circle_is_said() -> None:
    """Two ranges change places, and nothing may be set aside, nor gathered at once."""
    with pytest.raises(NoOrder, match="circles"):
        list(in_order([Copy(0, 500, 500), Copy(500, 0, 500)], [], 1000, Limits(400, 0, 100)))


def test_too_many_writes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan is bounded, whatever a peer sends."""
    monkeypatch.setattr(order, "MAX_WRITES", 99)
    moves = [Copy(2 * at, 1000 + 2 * at, 1) for at in range(100)]
    with pytest.raises(NoOrder, match="many"):
        list(in_order(moves, [], 2000, REAL))


def test_endless_looking_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that wants one place of the base copied everywhere can't keep this end busy for ever."""
    monkeypatch.setattr(needs, "MAX_LOOKS", 10_000)
    moves = [Copy(at << 16, at % 1000, 1 << 16) for at in range(1, 1000)]
    with pytest.raises(NoOrder, match="many"):
        list(in_order(moves, [], 1000 << 16, REAL))


def test_nothing_to_do_takes_no_window() -> None:
    """A file that only gets shorter has none."""
    assert list(in_order([], [], 1000, REAL)) == []
