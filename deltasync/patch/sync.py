"""What was written made to survive a power cut, where the user wants that.

A failed sync is never tried again: the system may have dropped what it could not write, and would call the next one a success.
Source: fsync(2), syncfs(2); R. Rebello and others, "Can Applications Recover from fsync Failures?", USENIX ATC 2020.
"""

from __future__ import annotations

import errno
import os
from functools import cache

from deltasync.fs import libc

__all__ = ["NotDurable", "sync_directory", "sync_file", "sync_filesystem", "tells_of_filesystems"]

_CANNOT = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
_TELLING = (5, 8)


class NotDurable(OSError):
    """Something can't be made to survive a power cut, so that it is not done."""


@cache
def tells_of_filesystems() -> bool:
    """Tell whether this system can sync a whole filesystem and says when that failed: Linux since 5.8."""
    if not libc.has_syncfs():
        return False
    release = os.uname().release.split(".")
    try:
        return (int(release[0]), int(release[1].split("-")[0])) >= _TELLING
    except (ValueError, IndexError):
        return False


def sync_file(fd: int) -> None:
    """Have a file survive: its content and attributes, not yet its name.

    Raises:
        NotDurable: The system could not store it.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        raise _told(error) from error


def sync_directory(fd: int) -> None:
    """Have the names in a directory survive; some network filesystems know no such thing, and order names by themselves.

    Raises:
        NotDurable: The system could not store them.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise _told(error) from error


def sync_filesystem(fd: int) -> None:
    """Have everything survive that was written to a filesystem until now; where `tells_of_filesystems`.

    Args:
        fd: Anything on it, opened before what is to be synced was written: errors from then on are told.

    Raises:
        NotDurable: The system could not store something.
    """
    try:
        libc.syncfs(fd)
    except OSError as error:
        raise _told(error) from error


def _told(error: OSError) -> NotDurable:
    return NotDurable(error.errno, f"the disk could not store it durably: {error.strerror}; check the disk")
