"""Where this installation keeps what is its own, and whether that place is safe to use.

`DELTASYNC_HOME` names it. Without it, it is the platform's directory for the state of a program: `~/Library/Application Support` on macOS,
`$XDG_STATE_HOME` or `~/.local/state` elsewhere (XDG Base Directory Specification 0.8). These two rules are the whole need, so that no
library is loaded for them in a far end that has 100 ms to start.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["check_private", "make_private", "private_file", "state_directory"]

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def state_directory(environment: Mapping[str, str] = os.environ) -> str | None:
    """Name the directory for what is remembered, as an absolute path; it need not exist.

    Returns: The directory, or None where there is none: no home, or one of another user's (`sudo` may leave root with the caller's, where
        root's files would be in the way of their owner).
    """
    if named := environment.get("DELTASYNC_HOME"):
        try:
            return os.path.abspath(named)
        except FileNotFoundError:
            # Relative to a working directory that is gone.
            return None
    if sys.platform != "darwin":
        state = environment.get("XDG_STATE_HOME", "")
        if os.path.isabs(state):
            return os.path.join(state, "deltasync")
    home = environment.get("HOME") or os.path.expanduser("~")
    try:
        if not os.path.isabs(home) or os.stat(home).st_uid != os.geteuid():
            return None
    except (OSError, ValueError):
        return None
    return os.path.join(home, *(("Library", "Application Support") if sys.platform == "darwin" else (".local", "state")), "deltasync")


def make_private(directory: str) -> None:
    """Make a directory that only this user may enter, with what is missing above it; one that exists stays as it is.

    Raises:
        OSError: It can't be made, or is not safe: see `check_private`.
    """
    missing = []
    above = directory
    while not os.path.isdir(above) and os.path.dirname(above) != above:
        missing.append(above)
        above = os.path.dirname(above)
    for path in reversed(missing):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            # Another process of this user was faster, or it is no directory, which the check will tell.
            continue
    check_private(directory)


def check_private(directory: str) -> None:
    """Refuse a directory whose files someone else could exchange.

    Raises:
        OSError: It can't be looked at, is no directory, belongs to someone else, or others may write there.
    """
    status = os.stat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is no directory", directory)
    _check_owner(status, directory)


def _check_owner(status: os.stat_result, path: str) -> None:
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to another user", path)
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise PermissionError(errno.EPERM, "others may write to it", path)


def private_file(path: str, *, create: bool) -> bool:
    """Make sure that a file is this user's alone, or that it is not there.

    An existing file is never opened for that: closing a descriptor drops every lock that this process holds on the file by fcntl(2).

    Args:
        path: The file, in a directory that was checked.
        create: Whether it is made, empty, where it is missing.

    Returns: Whether it is there.

    Raises:
        OSError: It can't be made or looked at, is no regular file, belongs to someone else, or others may write to it.
    """
    if create:
        # Where it exists, as any name that is there, this touches nothing.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", path)
    _check_owner(status, path)
    if stat.S_IMODE(status.st_mode) & 0o077:
        os.chmod(path, 0o600)
    return True
