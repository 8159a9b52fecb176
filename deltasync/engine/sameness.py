"""Small files whose size is the same on both sides: the receiver says what it has, and a file that is just that does not travel.

A tree that was unpacked or checked out again has other times and the same contents; then a digest a file is all that is sent.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from deltasync.delta.digest import same_digest
from deltasync.engine.ground import Ground
from deltasync.engine.reading import OPEN_FLAGS, PACK_FILE_BYTES
from deltasync.engine.streams import Expected
from deltasync.fs.identity import Identity, look
from deltasync.patch.attributes import Lost, apply_fd
from deltasync.patch.kept import read_all
from deltasync.patch.small import SmallFile, put_durably, put_together
from deltasync.tree.entry import Entry

__all__ = ["Had", "had", "stay"]


class Had(NamedTuple):
    """What the receiver has.

    Attributes:
        digest: Of its content; see `same_digest`.
        identity: What it was when it was read.
    """

    digest: bytes
    identity: Identity


def had(dir_fd: int, entry: Entry, current: Entry | None) -> Had | None:
    """Read what a small file that is wanted replaces; None if that can't be what it shall be, or could change unseen.

    Args:
        dir_fd: Its directory.
        entry: The file, as the sender lists it.
        current: What it replaces.
    """
    if current is None or not 0 < current.size == entry.size <= PACK_FILE_BYTES:
        return None
    try:
        fd = os.open(entry.name, OPEN_FLAGS, dir_fd=dir_fd)
    except OSError:
        # It comes whole; if it can't be replaced either, that tells.
        return None
    try:
        looked = look(fd)
        content = os.read(fd, entry.size + 1)
        if len(content) != entry.size or not looked.identity.settled(looked.at_ns) or Identity.of(os.fstat(fd)) != looked.identity:
            return None
    except OSError:
        return None
    finally:
        os.close(fd)
    return Had(same_digest(content), looked.identity)


def stay(ground: Ground, dir_fd: int, expected: Expected, entry: Entry) -> Lost:
    """Have a file stay what it is, with the attributes of the one that was wanted; returns which of them could not be kept.

    One that has other names, or would belong to somebody else if it were new, is replaced by a copy of itself; so is one that becomes its
    own backup.

    Args:
        ground: Where the receiver works.
        dir_fd: The file's directory.
        expected: What was asked for, and what the file was when its digest was taken.
        entry: What it shall be, by the sender's word.

    Raises:
        OSError: It can't be read or written, or is not what it was when its digest was taken.
    """
    fd = os.open(entry.name, OPEN_FLAGS, dir_fd=dir_fd)
    try:
        status = os.fstat(fd)
        content = bytearray(status.st_size if Identity.of(status) == expected.identity else 0)
        read_all(fd, 0, memoryview(content))
        if Identity.of(status) != expected.identity or Identity.of(os.fstat(fd)) != expected.identity:
            raise OSError(errno.EBUSY, "somebody changed it meanwhile; run again")
        attributes = ground.fresh(entry, expected.current)
        if ground.backups is None and ground.may_stay(status, entry, expected.current):
            return apply_fd(fd, attributes)
        ground.save(expected.directory, dir_fd, entry.name)
        (result,) = (put_durably if ground.settings.fsync else put_together)(dir_fd, [SmallFile(entry.name, content, attributes)])
        if isinstance(result, Lost):
            return result
        raise result
    finally:
        os.close(fd)
