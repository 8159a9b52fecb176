"""Locks on open files that end with the process, however it ends, and that hold between two descriptors of one process too; leases.

On Linux locks are open-file-description locks (fcntl(2), F_OFD_SETLK), elsewhere flock(2). They are advisory and never waited for.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
from contextlib import suppress

__all__ = ["lease", "lock", "lock_directory", "nobody_else", "release"]

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


def lock_directory(fd: int) -> bool:
    """Lock a directory until `fd` and its duplicates are closed; False when someone else's lock forbids it, see also `lock`.

    Always by flock(2): the other kind wants a descriptor that may write, which a directory never has.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # NFS turns it into the other kind, and then refuses; without locks nothing is held.
        return error.errno != errno.EWOULDBLOCK
    return True


def lease(fd: int) -> bool:
    """Take a write lease on a file: nobody else has it open, and who opens it from now on waits until `release`, at most a minute or so.

    `fd` must be open for writing, and the only descriptor of the file but for its duplicates. False where that is not so, the file is
    another user's, or the filesystem has no leases (fcntl(2), F_SETLEASE, Linux).
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        # Whoever waits makes the system send a signal, which would end this process if it were not one that is passed over by itself.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        # EAGAIN: somebody has it open; EACCES: it is another user's; EINVAL: this filesystem has no leases.
        return False
    return True


def release(fd: int) -> None:
    """Give a lease back; whoever waits goes on."""
    # It may have been taken away because it was held for too long.
    with suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def nobody_else(fd: int, reader: int) -> bool:
    """Tell whether nobody has a file open but by `fd`, which may write, and `reader`, which may not; False where that can't be told.

    `reader` would stand in the way of a lease, and becomes a duplicate of `fd`.

    Raises:
        OSError: The descriptor can't be duplicated.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    os.dup2(fd, reader, inheritable=False)
    alone = lease(fd)
    if alone:
        release(fd)
    return alone
