"""Recovery of a file whose patch in place was interrupted: by its journal alone, as often as it takes.

Without a decision the journal is thrown away. With one, the last window that was begun is written again, and those after it; but first each
sector of it must be what it was before or what the patch makes of it. Where it is neither, or the file is another one, somebody else was
there: the journal is set aside under another name, and the file left as it is.
"""

from __future__ import annotations

import errno
import os
from enum import StrEnum
from typing import NamedTuple

from deltasync.delta.digest import FileDigest
from deltasync.fs.journals import Head
from deltasync.fs.journals import journal_name as name_of_journal
from deltasync.patch.disk import DISK, Disk, read_at
from deltasync.patch.journal import Busy, Damaged, Journal
from deltasync.patch.windows import Windows

__all__ = ["Outcome", "Recovered", "recover"]

_PIECE_BYTES = 1 << 20


class Outcome(StrEnum):
    """What became of an unfinished patch."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"
    QUARANTINED = "quarantined"
    BUSY = "busy"


class Recovered(NamedTuple):
    """A journal that was met.

    Attributes:
        name: The file that it belongs to; the journal's own name where that can't be told.
        outcome: What became of it.
    """

    name: bytes
    outcome: Outcome


def recover(dir_fd: int, journal_name: bytes, *, disk: Disk = DISK) -> Recovered | None:
    """Finish or discard what a journal says; None if it is gone by now.

    Raises:
        OSError: File or journal can't be read or written; the journal stays for another time.
    """
    try:
        journal = Journal.open(disk, dir_fd, journal_name)
    except FileNotFoundError:
        return None
    except Busy:
        return Recovered(journal_name, Outcome.BUSY)
    try:
        head = journal.decision
        if head is None:
            intent = journal.intent
            journal.remove()
            return Recovered(journal_name if intent is None else intent.name, Outcome.DISCARDED)
        if journal_name != name_of_journal(head.name) or not _replayed(disk, dir_fd, journal, head):
            journal.quarantine()
            return Recovered(head.name, Outcome.QUARANTINED)
        journal.remove()
        disk.sync_directory(dir_fd)
        return Recovered(head.name, Outcome.REPLAYED)
    finally:
        journal.close()


def _replayed(disk: Disk, dir_fd: int, journal: Journal, head: Head) -> bool:
    """Make the file what it shall be; False if somebody else changed it, or it is another one."""
    try:
        fd = disk.open(dir_fd, head.name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO):
            return False
        raise
    try:
        if journal.owner not in (os.geteuid(), disk.status(fd).st_uid):
            # In a directory that others may write to, anybody can make what looks like a journal of somebody else's file.
            raise PermissionError(errno.EPERM, "its journal is another user's")
        identity = disk.identity(fd)
        if identity.inode != head.inode or not _is_size_of(identity.size, head):
            return False
        return _finished(disk, journal, head, fd)
    except Damaged:
        return False
    finally:
        disk.close(fd)


def _is_size_of(size: int, head: Head) -> bool:
    """Tell whether the patch gives a file this size on its way."""
    return size in (head.base_bytes, head.target_bytes) or head.base_bytes < size < head.target_bytes


def _finished(disk: Disk, journal: Journal, head: Head, fd: int) -> bool:
    plan = journal.plan(head)
    windows = Windows(disk, journal, fd, head.base_bytes)
    if plan:
        begun, payload = journal.last_record()
        if begun >= len(plan) or not windows.is_ours(plan[begun], payload):
            return False
        journal.refresh(head, begun, payload)
        for number, window in enumerate(plan[begun:], begun):
            if number > begun:
                payload = windows.gather(window)
                journal.write_record(number, payload)
                journal.sync()
            windows.write(window, payload)
            disk.sync(fd)
    else:
        journal.decide(head)
    # What is cut off may be somebody's; so the rest is proven first.
    if not _proven(disk, fd, head):
        return False
    disk.truncate(fd, head.target_bytes)
    disk.sync(fd)
    return True


def _proven(disk: Disk, fd: int, head: Head) -> bool:
    """Tell whether the file has the digest that it shall have."""
    digest = FileDigest(head.target_bytes)
    buffer = memoryview(bytearray(_PIECE_BYTES))
    at = 0
    while at < head.target_bytes:
        got = read_at(disk, fd, at, buffer[: min(_PIECE_BYTES, head.target_bytes - at)])
        if not got:
            return False
        digest.update(buffer[:got])
        at += got
    return digest.digest() == head.digest
