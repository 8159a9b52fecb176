"""What is found out about filesystems."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.fs import facts, libc
from deltasync.fs.facts import Rounding, Sample, TimeGranularity, explain, filesystem, probe_times
from deltasync.fs.openat2 import DIRECTORY_FLAGS
from tests.expect import errno_of

SECOND = 1_000_000_000
TIME = 1_700_000_000_123_456_789
ROUNDINGS = [Rounding(step, way) for step in (100, 1_000, 1_000_000, 10_000_000, SECOND, 2 * SECOND) for way in ("down", "nearest", "up")]


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    """An empty directory."""
    fd = os.open(tmp_path, DIRECTORY_FLAGS)
    yield fd
    os.close(fd)


class Keeping:
    """A filesystem that keeps times by a rounding, and counts how often it is asked."""

    def __init__(self, rounding: Rounding) -> None:
        self.rounding = rounding
        self.probes = 0

    def __call__(self, dir_fd: int, may_write: bool) -> list[Sample]:
        """Try the times of the real probe."""
        self.probes += 1
        return [(wanted, self.rounding.kept(wanted)) for wanted in facts._TRIED_NS]


def without_nameless_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let O_TMPFILE be refused, as vfat and NFS do."""
    real = os.open

    def refusing(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refusing)


@pytest.mark.parametrize(
    ("rounding", "time_ns", "kept_ns"),
    [
        (Rounding(SECOND), 1_999_999_999, SECOND),
        (Rounding(SECOND), -1, -SECOND),
        (Rounding(SECOND, "nearest"), 1_499_999_999, SECOND),
        (Rounding(SECOND, "nearest"), 1_500_000_000, 2 * SECOND),
        (Rounding(SECOND, "up"), 1_000_000_001, 2 * SECOND),
        (Rounding(2 * SECOND), 3 * SECOND, 2 * SECOND),
        (Rounding(1), 1_999_999_999, 1_999_999_999),
    ],
)
def test_a_rounding_keeps_multiples(rounding: Rounding, time_ns: int, kept_ns: int) -> None:
    """Down, up and to the nearest, before the epoch too."""
    assert rounding.kept(time_ns) == kept_ns


@pytest.mark.parametrize("rounding", [Rounding(1), *ROUNDINGS])
def test_the_times_that_are_tried_tell_every_rounding(rounding: Rounding) -> None:
    """No two roundings keep the tried times alike."""
    assert explain(Keeping(rounding)(0, may_write=False)) == rounding


def test_what_no_rounding_explains_is_taken_for_exact() -> None:
    """A filesystem that keeps something else is never believed to have kept the time."""
    assert explain([(TIME, 0)]) == Rounding(1)


@given(st.integers(-(2**62), 2**62), st.integers(-(2**32), 2**32), st.sampled_from([Rounding(1), *ROUNDINGS]))
def test_same_says_what_the_filesystem_would_keep(wanted_ns: int, difference_ns: int, rounding: Rounding) -> None:
    """Two times are the same exactly when they are equal, or the one is what is kept of the other."""
    granularity = TimeGranularity(may_write=False, probe=Keeping(rounding))
    here = os.open("/", DIRECTORY_FLAGS)
    try:
        assert granularity.same(wanted_ns, wanted_ns, here)
        assert granularity.same(wanted_ns, rounding.kept(wanted_ns), here)
        other_ns = wanted_ns + difference_ns
        assert granularity.same(wanted_ns, other_ns, here) == (other_ns in (wanted_ns, rounding.kept(wanted_ns)))
    finally:
        os.close(here)


def test_a_device_is_probed_once_and_only_when_it_matters(dir_fd: int) -> None:
    """Equal times, and times that no step could make equal, need no probe; after the first the answer is known."""
    probe = Keeping(Rounding(SECOND))
    granularity = TimeGranularity(may_write=False, probe=probe)
    assert granularity.same(TIME, TIME, dir_fd)
    assert not granularity.same(TIME, TIME + 1, dir_fd)
    assert not granularity.same(TIME, TIME - TIME % SECOND + 10 * SECOND, dir_fd)
    assert probe.probes == 0
    assert granularity.same(TIME, TIME - TIME % SECOND, dir_fd)
    assert not granularity.same(TIME, TIME - TIME % 100, dir_fd)
    assert granularity.same(TIME + 5, TIME - TIME % SECOND, dir_fd)
    assert probe.probes == 1


def test_a_probe_that_could_not_try_is_repeated(dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of the type counts until a directory lets itself be tried."""
    monkeypatch.setattr(facts, "filesystem", lambda _: "vfat")
    answers: list[list[Sample]] = [[], [(TIME, TIME)]]
    granularity = TimeGranularity(may_write=False, probe=lambda _fd, _may_write: answers.pop(0))
    coarse = TIME // (2 * SECOND) * 2 * SECOND
    assert granularity.same(TIME, coarse, dir_fd)
    assert not granularity.same(TIME, coarse, dir_fd)
    assert answers == []


def test_the_probe_leaves_no_trace(dir_fd: int, tmp_path: Path) -> None:
    """On a filesystem with nameless files nothing is seen of it: not in the directory, and not in its times."""
    before = os.fstat(dir_fd)
    samples = probe_times(dir_fd, may_write=False)
    after = os.fstat(dir_fd)
    assert [wanted for wanted, _ in samples] == list(facts._TRIED_NS)
    assert os.listdir(dir_fd) == []
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_a_named_probe_is_made_only_where_writing_is_allowed(dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nameless files a dry run tries nothing; another run makes a file, removes it, and gives the directory its times back."""
    without_nameless_files(monkeypatch)
    os.utime(dir_fd, ns=(1, 2))
    before = os.fstat(dir_fd)
    assert probe_times(dir_fd, may_write=False) == []
    assert os.fstat(dir_fd) == before
    assert len(probe_times(dir_fd, may_write=True)) == len(facts._TRIED_NS)
    assert os.listdir(dir_fd) == []
    assert os.fstat(dir_fd).st_mtime_ns == 2


def test_where_nothing_can_be_tried_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is gone stands for one that can't be written."""
    (tmp_path / "gone").mkdir()
    fd = os.open(tmp_path / "gone", DIRECTORY_FLAGS)
    (tmp_path / "gone").rmdir()
    assert probe_times(fd, may_write=True) == []
    os.close(fd)


def test_known_filesystems_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a known type, the number of another, and `unknown` where the system can't say."""
    fd = os.open("/proc", DIRECTORY_FLAGS)
    assert filesystem(fd) == "0x9fa0"
    monkeypatch.setattr(libc, "filesystem_magic", lambda _: 0x01021994)
    assert filesystem(fd) == "tmpfs"
    monkeypatch.setattr(libc, "_call_fstatfs", None)
    monkeypatch.undo()
    monkeypatch.setattr(libc, "_call_fstatfs", None)
    assert filesystem(fd) == "unknown"
    os.close(fd)
    monkeypatch.undo()
    with errno_of(errno.EBADF):
        filesystem(fd)


@pytest.mark.needs("root", "mkfs.ext4")
def test_a_real_filesystem_of_whole_seconds(tmp_path: Path) -> None:
    """ext4 with inodes of 128 bytes keeps seconds: that is found out, without a trace, and counts for the quick check."""
    image, place = tmp_path / "image", tmp_path / "place"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-I", "128", image], check=True, stderr=subprocess.DEVNULL)
    if subprocess.run(["mount", "-o", "loop", image, place], check=False, capture_output=True).returncode:
        pytest.skip("needs loop devices")
    fd = os.open(place, DIRECTORY_FLAGS)
    try:
        before = os.fstat(fd)
        granularity = TimeGranularity(may_write=False)
        assert filesystem(fd) == "ext"
        assert granularity.rounding(fd) == Rounding(SECOND)
        after = os.fstat(fd)
        assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
        (place / "file").write_bytes(b"")
        os.utime(place / "file", ns=(TIME, TIME))
        assert granularity.same(TIME, (place / "file").stat().st_mtime_ns, fd)
        assert not granularity.same(TIME + SECOND, (place / "file").stat().st_mtime_ns, fd)
    finally:
        os.close(fd)
        subprocess.run(["umount", place], check=True)
