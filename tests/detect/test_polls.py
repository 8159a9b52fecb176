"""What is polled, and when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from deltasync.detect.detector import Detector
from deltasync.detect.inotify import Inotify, Sink
from deltasync.detect.polls import HOT_FOR_S, SLICE_DIRECTORIES, PollReason, Polls
from deltasync.detect.sources import Sources
from deltasync.tree.filters import Filters


def names(count: int) -> list[bytes]:
    """Some directories."""
    return [b"d%d" % number for number in range(count)]


def filled(polls: Polls, paths: list[bytes]) -> Polls:
    """Have directories polled from time 0 on."""
    for path in paths:
        polls.add(path, PollReason.LIMIT, 0.0)
    return polls


def test_every_directory_is_looked_at_once_in_an_interval() -> None:
    """A pass takes all, in slices, and the next one begins an interval after it began."""
    paths = names(SLICE_DIRECTORIES + 10)
    polls = filled(Polls(every_s=2.0), paths)
    assert polls.take(1.9) == {}
    first = polls.take(2.0)
    assert len(first) == SLICE_DIRECTORIES
    assert polls.due_at() == 0.0
    assert first.keys() | polls.take(2.1).keys() == {*paths}
    assert polls.due_at() == 4.0
    assert polls.take(3.9) == {}


def test_polling_takes_its_share_of_a_processor_and_no_more() -> None:
    """What costs 0.4 s a pass is polled every 10 s, however it was polled before."""
    polls = filled(Polls(), names(3))
    assert polls.due_at() == 1.0
    polls.polled([*polls.take(1.0)], [], 1.0, 0.4)
    assert polls.interval_s == pytest.approx(10)
    assert polls.due_at() == pytest.approx(11)
    polls.polled([*polls.take(11.0)], [], 11.0, 0.001)
    assert polls.due_at() == pytest.approx(12)


def test_where_something_changed_is_looked_at_more_often() -> None:
    """For a while, and by itself only: an interval that was asked for is kept."""
    polls = filled(Polls(), names(100))
    polls.polled([*polls.take(1.0)], [b"d7"], 1.0, 0.4)
    assert polls.due_at() < 2
    assert [*polls.take(polls.due_at())] == [b"d7"]
    assert polls.take(1.0 + HOT_FOR_S - 0.1).keys() >= {b"d7"}
    asked = filled(Polls(every_s=5.0), names(2))
    asked.polled([*asked.take(5.0)], [b"d0"], 5.0, 9.0)
    assert asked.due_at() == 10.0


def test_what_is_told_is_the_highest_of_what_is_polled() -> None:
    """A directory whose own is polled for the same reason is not named."""
    polls = filled(Polls(), [b"a", b"a/b", b"a/b/c", b"x/y"])
    polls.add(b"a/b/n", PollReason.FILESYSTEM, 0.0)
    assert polls.tops() == (b"a", b"x/y")
    assert polls.tops(PollReason.FILESYSTEM) == (b"a/b/n",)
    polls.discard(b"x/y")
    assert polls.tops() == (b"a",)
    assert b"x/y" not in polls


class Few:
    """A kernel with two watches to give."""

    def __init__(self) -> None:
        self.given: set[bytes] = set()
        self.events = 0

    def enter(self, sources: Sources, source: int, path: bytes, dir_fd: int) -> bytes | None:
        """Watch, or say that there are no more."""
        del sources, source, dir_fd
        if len(self.given) >= 2 and path not in self.given:
            raise OSError(28, "No space left on device")
        self.given.add(path)
        return None

    def __len__(self) -> int:
        return len(self.given)


def test_what_can_not_be_watched_is_polled(tmp_path: Path) -> None:
    """The directories beyond the limit, each by itself; and one that gets its watch later is polled no more."""
    kernel, polls = Few(), Polls()
    detector = Detector(kernel, polls)
    sources = Sources([os.fsencode(tmp_path) + b"/"])
    fd = sources.roots[0].fd
    try:
        for path in (b"", b"a", b"b", b"c"):
            detector.enter(sources, 0, path, fd)
        assert polls.tops() == (b"b", b"c")
        assert polls.reasons() == {PollReason.LIMIT}
        kernel.given.remove(b"a")
        detector.enter(sources, 0, b"c", fd)
        assert polls.tops() == (b"b",)
    finally:
        sources.close()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Sources]:
    """A source with one file in it."""
    (tmp_path / "f").write_bytes(b"")
    sources = Sources([os.fsencode(tmp_path) + b"/"])
    yield sources
    sources.close()


def test_where_a_test_file_is_not_told_of_directories_are_polled(root: Sources, tmp_path: Path) -> None:
    """Watches may be taken and stay silent; nothing is left of the test, and it is made once."""
    before = tmp_path.stat().st_mtime_ns
    asked: list[int] = []

    def known(fd: int) -> bool:
        asked.append(fd)
        return False

    detector = Detector(Few(), Polls(), known=known)
    for path in (b"", b"d"):
        detector.enter(root, 0, path, root.roots[0].fd)
    assert detector.polls.reasons() == {PollReason.NO_EVENTS}
    assert detector.polls.tops() == (b"",)
    assert len(asked) == 1
    assert os.listdir(tmp_path) == ["f"]
    assert tmp_path.stat().st_mtime_ns == before


class Nobody:
    """Hears nothing of what must not be told."""

    def touch(self, directory: bytes) -> None:
        """The times of the directory are set again."""


def test_where_a_test_file_is_told_of_directories_are_watched(root: Sources) -> None:
    """The kernel's own events, on a filesystem that is taken for unknown; the test file itself is nobody's business."""
    inotify = Inotify(cast(Sink, Nobody()), Filters())
    inotify.start()
    try:
        detector = Detector(inotify, Polls(), known=lambda fd: False)
        detector.enter(root, 0, b"", root.roots[0].fd)
        assert not detector.polls
        assert detector.watched == 1
    finally:
        inotify.close()
