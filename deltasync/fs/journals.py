"""Journals by their names, and the two pages that say what each is about: what its file shall become, and whether that is decided.

A journal stands beside the file that it changes in place. Until its decision is on the disk the file is whole and old, and the journal may
be thrown away; from then on only the journal, applied, makes the file whole again. `patch.journal` has the rest of the format.

    page 0      intent: written when the journal is made, for whoever finds it
    page 1      decision: written last of all, once everything else is on the disk

Each page is 4,096 bytes: a packed head (little-endian), the name, zeros, and at its end the BLAKE3 of what comes before.
"""

from __future__ import annotations

import os
from struct import Struct
from typing import NamedTuple

from blake3 import blake3

from deltasync.tree.names import RESERVED_PREFIX, check_name

__all__ = [
    "PAGE_BYTES",
    "Head",
    "file_of",
    "is_decided",
    "is_journal",
    "is_quarantined",
    "journal_name",
    "packed_page",
    "quarantine_name",
    "unpacked_page",
]

PAGE_BYTES = 4096
_CHECK_BYTES = 32
_PREFIX = RESERVED_PREFIX + b"j"
_QUARANTINE = RESERVED_PREFIX + b"x"
_MAGIC = b"dsync~j1"
_HEAD = Struct("<8sQQQ32sQQQ32sH")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Head(NamedTuple):
    """What a journal is about.

    Attributes:
        name: The file, in the same directory.
        inode: Its number.
        base_bytes, target_bytes: Its length before and after.
        digest: The file digest that it shall have; zeros in an intent, as all that follows.
        literal_bytes: Length of what is written from the journal's own content.
        plan_bytes, windows: Length of the plan behind it, and how many windows it has.
        plan_digest: BLAKE3 of the plan.
    """

    name: bytes
    inode: int
    base_bytes: int
    target_bytes: int
    digest: bytes = bytes(32)
    literal_bytes: int = 0
    plan_bytes: int = 0
    windows: int = 0
    plan_digest: bytes = bytes(32)


def journal_name(name: bytes) -> bytes:
    """Return the name of the journal of the file `name`."""
    return _PREFIX + blake3(name).hexdigest(length=16).encode()


def quarantine_name(journal: bytes) -> bytes:
    """Return the name under which a journal is set aside whose file somebody else has changed."""
    return _QUARANTINE + journal.removeprefix(_PREFIX)


def is_journal(name: bytes) -> bool:
    """Tell whether a name is that of a journal that is open."""
    return name.startswith(_PREFIX)


def is_quarantined(name: bytes) -> bool:
    """Tell whether a name is that of a journal that was set aside."""
    return name.startswith(_QUARANTINE)


def packed_page(head: Head) -> bytes:
    """Return a head as a page."""
    fields = (head.inode, head.base_bytes, head.target_bytes, head.digest, head.literal_bytes, head.plan_bytes, head.windows)
    page = (_HEAD.pack(_MAGIC, *fields, head.plan_digest, len(head.name)) + head.name).ljust(PAGE_BYTES - _CHECK_BYTES, b"\0")
    return page + blake3(page).digest()


def unpacked_page(page: bytes) -> Head | None:
    """Return the head on a page; None if there is none, or it was not written to its end."""
    if len(page) != PAGE_BYTES or blake3(page[:-_CHECK_BYTES]).digest() != page[-_CHECK_BYTES:]:
        return None
    magic, inode, base, target, digest, literals, plan_bytes, windows, plan_digest, length = _HEAD.unpack_from(page)
    try:
        name = check_name(page[_HEAD.size : _HEAD.size + length])
    except ValueError:
        return None
    return Head(name, inode, base, target, digest, literals, plan_bytes, windows, plan_digest) if magic == _MAGIC else None


def is_decided(dir_fd: int, name: bytes) -> bool:
    """Tell whether a file has a journal that is decided, so that it may be half old, half new; True also where that can't be told."""
    try:
        fd = os.open(journal_name(name), _OPEN, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return unpacked_page(os.pread(fd, PAGE_BYTES, PAGE_BYTES)) is not None
    except OSError:
        return True
    finally:
        os.close(fd)


def file_of(dir_fd: int, journal: bytes) -> bytes | None:
    """Return the name of the file that a journal is about, by its own word; None where it can't be told."""
    try:
        fd = os.open(journal, _OPEN, dir_fd=dir_fd)
    except OSError:
        return None
    try:
        head = unpacked_page(os.pread(fd, PAGE_BYTES, 0))
    except OSError:
        return None
    finally:
        os.close(fd)
    return None if head is None or journal_name(head.name) != journal else head.name
