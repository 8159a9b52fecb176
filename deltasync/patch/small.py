"""Small files that came together, put in their places together: in C where that was compiled, and one by one where it was not.

What is done in C is the ordinary case alone. Whatever else a file needs, and whatever goes wrong with it, `put_small` does or meets again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from deltasync._native import find_bulk
from deltasync._native.columns import packed
from deltasync.patch.attributes import NOTHING_LOST, Attributes, Lost, apply_fd
from deltasync.patch.leftovers import unique_name
from deltasync.patch.staging import Buffer, write_at
from deltasync.patch.sync import NotDurable, sync_file, sync_filesystem, tells_of_filesystems

__all__ = ["SmallFile", "put_durably", "put_small", "put_together"]

_BULK = find_bulk()
_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MANY_FILES = 8
"""From so many on, one sync of everything costs less than one of each."""


class SmallFile(NamedTuple):
    """A file to be put in its place.

    Attributes:
        name: Its name in the directory; a file, symlink or special of that name is replaced.
        content: All its bytes, at most 4 GiB.
        attributes: What it shall have before it is seen.
    """

    name: bytes
    content: Buffer
    attributes: Attributes

    @property
    def is_ordinary(self) -> bool:
        """Whether it keeps the owner and group that it gets by itself, and has a mode and a time."""
        mode, mtime_ns, uid, gid = self.attributes
        return uid is None and gid is None and mode is not None and mtime_ns is not None


def put_small(dir_fd: int, name: bytes, content: Buffer, attributes: Attributes) -> Lost:
    """Give `name` its whole content at once; returns which attributes could not be kept.

    Without a mode in `attributes` the file gets 0600. If someone cleans the staged file away before it has its place, it is staged once
    more.

    Args:
        dir_fd: The directory.
        name: One name in it; a file, symlink or special of that name is replaced.
        content: All bytes of the file.
        attributes: What the file shall have before it is seen.

    Raises:
        IsADirectoryError: A directory has the name; it is left alone.
        OSError: The content can't be written or put in place; nothing is left behind.
    """
    staged = unique_name()
    lost = _stage(dir_fd, staged, content, attributes)
    try:
        _place(dir_fd, staged, name)
    except FileNotFoundError:
        lost = _stage(dir_fd, staged, content, attributes)
        _place(dir_fd, staged, name)
    return lost


def _place(dir_fd: int, staged: bytes, name: bytes, failed: OSError | None = None) -> None:
    """Put a staged file in its place, unless something failed that concerns it; in the end nothing is left under the staged name.

    Raises:
        OSError: It can't be put in place, or `failed`.
    """
    try:
        if failed is not None:
            raise failed
        os.rename(staged, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        _remove(dir_fd, staged)
        raise


def _stage(dir_fd: int, staged: bytes, content: Buffer, attributes: Attributes, *, sync: bool = False) -> Lost:
    """Write a file under a name of ours, with its attributes; returns which of them could not be kept.

    Raises:
        NotDurable: With `sync`, it may not survive a power cut.
        OSError: It can't be written. Nothing is left behind.
    """
    fd = os.open(staged, os.O_WRONLY | _NEW, 0o600, dir_fd=dir_fd)
    try:
        try:
            if content:
                written = os.write(fd, content)
                if written < len(content):
                    write_at(fd, memoryview(content)[written:], written)
            lost = apply_fd(fd, attributes)
            if sync:
                sync_file(fd)
        finally:
            # Network filesystems say only here that they could not store what was written.
            os.close(fd)
    except BaseException:
        _remove(dir_fd, staged)
        raise
    return lost


def _remove(dir_fd: int, staged: bytes) -> None:
    # The failure that led here is the one to report; a staged file that can't be removed either is stale, and a later run cleans it.
    with suppress(OSError):
        os.unlink(staged, dir_fd=dir_fd)


def put_together(dir_fd: int, files: Sequence[SmallFile]) -> list[Lost | OSError | OverflowError]:
    """Put files in one directory; returns of each which attributes could not be kept, or why it is not there."""
    results: list[Lost | OSError | OverflowError] = []
    for file, done in zip(files, _put_ordinary(dir_fd, files), strict=True):
        try:
            results.append(NOTHING_LOST if done else put_small(dir_fd, file.name, file.content, file.attributes))
        except (OSError, OverflowError) as error:
            results.append(error)
    return results


def put_durably(dir_fd: int, files: Sequence[SmallFile]) -> list[Lost | OSError | OverflowError]:
    """As `put_together`, but that no file takes its name before its content is durable; that the name is, is left to the caller.

    Many are synced together, with whatever else is waiting to be written on their filesystem.
    """
    together = len(files) >= _MANY_FILES and tells_of_filesystems()
    results: list[Lost | OSError | OverflowError] = []
    names: list[bytes] = []
    for file in files:
        names.append(unique_name())
        try:
            results.append(_stage(dir_fd, names[-1], file.content, file.attributes, sync=not together))
        except (OSError, OverflowError) as error:
            results.append(error)
    failed: NotDurable | None = None
    if together:
        try:
            sync_filesystem(dir_fd)
        except NotDurable as error:
            failed = error
    for at, (name, file) in enumerate(zip(names, files, strict=True)):
        if isinstance(results[at], Lost):
            try:
                _place(dir_fd, name, file.name, failed)
            except OSError as error:
                results[at] = error
    return results


def _put_ordinary(dir_fd: int, files: Sequence[SmallFile]) -> bytearray:
    """Return for each file whether it is in its place; those that are not ordinary are left alone."""
    done = bytearray(len(files))
    places = [place for place, file in enumerate(files) if file.is_ordinary]
    if _BULK is None or not places:
        return done
    ordinary = [files[place] for place in places]
    flags = _BULK.put_small(
        dir_fd,
        unique_name(),
        b"\0".join([file.name for file in ordinary]),
        b"".join([file.content for file in ordinary]),
        packed("I", [len(file.content) for file in ordinary]),
        packed("I", [file.attributes.mode or 0 for file in ordinary]),
        packed("q", [file.attributes.mtime_ns or 0 for file in ordinary]),
    )
    for place, flag in zip(places, flags, strict=True):
        done[place] = flag
    return done
