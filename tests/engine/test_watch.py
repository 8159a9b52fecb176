"""Watches: what happens in the source happens at the destination, and nothing else does."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from deltasync.engine.live import WatchOptions
from deltasync.engine.live_sender import LiveSender
from deltasync.engine.marks import Marks
from deltasync.errors import ConnectionLost
from tests.engine.trees import make
from tests.engine.watching import Watching


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A source with some files, and the name of a destination."""
    source = tmp_path / "source"
    for number in range(5):
        (source / f"d{number}").mkdir(parents=True)
        for other in range(5):
            (source / f"d{number}" / f"f{other}").write_bytes(b"%d %d" % (number, other))
    return source, tmp_path / "dest"


def inodes(directory: Path) -> dict[str, int]:
    """The inode of each file beneath a directory, by its path."""
    return {str(path.relative_to(directory)): path.stat().st_ino for path in directory.rglob("*") if path.is_file()}


def test_saves_of_every_kind_arrive(trees: tuple[Path, Path]) -> None:
    """Overwritten, appended, truncated, replaced, new, chmodded, touched: each arrives."""
    source, dest = trees
    with Watching(source, dest) as watching:
        (source / "d0" / "f0").write_bytes(b"overwritten")
        with (source / "d0" / "f1").open("ab") as file:
            file.write(b"appended")
        os.truncate(source / "d0" / "f2", 1)
        (source / "d1" / "new").write_bytes(b"new")
        (source / "d1" / "f0.tmp").write_bytes(b"saved atomically")
        (source / "d1" / "f0.tmp").rename(source / "d1" / "f0")
        (source / "d2" / "f0").chmod(0o600)
        os.utime(source / "d2" / "f1", ns=(1, 1))
        (source / "d3").chmod(0o700)
        (source / "link").symlink_to("d0/f0")
        os.link(source / "d4" / "f0", source / "d4" / "other name")
        os.mkfifo(source / "pipe")
        watching.until_equal()
    assert not watching.heard.problems


def test_a_save_within_the_same_tick_arrives(trees: tuple[Path, Path]) -> None:
    """Content that changes while size and times stay is sent all the same, since it was written to."""
    source, dest = trees
    with Watching(source, dest) as watching:
        file = source / "d0" / "f0"
        before = file.stat()
        with file.open("r+b") as opened:
            opened.write(b"X")
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        watching.until(lambda: (dest / "d0" / "f0").read_bytes() == file.read_bytes())


def test_deletions_arrive_and_nothing_else_is_deleted(trees: tuple[Path, Path]) -> None:
    """What is deleted in the source goes; what only the peer has stays, and so does the directory that holds it."""
    source, dest = trees
    with Watching(source, dest) as watching:
        (dest / "d1" / "own").write_bytes(b"of the peer")
        (source / "d0" / "f0").unlink()
        shutil.rmtree(source / "d1")
        shutil.rmtree(source / "d2")
        watching.until(lambda: not (dest / "d2").exists() and os.listdir(dest / "d1") == ["own"])
        watching.until(lambda: not (dest / "d0" / "f0").exists())
    assert (dest / "d1" / "own").read_bytes() == b"of the peer"


def test_no_delete_keeps_all(trees: tuple[Path, Path]) -> None:
    """With `--no-delete` neither a deletion nor a rename takes anything away."""
    source, dest = trees
    with Watching(source, dest, WatchOptions(deletes=False)) as watching:
        (source / "d0" / "f0").unlink()
        (source / "d1").rename(source / "moved")
        (source / "last").write_bytes(b"x")
        watching.until(lambda: (dest / "last").exists() and (dest / "moved" / "f4").exists())
    assert (dest / "d0" / "f0").exists()
    assert (dest / "d1" / "f0").exists()


def test_a_rename_is_a_rename_at_the_peer(trees: tuple[Path, Path]) -> None:
    """A directory that is renamed brings no content over: its files at the peer are the same files."""
    source, dest = trees
    with Watching(source, dest) as watching:
        before = inodes(dest / "d0")
        (source / "d0").rename(source / "elsewhere")
        watching.until_equal()
        assert inodes(dest / "elsewhere") == before
        (source / "new").mkdir()
        (source / "elsewhere").rename(source / "new" / "deeper")
        (source / "new" / "deeper" / "f0").rename(source / "d1" / "f0")
        watching.until_equal()
        assert inodes(dest / "new" / "deeper") == {name: inode for name, inode in before.items() if name != "f0"}
        assert (dest / "d1" / "f0").stat().st_ino == before["f0"]
    assert sum(batch.done.literal_bytes for batch in watching.heard.batches) == 0


def test_two_names_are_swapped(trees: tuple[Path, Path]) -> None:
    """Renames in a ring keep their order."""
    source, dest = trees
    with Watching(source, dest) as watching:
        (source / "d0").rename(source / "t")
        (source / "d1").rename(source / "d0")
        (source / "t").rename(source / "d1")
        watching.until_equal()
    assert (dest / "d0" / "f0").read_bytes() == b"1 0"


@pytest.mark.parametrize("old", [b"d0/f0", b"d0"])
def test_a_rename_that_is_told_late_does_no_harm(trees: tuple[Path, Path], old: bytes) -> None:
    """What had the old name before is not what has it now: inodes tell, also where sizes and times are the same."""
    source, dest = trees
    for file in source.rglob("f*"):
        os.utime(file, ns=(1, 1))
    with Watching(source, dest) as watching:
        watching.marks[0].rename(old, b"d1/f1" if b"/" in old else b"d9")
        watching.until(lambda: bool(watching.heard.batches))
        watching.until_equal()


def test_what_was_written_by_a_name_that_is_gone_shows_by_the_others(trees: tuple[Path, Path]) -> None:
    """A file of two names that is written to by one, which is then removed, is looked at by the other."""
    source, dest = trees
    os.link(source / "d0" / "f0", source / "d1" / "other")
    with Watching(source, dest, WatchOptions(settle_s=0.1)) as watching:
        (source / "d1" / "other").write_bytes(b"written")
        (source / "d1" / "other").unlink()
        watching.until_equal()


def test_a_directory_that_goes_takes_the_news_of_other_names_along(trees: tuple[Path, Path]) -> None:
    """A file that was written to by a name in a directory that is removed at once is looked at by its other name."""
    source, dest = trees
    (source / "links").mkdir()
    os.link(source / "d0" / "f0", source / "links" / "other")
    with Watching(source, dest, WatchOptions(settle_s=0.1)) as watching:
        (source / "links" / "other").write_bytes(b"written")
        shutil.rmtree(source / "links")
        watching.until_equal()


def test_directories_that_are_filled_at_once_arrive_whole(trees: tuple[Path, Path]) -> None:
    """A tree that is copied or moved in is there to its last file, though its directories were not watched when they were filled."""
    source, dest = trees
    outside = source.parent / "outside"
    make(os.fsencode(outside), random.Random(3), 60)
    with Watching(source, dest) as watching:
        for number in range(10):
            shutil.copytree(source / "d0", source / f"copied{number}" / "a" / "b")
        outside.rename(source / "moved in")
        watching.until_equal()
        (source / "moved in").rename(outside)
        watching.until_equal()
        shutil.rmtree(source / "copied0")
        (outside / "unseen").write_bytes(b"x")
        watching.until_equal()


def test_types_change(trees: tuple[Path, Path]) -> None:
    """A directory becomes a file, a file a directory, a link either."""
    source, dest = trees
    with Watching(source, dest) as watching:
        shutil.rmtree(source / "d0")
        (source / "d0").write_bytes(b"a file now")
        (source / "d1" / "f0").unlink()
        (source / "d1" / "f0").mkdir()
        (source / "d1" / "f0" / "inside").write_bytes(b"x")
        shutil.rmtree(source / "d2")
        (source / "d2").symlink_to("d3")
        watching.until_equal()


def test_a_name_that_the_rules_leave_out_is_left_alone(trees: tuple[Path, Path]) -> None:
    """Excluded names are neither sent nor deleted, and an excluded directory is not even watched."""
    source, dest = trees
    (source / "cache").mkdir()
    with Watching(source, dest, rules=(b"- *.o", b"- cache/")) as watching:
        (dest / "x.o").write_bytes(b"of the peer")
        (source / "x.o").write_bytes(b"x")
        (source / "x.o").unlink()
        (source / "cache" / "big").write_bytes(b"x")
        (source / "seen").write_bytes(b"x")
        watching.until((dest / "seen").exists)
    assert (dest / "x.o").read_bytes() == b"of the peer"
    assert not (dest / "cache").exists()


def test_a_burst_is_gathered(trees: tuple[Path, Path]) -> None:
    """A thousand files come in few batches."""
    source, dest = trees
    with Watching(source, dest) as watching:
        for number in range(1000):
            (source / f"d{number % 5}" / f"burst{number}").write_bytes(b"%d" % number)
        watching.until_equal()
    assert len(watching.heard.batches) < 300


def test_the_figures_of_a_watch(trees: tuple[Path, Path]) -> None:
    """At the end there are counts of all that was done, and how long a file took."""
    source, dest = trees
    with Watching(source, dest) as watching:
        (source / "d0" / "f0").write_bytes(b"more")
        watching.until(lambda: bool(watching.heard.batches))
    watched = watching.end()
    assert watched.done.files_sent == 26
    assert 0 < watched.sent.p50 <= watched.applied.p50 < 5e6
    assert watched.done.exit_code == 0


def test_a_directory_that_went_away_at_the_peer_comes_back_with_all_that_is_in_it(trees: tuple[Path, Path]) -> None:
    """The next change in it shows that; what did not change is sent again as well, however deep it is."""
    source, dest = trees
    (source / "d1" / "deep" / "deeper").mkdir(parents=True)
    (source / "d1" / "deep" / "deeper" / "file").write_bytes(b"as ever")
    with Watching(source, dest) as watching:
        shutil.rmtree(dest / "d1")
        (source / "d1" / "new").write_bytes(b"new")
        watching.until_equal()


def test_a_directory_that_was_moved_away_at_the_peer_is_not_written_to(trees: tuple[Path, Path]) -> None:
    """What is outside of the destination now stays what it is, though it was written to a moment ago."""
    source, dest = trees
    away = dest.parent / "moved away"
    with Watching(source, dest) as watching:
        (source / "d1" / "f0").write_bytes(b"first")
        watching.until_equal()
        (dest / "d1").rename(away)
        (source / "d1" / "f0").write_bytes(b"second")
        watching.until_equal()
    assert (away / "f0").read_bytes() == b"first"


def test_what_is_gone_is_said_until_it_has_arrived(trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that breaks just before the peer hears of it is made again, and then it does."""
    source, dest = trees
    real, breaks = LiveSender.send_round, iter([True])

    def send_round(self: LiveSender, sources: Any, batch: Any, peer: Any, reporter: Any, lost: Any = ()) -> Any:
        if lost and next(breaks, False):
            raise ConnectionLost("it broke")
        return real(self, sources, batch, peer, reporter, lost)

    monkeypatch.setattr(LiveSender, "send_round", send_round)
    with Watching(source, dest) as watching:
        monkeypatch.setattr(Marks, "take", lambda self: None)
        shutil.rmtree(source / "d1")
        watching.lose_connection()
        watching.until(lambda: not (dest / "d1").exists())
    assert next(breaks, False) is False
