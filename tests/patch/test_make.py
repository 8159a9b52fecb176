"""Directories, symlinks, specials and links put in their places."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from deltasync.fs import libc
from deltasync.patch.attributes import NOTHING_LOST, Attributes, Lost
from deltasync.patch.leftovers import clean_stale
from deltasync.patch.make import make_directory, make_link, make_special, make_symlink
from tests.expect import errno_of
from tests.forked import NOBODY, in_child, killed_before

TIME = 1_600_000_001_987_654_321
ATTRIBUTES = Attributes(0o640, TIME)
NAMES = [b"x", b"n" * 255, b"new\nline", b"\xff\xfe", b"-rf"]
Make = Callable[[int, bytes], object]
MAKERS: dict[str, Make] = {
    "directory": make_directory,
    "symlink": lambda dir_fd, name: make_symlink(dir_fd, name, b"to\xff", ATTRIBUTES),
    "fifo": lambda dir_fd, name: make_special(dir_fd, name, stat.S_IFIFO, 0, ATTRIBUTES),
    "socket": lambda dir_fd, name: make_special(dir_fd, name, stat.S_IFSOCK | 0o777, 0, ATTRIBUTES),
    "link": lambda dir_fd, name: make_link(dir_fd, b"leader", dir_fd, name),
}
KINDS = {"directory": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "link": stat.S_IFREG}


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest, place: Path) -> str:
    """What to make; a leader for links is there."""
    (place / "leader").write_bytes(b"leader")
    chosen: str = request.param
    return chosen


def put(place: Path, name: bytes, old: str) -> None:
    """Put something in the way."""
    path = os.path.join(os.fsencode(place), name)
    match old:
        case "file":
            with open(path, "wb") as file:
                file.write(b"old")
        case "symlink":
            os.symlink(os.path.join(os.fsencode(place), b"../canary"), path)
        case "fifo":
            os.mkfifo(path)


def at(dir_fd: int, name: bytes) -> os.stat_result:
    """Look at a name itself."""
    return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)


@pytest.mark.parametrize("old", ["nothing", "file", "symlink", "fifo"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_made_over_whatever_is_no_directory(dir_fd: int, place: Path, kind: str, name: bytes, old: str) -> None:
    """With its attributes, and nothing else is left; what a symlink there led to is untouched."""
    (place / "../canary").mkdir()
    put(place, name, old)
    MAKERS[kind](dir_fd, name)
    status = at(dir_fd, name)
    assert stat.S_IFMT(status.st_mode) == KINDS[kind]
    assert set(os.listdir(os.fsencode(place))) == {b"leader", name}
    assert list((place / "../canary").iterdir()) == []
    match kind:
        case "directory":
            assert stat.S_IMODE(status.st_mode) == 0o700
        case "symlink":
            assert os.readlink(name, dir_fd=dir_fd) == b"to\xff"
            assert status.st_mtime_ns == TIME
        case "link":
            assert os.path.samestat(status, at(dir_fd, b"leader"))
            assert status.st_nlink == 2
        case _:
            assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640, TIME)


def test_a_directory_is_never_replaced(dir_fd: int, place: Path, kind: str) -> None:
    """An empty one neither; the staged thing is gone. A directory asked for is simply there."""
    (place / "x").mkdir()
    if kind == "directory":
        assert make_directory(dir_fd, b"x") is False
    else:
        with pytest.raises(IsADirectoryError):
            MAKERS[kind](dir_fd, b"x")
    assert stat.S_ISDIR(at(dir_fd, b"x").st_mode)
    assert set(os.listdir(place)) == {"leader", "x"}


@pytest.mark.parametrize("old", ["nothing", "file"])
def test_killed_at_any_call_the_old_or_the_new_is_there(dir_fd: int, place: Path, kind: str, old: str) -> None:
    """The name never stands for nothing where it stood for something; what is left is cleaned as stale."""
    number, going = 0, True
    while going:
        put(place, b"x", old)
        going = killed_before(number, lambda: MAKERS[kind](dir_fd, b"x"))
        if old == "file" or not going:
            assert stat.S_IFMT(at(dir_fd, b"x").st_mode) in ({KINDS[kind], stat.S_IFREG} if going else {KINDS[kind]})
        for left in set(os.listdir(os.fsencode(place))) - {b"leader", b"x"}:
            assert clean_stale(dir_fd, left)
        if (place / "x").is_dir():
            (place / "x").rmdir()
        else:
            (place / "x").unlink(missing_ok=True)
        number += 1
    assert number > (3 if old == "file" else 1)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_a_filesystem_that_cannot_exchange_names_still_gets_its_directory(dir_fd: int, place: Path, number: int) -> None:
    """The file is removed first."""

    def refusing(dir_fd: int, one: bytes, other: bytes) -> None:
        raise OSError(number, os.strerror(number))

    put(place, b"x", "file")
    assert make_directory(dir_fd, b"x", exchange=refusing)
    assert os.listdir(place) == ["x"]
    assert (place / "x").is_dir()


def test_another_failure_to_exchange_leaves_the_old(dir_fd: int, place: Path) -> None:
    """And nothing else."""

    def failing(dir_fd: int, one: bytes, other: bytes) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    put(place, b"x", "file")
    with pytest.raises(OSError, match="Input/output"):
        make_directory(dir_fd, b"x", exchange=failing)
    assert os.listdir(place) == ["x"]
    assert (place / "x").read_bytes() == b"old"


def test_a_directory_that_came_in_between_goes_back(dir_fd: int, place: Path) -> None:
    """Somebody puts a full directory in the place just before the names change places: it is not lost."""
    put(place, b"x", "file")

    def late(dir_fd: int, one: bytes, other: bytes) -> None:
        if (place / "x").is_file():
            (place / "x").unlink()
            (place / "x/content").mkdir(parents=True)
        libc.exchange(dir_fd, one, other)

    with errno_of(errno.EISDIR):
        make_directory(dir_fd, b"x", exchange=late)
    assert os.listdir(place) == ["x"]
    assert (place / "x/content").is_dir()


def test_a_link_over_its_own_leader_leaves_nothing_staged(dir_fd: int, place: Path) -> None:
    """A rename onto another link of the same file does nothing, the staged name must go all the same."""
    (place / "leader").write_bytes(b"")
    make_link(dir_fd, b"leader", dir_fd, b"x")
    make_link(dir_fd, b"leader", dir_fd, b"x")
    assert sorted(os.listdir(place)) == ["leader", "x"]
    assert (place / "x").stat().st_nlink == 2


def test_a_link_to_a_symlink_is_one_to_the_symlink_itself(dir_fd: int, place: Path) -> None:
    """What it leads to gets no further link."""
    (place / "file").write_bytes(b"")
    (place / "leader").symlink_to("file")
    make_link(dir_fd, b"leader", dir_fd, b"x")
    assert os.path.samestat(at(dir_fd, b"x"), at(dir_fd, b"leader"))
    assert (place / "file").stat().st_nlink == 1


def test_a_link_may_cross_directories(dir_fd: int, place: Path) -> None:
    """Leader and link are each reached by their own directory."""
    (place / "a").mkdir()
    (place / "a/leader").write_bytes(b"")
    a = os.open(place / "a", os.O_RDONLY)
    make_link(a, b"leader", dir_fd, b"x")
    os.close(a)
    assert os.path.samestat((place / "x").stat(), (place / "a/leader").stat())


@pytest.mark.needs("root")
@pytest.mark.parametrize("mode", [stat.S_IFCHR, stat.S_IFBLK])
def test_devices_have_their_numbers(dir_fd: int, mode: int) -> None:
    """Made over nothing and over another; owner and mode too."""
    for rdev in (os.makedev(1, 3), os.makedev(240, 70_000)):
        assert make_special(dir_fd, b"x", mode, rdev, Attributes(0o660, TIME, 12, 34)) is NOTHING_LOST
        status = at(dir_fd, b"x")
        assert (stat.S_IFMT(status.st_mode), status.st_rdev, stat.S_IMODE(status.st_mode)) == (mode, rdev, 0o660)
        assert (status.st_uid, status.st_gid, status.st_mtime_ns) == (12, 34, TIME)


@pytest.mark.needs("root")
def test_a_plain_user_makes_no_device_and_gives_nothing_away(dir_fd: int, place: Path) -> None:
    """The first is an error, the second is told."""

    def device() -> None:
        make_special(dir_fd, b"x", stat.S_IFCHR, os.makedev(1, 3), ATTRIBUTES)

    with pytest.raises(PermissionError):
        in_child(device, uid=NOBODY)
    assert os.listdir(place) == []
    lost = in_child(lambda: make_symlink(dir_fd, b"x", b"y", Attributes(None, TIME, 0, 0)), uid=NOBODY)
    assert lost == Lost.OWNER | Lost.GROUP
    assert at(dir_fd, b"x").st_mtime_ns == TIME


@pytest.mark.parametrize("mode", [stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, 0])
def test_only_specials_are_made_as_such(dir_fd: int, mode: int) -> None:
    """A mode of another type is a defect of the caller."""
    with pytest.raises(ValueError, match="of no special"):
        make_special(dir_fd, b"x", mode, 0, ATTRIBUTES)
