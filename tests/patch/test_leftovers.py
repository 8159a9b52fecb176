"""Names of staged files and what becomes of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from deltasync.fs.locks import lock
from deltasync.patch import leftovers
from deltasync.patch.leftovers import clean_stale, partial_name, spare_partial_name, unique_name
from deltasync.tree.names import check_name, is_reserved
from tests.forked import NOBODY, in_child


@pytest.mark.parametrize("name", [b"a", b"n" * 255, b"\xff\n"])
def test_names_are_legal_reserved_and_apart(name: bytes) -> None:
    """Whatever the target is called; a child's unique names are not its parent's."""
    made = [partial_name(name), partial_name(name + b"x"), unique_name(), unique_name(), spare_partial_name(), spare_partial_name()]
    made += in_child(lambda: [unique_name(), spare_partial_name()])
    assert len(set(made)) == len(made)
    assert all(is_reserved(check_name(one)) for one in made)
    assert partial_name(name) == made[0]


@pytest.mark.parametrize("kind", ["file", "symlink", "fifo", "socket", "directory"])
def test_what_a_dead_process_left_is_removed(dir_fd: int, place: Path, kind: str) -> None:
    """Each type that is ever staged; a symlink itself, not what it points to."""
    (place / "canary").write_bytes(b"")
    for name in (in_child(unique_name), partial_name(b"x")):
        match kind:
            case "file":
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=dir_fd))
            case "symlink":
                os.symlink("canary", name, dir_fd=dir_fd)
            case "fifo":
                os.mkfifo(name, dir_fd=dir_fd)
            case "socket":
                os.mknod(name, stat.S_IFSOCK | 0o600, dir_fd=dir_fd)
            case "directory":
                os.mkdir(name, dir_fd=dir_fd)
        assert clean_stale(dir_fd, name)
    assert os.listdir(dir_fd) == ["canary"]
    assert clean_stale(dir_fd, partial_name(b"x"))


def test_what_a_live_process_holds_stays(dir_fd: int) -> None:
    """A locked file, and what this process itself stages without a lock."""
    small, large = unique_name(), partial_name(b"x")
    for name in (small, large):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=dir_fd))
    fd = os.open(large, os.O_WRONLY, dir_fd=dir_fd)
    assert lock(fd)
    assert not clean_stale(dir_fd, small)
    assert not clean_stale(dir_fd, large)
    os.close(fd)
    assert clean_stale(dir_fd, large)
    assert in_child(lambda: clean_stale(dir_fd, small))
    assert os.listdir(dir_fd) == []


def test_a_name_that_has_come_to_stand_for_another_stays(dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder finishes just before we look, and the next one takes the name."""
    name = partial_name(b"x")
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=dir_fd))

    def late(fd: int, *, shared: bool = False) -> bool:
        os.rename(name, b"x", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=dir_fd))
        return lock(fd, shared=shared)

    monkeypatch.setattr(leftovers, "lock", late)
    assert not clean_stale(dir_fd, name)
    assert len(os.listdir(dir_fd)) == 2


@pytest.mark.parametrize("name", [b"other", b".deltasync", b".deltasync~journal"])
def test_what_is_nobodys_leftover_stays(dir_fd: int, name: bytes) -> None:
    """Names of others, and journals."""
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=dir_fd))
    assert not clean_stale(dir_fd, name)
    assert os.listdir(dir_fd) == [os.fsdecode(name)]


def test_a_directory_that_is_not_empty_stays(dir_fd: int, place: Path) -> None:
    """Staged directories are empty."""
    (place / ".deltasync~x/y").mkdir(parents=True)
    assert not clean_stale(dir_fd, b".deltasync~x")
    assert (place / ".deltasync~x/y").is_dir()


@pytest.mark.needs("root")
def test_a_plain_user_cleans_what_is_his(dir_fd: int) -> None:
    """Also a file whose final mode forbids reading it; what belongs to another may be at work unseen, and stays."""
    for name, uid in ((partial_name(b"mine"), NOBODY), (partial_name(b"other"), 0)):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=dir_fd))
        os.chown(name, uid, uid, dir_fd=dir_fd)
        os.chmod(name, 0o200, dir_fd=dir_fd)
    assert in_child(lambda: (clean_stale(dir_fd, partial_name(b"mine")), clean_stale(dir_fd, partial_name(b"other"))), uid=NOBODY) == (
        True,
        False,
    )
    assert os.listdir(dir_fd) == [os.fsdecode(partial_name(b"other"))]


@pytest.mark.needs("root")
def test_what_the_system_does_not_let_us_remove_stays(dir_fd: int) -> None:
    """A refusal is a False."""
    os.close(os.open(b".deltasync~s1", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=dir_fd))
    os.fchmod(dir_fd, 0o755)
    assert not in_child(lambda: clean_stale(dir_fd, b".deltasync~s1"), uid=NOBODY)
    assert os.listdir(dir_fd) == [".deltasync~s1"]
