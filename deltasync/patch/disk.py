"""What patching in place asks of a filesystem: few operations, so that a test can stand in for the disk and lose what was not synced.

Descriptors are the system's; names are single names in a held directory, and never followed when they are symlinks.
"""

from __future__ import annotations

import errno
import os
from typing import Final, Protocol

from deltasync.fs import libc
from deltasync.fs.identity import Identity
from deltasync.fs.locks import lease, lock, release
from deltasync.patch.attributes import Attributes, Lost, apply_fd

__all__ = ["DISK", "Disk", "SystemDisk", "read_at", "write_at"]

_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Disk(Protocol):
    """The operations; each raises OSError as its system call does."""

    def create(self, dir_fd: int, name: bytes) -> int:
        """Make a file, 0600, that was not there; return its descriptor, open for reading and writing."""

    def open(self, dir_fd: int, name: bytes) -> int:
        """Open a file for reading and writing; return its descriptor."""

    def close(self, fd: int) -> None:
        """Close a descriptor."""

    def hold_directory(self, dir_fd: int) -> int:
        """Return a descriptor of a directory that stays open when the first is closed."""

    def let_go(self, dir_fd: int) -> None:
        """Close a descriptor of a directory."""

    def lock(self, fd: int) -> bool:
        """Lock a file until it is closed; False when someone else has it locked."""

    def lease(self, fd: int) -> bool:
        """Have everybody else wait who opens a file, until `release`; False when somebody has it open, or that can't be had."""

    def release(self, fd: int) -> None:
        """End a lease."""

    def identity(self, fd: int) -> Identity:
        """Tell which file it is, and in which state."""

    def identity_at(self, dir_fd: int, name: bytes) -> Identity:
        """Tell which file has a name, and in which state."""

    def read(self, fd: int, at: int, buffer: memoryview) -> int:
        """Read into a buffer; return how many bytes were read, 0 at the end."""

    def write(self, fd: int, at: int, data: memoryview) -> int:
        """Write; return how many bytes were written, perhaps fewer than there are."""

    def has_holes(self, fd: int) -> bool:
        """Tell whether parts of a file may have no room on the disk yet."""

    def reserve(self, fd: int, at: int, length: int) -> None:
        """Make sure that a range can be written without further room, with no change that a reader sees; do nothing where that can't be."""

    def truncate(self, fd: int, size: int) -> None:
        """Give a file its length."""

    def dress(self, fd: int, attributes: Attributes) -> Lost:
        """Give a file its attributes; return which of them could not be kept."""

    def status(self, fd: int) -> os.stat_result:
        """Return what fstat(2) tells."""

    def sync(self, fd: int) -> None:
        """Have a file's content, and its length, survive a power cut."""

    def sync_directory(self, dir_fd: int) -> None:
        """Have the names in a directory survive a power cut."""

    def rename(self, dir_fd: int, name: bytes, to: bytes) -> None:
        """Give a file another name in its directory."""

    def unlink(self, dir_fd: int, name: bytes) -> None:
        """Remove a name."""


class SystemDisk:
    """The system's own."""

    def create(self, dir_fd: int, name: bytes) -> int:
        """See `Disk`."""
        return os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=dir_fd)

    def open(self, dir_fd: int, name: bytes) -> int:
        """See `Disk`."""
        return os.open(name, _OPEN, dir_fd=dir_fd)

    def close(self, fd: int) -> None:
        """See `Disk`."""
        os.close(fd)

    def hold_directory(self, dir_fd: int) -> int:
        """See `Disk`."""
        return os.dup(dir_fd)

    def let_go(self, dir_fd: int) -> None:
        """See `Disk`."""
        os.close(dir_fd)

    def lock(self, fd: int) -> bool:
        """See `Disk`."""
        return lock(fd)

    def lease(self, fd: int) -> bool:
        """See `Disk`."""
        return lease(fd)

    def release(self, fd: int) -> None:
        """See `Disk`."""
        release(fd)

    def identity(self, fd: int) -> Identity:
        """See `Disk`."""
        return Identity.of(os.fstat(fd))

    def identity_at(self, dir_fd: int, name: bytes) -> Identity:
        """See `Disk`."""
        return Identity.of(os.stat(name, dir_fd=dir_fd, follow_symlinks=False))

    def read(self, fd: int, at: int, buffer: memoryview) -> int:
        """See `Disk`."""
        return os.preadv(fd, [buffer], at)

    def write(self, fd: int, at: int, data: memoryview) -> int:
        """See `Disk`."""
        return os.pwrite(fd, data, at)

    def has_holes(self, fd: int) -> bool:
        """See `Disk`."""
        try:
            return os.lseek(fd, 0, os.SEEK_HOLE) < os.fstat(fd).st_size
        except (AttributeError, OSError):
            # Who can't tell, and an empty file, may have some.
            return True

    def reserve(self, fd: int, at: int, length: int) -> None:
        """See `Disk`."""
        try:
            libc.fallocate(fd, libc.FALLOC_FL_KEEP_SIZE, at, length)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise

    def truncate(self, fd: int, size: int) -> None:
        """See `Disk`."""
        os.ftruncate(fd, size)

    def dress(self, fd: int, attributes: Attributes) -> Lost:
        """See `Disk`."""
        return apply_fd(fd, attributes)

    def status(self, fd: int) -> os.stat_result:
        """See `Disk`."""
        return os.fstat(fd)

    def sync(self, fd: int) -> None:
        """See `Disk`."""
        os.fsync(fd)

    def sync_directory(self, dir_fd: int) -> None:
        """See `Disk`."""
        try:
            os.fsync(dir_fd)
        except OSError as error:
            # Some network filesystems know no such thing, and order names by themselves.
            if error.errno not in _CANNOT:
                raise

    def rename(self, dir_fd: int, name: bytes, to: bytes) -> None:
        """See `Disk`."""
        os.rename(name, to, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    def unlink(self, dir_fd: int, name: bytes) -> None:
        """See `Disk`."""
        os.unlink(name, dir_fd=dir_fd)


DISK: Final = SystemDisk()


def write_at(disk: Disk, fd: int, at: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data`.

    Raises:
        OSError: It can't be written.
    """
    left = memoryview(data)
    while left:
        written = disk.write(fd, at, left)
        left = left[written:]
        at += written


def read_at(disk: Disk, fd: int, at: int, buffer: memoryview) -> int:
    """Fill a buffer as far as the file reaches; return how many bytes that was.

    Raises:
        OSError: It can't be read.
    """
    filled = 0
    while filled < len(buffer):
        got = disk.read(fd, at + filled, buffer[filled:])
        if not got:
            break
        filled += got
    return filled
