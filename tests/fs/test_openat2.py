"""Opening directories beneath another one, by the kernel and by the walk."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.fs import libc
from deltasync.fs.openat2 import DIRECTORY_FLAGS, Opener, available, best_opener, open_by_kernel, open_by_walk
from tests.expect import errno_of

OPENERS = list(dict.fromkeys([best_opener(), open_by_walk]))


@pytest.fixture(params=OPENERS, ids=lambda opener: opener.__name__)
def opener(request: pytest.FixtureRequest) -> Opener:
    """Each way to open that this system has."""
    chosen: Opener = request.param
    return chosen


@pytest.fixture
def base(tmp_path: Path) -> Iterator[int]:
    """A directory with `a/b/c`, a file, and symlinks that lead inside and outside."""
    (tmp_path / "base/a/b/c").mkdir(parents=True)
    (tmp_path / "base/file").write_bytes(b"")
    (tmp_path / "outside/x").mkdir(parents=True)
    (tmp_path / "base/inner").symlink_to("a")
    (tmp_path / "base/outer").symlink_to("../outside")
    (tmp_path / "base/absolute").symlink_to(tmp_path / "outside")
    fd = os.open(tmp_path / "base", DIRECTORY_FLAGS)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("path", [b"a", b"a/b", b"a/b/c"])
def test_a_directory_beneath_is_opened(opener: Opener, base: int, tmp_path: Path, path: bytes) -> None:
    """The descriptor is that of the directory, open for listing."""
    fd = opener(base, path)
    assert os.path.samestat(os.fstat(fd), os.stat(os.path.join(os.fsencode(tmp_path), b"base", path)))
    assert not os.get_inheritable(fd)
    os.listdir(fd)
    os.close(fd)


@pytest.mark.parametrize(
    "path",
    [
        b"inner",
        b"inner/b",
        b"outer",
        b"outer/x",
        b"absolute/x",
        b"file",
        b"file/x",
        b"none",
        b"a/none",
        b"..",
        b"../outside",
        b"a/../../outside",
    ],
)
def test_nothing_else_is_opened(opener: Opener, base: int, path: bytes) -> None:
    """Symlinks anywhere on the path, files, missing names and ways up are refused, each with a fitting error, and no descriptor leaks."""
    before = len(os.listdir("/proc/self/fd"))
    with errno_of(errno.ELOOP, errno.ENOTDIR, errno.ENOENT, errno.EXDEV):
        opener(base, path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.needs("root")
def test_a_mount_point_is_refused_where_one_mount_is_asked_for(opener: Opener, base: int, tmp_path: Path) -> None:
    """Another filesystem is entered as a rule, and refused with `one_mount`."""
    place = tmp_path / "base/a/b"
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        os.close(opener(base, b"a/b"))
        with errno_of(errno.EXDEV):
            opener(base, b"a/b", one_mount=True)
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_a_kernel_without_openat2_is_recognised(number: int) -> None:
    """An old kernel and a container's filter both lead to the walk."""

    def refusing(dir_fd: int, path: bytes, *, one_mount: bool = False) -> int:
        raise OSError(number, os.strerror(number))

    assert not available(refusing)


def test_another_failure_is_not_taken_for_a_lack() -> None:
    """What says nothing about the kernel is raised."""

    def failing(dir_fd: int, path: bytes, *, one_mount: bool = False) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with errno_of(errno.EMFILE):
        available(failing)


def test_the_best_way_is_chosen() -> None:
    """The kernel's way where it works, the walk elsewhere."""
    assert best_opener() is (open_by_kernel if available() else open_by_walk)


def test_without_the_c_library_each_call_says_enosys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux the module can be imported, and every call fails with ENOSYS."""
    for name in ("_call_openat2", "_call_fchmodat2", "_call_renameat2", "_call_fstatfs"):
        monkeypatch.setattr(libc, name, None)
    calls = (
        lambda: libc.openat2(0, b".", 0, 0),
        lambda: libc.fchmodat2(0, b"x", 0),
        lambda: libc.exchange(0, b"x", b"y"),
        lambda: libc.rename_new(0, b"x", 0, b"y"),
        lambda: libc.filesystem_magic(0),
    )
    for call in calls:
        with errno_of(errno.ENOSYS):
            call()
