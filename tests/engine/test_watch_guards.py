"""A source that goes away: the destination keeps everything, and the watch goes on by itself when the source is back."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

import pytest

from tests.engine.watching import Watching

ENTRIES = 60


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A source with enough in it to be missed, and the name of a destination."""
    return fill(tmp_path / "source"), tmp_path / "dest"


def fill(source: Path) -> Path:
    """Make a source."""
    for number in range(ENTRIES):
        (source / f"d{number % 3}").mkdir(parents=True, exist_ok=True)
        (source / f"d{number % 3}" / f"f{number}").write_bytes(b"%d" % number)
    return source


def files(directory: Path) -> int:
    """Count the files beneath a directory."""
    return sum(path.is_file() for path in directory.rglob("*"))


def paused(watching: Watching) -> None:
    """Wait until a watch has said that it pauses."""
    watching.until(lambda: bool(watching.heard.pauses))


def goes_on(watching: Watching, source: Path, dest: Path) -> None:
    """See that a watch mirrors again, deletions included."""
    watching.until(lambda: len(watching.heard.modes) == 2)
    (source / "after").write_bytes(b"after")
    (source / "d0" / "f0").unlink()
    watching.until(lambda: (dest / "after").exists() and not (dest / "d0" / "f0").exists())


def test_a_removed_source_takes_nothing_along(trees: tuple[Path, Path]) -> None:
    """`rm -rf` of the source pauses the watch; when it is there again, as another directory, all goes on."""
    source, dest = trees
    with Watching(source, dest) as watching:
        shutil.rmtree(source)
        paused(watching)
        assert files(dest) == ENTRIES
        fill(source)
        goes_on(watching, source, dest)
    assert len(watching.heard.pauses) == 1


def test_a_moved_source_takes_nothing_along(trees: tuple[Path, Path]) -> None:
    """A source that was renamed away and comes back is believed again, with what was deleted in it meanwhile."""
    source, dest = trees
    with Watching(source, dest) as watching:
        source.rename(source.parent / "elsewhere")
        paused(watching)
        (source.parent / "elsewhere" / "d1" / "f1").unlink()
        (source.parent / "elsewhere").rename(source)
        watching.until_equal()
        goes_on(watching, source, dest)


def test_an_emptied_source_takes_nothing_along(trees: tuple[Path, Path]) -> None:
    """All of many entries gone at once is taken for an accident."""
    source, dest = trees
    with Watching(source, dest) as watching:
        for directory in source.iterdir():
            shutil.rmtree(directory)
        paused(watching)
        assert files(dest) == ENTRIES
        assert "--force-empty" in watching.heard.pauses[0]
        fill(source)
        goes_on(watching, source, dest)


def test_an_emptied_source_is_mirrored_if_that_is_meant(trees: tuple[Path, Path]) -> None:
    """With `--force-empty` it is emptied at the destination too."""
    source, dest = trees
    with Watching(source, dest, force_empty=True) as watching:
        for directory in source.iterdir():
            shutil.rmtree(directory)
        watching.until(lambda: os.listdir(dest) == [])
    assert not watching.heard.pauses


def test_a_replaced_source_is_sent_without_deleting(trees: tuple[Path, Path]) -> None:
    """Another directory in the place of the source is mirrored, and nothing is deleted for what it lacks."""
    source, dest = trees
    other = source.parent / "other"
    other.mkdir()
    (other / "new").write_bytes(b"new")
    with Watching(source, dest) as watching:
        source.rename(source.parent / "old")
        other.rename(source)
        watching.until((dest / "new").exists)
        assert files(dest) == ENTRIES + 1
        watching.until(lambda: len(watching.heard.modes) == 2)
        (source / "new").unlink()
        watching.until(lambda: not (dest / "new").exists())
    assert files(dest) == ENTRIES


@pytest.mark.needs("root")
def test_an_unmounted_source_takes_nothing_along(tmp_path: Path) -> None:
    """The filesystem of the source can be unmounted while it is watched; the directory beneath it is not taken for the source."""
    libc = ctypes.CDLL(None, use_errno=True)
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()

    def mount() -> None:
        if libc.mount(b"none", os.fsencode(source), b"tmpfs", 0, None):
            raise OSError(ctypes.get_errno(), "mount")
        fill(source)

    mount()
    try:
        with Watching(source, dest) as watching:
            if libc.umount2(os.fsencode(source), 0):
                raise OSError(ctypes.get_errno(), "umount")
            paused(watching)
            assert files(dest) == ENTRIES
            mount()
            goes_on(watching, source, dest)
            watching.until_equal()
    finally:
        libc.umount2(os.fsencode(source), 2)
