"""What tells one state of a file's content from every other, and when that can be believed.

A file whose device, inode, size, mtime and ctime are what they were has the content that it had, with one exception: a write that falls
into the same step of the clock as the one before it leaves the same times. So nothing is concluded from times that were less than one step
old when the file was read. That is the "racy" rule of git (Documentation/technical/racy-git.txt there). What stays out of sight is a writer
through mmap that never closes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple, Self

from deltasync.fs.facts import filesystem

__all__ = ["CLOCK_DOUBT_NS", "COARSE_STEP_NS", "STEP_NS", "TICKS_NS", "Identity", "Look", "look"]

STEP_NS = 100_000_000
"""More than a step of any kernel's clock (4 to 10 ms), and of any filesystem's that keeps fractions of a second (exFAT: 10 ms)."""

TICKS_NS = 25_000_000
"""Two steps of such a clock and more: enough where the later time was given by the kernel and is not that of a look."""

COARSE_STEP_NS = 2_100_000_000
"""More than a step of any filesystem's that does not (FAT: 2 s; HFS+, ext3 and ext4 with small inodes: 1 s)."""

CLOCK_DOUBT_NS = 900_000_000_000
"""How far another machine's clock, and what is cached of its files, is taken to lag behind: 15 minutes."""

_SECOND_NS = 1_000_000_000
_OWN_CLOCK = {"ext", "tmpfs", "ramfs", "xfs", "btrfs", "bcachefs", "zfs", "f2fs", "overlay", "vfat", "exfat", "ntfs", "hfs", "hfs+", "udf"}
"""Filesystems whose times are given by this machine, as `filesystem` names them."""


class Identity(NamedTuple):
    """One state of a file.

    Attributes:
        device: Of its filesystem.
        inode: Its number there.
        size: Its length in bytes.
        mtime_ns: When it was written, in nanoseconds since the epoch.
        ctime_ns: When anything of it was changed; nobody can set this one.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Take the identity from what stat(2) or fstat(2) gave."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def settled(self, at_ns: int, step_ns: int = STEP_NS) -> bool:
        """Tell whether any write after `at_ns` (by the clock that gave the times) is bound to show as another identity.

        Times of whole seconds may come from a filesystem that has no others; the longer step is taken for them.

        Args:
            at_ns: When.
            step_ns: What is taken for the step of a clock that gives fractions of a second.
        """
        coarse = not self.mtime_ns % _SECOND_NS or not self.ctime_ns % _SECOND_NS
        return max(self.mtime_ns, self.ctime_ns) + (COARSE_STEP_NS if coarse else step_ns) < at_ns


class Look(NamedTuple):
    """A look at an open file, before or after it is read.

    Attributes:
        identity: What it was.
        at_ns: A moment before the look, by the clock that gives the file its times: earlier still where that is another machine's.
    """

    identity: Identity
    at_ns: int


def look(fd: int, *, clock: Callable[[], int] = time.time_ns) -> Look:
    """Look at an open file. What is read between two looks of one identity is the content of that identity, if it is settled at the first.

    Args:
        fd: The file.
        clock: Gives nanoseconds since the epoch.

    Raises:
        OSError: As fstat(2) and fstatfs(2).
    """
    at_ns = clock()
    identity = Identity.of(os.fstat(fd))
    return Look(identity, at_ns if filesystem(fd) in _OWN_CLOCK else at_ns - CLOCK_DOUBT_NS)
