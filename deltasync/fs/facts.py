"""What is true of the filesystem beneath a descriptor: its type, and how finely it keeps modification times."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal, NamedTuple

from deltasync.fs import libc
from deltasync.tree.names import RESERVED_PREFIX

__all__ = ["Rounding", "Sample", "TimeGranularity", "explain", "filesystem", "is_known", "momentary_file", "probe_times"]

_NAMES = {
    0xEF53: "ext",
    0x01021994: "tmpfs",
    0x858458F6: "ramfs",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0xCA451A4E: "bcachefs",
    0x2FC12FC1: "zfs",
    0xF2F52010: "f2fs",
    0x794C7630: "overlay",
    0x6969: "nfs",
    0x517B: "smb",
    0xFF534D42: "smb",
    0xFE534D42: "smb",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x5346414F: "afs",
    0x65735546: "fuse",
    0x4D44: "vfat",
    0x2011BAB0: "exfat",
    0x5346544E: "ntfs",
    0x7366746E: "ntfs",
    0x4244: "hfs",
    0x482B: "hfs+",
    0x15013346: "udf",
    0x9660: "iso9660",
    0x73717368: "squashfs",
}
"""Type numbers by name, from statfs(2) and linux/magic.h."""

_SECOND = 1_000_000_000


class Rounding(NamedTuple):
    """How a filesystem keeps a time: as a multiple of `step_ns`, 1 and up, the next one `down`, `up`, or the `nearest`."""

    step_ns: int
    way: Literal["down", "nearest", "up"] = "down"

    def kept(self, time_ns: int) -> int:
        """Return what is kept of a time, both in nanoseconds since the epoch."""
        added = {"down": 0, "nearest": self.step_ns // 2, "up": self.step_ns - 1}[self.way]
        return (time_ns + added) // self.step_ns * self.step_ns


Sample = tuple[int, int]
"""A modification time that was set, and what the filesystem kept of it, both in nanoseconds since the epoch."""

_EXACT = Rounding(1)
_STEPS_NS = (1, 100, 1_000, 1_000_000, 10_000_000, _SECOND, 2 * _SECOND)
_CANDIDATES = (*(Rounding(step, way) for step in _STEPS_NS[1:] for way in ("down", "nearest", "up")),)
_KNOWN = {
    "vfat": Rounding(2 * _SECOND),
    "exfat": Rounding(10_000_000),
    "ntfs": Rounding(100),
    "smb": Rounding(100),
    "hfs": Rounding(_SECOND),
    "hfs+": Rounding(_SECOND),
    "udf": Rounding(1_000),
}
"""For filesystems on which nothing may be tried."""

# Odd and even seconds, fractions below and above the half, and no digit that a coarser step would leave as it is.
_TRIED_NS = (1_500_000_001_987_654_321, 1_500_000_002_123_456_789, 1_500_000_003_412_345_678, 1_500_000_004_876_543_219)

_probe_numbers = itertools.count()


def filesystem(fd: int) -> str:
    """Name the type of the filesystem that `fd` is on: `ext`, `tmpfs`, `nfs`, ...; its number in hexadecimal, or `unknown`, otherwise.

    Raises:
        OSError: As fstatfs(2).
    """
    try:
        magic = libc.filesystem_magic(fd)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return "unknown"
    return _NAMES.get(magic, f"{magic:#x}")


def is_known(fd: int) -> bool:
    """Tell whether `filesystem` has a name for the type of the filesystem that `fd` is on.

    Raises:
        OSError: As fstatfs(2).
    """
    return filesystem(fd) in _NAMES.values()


def explain(samples: Iterable[Sample]) -> Rounding:
    """Find the finest rounding that explains every sample; where none does, times are taken to be kept exactly."""
    seen = list(samples)
    return next((rounding for rounding in _CANDIDATES if all(rounding.kept(wanted) == kept for wanted, kept in seen)), _EXACT)


class TimeGranularity:
    """How finely modification times are kept, found out once for each device when it first matters. Threads may share it.

    Args:
        may_write: Whether, where a nameless file is not to be had, a named one may be made for a moment. A dry run may not.
        probe: Tries times in a directory; see `probe_times`.
    """

    def __init__(self, *, may_write: bool, probe: Callable[[int, bool], list[Sample]] | None = None) -> None:
        self._may_write = may_write
        self._probe = probe or probe_times
        self._lock = threading.Lock()
        self._by_device: dict[int, Rounding] = {}

    def same(self, wanted_ns: int, kept_ns: int, dir_fd: int) -> bool:
        """Tell whether a file that should have the time `wanted_ns` has it, as finely as the filesystem of `dir_fd` can keep it.

        Args:
            wanted_ns: The modification time at the source.
            kept_ns: What the file in the directory shows.
            dir_fd: The directory, open for reading.

        Raises:
            OSError: The directory can't be looked at.
        """
        if wanted_ns == kept_ns:
            return True
        if all(rounding.kept(wanted_ns) != kept_ns for rounding in _CANDIDATES):
            return False
        return self.rounding(dir_fd).kept(wanted_ns) == kept_ns

    def rounding(self, dir_fd: int) -> Rounding:
        """Find out how times are kept in the directory.

        Raises:
            OSError: The directory can't be looked at.
        """
        device = os.fstat(dir_fd).st_dev
        with self._lock:
            found = self._by_device.get(device)
            if found is None:
                samples = self._probe(dir_fd, self._may_write)
                if not samples:
                    # Another directory of the device may be writable: nothing is remembered.
                    return _KNOWN.get(filesystem(dir_fd), _EXACT)
                found = self._by_device[device] = explain(samples)
            return found


def probe_times(dir_fd: int, may_write: bool) -> list[Sample]:
    """Try times on a file that is nowhere to be seen, or, if that can't be and `may_write`, on a named one that is removed at once.

    The directory's own times stay as they were. Nothing is returned where neither can be made.
    """
    try:
        fd = os.open(b".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=dir_fd) if hasattr(os, "O_TMPFILE") else None
    except OSError:
        # Which errors a filesystem without O_TMPFILE answers differs; whatever it was, the named file meets it again if it matters.
        fd = None
    if fd is None:
        return _probe_by_name(dir_fd) if may_write else []
    try:
        return list(_tried(fd))
    except OSError:
        return []
    finally:
        os.close(fd)


def _tried(fd: int) -> Iterator[Sample]:
    for wanted_ns in _TRIED_NS:
        os.utime(fd, ns=(wanted_ns, wanted_ns))
        yield wanted_ns, os.fstat(fd).st_mtime_ns


def _probe_by_name(dir_fd: int) -> list[Sample]:
    try:
        with momentary_file(dir_fd) as fd:
            return list(_tried(fd))
    except OSError:
        return []


@contextmanager
def momentary_file(dir_fd: int) -> Iterator[int]:
    """Make a file of a reserved name in a directory, give its descriptor, and remove it; the directory's times are what they were.

    Raises:
        OSError: No file can be made there.
    """
    name = b"%st%x-%x" % (RESERVED_PREFIX, os.getpid(), next(_probe_numbers))
    before = os.fstat(dir_fd)
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)
        with suppress(OSError):
            os.unlink(name, dir_fd=dir_fd)
            os.utime(dir_fd, ns=(before.st_atime_ns, before.st_mtime_ns))
