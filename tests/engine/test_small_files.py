"""Small files that come in numbers: in order, by a thread once they are many, and never more of them waiting than there may be."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.engine import small_files as module
from deltasync.engine.pool import Pool
from deltasync.engine.small_files import AT_ONCE_FILES, MAX_WAITING, Batch, SmallFiles
from deltasync.engine.streams import Expected
from deltasync.patch.attributes import Attributes, Lost
from deltasync.patch.small import SmallFile
from deltasync.tree.entry import Entry


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool whose wake nobody needs."""
    made = Pool(2, lambda: None)
    yield made
    made.close()


def batch(first: int, count: int) -> Batch:
    """Files whose names are numbers, and whose contents are their names."""
    names = [b"%d" % number for number in range(first, first + count)]
    attributes = Attributes(0o644, 10**18)
    return [(Expected(b"", Entry(name, 0o100644, len(name), 0, 0, 0), None), SmallFile(name, name, attributes)) for name in names]


def test_all_are_told_in_order(tmp_path: Path, pool: Pool) -> None:
    """Whether at once or by the thread, each file is told once, after it is in its place; the directory may be closed meanwhile."""
    small = SmallFiles(pool)
    told: list[bytes] = []
    count = AT_ONCE_FILES // 100 + 3 * MAX_WAITING
    for number in range(count):
        fd = os.open(tmp_path, os.O_RDONLY)
        for expected, result in small.put(fd, batch(100 * number, 100)):
            assert isinstance(result, Lost)
            assert (tmp_path / os.fsdecode(expected.entry.name)).read_bytes() == expected.entry.name
            told.append(expected.entry.name)
        os.close(fd)
    while small.busy:
        told += [expected.entry.name for expected, _ in small.results()]
    assert told == [b"%d" % number for number in range(100 * count)]
    small.close()


def test_a_file_that_fails_is_told_with_its_error(tmp_path: Path, pool: Pool) -> None:
    """The others are in their places."""
    (tmp_path / "1").mkdir()
    fd = os.open(tmp_path, os.O_RDONLY)
    results = [result for _, result in SmallFiles(pool).put(fd, batch(0, 3))]
    os.close(fd)
    assert [isinstance(result, OSError) for result in results] == [False, True, False]
    assert (tmp_path / "2").read_bytes() == b"2"


def test_no_more_wait_than_may(tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is slow, whoever brings more waits; what is given up then is not done, and no descriptor is left."""
    monkeypatch.setattr(module, "AT_ONCE_FILES", 0)
    slow, begun = threading.Event(), threading.Semaphore(0)

    def put(_dir_fd: int, files: list[SmallFile]) -> list[Lost]:
        begun.release()
        slow.wait()
        return [Lost(0) for _ in files]

    monkeypatch.setattr(module, "put_together", put)
    before = len(os.listdir("/dev/fd"))
    small = SmallFiles(pool)
    fd = os.open(tmp_path, os.O_RDONLY)
    for number in range(MAX_WAITING):
        assert not list(small.put(fd, batch(number, 1)))
    begun.acquire()
    threading.Timer(0.05, slow.set).start()
    # The next has to wait for the first, and brings word of it.
    assert [expected.entry.name for expected, _ in small.put(fd, batch(MAX_WAITING, 1))][:1] == [b"0"]
    small.close()
    os.close(fd)
    assert not small.busy
    assert len(os.listdir("/dev/fd")) == before
