"""Locks that end with the process."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from deltasync.fs import locks
from deltasync.fs.locks import lock
from tests.expect import errno_of
from tests.forked import in_child


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
