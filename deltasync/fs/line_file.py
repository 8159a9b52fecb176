"""A small text file of this installation that people may edit too: read whole, and replaced whole by one process at a time.

A change is made under a lock beside the files, into a file of its own that is made durable and then takes the name. So a reader sees
the old lines or the new, and two changes at the same time are made one after the other.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from typing import NamedTuple

from deltasync.errors import StateError
from deltasync.fs.home import make_private
from deltasync.fs.locks import lock
from deltasync.tree.names import shown

__all__ = ["LineFile", "Stamp", "private_text"]

MAX_BYTES = 4 << 20
"""Far more than anybody lists; a larger file is a mistake."""

LOCK_WAIT_S = 5.0
_LOOK_EVERY_S = 0.02
_LOCK_NAME = ".lock"


class Stamp(NamedTuple):
    """What tells one state of a file from another without reading it."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def private_text(path: str, *, forbidden: int) -> str:
    """Read a file that must be this user's own, and that no symlink may stand for.

    Args:
        path: Where it is.
        forbidden: The permission bits that it may not have.

    Raises:
        FileNotFoundError: It is not there.
        StateError: It can't be read, is no regular file, belongs to another user, or others may do with it what they must not.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "it is a symlink; put the file itself there" if error.errno in (errno.ELOOP, errno.EMLINK) else error.strerror
        raise StateError(f"{shown(path)} can't be used: {why}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise StateError(f"{shown(path)} can't be used: it is no regular file")
        if status.st_uid != os.geteuid():
            raise StateError(f"{shown(path)} can't be used: it belongs to another user")
        if stat.S_IMODE(status.st_mode) & forbidden:
            raise StateError(f"{shown(path)} can't be used: others have access to it; chmod 600 it, if nobody has used it yet")
        if status.st_size > MAX_BYTES:
            raise StateError(f"{shown(path)} can't be used: it is larger than {MAX_BYTES >> 20} MiB")
        data = os.read(fd, MAX_BYTES)
    except OSError as error:
        raise StateError(f"{shown(path)} can't be read: {error.strerror}") from error
    finally:
        os.close(fd)
    return data.decode("utf-8", "backslashreplace")


class LineFile:
    """One such file.

    Args:
        directory: The directory of this installation; made when something is written.
        name: The file's name in it.
    """

    def __init__(self, directory: str, name: str) -> None:
        self._directory = directory
        self.path = os.path.join(directory, name)

    def stamp(self) -> Stamp | None:
        """Return what changes with the file; None where it is not there or can't be looked at."""
        try:
            status = os.lstat(self.path)
        except OSError:
            return None
        return Stamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def read(self) -> list[str]:
        """Return the lines, without their ends; none where there is no file.

        Raises:
            StateError: It can't be used: see `private_text`.
        """
        try:
            return private_text(self.path, forbidden=stat.S_IWGRP | stat.S_IWOTH).splitlines()
        except FileNotFoundError:
            return []

    def update(self, change: Callable[[list[str]], list[str]]) -> None:
        """Replace the lines by what `change` makes of them; nothing is written if they stay the same.

        Raises:
            StateError: The file can't be used or written, or another process holds the lock for more than five seconds.
        """
        try:
            make_private(self._directory)
            with open(os.path.join(self._directory, _LOCK_NAME), "ab", opener=_private) as guard:
                self._wait_for(guard.fileno())
                before = self.read()
                after = change(before)
                if after != before:
                    self._replace("".join(f"{line}\n" for line in after).encode())
        except OSError as error:
            raise StateError(f"{shown(self.path)} can't be changed: {error.strerror}") from error

    def _wait_for(self, fd: int) -> None:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not lock(fd):
            if time.monotonic() > deadline:
                raise StateError(f"{shown(self.path)} can't be changed: another deltasync is changing it; try again")
            time.sleep(_LOOK_EVERY_S)

    def _replace(self, content: bytes) -> None:
        """Write a new file and let it take the name; durable when this returns."""
        fresh = f"{self.path}.new"
        # What is left of a process that was killed here is in nobody's use: the lock is held.
        if os.path.lexists(fresh):
            os.unlink(fresh)
        with open(fresh, "xb", opener=_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, self.path)
        held = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(held)
        finally:
            os.close(held)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
