"""A base: the receiver's present file, opened to be signed and copied from."""

from __future__ import annotations

import os
import time
from typing import Self

from deltasync.delta.blocks import first_block_bytes
from deltasync.delta.digest import leaf_bytes
from deltasync.engine.reading import OPEN_FLAGS, Changing, check_regular, read_exactly, same_file

__all__ = ["Base"]

TICK_NS = 100_000_000
"""Two writes within one tick of a filesystem's clock leave the same times; no kernel's tick is longer than this."""


class Base:
    """An opened base.

    Attributes:
        fd: Its descriptor.
        size: Its length when it was opened.
        target_bytes: The length of the file that is wanted, as it was listed.
        block_bytes: The length of the blocks of round one.
        digests: Those of the blocks of round one, 32 bytes each, as far as it is signed.
        signed: Whether round one is through.
        fine: Whether the second round has begun.
        broken: Whether it could not be read as it was; what is made from it then proves wrong, or is not proven at all.
    """

    def __init__(self, fd: int, status: os.stat_result, target_bytes: int, block_bytes: int) -> None:
        """Take over `fd`; `open` is the way to get one."""
        self.fd = fd
        self.size = status.st_size
        self.target_bytes = target_bytes
        self.block_bytes = first_block_bytes(self.size, block_bytes)
        self.digests: list[bytes] = []
        self.signed = self.fine = self.broken = False
        self._status = status
        # What was written within the last tick may be written again without any trace in its times (git's "racy" rule).
        self._vouches = max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - TICK_NS and self.block_bytes == leaf_bytes(self.size)

    @classmethod
    def open(cls, dir_fd: int, name: bytes, target_bytes: int, block_bytes: int) -> Self:
        """Open a base.

        Args:
            dir_fd: Its directory.
            name: Its name there.
            target_bytes: The length of the file that is wanted.
            block_bytes: What the user wants as length of the blocks, or 0.

        Raises:
            OSError: It can't be opened, is empty, or is no regular file.
        """
        fd = os.open(name, OPEN_FLAGS, dir_fd=dir_fd)
        try:
            status = os.fstat(fd)
            check_regular(status)
            if not status.st_size:
                raise OSError("it is empty")
            return cls(fd, status, target_bytes, block_bytes)
        except BaseException:
            os.close(fd)
            raise

    def read(self, at: int, buffer: memoryview) -> None:
        """Fill a buffer, with zeros where it can't be read; any thread may do so."""
        try:
            read_exactly(self.fd, at, buffer)
        except (OSError, Changing):
            self.broken = True
            buffer[:] = bytes(len(buffer))

    def leaf(self, index: int) -> bytes | None:
        """Return the digest of a leaf, if the base's size and times vouch that it still holds."""
        return self.digests[index] if self._vouches and index < len(self.digests) else None

    @property
    def unchanged(self) -> bool:
        """Whether nobody wrote to it since it was opened."""
        return not self.broken and same_file(self._status, os.fstat(self.fd))

    def close(self) -> None:
        """Let go of it; once."""
        os.close(self.fd)
