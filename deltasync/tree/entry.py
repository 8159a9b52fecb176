"""One entry of a tree: what both sides know of a file, directory, link or special. Pure.

Entries exist singly only where one is looked at; in bulk they travel and wait as packed `rows`.
"""

from __future__ import annotations

import stat
from typing import NamedTuple

__all__ = ["NO_GROUP", "Entry", "kept_time"]

NO_GROUP = 0
"""`Entry.link_group` of an entry that is no hard link of another."""


MAX_TIME_NS = (1 << 63) - 1


def kept_time(time_ns: int) -> int:
    """Return a time as an entry can hold it, in 64 bits of nanoseconds: the nearest one, where it lies before 1677 or after 2262."""
    return max(-MAX_TIME_NS - 1, min(time_ns, MAX_TIME_NS))


class Entry(NamedTuple):
    """What is known of one entry.

    Attributes:
        name: One path component, as bytes.
        mode: File type and permission bits, as `st_mode`, 0..0xFFFF.
        size: Content bytes of a regular file; 0 for every other type.
        mtime_ns: Modification time, nanoseconds since the epoch (may be negative).
        uid: Owner, by the numbers of the side that made the entry.
        gid: Group, by the numbers of the side that made the entry.
        target: What a symlink points to; `b""` for every other type.
        rdev: Device number (`st_rdev`) of a character or block device; 0 for every other type.
        link_group: Number of the group of hard links that it belongs to, or `NO_GROUP`.
    """

    name: bytes
    mode: int
    size: int
    mtime_ns: int
    uid: int
    gid: int
    target: bytes = b""
    rdev: int = 0
    link_group: int = NO_GROUP

    @property
    def kind(self) -> int:
        """The file type bits, one of `stat.S_IFREG`, `S_IFDIR`, `S_IFLNK`, `S_IFIFO`, `S_IFSOCK`, `S_IFCHR`, `S_IFBLK`."""
        return stat.S_IFMT(self.mode)

    @property
    def permissions(self) -> int:
        """The permission bits, set-id and sticky bits included, 0..0o7777."""
        return stat.S_IMODE(self.mode)
