"""Which directories are entered, and which are sent at all, apart from the filter rules."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.runs import Heard, push
from tests.engine.trees import snapshot, walk


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Two directories, with a filesystem mounted in each, and files on it."""
    places = [tmp_path / side / "d" / "mount" for side in ("source", "dest")]
    for place in places:
        place.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], check=True)
        (place / "deep").mkdir()
        (place / "deep" / place.parent.parent.name).write_bytes(b"content")
        (place.parent / place.parent.parent.name).write_bytes(b"content")
    yield tmp_path
    for place in places:
        subprocess.run(["umount", place], check=True)


@pytest.mark.needs("root")
@pytest.mark.parametrize("level", [0, 1, 2])
def test_what_is_mounted_is_left_alone(mounted: Path, level: int) -> None:
    """It is an empty directory with one `x` and none with two, and nothing is deleted in what is mounted at the destination."""
    source, dest = os.fsencode(mounted / "source"), os.fsencode(mounted / "dest")
    heard = Heard()
    push(source + b"/", dest, delete=True, one_file_system=level, heard=heard)
    there = {path for path in walk(dest) if b"mount" in path}
    assert not heard.problems
    assert (mounted / "dest" / "d" / "source").exists()
    assert not (mounted / "dest" / "d" / "dest").exists()
    mount = b"d/mount"
    assert there == {mount, mount + b"/deep", mount + b"/deep/" + (b"dest" if level else b"source")}


@pytest.mark.needs("root", "rsync")
@pytest.mark.parametrize("level", ["-x", "-xx"])
def test_rsync_sends_the_same(mounted: Path, level: str) -> None:
    """To an empty destination, from the contents of a directory and from one that is named."""
    source = os.fsencode(mounted / "source")
    for path in (source, *(source + b"/" + name for name in walk(source))):
        # Times that are less than a second away are the same to rsync.
        os.utime(path, (1e9, 1e9))
    for number, slash in enumerate((b"/", b"", b"/d/mount/")):
        ours, theirs = (os.fsencode(mounted / f"{who}{number}") for who in ("ours", "theirs"))
        push(source + slash, ours, one_file_system=len(level) - 1)
        subprocess.run(["rsync", "-a", level, source + slash, theirs], check=True)
        mine, others = snapshot(ours), snapshot(theirs)
        if not slash:
            # The destination itself was only made.
            del mine[b"."], others[b"."]
        assert mine == others


def test_directories_without_files_are_left_out(tmp_path: Path) -> None:
    """Those with a file anywhere beneath are not, nor one that can't be looked into."""
    for path in ("a/b/c", "d/e/f", "g"):
        (tmp_path / "source" / path).mkdir(parents=True)
    (tmp_path / "source" / "d" / "e" / "file").touch()
    (tmp_path / "source" / "g" / "link").symlink_to("nowhere")
    push(os.fsencode(tmp_path / "source") + b"/", os.fsencode(tmp_path / "dest"), prune_empty_dirs=True)
    assert sorted(walk(os.fsencode(tmp_path / "dest"))) == [b"d", b"d/e", b"d/e/file", b"g", b"g/link"]
