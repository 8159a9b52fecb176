"""The work list: every mark leads to a look, whatever is gathered, collapsed, renamed or given back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deltasync.detect import worklist
from deltasync.detect.worklist import MAX_DIRECTORIES, MAX_NAMES, Batch, Mark, WorkList
from deltasync.tree.names import join, split

NAMES = st.sampled_from([b"a", b"b", b"c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)


def covers(batch: Batch, path: bytes) -> bool:
    """Tell whether a batch has a path looked at."""
    directory, name = split(path)
    return batch.everything is not None or directory in batch.directories or name in batch.names.get(directory, {})


def everything(work: WorkList) -> list[Batch]:
    """Take until nothing is left, going on in time as far as that needs."""
    batches: list[Batch] = []
    while work.due_at is not None:
        batch = work.take(work.due_at)
        # A mark that put another off leaves a time at which nothing is due any more.
        batches += [] if batch is None else [batch]
    return batches


@given(st.lists(st.tuples(PATHS, st.sampled_from(list(Mark)), st.floats(0, 0.2)), max_size=30))
def test_every_mark_is_taken_once(marks: list[tuple[bytes, Mark, float]]) -> None:
    """What is marked comes in a batch, with all that was asked of it, and never twice; what is there again is not gone."""
    work = WorkList()
    asked: dict[bytes, Mark] = {}
    for now, (path, mark, wait_s) in enumerate(marks):
        work.mark(*split(path), mark, now / 1000, wait_s)
        asked[path] = asked.get(path, Mark(0)) & ~Mark.GONE | mark
    taken: dict[bytes, Mark] = {}
    for batch in everything(work):
        for directory, names in batch.names.items():
            for name, dirty in names.items():
                assert join(directory, name) not in taken
                taken[join(directory, name)] = dirty.mark
    assert taken == asked
    assert not len(work)


@given(st.lists(st.tuples(PATHS, PATHS), max_size=8), st.lists(PATHS, max_size=8))
def test_marks_follow_renames(renames: list[tuple[bytes, bytes]], marked: list[bytes]) -> None:
    """What is marked beneath a directory is looked at where the renames lead it, and so are both ends of each rename."""
    work = WorkList()
    for path in marked:
        work.mark(*split(path), Mark.LOOK | Mark.WRITTEN, 0.0)
    where = list(marked)
    for old, new in renames:
        if old == new or (new + b"/").startswith(old + b"/"):
            continue
        work.rename(old, new, 0.0)
        where = [new + path[len(old) :] if (path + b"/").startswith(old + b"/") else path for path in where]
    batches = everything(work)
    for path in [*where, *(new for _, new in renames[-1:])]:
        if path in where or renames[-1][0] != path:
            assert any(covers(batch, path) for batch in batches) or path not in where


def test_the_wait_of_a_place_is_bounded() -> None:
    """A file that is written to without pause is due at the latest after ten waits."""
    work = WorkList()
    now = 0.0
    while work.take(now) is None:
        work.mark(b"", b"log", Mark.WRITTEN, now, 0.1)
        now += 0.01
        assert now < 1.2
    assert now > 0.9


def test_what_is_due_at_once_does_not_wait_for_others() -> None:
    """A file that was closed goes, though another is still being written to."""
    work = WorkList()
    work.mark(b"", b"growing", Mark.WRITTEN, 0.0, 0.1)
    work.mark(b"", b"saved", Mark.WRITTEN, 0.0)
    batch = work.take(0.0)
    assert batch is not None
    assert set(batch.names[b""]) == {b"saved"}
    assert work.due_at == 0.1


def test_a_place_that_is_marked_again_and_again_rests() -> None:
    """Ten seconds of marks without pause lead to a bounded number of batches, and the last mark is not lost."""
    work = WorkList()
    batches = 0
    for tick in range(10_000):
        now = tick / 1000
        work.mark(b"", b"x", Mark.WRITTEN, now)
        batches += work.take(now) is not None
    assert 15 < batches < 40
    assert len(work) == 1


def test_settle_holds_everything_back() -> None:
    """With a fixed time to settle nothing goes before it has passed without a mark."""
    work = WorkList(settle_s=0.5)
    work.mark(b"", b"x", Mark.WRITTEN, 0.0)
    work.mark(b"", b"x", Mark.WRITTEN, 0.4)
    assert work.take(0.8) is None
    assert work.take(0.91) is not None


def test_many_names_become_their_directory() -> None:
    """A flood of names of one directory costs no more than the directory, and subtrees in it stay marked as such."""
    work = WorkList()
    work.mark(b"d", b"sub", Mark.LOOK | Mark.TREE, 3.0)
    for number in range(MAX_NAMES + 10):
        work.mark(b"d", b"%d" % number, Mark.WRITTEN, 5.0)
    batch = work.take(6.0)
    assert batch is not None
    assert batch.directories == {b"d": 3.0}
    assert set(batch.names[b"d"]) == {b"sub"}


def test_many_directories_become_the_tree() -> None:
    """A flood of directories costs no more than a look at the whole tree."""
    work = WorkList()
    for number in range(MAX_DIRECTORIES + 1):
        work.list_directory(b"%d" % number, float(number), 2000.0)
    batch = work.take(2000.0)
    assert batch is not None
    assert (batch.everything, batch.names, batch.directories) == (0.0, {}, {})


def test_many_names_in_all_become_the_tree() -> None:
    """So do names in many directories."""
    work = WorkList()
    for number in range(worklist.MAX_DIRTY + 1):
        work.mark(b"%d" % (number % 1000), b"%d" % number, Mark.LOOK, 1.0)
    batch = work.take(1.0)
    assert batch is not None
    assert batch.everything == 1.0


def test_what_is_given_back_comes_again() -> None:
    """A batch that was not done is marked again, renames of it as looks at both places."""
    work = WorkList()
    work.mark(b"d", b"x", Mark.WRITTEN, 0.0)
    work.rename(b"a", b"b", 0.0)
    work.list_directory(b"e", 0.0, 0.0)
    batch = work.take(0.0)
    assert batch is not None
    work.give_back(batch, 1.0)
    again = everything(work)
    for path in (b"d/x", b"a", b"b", b"e/any"):
        assert any(covers(one, path) for one in again)
    assert any(one.names.get(b"", {}).get(b"b") and one.names[b""][b"b"].mark & Mark.TREE for one in again)


def test_what_is_marked_again_follows_the_renames_that_came_since() -> None:
    """A batch that could not be done, or a directory that was not there any more, is looked for where it is now."""
    work = WorkList()
    work.mark(b"d", b"f", Mark.LOOK | Mark.WRITTEN, 0.0)
    batch = work.take(0.0)
    assert batch is not None
    work.rename(b"d", b"e", 1.0)
    work.rename(b"e/f", b"g", 1.0)
    work.give_back(batch, 2.0)
    work.mark_again(b"d/other", Mark.LOOK, 2.0)
    again = work.take(9.0)
    assert again is not None
    assert again.names[b""][b"g"].mark & Mark.WRITTEN
    assert b"other" in again.names[b"e"]
    assert b"d" not in again.names


def test_what_is_there_again_is_not_held_as_gone() -> None:
    """Many deletions are gathered, but a name that was made anew goes out."""
    work = WorkList()
    for number in range(50):
        work.mark(b"", b"%d" % number, Mark.LOOK | Mark.GONE, 0.0)
    work.mark(b"", b"7", Mark.LOOK | Mark.WRITTEN, 0.0)
    batch = work.take(0.1)
    assert batch is not None
    assert [*batch.names[b""]] == [b"7"]
