"""Locks that end with the process."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.fs import locks
from deltasync.fs.locks import lock, nobody_else
from tests.expect import errno_of
from tests.forked import NOBODY, in_child


@pytest.fixture(params=["ofd", "flock"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file, with the locks of Linux and with those of other systems."""
    if request.param == "flock":
        monkeypatch.setattr(locks, "_SET", None)
    file = tmp_path / "file"
    file.write_bytes(b"")
    return file


def test_one_holds_it_at_a_time(path: Path) -> None:
    """A second descriptor of the same process is refused, a child too, until the first and its duplicates are closed."""
    one, other = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    assert lock(one)
    assert not lock(other)
    assert not lock(other, shared=True)
    assert not in_child(lambda: lock(os.open(path, os.O_RDWR)))
    duplicate = os.dup(one)
    os.close(one)
    assert not lock(other)
    os.close(duplicate)
    assert lock(other)
    os.close(other)


def test_shared_locks_exclude_the_other_kind_only(path: Path) -> None:
    """Two may share, with descriptors that can only read, and a writer waits for both."""
    one, other, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY), os.open(path, os.O_RDWR)
    assert lock(one, shared=True)
    assert lock(other, shared=True)
    assert not lock(writer)
    for fd in (one, other, writer):
        os.close(fd)


def test_a_lock_ends_with_its_process(path: Path) -> None:
    """What a child held is free once the child is gone, however it went."""
    assert in_child(lambda: lock(os.open(path, os.O_RDWR)))
    fd = os.open(path, os.O_RDWR)
    assert lock(fd)
    os.close(fd)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_filesystem_without_locks_is_no_obstacle(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Where no lock can be held, none can be refused."""

    def refusing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "fcntl", refusing)
    monkeypatch.setattr(fcntl, "flock", refusing)
    fd = os.open(path, os.O_RDWR)
    assert lock(fd)
    os.close(fd)


def test_a_closed_descriptor_is_an_error(path: Path) -> None:
    """A defect of the caller is not taken for a lock that somebody else holds."""
    fd = os.open(path, os.O_RDWR)
    os.close(fd)
    with errno_of(errno.EBADF):
        lock(fd)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Path, int, int]]:
    """A file of some content, open for writing and for reading."""
    file = tmp_path / "file"
    file.write_bytes(b"content")
    fds = os.open(file, os.O_RDWR | os.O_CLOEXEC), os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    yield file, *fds
    for fd in fds:
        os.close(fd)


def test_a_file_that_nobody_else_has_open(opened: tuple[Path, int, int]) -> None:
    """It is told as often as one asks; the reader can go on reading, has no child that inherits it, and the file is what it was."""
    file, fd, reader = opened
    for _ in range(2):
        assert nobody_else(fd, reader)
        assert os.pread(reader, 100, 0) == b"content"
        assert not os.get_inheritable(reader)
    assert stat.S_ISREG(os.fstat(reader).st_mode)
    with file.open("r+b"):
        assert not nobody_else(fd, reader)
    assert nobody_else(fd, reader)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_whoever_else_has_it_open_is_seen(opened: tuple[Path, int, int], flags: int) -> None:
    """Another descriptor of this process, whatever for; one of another process too."""
    file, fd, reader = opened
    other = os.open(file, flags)
    assert not nobody_else(fd, reader)
    os.close(other)
    asked, answer = os.pipe()
    child = os.fork()
    if not child:
        os.closerange(fd, reader + 1)
        os.open(file, flags)
        os.write(answer, b"open")
        signal.pause()
    assert os.read(asked, 4) == b"open"
    assert not nobody_else(fd, reader)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert nobody_else(fd, reader)
    os.close(asked)
    os.close(answer)


def test_who_opens_it_at_that_moment_does_not_end_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells the holder of a lease by a signal, which by itself would be a deadly one."""
    file = tmp_path / "file"
    file.write_bytes(b"content")
    call = fcntl.fcntl
    refused: list[int | None] = []

    def meddle(descriptor: int, command: int, argument: int = 0) -> object:
        if (command, argument) == (fcntl.F_SETLEASE, fcntl.F_UNLCK):
            try:
                os.close(os.open(file, os.O_RDONLY | os.O_NONBLOCK))
            except BlockingIOError as error:
                refused.append(error.errno)
        return call(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", meddle)
    assert in_child(lambda: (nobody_else(os.open(file, os.O_RDWR), os.open(file, os.O_RDONLY)), refused)) == (True, [errno.EWOULDBLOCK])


@pytest.mark.needs("root")
def test_a_file_of_another_user_can_not_be_told_of(tmp_path: Path) -> None:
    """Who has a descriptor of it, but is neither its owner nor root, is given no lease."""
    file = tmp_path / "file"
    file.write_bytes(b"content")
    fd = os.open(file, os.O_RDWR)
    assert in_child(lambda: nobody_else(fd, os.open("/dev/null", os.O_RDONLY)))
    assert not in_child(lambda: nobody_else(fd, os.open("/dev/null", os.O_RDONLY)), uid=NOBODY)
    os.close(fd)


def test_without_leases_nothing_is_told_and_nothing_touched(opened: tuple[Path, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """On other systems the reader stays what it was, too."""
    _, fd, reader = opened
    monkeypatch.delattr(fcntl, "F_SETLEASE")
    assert not nobody_else(fd, reader)
    with errno_of(errno.EBADF):
        os.write(reader, b"x")
