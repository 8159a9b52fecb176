"""Owner, group, permission bits and modification time of an entry: set in the one order that keeps them, and never through a symlink.

The owner comes first, because a change of owner clears the set-id bits; the time comes last. What the system does not permit is no error
here: it is returned, so that the content still gets its place and the caller decides what to report.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from enum import IntFlag
from typing import Final, NamedTuple

from deltasync.fs import nofollow

__all__ = ["NOTHING_LOST", "Attributes", "Lost", "apply_at", "apply_fd"]

_NOT_PERMITTED = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_SUCH_OWNER = (*_NOT_PERMITTED, errno.EINVAL)
"""Inside a user namespace, a number that has no counterpart outside is answered with EINVAL."""


class Attributes(NamedTuple):
    """What an entry shall have; None leaves it as it is.

    Attributes:
        mode: Permission bits, set-id and sticky bits included, 0..0o7777.
        mtime_ns: Modification time, nanoseconds since the epoch (may be negative).
        uid: Owner, by the numbers of this side.
        gid: Group, by the numbers of this side.
    """

    mode: int | None = None
    mtime_ns: int | None = None
    uid: int | None = None
    gid: int | None = None


class Lost(IntFlag):
    """What the system did not permit to be set, and what stays as it was."""

    OWNER = 1
    """Of a mode that was asked for, the set-user-id bit is left out."""
    GROUP = 2
    """Of a mode that was asked for, the set-group-id bit is left out, but for a directory, where it gives no right."""
    MODE = 4
    TIMES = 8


NOTHING_LOST: Final = Lost(0)


def apply_fd(fd: int, attributes: Attributes, kind: int = stat.S_IFREG) -> Lost:
    """Set the attributes of an open file or directory; returns what could not be kept.

    Args:
        fd: Its descriptor, not one opened with O_PATH.
        attributes: What to set. The access time becomes now where a modification time is set.
        kind: Its type, as `stat.S_IFMT` gives it.

    Raises:
        OSError: For any other reason than that it is not permitted.
    """
    mode, mtime_ns, uid, gid = attributes
    lost = NOTHING_LOST
    if uid is not None or gid is not None:
        lost = _own(lambda owner, group: os.fchown(fd, owner, group), uid, gid)
    if mode is not None:
        try:
            os.fchmod(fd, _permitted(mode, lost, kind) if lost else mode)
        except OSError as error:
            lost |= _lost(error, Lost.MODE)
    if mtime_ns is not None:
        try:
            os.utime(fd, ns=(time.time_ns(), mtime_ns))
        except OSError as error:
            lost |= _lost(error, Lost.TIMES)
    return lost


def apply_at(dir_fd: int, name: bytes, attributes: Attributes, kind: int) -> Lost:
    """Set the attributes of a name in an open directory, of a symlink its own; returns what could not be kept.

    Nothing is opened for it but by O_PATH. The mode of a symlink, which has none, is left alone.

    Args:
        dir_fd: The directory.
        name: One name in it.
        attributes: What to set. The access time becomes now where a modification time is set.
        kind: Its type, as `stat.S_IFMT` gives it.

    Raises:
        OSError: For any other reason than that it is not permitted.
    """
    mode, mtime_ns, uid, gid = attributes
    lost = NOTHING_LOST
    if uid is not None or gid is not None:
        lost = _own(lambda owner, group: os.chown(name, owner, group, dir_fd=dir_fd, follow_symlinks=False), uid, gid)
    if mode is not None and kind != stat.S_IFLNK:
        try:
            nofollow.chmod(dir_fd, name, _permitted(mode, lost, kind) if lost else mode)
        except OSError as error:
            # EOPNOTSUPP says that a symlink has come in place of what the caller saw: that is an attack or a race, not a lack of rights.
            if error.errno == errno.EOPNOTSUPP:
                raise
            lost |= _lost(error, Lost.MODE)
    if mtime_ns is not None:
        try:
            os.utime(name, ns=(time.time_ns(), mtime_ns), dir_fd=dir_fd, follow_symlinks=False)
        except OSError as error:
            lost |= _lost(error, Lost.TIMES)
    return lost


def _own(change: Callable[[int, int], None], uid: int | None, gid: int | None) -> Lost:
    """Change owner and group at once, or what of them is permitted."""
    owner, group = -1 if uid is None else uid, -1 if gid is None else gid
    try:
        change(owner, group)
    except OSError as error:
        both = uid is not None and gid is not None
        if not both:
            return _lost(error, Lost.GROUP if uid is None else Lost.OWNER, _NO_SUCH_OWNER)
        _lost(error, Lost.OWNER, _NO_SUCH_OWNER)
    else:
        return NOTHING_LOST
    return _own(change, None, gid) | _own(change, uid, None)


def _permitted(mode: int, lost: Lost, kind: int) -> int:
    """Leave out the set-id bits that would lend the rights of somebody else than meant."""
    if lost & Lost.OWNER:
        mode &= ~stat.S_ISUID
    if lost & Lost.GROUP and kind != stat.S_IFDIR:
        mode &= ~stat.S_ISGID
    return mode


def _lost(error: OSError, what: Lost, not_permitted: tuple[int, ...] = _NOT_PERMITTED) -> Lost:
    if error.errno not in not_permitted:
        raise error
    return what
