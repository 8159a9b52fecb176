"""Directories, symlinks, specials and hard links in their places; a non-directory that stands there is replaced.

What is new is made directly, which is one step anyway. Over something, it is made under a staged name and renamed, so that the name
never stands for nothing. Nothing is followed, and a directory is never replaced: that raises IsADirectoryError.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from deltasync.fs import libc
from deltasync.patch.attributes import Attributes, Lost, apply_at
from deltasync.patch.leftovers import unique_name

__all__ = ["make_directory", "make_link", "make_special", "make_symlink"]

_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)


def make_directory(dir_fd: int, name: bytes, *, exchange: Callable[[int, bytes, bytes], None] = libc.exchange) -> bool:
    """Make an empty directory, 0700; False if a real directory is there already.

    Args:
        dir_fd: The directory to make it in.
        name: One name in it.
        exchange: Lets two names change places. Where that can't be had, what is replaced is removed first.

    Raises:
        OSError: As mkdir(2).
    """
    try:
        os.mkdir(name, 0o700, dir_fd=dir_fd)
    except FileExistsError:
        if stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
            return False
    else:
        return True
    staged = unique_name()
    os.mkdir(staged, 0o700, dir_fd=dir_fd)
    try:
        exchange(dir_fd, staged, name)
    except OSError as error:
        os.rmdir(staged, dir_fd=dir_fd)
        if error.errno not in _NO_EXCHANGE:
            raise
        os.unlink(name, dir_fd=dir_fd)
        os.mkdir(name, 0o700, dir_fd=dir_fd)
        return True
    try:
        os.unlink(staged, dir_fd=dir_fd)
    except OSError:
        # Someone put a directory in the place after it was looked at; it goes back.
        exchange(dir_fd, staged, name)
        try:
            os.rmdir(staged, dir_fd=dir_fd)
        except NotADirectoryError:
            # Meanwhile someone put something else in the place, which no longer has one.
            os.unlink(staged, dir_fd=dir_fd)
        raise
    return True


def make_symlink(dir_fd: int, name: bytes, target: bytes, attributes: Attributes) -> Lost:
    """Make a symlink with its own attributes; returns which of them could not be kept.

    Raises:
        IsADirectoryError: A directory has the name.
        OSError: As symlink(2).
    """
    return _make(dir_fd, name, lambda place: os.symlink(target, place, dir_fd=dir_fd), attributes, stat.S_IFLNK)


def make_special(dir_fd: int, name: bytes, mode: int, rdev: int, attributes: Attributes) -> Lost:
    """Make a FIFO, socket or device node; returns which attributes could not be kept.

    Args:
        dir_fd: The directory.
        name: One name in it.
        mode: Its type, one of `stat.S_IFIFO`, `S_IFSOCK`, `S_IFCHR`, `S_IFBLK`; permission bits in it are ignored.
        rdev: Device number of a device, else 0.
        attributes: What it shall have; without a mode it gets 0600.

    Raises:
        IsADirectoryError: A directory has the name.
        ValueError: `mode` is of no special.
        OSError: As mknod(2): EPERM for a device where the user may not.
    """
    kind = stat.S_IFMT(mode)
    if kind not in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
        raise ValueError(f"mode {mode:o} is of no special")
    return _make(dir_fd, name, lambda place: os.mknod(place, kind | 0o600, rdev, dir_fd=dir_fd), attributes, kind)


def make_link(leader_dir_fd: int, leader_name: bytes, dir_fd: int, name: bytes) -> None:
    """Make `name` a hard link of the leader, of a symlink itself when the leader is one.

    Raises:
        IsADirectoryError: A directory has the name.
        OSError: As link(2): EXDEV, EMLINK, EPERM.
    """

    def make(place: bytes) -> None:
        os.link(leader_name, place, src_dir_fd=leader_dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

    _make(dir_fd, name, make, Attributes(), stat.S_IFREG)


def _make(dir_fd: int, name: bytes, make: Callable[[bytes], None], attributes: Attributes, kind: int) -> Lost:
    try:
        make(name)
    except FileExistsError:
        pass
    else:
        return apply_at(dir_fd, name, attributes, kind)
    staged = unique_name()
    make(staged)
    try:
        lost = apply_at(dir_fd, staged, attributes, kind)
        os.rename(staged, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    finally:
        # A rename onto another link of the same file does nothing (rename(2)); after any other that succeeded the name is gone.
        with suppress(OSError):
            os.unlink(staged, dir_fd=dir_fd)
    return lost
