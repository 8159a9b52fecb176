"""Legal conversations, spoiled at random: frames dropped, repeated, exchanged, bytes turned over, pieces of others put in between."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from deltasync.engine.serve import Limits
from deltasync.errors import ExitCode
from deltasync.fs.root import Root
from tests.engine import hostile
from tests.engine.hostile import Await, Finish, Step
from tests.engine.hostile_arena import Arena, Ended
from tests.engine.hostile_talks import END, PULLED, PUSHED, WANTED

EXAMPLES = max(1, settings().max_examples * 2 // 5)
"""A session costs some 0.1 s: all of this page takes no longer than the other property tests."""

ANSWER_S = 0.1
"""How long a spoiled conversation waits for an answer, which it may have prevented itself."""

SERVER_SAYS: list[Step] = [Await(hostile.SETUP), hostile.hello(), hostile.control(hostile.READY, "python"), *WANTED]
CLIENT_SAYS: list[Step] = [hostile.hello(), hostile.setup(False, [b"/"], itemize=True), *WANTED]
PULLED_SAYS: list[Step] = [Await(hostile.SETUP), *PULLED, *END]
FOREIGN = [step for step in (*PUSHED, *PULLED, *SERVER_SAYS, *CLIENT_SAYS) if isinstance(step, bytes)]

Spoiling = Callable[[list[Step]], None]


def _at(steps: list[Step], place: float) -> int:
    return int(place * len(steps))


def _drop(place: float) -> Spoiling:
    def spoil(steps: list[Step]) -> None:
        del steps[_at(steps, place)]

    return spoil


def _repeat(place: float, times: int) -> Spoiling:
    def spoil(steps: list[Step]) -> None:
        at = _at(steps, place)
        steps[at:at] = [steps[at]] * times

    return spoil


def _exchange(one: float, other: float) -> Spoiling:
    def spoil(steps: list[Step]) -> None:
        here, there = _at(steps, one), _at(steps, other)
        steps[here], steps[there] = steps[there], steps[here]

    return spoil


def _turn(place: float, byte: float, mask: int) -> Spoiling:
    def spoil(steps: list[Step]) -> None:
        at = _at(steps, place)
        step = steps[at]
        if isinstance(step, bytes):
            turned = bytearray(step)
            turned[int(byte * len(turned))] ^= mask
            steps[at] = bytes(turned)

    return spoil


def _cut(place: float, byte: float) -> Spoiling:
    def spoil(steps: list[Step]) -> None:
        at = _at(steps, place)
        step = steps[at]
        if isinstance(step, bytes):
            steps[at] = step[: int(byte * len(step))] or step[:1]

    return spoil


def _splice(place: float, frame: bytes) -> Spoiling:
    def spoil(steps: list[Step]) -> None:
        steps.insert(_at(steps, place), frame)

    return spoil


PLACE = st.floats(0, 1, exclude_max=True)
SPOILINGS: st.SearchStrategy[Sequence[Spoiling]] = st.lists(
    st.one_of(
        st.builds(_drop, PLACE),
        st.builds(_repeat, PLACE, st.integers(1, 40)),
        st.builds(_exchange, PLACE, PLACE),
        st.builds(_turn, PLACE, PLACE, st.integers(1, 255)),
        st.builds(_cut, PLACE, PLACE),
        st.builds(_splice, PLACE, st.sampled_from(FOREIGN)),
    ),
    max_size=4,
)


def spoiled(steps: Sequence[Step], spoilings: Sequence[Spoiling]) -> list[Step]:
    """Return a conversation that was spoiled, and always ends."""
    made = list(steps)
    for spoil in spoilings:
        if made:
            spoil(made)
    return [step for step in made if not isinstance(step, Finish)] + [Finish()]


def check(play: Callable[[Arena], Ended]) -> None:
    """Play against new places, and look at what became of them."""
    with tempfile.TemporaryDirectory(prefix="deltasync-fuzz-") as base:
        arena = Arena(Path(base))
        ended = play(arena)
        assert ended.code in set(ExitCode)
        arena.check()


@settings(max_examples=EXAMPLES)
@given(SPOILINGS)
@example([])
def test_a_spoiled_push_ends_at_a_serving_side(spoilings: Sequence[Spoiling]) -> None:
    """Whatever a client says that pushes, the session ends, without a trace outside of the root."""
    check(lambda arena: arena.serve(*spoiled([*PUSHED, *END], spoilings), wait_s=ANSWER_S))


@settings(max_examples=EXAMPLES)
@given(SPOILINGS)
@example([])
def test_a_spoiled_pull_ends_at_a_serving_side(spoilings: Sequence[Spoiling]) -> None:
    """Whatever a client says that pulls, the session ends."""

    def play(arena: Arena) -> Ended:
        beneath = Root.open(arena.source)
        try:
            return arena.serve(*spoiled(CLIENT_SAYS, spoilings), limits=Limits(beneath, read_only=True), wait_s=ANSWER_S)
        finally:
            beneath.close()

    check(play)


@settings(max_examples=EXAMPLES)
@given(SPOILINGS)
@example([])
def test_a_spoiled_server_ends_a_push(spoilings: Sequence[Spoiling]) -> None:
    """Whatever a server says that is pushed to, the run ends."""
    check(lambda arena: arena.client("push", *spoiled(SERVER_SAYS, spoilings), wait_s=ANSWER_S))


@settings(max_examples=EXAMPLES)
@given(SPOILINGS, st.booleans())
@example([], True)
def test_a_spoiled_server_ends_a_pull(spoilings: Sequence[Spoiling], delete: bool) -> None:
    """Whatever a server says that is pulled from, the run ends, and without --delete what was there is still there."""

    def play(arena: Arena) -> Ended:
        ended = arena.client("pull", *spoiled(PULLED_SAYS, spoilings), wait_s=ANSWER_S, delete=delete)
        if not delete:
            assert Path(os.fsdecode(arena.root + b"/in/mine")).read_text() == "mine"
        return ended

    check(play)
