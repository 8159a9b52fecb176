"""Leases on the directories of a held tree."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.fs.openat2 import DIRECTORY_FLAGS, best_opener, open_by_walk
from deltasync.fs.root import Root
from tests.expect import errno_of

OPENERS = list(dict.fromkeys([best_opener(), open_by_walk]))


@pytest.fixture(params=OPENERS, ids=lambda opener: opener.__name__)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    """A root with room for four open directories."""
    (tmp_path / "root").mkdir()
    held = Root.open(os.fsencode(tmp_path / "root"), max_open=4, opener=request.param)
    yield held
    held.close()


def is_open(fd: int) -> bool:
    """Tell whether the number is an open descriptor."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def open_descriptors() -> int:
    """Count the descriptors that this process has open."""
    return len(os.listdir("/proc/self/fd"))


def test_the_users_own_path_may_lead_through_symlinks(tmp_path: Path) -> None:
    """The root is wherever the user's path leads; a file is no root."""
    (tmp_path / "real").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    root = Root.open(os.fsencode(tmp_path / "link"))
    assert os.path.samestat(os.fstat(root.fd), (tmp_path / "real").stat())
    root.close()
    with pytest.raises(NotADirectoryError):
        Root.open(os.fsencode(tmp_path / "file"))


def test_the_empty_path_is_the_root(root: Root) -> None:
    """A lease on the root is the root's own descriptor, and giving it back leaves it open."""
    with root.dir(b"") as top:
        assert top.fd == root.fd
    assert is_open(root.fd)


def test_a_lease_is_on_the_directory_of_its_path(root: Root, tmp_path: Path) -> None:
    """The descriptor is that of the path, also when a parent of it is open already."""
    (tmp_path / "root/a/b/c").mkdir(parents=True)
    for path in (b"a/b/c", b"a", b"a/b", b"a/b/c"):
        with root.dir(path) as lease:
            assert lease.path == path
            assert os.path.samestat(os.fstat(lease.fd), os.stat(os.path.join(os.fsencode(tmp_path / "root"), path)))


def test_an_idle_directory_stays_open_for_the_next(root: Root, tmp_path: Path) -> None:
    """The second lease opens nothing, and one given back twice counts once."""
    (tmp_path / "root/a").mkdir()
    first = root.dir(b"a")
    second = root.dir(b"a")
    fd = first.fd
    assert second.fd == fd
    first.release()
    first.release()
    assert first.fd == -1
    assert is_open(fd)
    second.release()
    with root.dir(b"a") as again:
        assert again.fd == fd


def test_the_least_recently_used_is_closed_first(root: Root, tmp_path: Path) -> None:
    """No more than `max_open` stay open; leases in use stay good however many there are."""
    fds = {}
    for number in range(6):
        (tmp_path / f"root/{number}").mkdir()
    for number in (0, 1, 2, 3, 0, 4):
        with root.dir(b"%d" % number) as lease:
            fds[number] = lease.fd
    with root.dir(b"0") as kept:
        assert kept.fd == fds[0]
    before = open_descriptors()
    leases = [root.dir(b"%d" % number) for number in range(6)]
    assert all(is_open(lease.fd) for lease in leases)
    for lease in leases:
        lease.release()
    assert open_descriptors() <= before


def test_what_is_forgotten_is_opened_anew(root: Root, tmp_path: Path) -> None:
    """After a directory was replaced, a lease is on the new one; leases on the old one stay good until they are released."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/ab").mkdir()
    with root.dir(b"a/b"), root.dir(b"ab") as beside:
        beside_fd = beside.fd
    old = root.dir(b"a")
    (tmp_path / "root/a").rename(tmp_path / "root/old")
    (tmp_path / "root/a/b").mkdir(parents=True)
    root.forget(b"a")
    for path in (b"a", b"a/b"):
        with root.dir(path) as new:
            assert os.path.samestat(os.fstat(new.fd), os.stat(os.path.join(os.fsencode(tmp_path / "root"), path)))
    assert os.path.samestat(os.fstat(old.fd), (tmp_path / "root/old").stat())
    fd = old.fd
    old.release()
    assert not is_open(fd)
    with root.dir(b"ab") as beside:
        assert beside.fd == beside_fd


def test_what_was_opened_while_it_was_forgotten_is_not_kept(tmp_path: Path) -> None:
    """A directory removed between its opening and its lease is not given to whoever asks later."""
    (tmp_path / "a/b").mkdir(parents=True)
    opener = best_opener()

    def late(dir_fd: int, path: bytes, *, one_mount: bool = False) -> int:
        fd = opener(dir_fd, path, one_mount=one_mount)
        (tmp_path / "a/b").rmdir()
        (tmp_path / "a/b").mkdir()
        held.forget(b"a/b")
        return fd

    held = Root.open(os.fsencode(tmp_path), opener=late)
    held.dir(b"a/b").release()
    held.dir(b"a").release()
    with held.dir(b"a/b") as lease:
        assert os.path.samestat(os.fstat(lease.fd), (tmp_path / "a/b").stat())
    held.close()


def test_a_symlink_is_never_followed(root: Root, tmp_path: Path) -> None:
    """Not as the last name, not in between, not below an open directory, wherever it leads."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "out/b").mkdir(parents=True)
    (tmp_path / "root/inner").symlink_to("a")
    (tmp_path / "root/a/outer").symlink_to(tmp_path / "out")
    for path in (b"inner", b"inner/b", b"a/outer", b"a/outer/b", b"a", b"a/outer", b"a/outer/b"):
        if path == b"a":
            root.dir(path).release()
            continue
        with errno_of(errno.ELOOP, errno.ENOTDIR):
            root.dir(path)


@pytest.mark.parametrize("path", [b"..", b"a/..", b"/etc", b"a//b", b"a/", b".", b"a\0b", b"x" * 256])
def test_an_illegal_path_is_refused(root: Root, tmp_path: Path, path: bytes) -> None:
    """What `check_path` refuses is not even tried."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    with pytest.raises(ValueError, match="illegal name"):
        root.dir(path)


@pytest.mark.parametrize("name", [b"new\nline", b"\xff\xfe", b"\x1b[31m", b"n" * 255, b" ", b"-rf"])
def test_every_name_works(root: Root, tmp_path: Path, name: bytes) -> None:
    """Names are bytes, whatever they are."""
    os.makedirs(os.path.join(os.fsencode(tmp_path / "root"), name, name))
    with root.dir(name + b"/" + name) as lease:
        assert lease.path == name + b"/" + name


@pytest.mark.parametrize(("name_bytes", "depth"), [(255, 600), (240, 17), (240, 100), (1, 2500)])
def test_paths_longer_than_the_system_takes_work(root: Root, tmp_path: Path, name_bytes: int, depth: int) -> None:
    """From the root and from a parent: 600 names of 255 bytes, 4,096 bytes in all, and pieces that end just before and after."""
    name = b"d" * name_bytes
    fd = os.open(tmp_path / "root", DIRECTORY_FLAGS)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        deeper = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
        os.close(fd)
        fd = deeper
    try:
        path = b"/".join([name] * depth)
        before = open_descriptors()
        with root.dir(path) as deep:
            assert os.path.samestat(os.fstat(deep.fd), os.fstat(fd))
        with root.dir(path[: -name_bytes - 1]) as parent, root.dir(path) as deep:
            assert os.path.samestat(os.stat(name, dir_fd=parent.fd), os.fstat(deep.fd))
        assert open_descriptors() == before + 2
        with pytest.raises(FileNotFoundError):
            root.dir(path + b"/none")
        assert open_descriptors() == before + 2
    finally:
        os.close(fd)
        subprocess.run(["rm", "-rf", tmp_path / "root"], check=True)


def test_a_closed_root_gives_no_more_leases(tmp_path: Path) -> None:
    """Closing closes what is idle at once and the rest when it is given back; then nothing is left open."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    root = Root.open(os.fsencode(tmp_path))
    root.dir(b"a").release()
    top, b = root.dir(b""), root.dir(b"b")
    root.close()
    root.close()
    assert is_open(top.fd)
    assert is_open(b.fd)
    for path in (b"", b"a", b"b"):
        with errno_of(errno.EBADF):
            root.dir(path)
    top.release()
    b.release()
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_share_a_root(root: Root, tmp_path: Path) -> None:
    """Leases of many threads, with evictions and forgetting in between, are always on the right directory, and none leaks."""
    paths = [b"%d/%d" % (first, second) for first in range(4) for second in range(4)]
    for path in paths:
        os.makedirs(os.path.join(os.fsencode(tmp_path / "root"), path))
    inodes = {path: os.stat(os.path.join(os.fsencode(tmp_path / "root"), path)).st_ino for path in paths}
    wrong: list[bytes] = []

    def work(offset: int) -> None:
        for number in range(1500):
            path = paths[(number * 7 + offset) % len(paths)]
            with root.dir(path) as lease:
                if os.fstat(lease.fd).st_ino != inodes[path]:
                    wrong.append(path)
            if number % 13 == 0:
                root.forget(path[:1])

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    before = open_descriptors()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert open_descriptors() <= before + 4
