"""How a changed file comes to its new content: where it stands, as a clone, or beside; by itself and at the user's word."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deltasync.delta.order import Limits
from deltasync.engine import placing
from deltasync.errors import ExitCode
from deltasync.patch import inplace
from deltasync.patch.journal import LIMITS
from deltasync.patch.staging import Staged
from tests.disks import mounted
from tests.engine.runs import Heard, push

SIZE = 3 << 20
LIMIT_BYTES = 2 << 20


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as a large file, so that tests need not write one."""
    monkeypatch.setattr(placing, "IN_PLACE_MIN_BYTES", LIMIT_BYTES)


class Pair:
    """A file at both ends, the source's changed in one place.

    Attributes:
        old, new: The contents.
        source, dest: Their directories.
        there: The destination's file.
    """

    def __init__(self, place: Path, rng: random.Random, size: int = SIZE) -> None:
        self.old = rng.randbytes(size)
        self.new = self.old[: size // 2] + rng.randbytes(3000) + self.old[size // 2 + 3000 :]
        self.source, self.dest = place / "source", place / "dest"
        self.source.mkdir(exist_ok=True)
        self.dest.mkdir(exist_ok=True)
        self.there = self.dest / "file"
        self.there.write_bytes(self.old)
        self.changed(self.new)

    def changed(self, content: bytes) -> None:
        """Give the source other content."""
        self.new = content
        (self.source / "file").write_bytes(content)
        os.utime(self.source / "file", ns=(10**18, 10**18 + 123_456_789))
        (self.source / "file").chmod(0o640)

    def push(self, **options: Any) -> dict[str, int]:
        """Push; return how the files were written, after everything is found to be right."""
        heard = Heard()
        summary = push(bytes(self.source) + b"/", self.dest, heard=heard, **options)
        assert heard.problems == []
        assert summary.exit_code == 0
        assert self.there.read_bytes() == self.new
        status = self.there.stat()
        assert (status.st_mtime_ns, status.st_mode & 0o7777) == (10**18 + 123_456_789, 0o640)
        assert os.listdir(self.dest) == ["file"]
        return {mode: count for mode, count in summary.update_modes.items() if count}


@pytest.fixture
def pair(tmp_path: Path, rng: random.Random) -> Pair:
    """A pair of files beyond the limit from which patching in place pays."""
    return Pair(tmp_path, rng)


def test_a_large_file_is_patched_where_it_stands(pair: Pair) -> None:
    """By itself: it stays the same file, and takes the source's time and permissions."""
    inode = pair.there.stat().st_ino
    assert pair.push() == {"inplace": 1}
    assert pair.there.stat().st_ino == inode


def test_a_smaller_file_is_staged(tmp_path: Path, rng: random.Random) -> None:
    """Then a second copy costs little, and readers see the old or the new one, whole."""
    pair = Pair(tmp_path, rng, LIMIT_BYTES - 1)
    with pair.there.open("rb") as reader:
        assert pair.push() == {"stage": 1}
        assert reader.read() == pair.old


def test_a_file_that_somebody_has_open_is_staged(pair: Pair) -> None:
    """Who reads it goes on reading what he had."""
    with pair.there.open("rb") as reader:
        assert pair.push() == {"stage": 1}
        assert reader.read() == pair.old


def test_a_file_of_two_names_is_staged(pair: Pair, tmp_path: Path) -> None:
    """The other name keeps what it had."""
    os.link(pair.there, tmp_path / "other")
    assert pair.push() == {"stage": 1}
    assert (tmp_path / "other").read_bytes() == pair.old


def test_where_nothing_can_be_cloned_that_is_tried_once(pair: Pair, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ranges a file comes in."""
    content = bytearray(pair.old)
    for at in range(0, SIZE, 40_000):
        content[at : at + 9] = rng.randbytes(9)
    pair.changed(bytes(content))
    tried: list[int] = []

    def share(staged: Staged, fd: int) -> bool:
        tried.append(fd)
        return False

    monkeypatch.setattr(Staged, "share", share)
    assert pair.push() == {"inplace": 1}
    assert len(tried) == 1


def test_a_file_whose_content_moved_is_staged(pair: Pair) -> None:
    """Where most of it has to be written anyway, writing it beside costs no more."""
    pair.changed(b"x" + pair.old)
    assert pair.push() == {"stage": 1}


def test_in_place_at_the_users_word(pair: Pair, tmp_path: Path) -> None:
    """Whatever its size, its names and its readers; what moved is moved within the file, and not sent."""
    os.link(pair.there, tmp_path / "other")
    pair.changed(b"x" + pair.old)
    with pair.there.open("rb") as reader:
        summary = push(bytes(pair.source) + b"/", pair.dest, update_mode="inplace")
        assert reader.read() == pair.new
    assert summary.update_modes["inplace"] == 1
    assert summary.literal_bytes < 5000
    assert (tmp_path / "other").read_bytes() == pair.new


@pytest.mark.parametrize("limits", [LIMITS, LIMITS._replace(aside=256 << 10)], ids=["ample", "tight"])
@pytest.mark.parametrize("edit", ["shorter", "longer", "rotated", "swapped", "zeros"])
def test_any_change_can_be_made_in_place(
    pair: Pair, rng: random.Random, monkeypatch: pytest.MonkeyPatch, edit: str, limits: Limits
) -> None:
    """Shorter, longer, with its pieces in another order: it stays the same file, whether what moves has room beside it or not."""
    monkeypatch.setattr(inplace, "LIMITS", limits)
    half = SIZE // 2
    pair.changed(
        {
            "shorter": pair.old[5000 : SIZE - 70_000],
            "longer": pair.old[:1000] + rng.randbytes(300_000) + pair.old[1000:],
            "rotated": pair.old[half + 7 :] + pair.old[: half + 7],
            "swapped": pair.old[half : half + 400_000] + pair.old[400_000:half] + pair.old[:400_000] + pair.old[half + 400_000 :],
            "zeros": pair.old[:half] + bytes(500_000) + pair.old[half + 500_000 :],
        }[edit]
    )
    inode = pair.there.stat().st_ino
    assert pair.push(update_mode="inplace") == {"inplace": 1}
    assert pair.there.stat().st_ino == inode


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("mode", ["inplace", "clone"])
def test_a_new_file_is_no_patch_at_the_users_word(pair: Pair, rng: random.Random, mode: str, delete: bool) -> None:
    """Neither one with a base under another name nor one without: each is made, though nothing can be changed where it stands."""
    pair.there.rename(pair.dest / "file2")
    (pair.source / "apart").write_bytes(rng.randbytes(SIZE - 1000))
    heard = Heard()
    summary = push(bytes(pair.source) + b"/", pair.dest, heard=heard, update_mode=mode, delete=delete)
    assert (heard.problems, summary.exit_code) == ([], ExitCode.OK)
    assert pair.there.read_bytes() == pair.new
    assert summary.literal_bytes < SIZE + 100_000
    assert (pair.dest / "apart").read_bytes() == (pair.source / "apart").read_bytes()


def test_staged_at_the_users_word(pair: Pair) -> None:
    """Also a large file."""
    inode = pair.there.stat().st_ino
    assert pair.push(update_mode="stage") == {"stage": 1}
    assert pair.there.stat().st_ino != inode


def test_what_is_new_is_staged_in_every_mode(pair: Pair) -> None:
    """There is nothing to patch or to clone."""
    pair.there.unlink()
    for mode in ("inplace", "clone"):
        assert pair.push(update_mode=mode) == {"stage": 1}
        pair.there.unlink()


def test_what_only_takes_another_time_is_written_in_no_mode(pair: Pair) -> None:
    """Its content is what it was."""
    pair.changed(pair.old)
    for mode in ("auto", "stage", "inplace"):
        os.utime(pair.there, ns=(5, 5))
        assert pair.push(update_mode=mode) == {}


def test_whole_files_are_sent_as_they_are(pair: Pair) -> None:
    """With `--whole-file` nothing of the old one is asked for."""
    summary = push(bytes(pair.source) + b"/", pair.dest, whole_file=True)
    assert (summary.literal_bytes, summary.matched_bytes) == (SIZE, 0)
    assert summary.update_modes == {"clone": 0, "stage": 1, "inplace": 0}
    assert pair.there.read_bytes() == pair.new


def test_a_mode_that_is_not_possible_is_an_error(pair: Pair) -> None:
    """The file stays what it was, what can be done is done, and the exit code says that it was the user's wish."""
    (pair.source / "small").write_bytes(b"small")
    heard = Heard()
    summary = push(bytes(pair.source) + b"/", pair.dest, heard=heard, update_mode="clone")
    assert summary.exit_code == ExitCode.LOCAL_IO
    assert [(problem.path, "--update-mode clone is not possible" in problem.error) for problem in heard.problems] == [(b"file", True)]
    assert pair.there.read_bytes() == pair.old
    assert sorted(os.listdir(pair.dest)) == ["file", "small"]


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """A filesystem that shares content between files."""
    with mounted(tmp_path / "disk", "xfs", "-m", "reflink=1") as disk:
        yield disk.place


@pytest.mark.needs("root", "mkfs.xfs")
def test_a_clone_shares_what_stays(xfs: Path, rng: random.Random) -> None:
    """Where the filesystem can, by itself and at the user's word: who reads the old file goes on reading it, and little is written."""
    pair = Pair(xfs, rng)
    for mode in ("auto", "clone"):
        pair.there.write_bytes(pair.old)
        os.sync()
        before = os.statvfs(xfs)
        with pair.there.open("rb") as reader:
            assert pair.push(update_mode=mode) == {"clone": 1}
            os.sync()
            # Both files are there as long as the old one is open.
            assert (before.f_bfree - os.statvfs(xfs).f_bfree) * before.f_bsize < SIZE // 2
            assert reader.read() == pair.old
