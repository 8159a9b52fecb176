"""Setting permission bits of a name without ever following a symlink, which chmod(2) itself can't."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from deltasync.fs import libc

__all__ = ["chmod"]

_O_PATH = getattr(os, "O_PATH", None)


def chmod(dir_fd: int, name: bytes, mode: int, *, direct: Callable[[int, bytes, int], None] = libc.fchmodat2) -> None:
    """Set the permission bits of `name` in the directory; devices, FIFOs and sockets are not opened for it.

    Args:
        dir_fd: The directory.
        name: One name in it.
        mode: Permission bits, 0..0o7777.
        direct: The system call that does just this, on kernels that have it.

    Raises:
        OSError: ELOOP or EOPNOTSUPP: it is a symlink; otherwise as chmod(2).
    """
    try:
        direct(dir_fd, name, mode)
    except OSError as error:
        # A container's filter may answer EPERM to a call that it does not know; if the EPERM is about the file, the other way meets it too.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    else:
        return
    if _O_PATH is None:
        os.chmod(name, mode, dir_fd=dir_fd, follow_symlinks=False)
    else:
        _chmod_by_descriptor(dir_fd, name, mode, _O_PATH)


def _chmod_by_descriptor(dir_fd: int, name: bytes, mode: int, o_path: int) -> None:
    fd = os.open(name, o_path | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)
