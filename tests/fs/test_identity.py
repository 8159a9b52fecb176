"""Which state of a file is told from every other, and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.fs import identity
from deltasync.fs.identity import CLOCK_DOUBT_NS, Identity, look
from tests.expect import errno_of

SECOND = 1_000_000_000
STEPS = (1, 1_000_000, 4_000_000, 10_000_000, SECOND, 2 * SECOND)
"""Steps of clocks and filesystems, from nanoseconds to the two seconds of FAT."""


@given(
    step=st.sampled_from(STEPS), written=st.integers(0, 1 << 60), read_after=st.integers(0, 5 * SECOND), again=st.integers(0, 5 * SECOND)
)
def test_a_write_after_a_settled_read_shows(step: int, written: int, read_after: int, again: int) -> None:
    """With a clock of any step, a later write can't leave the times of a file that was settled when it was read."""
    first = written // step * step
    at = written + read_after
    later = (at + again) // step * step
    if Identity(1, 2, 3, first, first).settled(at):
        assert later != first


@pytest.mark.parametrize(
    ("mtime_ns", "ctime_ns", "at_ns", "settled"),
    [
        (1, 1, 100_000_001, False),
        (1, 1, 100_000_002, True),
        (-SECOND - 1, 1, 100_000_001, False),
        (-SECOND - 1, 1, 100_000_002, True),
        (0, 1, 2_000_000_000, False),
        (1, 0, 2_000_000_000, False),
        (0, 0, 2_100_000_000, False),
        (0, 0, 2_100_000_001, True),
        (SECOND + 1, 1, SECOND, False),
        (1, SECOND + 1, SECOND, False),
    ],
)
def test_the_newer_time_decides_and_whole_seconds_take_longer(mtime_ns: int, ctime_ns: int, at_ns: int, settled: bool) -> None:
    """A tenth of a second must have passed since both times, more than two where one of them has no fraction; a time to come never has."""
    base = 1_700_000_000 * SECOND
    assert Identity(1, 2, 3, base + mtime_ns, base + ctime_ns).settled(base + at_ns) is settled


def test_each_part_counts() -> None:
    """Another device, inode, size, mtime or ctime is another identity."""
    one = Identity(1, 2, 3, 4, 5)
    assert len({one, *(one._replace(**{field: 0}) for field in Identity._fields)}) == 6


def test_a_look_is_dated_before_it_is_taken(tmp_path: Path) -> None:
    """The clock is asked before the file, so that a write between the two counts as later."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY)

    def clock() -> int:
        path.write_bytes(b"longer")
        return 77

    seen = look(fd, clock=clock)
    os.close(fd)
    assert seen.identity.size == 6
    assert seen.at_ns == 77
    assert seen.identity == Identity.of(path.stat())


@pytest.mark.parametrize(
    ("kind", "doubt"), [("ext", 0), ("tmpfs", 0), ("nfs", CLOCK_DOUBT_NS), ("fuse", CLOCK_DOUBT_NS), ("unknown", CLOCK_DOUBT_NS)]
)
def test_the_clock_of_another_machine_is_given_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, doubt: int) -> None:
    """Where a server gives the times, or that can't be told, a look is dated a quarter of an hour back."""
    monkeypatch.setattr(identity, "filesystem", lambda fd: kind)
    fd = os.open(tmp_path, os.O_RDONLY)
    assert look(fd, clock=lambda: CLOCK_DOUBT_NS * 2).at_ns == CLOCK_DOUBT_NS * 2 - doubt
    os.close(fd)


def test_a_closed_descriptor_is_an_error() -> None:
    """A defect of the caller is not taken for a state of a file."""
    fd = os.open("/", os.O_RDONLY)
    os.close(fd)
    with errno_of(9):
        look(fd)
