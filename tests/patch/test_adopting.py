"""Files that are taken from where they stand, or stay there; and content that comes in any order."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from deltasync.fs import libc
from deltasync.patch import staging
from deltasync.patch.attributes import NOTHING_LOST, Attributes
from deltasync.patch.kept import Kept
from deltasync.patch.leftovers import partial_name
from deltasync.patch.staging import Staged, clean_stale
from tests.expect import errno_of
from tests.forked import killed_before

TIME = 1_600_000_001_987_654_321
ATTRIBUTES = Attributes(0o4751, TIME)
OLD, NEW = b"old content" * 10_000, b"new content, longer" * 10_000
PARTIAL = os.fsdecode(partial_name(b"new"))


@pytest.fixture
def base(place: Path) -> Iterator[int]:
    """The file `old`, open for reading."""
    (place / "old").write_bytes(OLD)
    fd = os.open(place / "old", os.O_RDONLY)
    yield fd
    os.close(fd)


def adopt(dir_fd: int, base: int, size: int = len(NEW), name: bytes = b"old") -> Staged | None:
    """Take a file of the directory, to become `new`."""
    return Staged.adopt(dir_fd, b"new", size, base, (dir_fd, name), sparse=False)


def names(place: Path) -> list[str]:
    """What is in the directory."""
    return sorted(os.listdir(place))


# Taken ------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [len(OLD) - 5000, len(OLD), len(OLD) + 5000])
def test_a_taken_file_becomes_the_other(dir_fd: int, base: int, place: Path, size: int) -> None:
    """It is nowhere to be seen until its commit, has the new length at once, and is the very file that it was."""
    inode = os.fstat(base).st_ino
    staged = adopt(dir_fd, base, size)
    assert staged is not None
    assert names(place) == [PARTIAL]
    staged.put(1000, b"new")
    staged.read(997, memoryview(seen := bytearray(9)))
    assert seen == OLD[997:1000] + b"new" + OLD[1003:1006]
    assert staged.commit(ATTRIBUTES) is NOTHING_LOST
    assert names(place) == ["new"]
    status = (place / "new").stat()
    assert (status.st_ino, status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (inode, size, TIME, 0o4751)
    assert (place / "new").read_bytes() == (OLD[:1000] + b"new" + OLD[1003:]).ljust(size, b"\0")[:size]


def test_zeros_are_written_over_the_content_of_a_taken_file(dir_fd: int, base: int, place: Path) -> None:
    """A sparse one has holes only behind what it had."""
    size = len(OLD) + (1 << 20)
    staged = Staged.adopt(dir_fd, b"new", size, base, (dir_fd, b"old"), sparse=True)
    assert staged is not None
    staged.put(4096, bytes(size - 4096))
    staged.commit(ATTRIBUTES)
    assert (place / "new").read_bytes() == OLD[:4096] + bytes(size - 4096)
    assert (place / "new").stat().st_blocks * 512 < len(OLD) + 100_000


@pytest.mark.parametrize("keep", [True, False])
def test_a_taken_file_that_is_given_up(dir_fd: int, base: int, place: Path, keep: bool) -> None:
    """It is gone, or stays as a partial if it is long enough."""
    os.truncate(place / "old", 2 << 20)
    staged = adopt(dir_fd, base, 2 << 20)
    assert staged is not None
    staged.abandon(keep=keep)
    assert names(place) == ([PARTIAL] if keep else [])


def test_a_partial_goes_on_under_its_name(dir_fd: int, base: int, place: Path) -> None:
    """What an earlier run left of the very file stays where it is; while one goes on with it, another does not."""
    (place / "old").rename(place / PARTIAL)
    staged = adopt(dir_fd, base, name=os.fsencode(PARTIAL))
    assert staged is not None
    again = os.open(place / PARTIAL, os.O_RDONLY)
    assert adopt(dir_fd, again, name=os.fsencode(PARTIAL)) is None
    os.close(again)
    assert names(place) == [PARTIAL]
    assert not clean_stale(dir_fd, os.fsencode(PARTIAL)), "it is locked"
    staged.commit(ATTRIBUTES)
    assert names(place) == ["new"]


def exchanged(place: Path) -> None:
    """Another file has its name now."""
    (place / "old").rename(place / "away")
    (place / "old").write_bytes(b"another's")


def replaced_by_a_symlink(place: Path) -> None:
    """A symlink to it has its name."""
    (place / "old").rename(place / "away")
    (place / "old").symlink_to("away")


def replaced_by_a_directory(place: Path) -> None:
    """A directory has its name."""
    (place / "old").unlink()
    (place / "old").mkdir()


REFUSALS: dict[str, Callable[[Path], int | None]] = {
    "it has another name": lambda place: os.link(place / "old", place / "link"),
    "somebody reads it": lambda place: os.open(place / "old", os.O_RDONLY),
    "somebody writes to it": lambda place: os.open(place / "old", os.O_WRONLY),
    "another file has its name": exchanged,
    "a symlink has its name": replaced_by_a_symlink,
    "a directory has its name": replaced_by_a_directory,
    "it is gone": lambda place: (place / "old").unlink(),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_what_can_not_be_taken_stays(dir_fd: int, base: int, place: Path, why: str) -> None:
    """As it is, where it is; and nothing else is touched."""
    opened = REFUSALS[why](place)
    (place / "another").write_bytes(b"another's")
    now, status, fds = names(place), os.fstat(base), len(os.listdir("/proc/self/fd"))
    assert adopt(dir_fd, base) is None
    assert names(place) == now
    assert (os.fstat(base).st_mtime_ns, os.pread(base, len(OLD), 0)) == (status.st_mtime_ns, OLD)
    assert len(os.listdir("/proc/self/fd")) == fds
    if opened is not None:
        os.close(opened)


@pytest.mark.parametrize("how", ["it is opened", "it has another name", "another file has its name"])
def test_who_comes_at_the_last_moment_is_seen(dir_fd: int, base: int, place: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it was asked who is at the file, and before it is moved: what was moved gets its name back, and is not changed."""
    came: list[int | None] = []
    rename = libc.rename_new

    def meddle(from_fd: int, name: bytes, to_fd: int, new: bytes) -> None:
        if not came:
            came.append(os.open(place / "old", os.O_RDONLY) if how == "it is opened" else REFUSALS[how](place))
        rename(from_fd, name, to_fd, new)

    monkeypatch.setattr(staging, "rename_new", meddle)
    assert adopt(dir_fd, base) is None
    assert names(place) == {"it is opened": ["old"], "it has another name": ["link", "old"]}.get(how, ["away", "old"])
    assert (place / "old").read_bytes() == (b"another's" if how == "another file has its name" else OLD)
    assert os.pread(base, len(OLD) + 1, 0) == OLD
    for fd in came:
        if fd is not None:
            os.close(fd)


def test_another_receiver_that_begins_at_the_last_moment_is_not_disturbed(
    dir_fd: int, base: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stages a new file under the very name that was free a moment ago: it comes to its end, and the old file stays for both."""
    others: list[Staged] = []
    rename = libc.rename_new

    def meddle(from_fd: int, name: bytes, to_fd: int, new: bytes) -> None:
        if not others:
            others.append(Staged.create(dir_fd, b"new", len(NEW), sparse=False))
        rename(from_fd, name, to_fd, new)

    monkeypatch.setattr(staging, "rename_new", meddle)
    assert adopt(dir_fd, base) is None
    others[0].write(NEW)
    others[0].commit(ATTRIBUTES)
    assert (place / "new").read_bytes() == NEW
    assert (place / "old").read_bytes() == OLD
    assert names(place) == ["new", "old"]


def test_what_another_receiver_stages_does_not_take_the_old_name(
    dir_fd: int, base: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file can't be opened, and meanwhile somebody stages something: nothing is moved to where nothing was moved from."""
    others: list[Staged] = []
    check = staging.clean_stale

    def meddle(fd: int, name: bytes) -> bool:
        gone = check(fd, name)
        others.append(Staged.create(dir_fd, b"new", len(NEW), sparse=False))
        return gone

    (place / "old").unlink()
    monkeypatch.setattr(staging, "clean_stale", meddle)
    assert adopt(dir_fd, base) is None
    assert names(place) == [PARTIAL]
    others[0].abandon(keep=False)


def test_a_system_that_can_not_rename_so_takes_nothing(dir_fd: int, base: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is copied there."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(staging, "rename_new", refuse)
    assert adopt(dir_fd, base) is None
    assert names(place) == ["old"]


def test_a_taken_file_that_can_not_have_its_length_gets_its_name_back(
    dir_fd: int, base: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what it was, and can be copied from."""

    def full(*_: object) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(os, "ftruncate", full)
    assert adopt(dir_fd, base) is None
    assert names(place) == ["old"]
    assert (place / "old").read_bytes() == OLD


def test_killed_while_a_file_is_taken(dir_fd: int, place: Path) -> None:
    """Under its new name is nothing or the whole new content; under its old one all of the old or nothing; what is left is stale."""

    def take() -> None:
        fd = os.open(place / "old", os.O_RDONLY)
        staged = adopt(dir_fd, fd)
        assert staged is not None
        for at in range(0, len(NEW), 50_000):
            staged.put(at, NEW[at : at + 50_000])
        staged.complete()
        staged.commit(ATTRIBUTES)

    seen = set()
    number, going = 0, True
    while going:
        for name in names(place):
            (place / name).unlink()
        (place / "old").write_bytes(OLD)
        going = killed_before(number, take)
        left = {name: (place / name).read_bytes() for name in names(place)}
        seen.add(tuple(left))
        assert left.pop("old", OLD) == OLD
        assert left.pop("new", NEW) == NEW
        assert all(clean_stale(dir_fd, os.fsencode(name)) for name in left)
        number += 1
    assert seen == {("old",), (PARTIAL,), ("new",)}


# Left where it is -------------------------------------------------------------------------------------------------------------------------


def test_a_kept_file_takes_its_attributes_only(dir_fd: int, base: int, place: Path) -> None:
    """Its content is not touched, its status is known afterwards, and only the descriptor that was made is closed."""
    before = os.fstat(base)
    fds = len(os.listdir("/proc/self/fd"))
    kept = Kept(dir_fd, b"old", base)
    kept.complete()
    assert kept.commit(ATTRIBUTES) is NOTHING_LOST
    kept.abandon(keep=False)
    after = (place / "old").stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns, stat.S_IMODE(after.st_mode)) == (before.st_ino, len(OLD), TIME, 0o4751)
    assert kept.status is not None
    assert kept.status.st_ctime_ns == after.st_ctime_ns
    assert os.pread(base, len(OLD), 0) == OLD
    assert len(os.listdir("/proc/self/fd")) == fds


@pytest.mark.parametrize("keep", [True, False])
def test_a_kept_file_that_is_given_up_stays(dir_fd: int, base: int, place: Path, keep: bool) -> None:
    """As it is, also when it is given up twice."""
    before = os.fstat(base)
    kept = Kept(dir_fd, b"old", base)
    kept.abandon(keep=keep)
    kept.abandon(keep=keep)
    assert os.fstat(base) == before
    assert (place / "old").read_bytes() == OLD


def test_another_file_that_came_into_its_place_is_not_taken_for_it(dir_fd: int, base: int, place: Path) -> None:
    """Neither of the two gets the attributes."""
    kept = Kept(dir_fd, b"old", base)
    exchanged(place)
    before = (place / "old").stat(), (place / "away").stat()
    with errno_of(errno.ENOENT):
        kept.commit(ATTRIBUTES)
    kept.abandon(keep=False)
    assert ((place / "old").stat(), (place / "away").stat()) == before


def test_killed_while_a_file_is_kept(dir_fd: int, place: Path) -> None:
    """Its content is always what it was, and its time is the last thing that it is given: without it the next run looks again."""
    (place / "old").write_bytes(OLD)

    def keep() -> None:
        kept = Kept(dir_fd, b"old", os.open(place / "old", os.O_RDONLY))
        kept.commit(ATTRIBUTES)

    number, going = 0, True
    while going:
        os.chmod(place / "old", 0o600)
        os.utime(place / "old", (1, 1))
        going = killed_before(number, keep)
        status = (place / "old").stat()
        assert (place / "old").read_bytes() == OLD
        assert status.st_mtime_ns in (1_000_000_000, TIME)
        assert status.st_mtime_ns != TIME or stat.S_IMODE(status.st_mode) == 0o4751
        number += 1
    assert number > 4
    assert (place / "old").stat().st_mtime_ns == TIME


# In any order -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_content_in_any_order_from_several_threads(dir_fd: int, place: Path, rng: random.Random, sparse: bool) -> None:
    """What is put where is there; what is not put is zeros; a sparse file has holes where zeros were put."""
    content = bytearray(rng.randbytes(3 << 20))
    content[1 << 20 : 2 << 20] = bytes(1 << 20)
    staged = Staged.create(dir_fd, b"new", len(content) + 100_000, sparse=sparse)
    staged.stretch()
    staged.read(len(content) + 99_999, memoryview(last := bytearray(1)))
    assert last == b"\0"
    cuts = [0, *sorted(rng.sample(range(1, len(content)), 60)), len(content)]
    pieces = list(pairwise(cuts))
    rng.shuffle(pieces)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda piece: staged.put(piece[0], memoryview(content)[slice(*piece)]), pieces))
    with pytest.raises(ValueError, match="of 3245728"):
        staged.commit(ATTRIBUTES)
    staged.complete()
    staged.commit(ATTRIBUTES)
    assert (place / "new").read_bytes() == content + bytes(100_000)
    assert ((place / "new").stat().st_blocks * 512 < (2 << 20) + 600_000) == sparse
    assert names(place) == ["new"]


def test_killed_while_content_comes_in_any_order(dir_fd: int, place: Path) -> None:
    """The old file is there until the new one is complete, although that has its length from the start."""

    def replace() -> None:
        staged = Staged.create(dir_fd, b"new", len(NEW), sparse=False)
        staged.stretch()
        for at in range(150_000, -1, -50_000):
            staged.put(at, NEW[at : at + 50_000])
        staged.complete()
        staged.commit(ATTRIBUTES)

    seen = set()
    number, going = 0, True
    while going:
        (place / "new").write_bytes(OLD)
        going = killed_before(number, replace)
        seen.add(now := (place / "new").read_bytes())
        assert now in (OLD, NEW)
        assert all(clean_stale(dir_fd, os.fsencode(name)) for name in names(place) if name != "new")
        number += 1
    assert seen == {OLD, NEW}


def test_a_stretched_file_is_no_partial(dir_fd: int, place: Path) -> None:
    """It has its length, but not its content: it does not stay for a later run."""
    staged = Staged.create(dir_fd, b"new", 2 << 20, sparse=False)
    staged.stretch()
    staged.put(1 << 20, bytes(1 << 20))
    staged.abandon(keep=True)
    assert names(place) == []
