"""Names of what is staged, and what becomes of it when the process that staged it is gone.

Every name begins with the reserved prefix and one letter that says what it is: `s` something small, in place within a moment and never
locked; `p` a large file, named after its target so that a later run finds it; `q` a large file whose `p` name was taken; `t` a probe;
`j` a journal, which is nobody's leftover: it may hold the only copy of something, and only recovery touches it.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat

from blake3 import blake3

from deltasync.fs.locks import lock
from deltasync.tree.names import RESERVED_PREFIX

__all__ = ["clean_stale", "new_file", "partial_name", "spare_partial_name", "unique_name"]

_SMALL = RESERVED_PREFIX + b"s"
_PARTIAL = RESERVED_PREFIX + b"p"
_SPARE = RESERVED_PREFIX + b"q"
_JOURNAL = RESERVED_PREFIX + b"j"


class _Session:
    """Which process this is: chance tells it from all others, also on other machines; a forked child gets its own."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.part = b"%x-%s-" % (os.getpid(), os.urandom(6).hex().encode())
        self.small = _SMALL + self.part
        self.numbers = itertools.count()


_session = _Session()


def unique_name() -> bytes:
    """Return a staged name that nobody else has or will have."""
    return b"%s%x" % (_session.small, next(_session.numbers))


def partial_name(name: bytes) -> bytes:
    """Return the staged name of a large file, always the same for the same `name`."""
    return _PARTIAL + blake3(name).hexdigest(length=16).encode()


def spare_partial_name() -> bytes:
    """Return a staged name for a large file whose own is taken; nobody else has or will have it."""
    return b"%s%s%x" % (_SPARE, _session.part, next(_session.numbers))


def clean_stale(dir_fd: int, name: bytes) -> bool:
    """Remove what a process left under a reserved name, unless it is still at it; True when the name is gone.

    It is False for what a live process locks or this process made, for a journal, for a directory that is not empty, for every name that
    is not reserved, and when the system does not let us remove it.
    """
    if not name.startswith(RESERVED_PREFIX) or name.startswith((_JOURNAL, _session.small)):
        return False
    try:
        mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            os.rmdir(name, dir_fd=dir_fd)
        elif stat.S_ISREG(mode) and not name.startswith(_SMALL):
            return _remove_unlocked(dir_fd, name)
        else:
            os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _remove_unlocked(dir_fd: int, name: bytes) -> bool:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except PermissionError:
        # With its final mode, which may forbid even its owner to read, a file stays staged for no longer than it takes to rename it.
        if os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_uid != os.geteuid():
            return False
        os.unlink(name, dir_fd=dir_fd)
        return True
    try:
        if not lock(fd, shared=True):
            return False
        # Whoever held the lock may have finished meanwhile, and the name be another file's.
        if not os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=dir_fd, follow_symlinks=False)):
            return False
        os.unlink(name, dir_fd=dir_fd)
    finally:
        os.close(fd)
    return True


def new_file(dir_fd: int, name: bytes, *, partial: bool) -> tuple[bytes, int]:
    """Make and lock a staged file for a large `name`; returns its own name and its descriptor.

    Args:
        dir_fd: The directory.
        name: What it shall be called in the end.
        partial: Whether it gets the name that a later run finds, if that can be.

    Raises:
        OSError: It can't be made.
    """
    found = (partial_name(name),) * 2 if partial else ()
    for staged in (*found, spare_partial_name(), spare_partial_name()):
        fd = _claim(dir_fd, staged)
        if fd is not None:
            return staged, fd
        clean_stale(dir_fd, staged)
    raise FileExistsError(errno.EEXIST, "others keep taking the staged file", name)


def _claim(dir_fd: int, staged: bytes) -> int | None:
    """Make the staged file and lock it; None if it is there already, or was taken for a leftover before it was locked."""
    try:
        fd = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    except FileExistsError:
        return None
    if lock(fd) and os.fstat(fd).st_nlink:
        return fd
    os.close(fd)
    return None
