"""What a process gives up before it serves a stranger: memory without end, other users' rights, and every path but its root.

Each step is one way, and applies to the threads started later as well; so it is done while there is one thread.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from typing import NamedTuple

from deltasync.fs import landlock

__all__ = ["DATA_BYTES", "OPEN_FILES", "Account", "become", "confine", "end_with_parent", "limit"]

DATA_BYTES = 2 << 30
"""Most memory of a session; a tree of a million entries takes an eighth of it."""
OPEN_FILES = 1024

_PR_SET_PDEATHSIG = 1

_LIBRARIES = ("/usr/lib", "/lib", "/usr/lib64", "/lib64", "/usr/local/lib", "/usr/share/zoneinfo")
_FILES = ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/zero")
"""What Python and the names of users need; of the rest of the system nothing can be read."""


class Account(NamedTuple):
    """A user to become.

    Attributes:
        uid: User number.
        gid: Number of the user's own group.
        groups: Numbers of all groups.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]


def limit() -> None:
    """Bound what this process may use, and leave no image of its memory behind when it crashes."""
    for what, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_DATA, DATA_BYTES), (resource.RLIMIT_NOFILE, OPEN_FILES)):
        hard = resource.getrlimit(what)[1]
        lowest = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (lowest, lowest))


def become(account: Account) -> None:
    """Become a user, which needs root; there is no way back.

    Raises:
        OSError: It is not allowed.
    """
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def end_with_parent(parent: int) -> None:
    """Have this process told to end (TERM) when its parent is gone; Linux only.

    Args:
        parent: The parent's number, which it must still have.

    Raises:
        ProcessLookupError: The parent is gone already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
    if os.getppid() != parent:
        raise ProcessLookupError("the listener is gone")


def confine(root_fd: int, *, read_only: bool, libraries: Iterable[str], state: str | None = None) -> int:
    """Give up every path but the root and what the program itself is made of.

    Args:
        root_fd: The only directory that stays.
        read_only: Whether nothing in it may be written.
        libraries: Directories and archives that modules are loaded from.
        state: Another directory that may be written in; None for none.

    Returns: The version of Landlock that confines; 0 where the kernel has none.

    Raises:
        OSError: The kernel refuses.
    """
    with ExitStack() as stack:
        rules = [landlock.Rule(root_fd, landlock.READ if read_only else landlock.READ | landlock.WRITE)]
        for path, access in (
            *((path, landlock.READ) for path in (*libraries, *_LIBRARIES, *_FILES)),
            *((path, landlock.READ | landlock.WRITE) for path in (os.devnull, state) if path),
        ):
            try:
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                # What is not there, or not for this user, needs no rule.
                continue
            stack.callback(os.close, fd)
            rules.append(landlock.Rule(fd, access))
        return landlock.restrict(rules)
