"""The sender's reading of files: small ones gathered into packs, large ones as streams; as they stand at one instant, or again."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, NamedTuple

from deltasync.delta.digest import FileDigest
from deltasync.engine.pool import SEGMENT_BYTES, Pool, settle
from deltasync.tree.entry import Entry, kept_time
from deltasync.wire.messages import MAX_FILE_DATA_BYTES, MAX_ZEROS_BYTES, FileAbort, FileBegin, FileData, FileEnd, FileZeros, Message

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "ATTEMPTS",
    "OPEN_FLAGS",
    "PACK_FILE_BYTES",
    "Changing",
    "SmallFile",
    "check_regular",
    "digest_at",
    "is_hole",
    "read_exactly",
    "read_small",
    "same_file",
    "stream",
]

PACK_FILE_BYTES = 128 << 10
"""A file up to this size travels whole inside a pack."""

ATTEMPTS = 3
"""How often a file is read that changes meanwhile, before it is given up."""

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SEEK_DATA = getattr(os, "SEEK_DATA", None)
_SEEK_HOLE = getattr(os, "SEEK_HOLE", None)


class Changing(Exception):
    """The file kept changing while it was read."""


class SmallFile(NamedTuple):
    """A file that was read whole.

    Attributes:
        content: Its bytes.
        mtime_ns: Its mtime at that instant.
        mode: Its mode at that instant.
        inode: Its number on its filesystem.
    """

    content: bytes
    mtime_ns: int
    mode: int
    inode: int


def read_small(dir_fd: int, name: bytes, entry: Entry) -> SmallFile | None:
    """Read a file that was small when it was listed.

    The usual case costs one look after the read: if size and mtime are still those of the listing, nobody wrote in between. Otherwise
    it is read between two looks that must agree.

    Returns: The file; None if it is no longer small.

    Raises:
        OSError: It can't be read; `ENOENT` if it is gone.
        Changing: It changed during each of `ATTEMPTS` reads.
    """
    fd = os.open(name, OPEN_FLAGS, dir_fd=dir_fd)
    try:
        content = os.read(fd, entry.size + 1)
        status = os.fstat(fd)
        if len(content) == status.st_size == entry.size and status.st_mtime_ns == entry.mtime_ns and stat.S_ISREG(status.st_mode):
            return SmallFile(content, status.st_mtime_ns, status.st_mode, status.st_ino)
        check_regular(status)
        for _ in range(ATTEMPTS):
            before = os.fstat(fd)
            if before.st_size > PACK_FILE_BYTES:
                return None
            content = _all_of(fd, before.st_size + 1)
            after = os.fstat(fd)
            if len(content) == before.st_size and same_file(before, after):
                return SmallFile(content, kept_time(after.st_mtime_ns), after.st_mode, after.st_ino)
        raise Changing
    finally:
        os.close(fd)


def _all_of(fd: int, most: int) -> bytes:
    """Read a file from its start: what the system gives in pieces as well."""
    content = b""
    while len(content) < most and (piece := os.pread(fd, most - len(content), len(content))):
        content += piece
    return content


def read_exactly(fd: int, at: int, buffer: memoryview) -> None:
    """Fill a buffer from a file.

    Raises:
        OSError: It can't be read.
        Changing: It ends before that.
    """
    while buffer:
        got = os.preadv(fd, [buffer], at)
        if not got:
            raise Changing
        buffer = buffer[got:]
        at += got


def is_hole(fd: int, at: int, length: int) -> bool:
    """Tell whether nothing is stored in a range of a file, so that it is known as zeros without reading; False where that can't be told."""
    if _SEEK_DATA is None:
        return False
    try:
        return os.lseek(fd, at, _SEEK_DATA) >= at + length
    except OSError as error:
        return error.errno == errno.ENXIO


def check_regular(status: os.stat_result) -> None:
    """Refuse what is no regular file.

    Raises:
        OSError: It is none.
    """
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no longer a regular file")


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Tell whether nobody wrote to a file between two looks at it."""
    return (one.st_size, one.st_mtime_ns, one.st_ctime_ns) == (other.st_size, other.st_mtime_ns, other.st_ctime_ns)


def stream(
    dir_fd: int,
    name: bytes,
    file_id: int,
    buffer: bytearray,
    pool: Pool | None = None,
    digest_of: Callable[[int], FileDigest] = FileDigest,
) -> Generator[Message, None, None]:
    """Yield the messages of a large file; `buffer` is reused, so that each message must be sent before the next is asked for.

    With a pool, and a buffer for two messages, a file of a segment or more is read and hashed there, a message ahead of what is sent.
    `digest_of` makes the digest of a file of a size.

    Raises:
        OSError: It can't be read.
        Changing: It changed during each of `ATTEMPTS` reads; the last `FileAbort` is left to the caller.
    """
    fd = os.open(name, OPEN_FLAGS, dir_fd=dir_fd)
    try:
        for attempt in range(ATTEMPTS):
            if attempt:
                yield FileAbort(file_id, again=True)
            before = os.fstat(fd)
            check_regular(before)
            yield FileBegin(file_id, before.st_size, kept_time(before.st_mtime_ns), before.st_mode)
            digest = digest_of(before.st_size)
            complete = yield from _contents(fd, file_id, before, digest, buffer, pool)
            if complete and same_file(before, os.fstat(fd)):
                yield FileEnd(file_id, digest.digest())
                return
        raise Changing
    finally:
        os.close(fd)


def _contents(
    fd: int, file_id: int, status: os.stat_result, digest: FileDigest, buffer: bytearray, pool: Pool | None = None
) -> Generator[Message, None, bool]:
    """Yield the content; return whether all of it was there."""
    size = status.st_size
    content = _Content(fd, digest, buffer, pool if size >= SEGMENT_BYTES else None)
    holes = _SEEK_DATA is not None and status.st_blocks * 512 < size
    at = 0
    while at < size:
        end = size
        if holes:
            start, end = _next_data(fd, at, size)
            if start > at:
                count = min(start - at, MAX_ZEROS_BYTES)
                digest.zeros(count)
                yield FileZeros(file_id, count)
                at += count
                continue
        for piece in content.between(at, end):
            yield FileData(file_id, piece)
            at += len(piece)
        if at < end:
            return False
    return True


class _Content:
    """Reads and hashes a file in order, on the pool if there is one: then the next piece is read while the last is used."""

    def __init__(self, fd: int, digest: FileDigest, buffer: bytearray, pool: Pool | None) -> None:
        self._fd = fd
        self._digest = digest
        self._pool = pool
        view = memoryview(buffer)
        self._pieces = (view[:MAX_FILE_DATA_BYTES], view[MAX_FILE_DATA_BYTES:])

    def between(self, at: int, end: int) -> Iterator[memoryview]:
        """Yield what is in a range, each piece to be used before the next is asked for; it ends early where the file does."""
        into, other = self._pieces
        if self._pool is None:
            while at < end and (got := self._read(at, end, into)):
                yield into[:got]
                at += got
            return
        ahead: Future[int] | None = self._pool.submit(self._read, at, end, into)
        try:
            while ahead is not None and (got := ahead.result()):
                at += got
                ahead = self._pool.submit(self._read, at, end, other) if at < end else None
                yield into[:got]
                into, other = other, into
        finally:
            # The descriptor must not be closed while a thread reads from it.
            settle([ahead] if ahead is not None else [])

    def _read(self, at: int, end: int, into: memoryview) -> int:
        got = os.preadv(self._fd, [into[: end - at]], at)
        self._digest.update(into[:got])
        return got


def _next_data(fd: int, at: int, size: int) -> tuple[int, int]:
    """Return where the next data begins and ends (both `size` if there is none)."""
    assert _SEEK_DATA is not None
    assert _SEEK_HOLE is not None
    try:
        start = os.lseek(fd, at, _SEEK_DATA)
        return min(start, size), min(os.lseek(fd, start, _SEEK_HOLE), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size, size
        return at, size


def digest_at(dir_fd: int, name: bytes, size: int, check: Callable[[], None] = lambda: None) -> bytes:
    """Return the digest of a file's content; `check` is called again and again, and may raise what ends the work.

    Raises:
        OSError: It can't be read.
        ValueError: It is not of this size.
    """
    buffer = bytearray(MAX_FILE_DATA_BYTES)
    fd = os.open(name, OPEN_FLAGS, dir_fd=dir_fd)
    try:
        digest = FileDigest(size)
        status = os.fstat(fd)
        if status.st_size != size:
            raise ValueError("the file has changed")
        for _ in _contents(fd, 0, status, digest, buffer):
            check()
        return digest.digest()
    finally:
        os.close(fd)
