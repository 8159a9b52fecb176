"""System calls of Linux that the standard library does not reach, by ctypes. Elsewhere each fails with ENOSYS.

Source: the Linux manual pages openat2(2), fchmodat(2), rename(2), fallocate(2), fstatfs(2), syncfs(2). The two calls made by number have
the same number on every architecture that shares Linux's common table (all but alpha).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable
from functools import lru_cache

__all__ = [
    "FALLOC_FL_KEEP_SIZE",
    "FALLOC_FL_PUNCH_HOLE",
    "RESOLVE_BENEATH",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "RESOLVE_NO_XDEV",
    "exchange",
    "fallocate",
    "fchmodat2",
    "filesystem_magic",
    "has_syncfs",
    "openat2",
    "rename_new",
    "syncfs",
]

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
FALLOC_FL_KEEP_SIZE = 0x01
FALLOC_FL_PUNCH_HOLE = 0x02

_OPENAT2 = 437
_FCHMODAT2 = 452
_AT_SYMLINK_NOFOLLOW = 0x100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_STATFS_BYTES = 256
_HOW = struct.Struct("=QQQ")

_Integer = type[ctypes.c_long] | type[ctypes.c_int] | type[ctypes.c_uint] | type[ctypes.c_size_t] | type[ctypes.c_int64]

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _function(name: str, result: _Integer, *arguments: _Integer | type[ctypes.c_char_p]) -> Callable[..., int] | None:
    """Return a C function with its own prototype, or None where there is none; `syscall` takes a fresh one for each of its uses."""
    try:
        function = _libc[name] if _libc is not None else None
    except AttributeError:
        return None
    if function is not None:
        function.argtypes = arguments
        function.restype = result
    return function


_call_openat2 = _function("syscall", ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
_call_fchmodat2 = _function("syscall", ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint)
_call_renameat2 = _function("renameat2", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_FALLOCATE = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_call_fallocate = _function("fallocate64", ctypes.c_int, *_FALLOCATE) or _function("fallocate", ctypes.c_int, *_FALLOCATE)
_call_syncfs = _function("syncfs", ctypes.c_int, ctypes.c_int)
_call_fstatfs = _function("fstatfs", ctypes.c_int, ctypes.c_int, ctypes.c_char_p)


def _failure(number: int, name: bytes | None = None) -> OSError:
    return OSError(number, os.strerror(number), name) if name is not None else OSError(number, os.strerror(number))


@lru_cache(maxsize=16)
def _how(flags: int, resolve: int) -> bytes:
    return _HOW.pack(flags, 0, resolve)


def openat2(dir_fd: int, path: bytes, flags: int, resolve: int) -> int:
    """Open an existing `path` from `dir_fd` with the `RESOLVE_*` restrictions and return the descriptor.

    Raises:
        OSError: As open(2); EXDEV or ELOOP when a restriction stopped it; ENOSYS where the kernel lacks the call.
    """
    if _call_openat2 is None:
        raise _failure(errno.ENOSYS, path)
    while True:
        fd = _call_openat2(_OPENAT2, dir_fd, path, _how(flags, resolve), _HOW.size)
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        # The kernel answers EAGAIN when a rename anywhere on the system raced with its check that nothing was left.
        if number not in (errno.EINTR, errno.EAGAIN):
            raise _failure(number, path)


def fchmodat2(dir_fd: int, name: bytes, mode: int) -> None:
    """Set permission bits of `name` itself, never of what a symlink points to (Linux 6.6 and later).

    Raises:
        OSError: As chmod(2); EOPNOTSUPP for a symlink; ENOSYS where the kernel lacks the call.
    """
    if _call_fchmodat2 is None:
        raise _failure(errno.ENOSYS, name)
    if _call_fchmodat2(_FCHMODAT2, dir_fd, name, mode, _AT_SYMLINK_NOFOLLOW):
        raise _failure(ctypes.get_errno(), name)


def exchange(dir_fd: int, one: bytes, other: bytes) -> None:
    """Let two names in one directory change places in one step.

    Raises:
        OSError: As rename(2); EINVAL or ENOSYS where filesystem, kernel or C library can't.
    """
    if _call_renameat2 is None:
        raise _failure(errno.ENOSYS, one)
    if _call_renameat2(dir_fd, one, dir_fd, other, _RENAME_EXCHANGE):
        raise _failure(ctypes.get_errno(), one)


def fallocate(fd: int, mode: int, at: int, length: int) -> None:
    """Change how a range of a file is stored, by the `FALLOC_FL_*` bits of `mode`.

    Raises:
        OSError: As fallocate(2): ENOSPC; EOPNOTSUPP or ENOSYS where filesystem, kernel or C library can't.
    """
    if _call_fallocate is None:
        raise _failure(errno.ENOSYS)
    while _call_fallocate(fd, mode, at, length):
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise _failure(number)


def rename_new(from_fd: int, name: bytes, to_fd: int, new: bytes) -> None:
    """Rename an entry of one directory to a name of another that nothing has yet.

    Raises:
        OSError: As rename(2); EEXIST if the name is taken; EINVAL or ENOSYS where filesystem, kernel or C library can't.
    """
    if _call_renameat2 is None:
        raise _failure(errno.ENOSYS, name)
    if _call_renameat2(from_fd, name, to_fd, new, _RENAME_NOREPLACE):
        raise _failure(ctypes.get_errno(), name)


def has_syncfs() -> bool:
    """Tell whether there is `syncfs`."""
    return _call_syncfs is not None


def syncfs(fd: int) -> None:
    """Write everything of the filesystem that `fd` is on to its disk.

    Raises:
        OSError: Something of it could not be written since `fd` was opened (Linux 5.8 and later); ENOSYS where there is no such call.
    """
    if _call_syncfs is None:
        raise _failure(errno.ENOSYS)
    if _call_syncfs(fd):
        raise _failure(ctypes.get_errno())


def filesystem_magic(fd: int) -> int:
    """Return the type number of the filesystem that `fd` is on (`f_type`, 32 bits).

    Raises:
        OSError: As fstatfs(2); ENOSYS elsewhere than on Linux.
    """
    if _call_fstatfs is None:
        raise _failure(errno.ENOSYS)
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _call_fstatfs(fd, answer):
        raise _failure(ctypes.get_errno())
    return int.from_bytes(answer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) & 0xFFFFFFFF
