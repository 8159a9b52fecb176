"""Whole trees mirrored on this machine: equal afterwards, whatever stands in them and whatever changed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from deltasync.errors import ExitCode
from tests.engine.runs import Heard, push
from tests.engine.trees import change, make, nasty_names, snapshot, write
from tests.forked import NOBODY, in_child


@pytest.mark.parametrize("seed", range(6))
def test_a_random_tree_and_its_changes_are_mirrored(tmp_path: Path, seed: int) -> None:
    """A first push, and one after many changes of every kind, leave the destination equal to the source."""
    rng = random.Random(seed)
    source, dest = os.fsencode(tmp_path / "source"), os.fsencode(tmp_path / "dest")
    make(source, rng, 150)
    first = push(source + b"/", dest, hard_links=True)
    assert not first.problems
    assert snapshot(dest, links=True) == snapshot(source, links=True)
    change(source, rng, 60)
    second = push(source + b"/", dest, hard_links=True, delete=True)
    assert not second.problems
    assert snapshot(dest, links=True) == snapshot(source, links=True)
    again = Heard()
    third = push(source + b"/", dest, hard_links=True, delete=True, heard=again)
    assert again.items == []
    assert third.entries_changed == third.files_sent == third.literal_bytes == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_plain_user_mirrors_as_well(public: Path, seed: int) -> None:
    """A user without rights mirrors everything that such a user can make, read-only directories included."""

    def act() -> None:
        rng = random.Random(seed)
        source, dest = os.fsencode(public / "source"), os.fsencode(public / "dest")
        make(source, rng, 120)
        first = push(source + b"/", dest, hard_links=True)
        assert not first.problems, first.problems
        assert snapshot(dest, links=True) == snapshot(source, links=True)
        change(source, rng, 50)
        second = push(source + b"/", dest, hard_links=True, delete=True)
        assert not second.problems, second.problems
        assert snapshot(dest, links=True) == snapshot(source, links=True)

    in_child(act, uid=NOBODY if os.geteuid() == 0 else None)


def test_a_dry_run_says_what_a_run_does_and_writes_nothing(tmp_path: Path) -> None:
    """The items of a dry run are those of the run that follows, and the destination is untouched by it."""
    rng = random.Random(7)
    source, dest = os.fsencode(tmp_path / "source"), os.fsencode(tmp_path / "dest")
    make(source, rng, 120)
    push(source + b"/", dest, hard_links=True)
    change(source, rng, 60)
    before = snapshot(dest, links=True)
    said, done = Heard(), Heard()
    dry = push(source + b"/", dest, hard_links=True, delete=True, dry_run=True, heard=said)
    assert snapshot(dest, links=True) == before
    wet = push(source + b"/", dest, hard_links=True, delete=True, heard=done)
    assert sorted(said.items) == sorted(done.items)
    assert (dry.files_sent, dry.entries_changed, dry.files_deleted) == (wet.files_sent, wet.entries_changed, wet.files_deleted)


def test_every_nasty_name_survives(tmp_path: Path) -> None:
    """Every name that Linux allows arrives unchanged."""
    source, dest = os.fsencode(tmp_path / "source"), os.fsencode(tmp_path / "dest")
    os.mkdir(source)
    rng = random.Random(1)
    for name in nasty_names():
        write(source + b"/" + name, rng, 100)
    assert not push(source + b"/", dest).problems
    assert snapshot(dest) == snapshot(source)


def test_five_hundred_levels(tmp_path: Path) -> None:
    """A path far longer than PATH_MAX is mirrored, updated and deleted."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    fd = os.open(source, os.O_RDONLY)
    for _ in range(500):
        os.mkdir(b"d" * 200, dir_fd=fd)
        deeper = os.open(b"d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    with open(os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=fd), "wb") as file:
        file.write(b"deep")
    summary = push(os.fsencode(source) + b"/", dest)
    assert not summary.problems
    assert snapshot(os.fsencode(dest)) == snapshot(os.fsencode(source))
    os.unlink("leaf", dir_fd=fd)
    os.close(fd)
    assert push(os.fsencode(source) + b"/", dest, delete=True).files_deleted == 1
    (tmp_path / "empty").mkdir()
    emptied = push(os.fsencode(tmp_path / "empty") + b"/", dest, delete=True, force_empty=True)
    assert emptied.files_deleted == 500
    assert os.listdir(dest) == []


def test_no_change_touches_nothing(tmp_path: Path) -> None:
    """A push without changes leaves every inode, mtime and ctime, the root's included."""
    source, dest = os.fsencode(tmp_path / "source"), os.fsencode(tmp_path / "dest")
    make(source, random.Random(3), 80)
    push(source + b"/", dest)

    def facts() -> dict[bytes, tuple[int, int, int]]:
        found = {path: os.lstat(dest + b"/" + path) for path in snapshot(dest)}
        return {path: (status.st_ino, status.st_mtime_ns, status.st_ctime_ns) for path, status in found.items()}

    before = facts()
    summary = push(source + b"/", dest, delete=True)
    assert facts() == before
    assert summary.literal_bytes == 0


def test_exit_code_of_a_clean_run(tmp_path: Path) -> None:
    """A run without problems is 0."""
    (tmp_path / "a").write_bytes(b"x")
    assert push(tmp_path / "a", tmp_path / "b").exit_code == ExitCode.OK
    assert (tmp_path / "b").read_bytes() == b"x"
