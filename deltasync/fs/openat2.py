"""Opening a directory beneath another one, so that no symlink on the way is followed and nothing leaves: by openat2, or step by step."""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import Protocol

from deltasync.fs import libc

__all__ = ["DIRECTORY_FLAGS", "Opener", "available", "best_opener", "open_by_kernel", "open_by_walk"]

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSING_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = libc.RESOLVE_BENEATH | libc.RESOLVE_NO_SYMLINKS | libc.RESOLVE_NO_MAGICLINKS


class Opener(Protocol):
    """A way to open the real directory at `path`, 1 to 4,095 bytes of checked names, beneath `dir_fd`.

    With `one_mount`, what stands on another filesystem is refused with EXDEV; the kernel sees also where the same one is mounted again.

    Raises:
        OSError: ELOOP or ENOTDIR for a symlink or anything else that is no directory, wherever on the path; otherwise as open(2).
    """

    def __call__(self, dir_fd: int, path: bytes, *, one_mount: bool = False) -> int:
        """Return the descriptor, open for reading."""


def open_by_kernel(dir_fd: int, path: bytes, *, one_mount: bool = False) -> int:
    """The `Opener` that asks the kernel for the whole path in one call (Linux 5.6 and later)."""
    return libc.openat2(dir_fd, path, DIRECTORY_FLAGS, _RESOLVE | libc.RESOLVE_NO_XDEV if one_mount else _RESOLVE)


def open_by_walk(dir_fd: int, path: bytes, *, one_mount: bool = False) -> int:
    """The `Opener` for every POSIX system: one name at a time, each opened from the directory before it without following symlinks."""
    *passed, last = path.split(b"/")
    if b".." in passed or last == b"..":
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    here = dir_fd
    try:
        for name in passed:
            there = os.open(name, _PASSING_FLAGS, dir_fd=here)
            if here != dir_fd:
                os.close(here)
            here = there
        found = os.open(last, DIRECTORY_FLAGS, dir_fd=here)
    finally:
        if here != dir_fd:
            os.close(here)
    if one_mount and os.fstat(found).st_dev != os.fstat(dir_fd).st_dev:
        os.close(found)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return found


def available(opener: Opener = open_by_kernel) -> bool:
    """Tell whether the kernel has openat2 and lets us use it: a seccomp filter of a container answers EPERM, an old kernel ENOSYS."""
    here = os.open(b"/", DIRECTORY_FLAGS)
    try:
        os.close(opener(here, b"."))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.E2BIG, errno.EINVAL):
            return False
        raise
    finally:
        os.close(here)
    return True


@cache
def best_opener() -> Opener:
    """Return `open_by_kernel` if it works on this system, else `open_by_walk`."""
    return open_by_kernel if available() else open_by_walk
