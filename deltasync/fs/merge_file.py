"""Merge files read where they stand: bounded, and never through a symlink, since what is in them decides what is sent and deleted."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from deltasync.tree.names import shown

__all__ = ["MAX_FILE_BYTES", "RulesError", "read_merge_file"]

MAX_FILE_BYTES: Final = 64 << 10
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class RulesError(OSError):
    """The rules in a directory are not known, so that nothing in it may be sent or deleted."""


def read_merge_file(dir_fd: int, name: bytes) -> bytes | None:
    """Return what is in a merge file; None where no regular file stands.

    Raises:
        RulesError: It is a symlink, or too large.
        OSError: It can't be read.
    """
    try:
        fd = os.open(name, _FLAGS, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RulesError(errno.ELOOP, f"{shown(name)} is a symlink, which is not followed; put the rules in its place") from error
        if error.errno in (errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP):
            # A socket, or a device without a driver.
            return None
        raise
    with open(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        parts: list[bytes] = []
        left = MAX_FILE_BYTES + 1
        while left and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
    if not left:
        raise RulesError(errno.EFBIG, f"{shown(name)} has more than {MAX_FILE_BYTES} bytes, which is too much for a merge file")
    return b"".join(parts)
