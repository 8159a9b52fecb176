"""Sharing content between files: a clone costs neither time nor room until one of the two is written to.

Source: ioctl_ficlone(2); btrfs, XFS, bcachefs, OCFS2, NFS 4.2 and others have it. Elsewhere, and off Linux, nothing is shared.
"""

from __future__ import annotations

import fcntl
import sys

__all__ = ["clone"]

_FICLONE = 0x40049409


def clone(from_fd: int, to_fd: int) -> bool:
    """Give the file `to_fd` the content of `from_fd`, shared; False, with nothing done, where that can't be.

    Args:
        from_fd: Open for reading.
        to_fd: Open for writing, on the same filesystem.
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(to_fd, _FICLONE, from_fd)
    except OSError:
        # EOPNOTSUPP, EXDEV, EINVAL, ENOTTY and more: there are as many ways to say no as filesystems.
        return False
    return True
