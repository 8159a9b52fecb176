"""Landlock: a process gives up, for itself and for good, every path but those that it names. Linux 5.13 and later; else nothing happens.

What Landlock does not know (changing modes, owners and times, and looking at attributes) stays to be decided by permissions.

Source: the kernel's Documentation/userspace-api/landlock.rst; landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2),
whose numbers are the same on every architecture of the common table.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["READ", "WRITE", "Rule", "abi", "restrict"]

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_GIVE_VERSION = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI = (1 << 13) - 1
_KNOWN_BY_ABI = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
_OF_FILES = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_NET = 0b11  # To listen and to connect by TCP.
_SCOPES = 0b11  # Abstract sockets and signals of processes outside.

READ = _READ_FILE | _READ_DIR
"""To read files and list directories."""
WRITE = (_FIRST_ABI | _REFER | _TRUNCATE) & ~1
"""Everything but to execute."""


class Rule(NamedTuple):
    """What stays allowed on a file, or on a directory and all beneath it.

    Attributes:
        fd: An open descriptor of it.
        access: `READ`, `WRITE`, or both.
    """

    fd: int
    access: int


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _call(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call; raises `OSError`."""
    assert _libc is not None
    words = (ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in arguments)
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def abi() -> int:
    """Return which version the kernel has; 0 where it has none, or does not use it."""
    if _libc is None:
        return 0
    try:
        return _call(_CREATE, None, 0, _GIVE_VERSION)
    except OSError:
        return 0


def restrict(rules: Sequence[Rule]) -> int:
    """Allow this thread, and what it starts, nothing of the filesystem but `rules`, no TCP connection, and no signal to others.

    To be called while there is only one thread. The process can't gain privileges by executing something any more either.

    Returns: The version of Landlock; 0 if there is none, and nothing was done.

    Raises:
        OSError: The kernel refuses; nothing was done.
    """
    version = abi()
    if not version:
        return 0
    handled = _FIRST_ABI
    for since, right in _KNOWN_BY_ABI:
        handled |= right if version >= since else 0
    attributes = struct.pack("=QQQ", handled, _NET, _SCOPES)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = _call(_CREATE, attributes, len(attributes), 0)
    try:
        for rule in rules:
            of_kind = handled if stat.S_ISDIR(os.fstat(rule.fd).st_mode) else handled & _OF_FILES
            # Packed: eight bytes and four (struct landlock_path_beneath_attr).
            _call(_ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", rule.access & of_kind, rule.fd), 0)
        assert _libc is not None
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return version
