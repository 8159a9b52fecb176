"""A file that turned out to be what it shall be already: nothing of its content is written."""

from __future__ import annotations

import errno
import os

from deltasync.patch.attributes import Attributes, Lost, apply_fd

__all__ = ["Kept", "read_all"]


def read_all(fd: int, at: int, buffer: memoryview) -> None:
    """Fill a buffer from a file; several threads may do so at once.

    Raises:
        OSError: It can't be read, or ends before that.
    """
    while buffer:
        got = os.preadv(fd, [buffer], at)
        if not got:
            raise OSError(errno.EIO, "somebody cut it short")
        buffer = buffer[got:]
        at += got


class Kept:
    """Stays where it is, and takes its attributes. Its form is that of `Staged`.

    Attributes:
        status: What it is, after `commit`.
        mode: None, since nothing is written.
    """

    mode = None

    def __init__(self, dir_fd: int, name: bytes, fd: int) -> None:
        """Make the place of a file of a name in a directory; `fd` is its descriptor, which stays the caller's."""
        self._fd = fd
        self.status: os.stat_result | None = None
        self._dir_fd = os.dup(dir_fd)
        self._name = name

    def complete(self) -> None:
        """Do nothing: every byte has long been in its place."""

    def read(self, at: int, buffer: memoryview) -> None:
        """Read the file; as `Staged.read`."""
        read_all(self._fd, at, buffer)

    def commit(self, attributes: Attributes) -> Lost:
        """Give the file its attributes; returns which of them could not be kept.

        Raises:
            OSError: They can't be set, or another file has the name now.
        """
        if not os.path.samestat(os.fstat(self._fd), os.stat(self._name, dir_fd=self._dir_fd, follow_symlinks=False)):
            raise FileNotFoundError(errno.ENOENT, "another file came into its place")
        lost = apply_fd(self._fd, attributes)
        self.status = os.fstat(self._fd)
        self.abandon(keep=True)
        return lost

    def abandon(self, *, keep: bool) -> None:  # noqa: ARG002 - as `Staged.abandon`.
        """Leave the file as it is."""
        fd, self._dir_fd = self._dir_fd, -1
        if fd >= 0:
            os.close(fd)
