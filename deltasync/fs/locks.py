"""Locks on open files that end with the process, however it ends, and that hold between two descriptors of one process too.

On Linux these are open-file-description locks (fcntl(2), F_OFD_SETLK), elsewhere flock(2). They are advisory and never waited for.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

__all__ = ["lock", "nobody_else"]

_SET = getattr(fcntl, "F_OFD_SETLK", None)
_FLOCK = struct.Struct("@hhqqi0q")
"""`struct flock`: type, whence, start, length (0: to the end), process (0, as the kernel demands)."""


def lock(fd: int, *, shared: bool = False) -> bool:
    """Lock the whole file until `fd` and its duplicates are closed; False when someone else's lock forbids it.

    Where the filesystem knows no locks nothing is held, and the answer is True. A shared lock needs a readable descriptor, the other a
    writable one.

    Raises:
        OSError: As fcntl(2), EBADF above all.
    """
    try:
        if _SET is None:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            fcntl.fcntl(fd, _SET, _FLOCK.pack(fcntl.F_RDLCK if shared else fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
    return True


def nobody_else(fd: int, reader: int) -> bool:
    """Tell whether nobody has a file open but by `fd`, which may write, and `reader`, which may not; False where that can't be told.

    A write lease is granted only then (fcntl(2), F_SETLEASE, Linux); `reader` would stand in its way and becomes a duplicate of `fd`.

    Raises:
        OSError: The descriptor can't be duplicated.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    os.dup2(fd, reader, inheritable=False)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        # EAGAIN: somebody has it open; EACCES: it is another user's; EINVAL: this filesystem has no leases.
        return False
    return True
