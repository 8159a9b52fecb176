"""New content beside its place: staged under a reserved name, complete with its attributes, then renamed over the name in one step.

Whoever looks at the name sees the old file or the new, whole, also when this process is killed at any instant. What a killed process
leaves is found by its name and removed by `clean_stale`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

from deltasync.fs.libc import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, fallocate, rename_new
from deltasync.fs.locks import lock, nobody_else
from deltasync.fs.reflink import clone
from deltasync.patch.attributes import Attributes, Lost, apply_fd
from deltasync.patch.kept import read_all
from deltasync.patch.leftovers import clean_stale, new_file, partial_name, spare_partial_name
from deltasync.patch.sync import sync_file

__all__ = ["PARTIAL_MIN_BYTES", "Buffer", "Staged", "clean_stale", "write_at"]

Buffer = bytes | bytearray | memoryview

PARTIAL_MIN_BYTES = 1 << 20
"""What is kept of an interrupted file for a later run is longer than this."""

_HOLE_BYTES = 4096
"""Zeros are looked for in blocks of this size at multiples of it: the block of most filesystems, and the least that can be a hole."""

_ZEROS = bytes(1 << 18)
_ZERO_BLOCK = _ZEROS[:_HOLE_BYTES]
_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of `data` at a place.

    Raises:
        OSError: As write(2).
    """
    while data:
        written = os.pwrite(fd, data, offset)
        data = data[written:]
        offset += written


def _runs_of_data(data: memoryview, offset: int) -> Iterator[tuple[int, int]]:
    """Find what of `data`, standing at `offset` in its file, must be written: all but aligned blocks of zeros."""
    start = 0
    for at in range(-offset % _HOLE_BYTES, len(data) - _HOLE_BYTES + 1, _HOLE_BYTES):
        # Looking at three bytes first spares most blocks of data the comparison.
        if not (data[at] or data[at + 2048] or data[at + 4095]) and data[at : at + _HOLE_BYTES].tobytes() == _ZERO_BLOCK:
            if start < at:
                yield start, at
            start = at + _HOLE_BYTES
    if start < len(data):
        yield start, len(data)


class Staged:
    """A large file on its way: written from its start to its end beside its place, then put there. One thread uses it at a time.

    It holds its directory and its file open, the file locked, until `commit` or `abandon`.

    Attributes:
        size: Bytes that it will have.
        written: Bytes that it has so far.
        status: What it is in its place, after `commit`.
        mode: How it takes its place, as `--update-mode` has it: `stage`, or `clone` once its content is shared with another file.
    """

    def __init__(self, dir_fd: int, fd: int, name: bytes, staged: bytes, size: int, *, sparse: bool) -> None:
        """Take over `dir_fd` and `fd`; `create` is the way to get one."""
        self.size = size
        self.written = 0
        self._dir_fd = dir_fd
        self._fd = fd
        self._name = name
        self._staged = staged
        self._sparse = sparse
        self._end = 0
        self._may_keep = self._blank = True
        self._worth = False
        self.status: os.stat_result | None = None
        self.mode = "stage"

    @classmethod
    def create(cls, dir_fd: int, name: bytes, size: int, *, sparse: bool, partial: bool = True) -> Self:
        """Stage a new file, empty and 0600.

        Args:
            dir_fd: The directory; it may be closed afterwards.
            name: One name in it.
            size: Bytes that the file will have.
            sparse: Whether zeros become holes.
            partial: Whether a later run shall find it, whatever it has by then; what an earlier one left for this name is removed.

        Raises:
            OSError: It can't be made.
        """
        own_dir_fd = os.dup(dir_fd)
        try:
            staged, fd = new_file(own_dir_fd, name, partial=partial)
        except BaseException:
            os.close(own_dir_fd)
            raise
        return cls(own_dir_fd, fd, name, staged, size, sparse=sparse)

    @classmethod
    def adopt(cls, dir_fd: int, name: bytes, size: int, fd: int, place: tuple[int, bytes], *, sparse: bool) -> Self | None:
        """Stage a file by taking one that is there, with its content: from then on it is not seen under its old name.

        It may be what an earlier run left of this very file.

        Args:
            dir_fd: The directory; it may be closed afterwards.
            name: One name in it.
            size: Bytes that the file will have.
            fd: The file to take, open for reading; it stays the caller's.
            place: Its directory and its name there.
            sparse: Whether zeros become holes.

        Returns: The staged file, of `size` bytes, or None where it can't be taken: it has other names, is on another filesystem, is
            somebody else's, or somebody has it open and would see it change.
        """
        staged = partial_name(name)
        if place[1] != staged and not clean_stale(dir_fd, staged):
            staged = spare_partial_name()
        own_dir_fd, own_fd, moved = os.dup(dir_fd), -1, False
        try:
            own_fd = os.open(place[1], os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place[0])
            if _is_free(own_fd, fd):
                if place[1] != staged:
                    rename_new(place[0], place[1], own_dir_fd, staged)
                    moved = True
                # Who opened it or gave it a name meanwhile is seen now; from here on nobody finds it.
                now = os.stat(staged, dir_fd=own_dir_fd, follow_symlinks=False)
                if not os.path.samestat(now, os.fstat(own_fd)) or not _is_free(own_fd, fd):
                    raise FileNotFoundError(errno.ENOENT, "another file came into its place, or somebody to it")
                os.ftruncate(own_fd, size)
                made = cls(own_dir_fd, own_fd, name, staged, size, sparse=sparse)
                made.written = made._end = size
                made._blank = False
                own_dir_fd = own_fd = -1
                return made
        except OSError:
            # Whatever forbids it, the content can be copied instead; if the file was moved already, it gets its name back.
            if moved:
                with suppress(OSError):
                    rename_new(own_dir_fd, staged, place[0], place[1])
        finally:
            for left in (own_fd, own_dir_fd):
                if left >= 0:
                    os.close(left)
        return None

    def write(self, data: Buffer) -> None:
        """Append `data`.

        Raises:
            ValueError: The file would be longer than its size.
            OSError: As write(2): ENOSPC, EDQUOT, EFBIG, EIO.
        """
        offset, after = self._span(len(data))
        view = memoryview(data)
        for start, end in _runs_of_data(view, offset) if self._sparse else ((0, len(view)),):
            write_at(self._fd, view[start:end], offset + start)
            self._end = offset + end
        self.written = after

    def zeros(self, count: int) -> None:
        """Append `count` zero bytes, as a hole in a sparse file.

        Raises:
            ValueError: The file would be longer than its size.
            OSError: As write(2).
        """
        offset, after = self._span(count)
        if not self._sparse:
            zeros = memoryview(_ZEROS)
            for start in range(offset, after, len(_ZEROS)):
                write_at(self._fd, zeros[: after - start], start)
            self._end = after
        self.written = after

    def put(self, at: int, data: Buffer) -> None:
        """Write `data` at a place, in any order; several threads may do so at once. `stretch` comes before, `complete` behind.

        Raises:
            OSError: As write(2).
        """
        view = memoryview(data)
        done = 0
        for start, end in _runs_of_data(view, at) if self._sparse else ((0, len(view)),):
            self._clear(at + done, at + start)
            write_at(self._fd, view[start:end], at + start)
            done = end
        self._clear(at + done, at + len(view))

    def clear(self, at: int, count: int) -> None:
        """Put zeros at a place; as `put`. In a sparse file they become a hole.

        Raises:
            OSError: As write(2).
        """
        if self._sparse:
            self._clear(at, at + count)
        elif not self._blank:
            for start in range(at, at + count, len(_ZEROS)):
                write_at(self._fd, memoryview(_ZEROS)[: at + count - start], start)

    def _clear(self, start: int, end: int) -> None:
        """Have zeros, stored as nothing where that can be, in a range of a file that may not be blank."""
        if self._blank or start >= end:
            return
        try:
            fallocate(self._fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, end - start)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            for at in range(start, end, len(_ZEROS)):
                write_at(self._fd, memoryview(_ZEROS)[: end - at], at)

    def stretch(self) -> None:
        """Give the file its length at once, all zeros, so that it can be filled in any order.

        Raises:
            OSError: As ftruncate(2).
        """
        os.ftruncate(self._fd, self.size)
        self._end = self.size

    def share(self, fd: int) -> bool:
        """Begin with the content of another file instead of with nothing, where the filesystem can share it; False where it can't.

        Raises:
            OSError: As ftruncate(2), to the length that the file shall have.
        """
        if not clone(fd, self._fd):
            return False
        self.mode, self._blank = "clone", False
        self.stretch()
        return True

    def complete(self) -> None:
        """Take note that every byte was put in its place."""
        self.written = self.size

    def read(self, at: int, buffer: memoryview) -> None:
        """Read what was put; several threads may do so at once.

        Raises:
            OSError: It can't be read, or somebody cut it short.
        """
        read_all(self._fd, at, buffer)

    def commit(self, attributes: Attributes, *, sync: bool = False) -> Lost:
        """Put the complete file in its place with these attributes; returns which of them could not be kept.

        With `sync` it is durable before that; that its name is, is left to the caller. Without a mode in `attributes` the file stays 0600.
        After an error it is still staged: the caller removes what is in the way and tries again, or abandons it.

        Raises:
            ValueError: The file is not complete.
            NotDurable: It may not survive a power cut, and must be abandoned.
            IsADirectoryError: A directory has the name; it is left alone.
            OSError: It can't be put in place.
        """
        if self.written != self.size:
            raise ValueError(f"{self.written} bytes are written of {self.size}")
        if self._end < self.size:
            os.ftruncate(self._fd, self.size)
        self._may_keep = False
        lost = apply_fd(self._fd, attributes)
        if sync:
            sync_file(self._fd)
        # Network filesystems say only at a close that they could not store what was written; the lock outlives that of a duplicate.
        os.close(os.dup(self._fd))
        os.rename(self._staged, self._name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
        self.status = os.fstat(self._fd)
        self._close()
        return lost

    def abandon(self, *, keep: bool) -> None:
        """Give the file up, without an error whatever happens; after `commit`, or a second time, this does nothing.

        Args:
            keep: Leave what was written for a later run, if it is more than `PARTIAL_MIN_BYTES` and was never about to be put in place.
        """
        if self._fd < 0:
            return
        if keep and self._may_keep and (self._worth or self._is_partial):
            if not self._worth:
                with suppress(OSError):
                    os.ftruncate(self._fd, self.written)
        else:
            with suppress(OSError):
                now = os.stat(self._staged, dir_fd=self._dir_fd, follow_symlinks=False)
                if os.path.samestat(now, os.fstat(self._fd)):
                    os.unlink(self._staged, dir_fd=self._dir_fd)
        self._close()

    @property
    def _is_partial(self) -> bool:
        return self.written > PARTIAL_MIN_BYTES and self._staged == partial_name(self._name)

    def becomes_partial(self) -> bool:
        """Let a later run find the file, since what it has is worth having, wherever something is missing.

        Returns: Whether it will; not where it is so short that nothing is kept, or somebody else is at work on the same name.
        """
        partial = partial_name(self._name)
        if self.size <= PARTIAL_MIN_BYTES:
            return False
        if self._staged != partial:
            try:
                if not clean_stale(self._dir_fd, partial):
                    return False
                # Never over another one: whoever made that would take this one for it.
                rename_new(self._dir_fd, self._staged, self._dir_fd, partial)
            except OSError:
                return False
            self._staged = partial
        self._worth = True
        return True

    def _span(self, count: int) -> tuple[int, int]:
        after = self.written + count
        if after > self.size:
            raise ValueError(f"{after} bytes are more than the {self.size} announced")
        return self.written, after

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        # Nothing that a close could say matters any more: the file is in its place, or given up.
        with suppress(OSError):
            os.close(fd)
        os.close(self._dir_fd)


def _is_free(fd: int, reader: int) -> bool:
    """Tell whether a file may be changed where it stands: `fd` and `reader` are that file, it has one name, and nobody else is at it."""
    status = os.fstat(fd)
    return os.path.samestat(status, os.fstat(reader)) and status.st_nlink == 1 and lock(fd) and nobody_else(fd, reader)
