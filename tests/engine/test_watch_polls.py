"""Watches where events do not come, or too many of them: nothing is missed, and the user is told once."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from deltasync.detect.inotify import Inotify
from deltasync.detect.sources import Sources
from deltasync.detect.worklist import Mark
from deltasync.engine.live import WatchOptions
from deltasync.engine.marks import Marks
from tests.engine.watching import Watching


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A source with some files, and the name of a destination."""
    source = tmp_path / "source"
    for number in range(5):
        (source / f"d{number}" / "inner").mkdir(parents=True)
        (source / f"d{number}" / "f").write_bytes(b"%d" % number)
    return source, tmp_path / "dest"


def work(source: Path) -> None:
    """Change something of every kind."""
    (source / "d0" / "f").write_bytes(b"overwritten")
    (source / "d1" / "inner" / "new").write_bytes(b"new")
    (source / "d2").rename(source / "moved")
    shutil.rmtree(source / "d3")
    (source / "d4" / "made" / "deep").mkdir(parents=True)
    (source / "d4" / "made" / "deep" / "f").write_bytes(b"deep")
    (source / "d4" / "f").chmod(0o600)


def test_everything_is_polled_if_that_is_asked_for(trees: tuple[Path, Path]) -> None:
    """With `--poll-interval` all changes arrive though no event is listened to."""
    source, dest = trees
    with Watching(source, dest, WatchOptions(poll_s=0.1)) as watching:
        assert watching.heard.modes == [("polling", (b"",))]
        work(source)
        watching.until_equal()
        (source / "d4" / "made" / "deep" / "f").write_bytes(b"again")
        watching.until_equal()
    assert not watching.heard.notes


@pytest.mark.parametrize("options", [WatchOptions(poll_s=0.05), WatchOptions()])
def test_what_was_written_under_its_old_time_is_found(
    trees: tuple[Path, Path], options: WatchOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By polling, and by the look after events were lost: the kernel's own time of the change tells."""
    source, dest = trees
    file = source / "d0" / "f"
    os.utime(file, ns=(1, 1))
    with Watching(source, dest, options) as watching:
        with monkeypatch.context() as patch:
            patch.setattr(Marks, "mark", lambda *_: None)
            file.write_bytes(b"X")
            os.utime(file, ns=(1, 1))
            (source / "last").mkdir()
            watching.until_heard()
        watching.overflow()
        watching.until(lambda: (dest / "d0" / "f").read_bytes() == b"X")


def test_a_poll_sends_nothing_where_nothing_changed(trees: tuple[Path, Path]) -> None:
    """Not even the attributes of directories."""
    source, dest = trees
    with Watching(source, dest, WatchOptions(poll_s=0.02)) as watching:
        # What was changed just before is compared once more, since a second save may have left the same time.
        watching.until(lambda: watching.polls > 10)
        batches = len(watching.heard.batches)
        watching.until(lambda: watching.polls > 20)
        assert len(watching.heard.batches) == batches
    assert watching.end().done.files_deleted == 0


def test_what_the_limit_leaves_out_is_polled(trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of watches directories are polled, new ones too; one line says so, and how to raise it."""
    source, dest = trees
    real = Inotify.enter

    def limited(self: Inotify, sources: Sources, number: int, path: bytes, dir_fd: int) -> bytes | None:
        if len(self) >= 4:
            raise OSError(28, "No space left on device")
        return real(self, sources, number, path, dir_fd)

    monkeypatch.setattr(Inotify, "enter", limited)
    with Watching(source, dest) as watching:
        assert [mode for mode, _ in watching.heard.modes] == ["mixed"]
        work(source)
        watching.until_equal(6.0)
    [note] = watching.heard.notes
    assert "max_user_watches" in note


def test_without_events_everything_is_polled(trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel gives no instance the watch goes on all the same."""

    def refused(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Inotify, "__init__", refused)
    source, dest = trees
    with Watching(source, dest) as watching:
        work(source)
        watching.until_equal(6.0)
        assert watching.heard.modes == [("polling", (b"",))]
    [note] = watching.heard.notes
    assert "max_user_instances" in note


def test_a_rescan_finds_what_no_event_told_of(trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """And says how much that was."""
    source, dest = trees
    monkeypatch.setattr(Marks, "mark", lambda *_: None)
    monkeypatch.setattr(Marks, "touch", lambda *_: None)
    with Watching(source, dest, WatchOptions(rescan_s=0.2)) as watching:
        (source / "d0" / "unseen").write_bytes(b"x")
        watching.until_equal()
        watching.until(lambda: bool(watching.heard.notes))
    assert "no event had told of" in watching.heard.notes[0]


def test_a_queue_that_overflows_loses_nothing(trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are held until the kernel's queue is full; then all is looked at, and the user is told once."""
    source, dest = trees
    hold, held = threading.Event(), threading.Event()
    real = Marks.mark

    def holding(self: Marks, directory: bytes, name: bytes, mark: Mark, wait_s: float) -> None:
        if name == b"hold":
            held.set()
            hold.wait(20)
        real(self, directory, name, mark, wait_s)

    monkeypatch.setattr(Marks, "mark", holding)
    room = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    with Watching(source, dest) as watching:
        (source / "hold").write_bytes(b"")
        assert held.wait(10)
        # Events that are like the last in the queue are not kept twice: two files take turns.
        for number in range(room + 100):
            os.utime(source / f"d{number % 2}" / "f")
        work(source)
        hold.set()
        watching.until_equal(8.0)
        assert watching.marks[0].overflows
    assert len([note for note in watching.heard.notes if "faster" in note]) == 1
