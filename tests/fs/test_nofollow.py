"""Permission bits set without following symlinks."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deltasync.fs import libc, nofollow
from deltasync.fs.openat2 import DIRECTORY_FLAGS
from tests.expect import errno_of

Direct = Callable[[int, bytes, int], None]


def lacking(dir_fd: int, name: bytes, mode: int) -> None:
    """A kernel before 6.6."""
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), name)


def filtered(dir_fd: int, name: bytes, mode: int) -> None:
    """A container whose filter does not know the call."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM), name)


@pytest.fixture(params=[libc.fchmodat2, lacking, filtered], ids=lambda direct: direct.__name__)
def direct(request: pytest.FixtureRequest) -> Direct:
    """Each kind of kernel."""
    chosen: Direct = request.param
    return chosen


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    """A directory with one of each type that a plain user can make."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").chmod(0o600)
    fd = os.open(tmp_path, DIRECTORY_FLAGS)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("name", [b"file", b"dir", b"fifo", b"socket"])
@pytest.mark.parametrize("mode", [0o000, 0o644, 0o4755, 0o7777])
def test_every_type_gets_its_bits(dir_fd: int, direct: Direct, name: bytes, mode: int) -> None:
    """All twelve bits are set as asked for, with the kernel's call and without; nothing is opened for it, or a FIFO would hang."""
    nofollow.chmod(dir_fd, name, mode, direct=direct)
    assert stat.S_IMODE(os.stat(name, dir_fd=dir_fd).st_mode) == mode


def test_a_symlink_is_refused(dir_fd: int, direct: Direct) -> None:
    """What it points to keeps its bits."""
    with errno_of(errno.ELOOP, errno.EOPNOTSUPP):
        nofollow.chmod(dir_fd, b"link", 0o777, direct=direct)
    assert stat.S_IMODE(os.stat(b"file", dir_fd=dir_fd).st_mode) == 0o600


def test_a_missing_name_is_an_error(dir_fd: int, direct: Direct) -> None:
    """ENOENT comes through."""
    with pytest.raises(FileNotFoundError):
        nofollow.chmod(dir_fd, b"none", 0o600, direct=direct)
