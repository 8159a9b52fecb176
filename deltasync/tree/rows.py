"""Entries of one directory in bulk: packed columns, in the order of their names. Pure.

A `Section` is a run of consecutive entries of one directory, a *chunk* is several sections in one frame. The packed form is at once
what travels, what waits and what is compared: two directories that are equal have equal columns, so comparing them costs a few
`memcmp` whatever the number of entries. All integers are little-endian.

Layout of a chunk: sections one after the other, each

    u16 path length, path        the directory, relative to the root
    u8  flags                    1 first of the directory, 2 last of it, 4 incomplete (read errors), 8 nothing at all is in it,
                                 16 only some of its names are here, 32 contents may differ where times and sizes don't
    u32 mode, i64 mtime_ns, u32 uid, u32 gid       the directory's own attributes
    u32 count                    entries in this section, 0..MAX_SECTION_ENTRIES
    u32 names length, u32 targets length, u16 rdev count, u32 link count, u8 digests (0 or 1)
    names                        joined with NUL, strictly ascending by bytes
    u32 modes[count], u64 sizes[count], i64 mtimes_ns[count], u32 uids[count], u32 gids[count]
    targets                      of the symlinks in order, joined with NUL
    u64 rdevs[rdev count]        of the device nodes in order
    u32 index[link count], u64 group[link count]   entries that belong to a group of hard links
    32 bytes digest              for each regular file in order, if digests is 1 (`--checksum`)
"""

from __future__ import annotations

import operator
import stat
import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from deltasync._native.columns import column, packed
from deltasync.tree.entry import NO_GROUP, Entry
from deltasync.tree.names import MAX_NAME_BYTES, RESERVED_PREFIX, check_path

__all__ = [
    "MAX_CHUNK_BYTES",
    "MAX_SECTION_ENTRIES",
    "MAX_TARGET_BYTES",
    "NO_DIGEST",
    "Rows",
    "Section",
    "pack_sections",
    "unpack_sections",
]

MAX_SECTION_ENTRIES = 4096
MAX_CHUNK_BYTES = (1 << 20) - 64
MAX_TARGET_BYTES = 4095
MAX_SIZE = (1 << 63) - 1
DIGEST_BYTES = 32
NO_DIGEST = bytes(DIGEST_BYTES)
"""Stands for a digest that could not be made; it equals no file's."""

_FIRST, _LAST, _INCOMPLETE, _EMPTY, _PARTIAL, _WRITTEN = 1, 2, 4, 8, 16, 32
_KNOWN_KINDS = frozenset((stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK))
_DEVICES = frozenset((stat.S_IFCHR, stat.S_IFBLK))
_PATH = struct.Struct("<H")
_HEADER = struct.Struct("<BIqIIIIIHIB")


class Rows(NamedTuple):
    """Packed columns of `entry_count` entries; see the module's layout for what each holds."""

    entry_count: int
    names: bytes
    modes: bytes
    sizes: bytes
    mtimes_ns: bytes
    uids: bytes
    gids: bytes
    targets: bytes = b""
    rdevs: bytes = b""
    link_indexes: bytes = b""
    link_groups: bytes = b""
    digests: bytes = b""

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Rows:
        """Pack entries; their hard links are left out."""
        names, modes, sizes, mtimes_ns, uids, gids, *_ = list(zip(*entries, strict=True)) or [()] * 9
        return cls(
            len(entries),
            b"\0".join(names),
            packed("I", modes),
            packed("Q", sizes),
            packed("q", mtimes_ns),
            packed("I", uids),
            packed("I", gids),
            b"\0".join([entry.target for entry in entries if entry.kind == stat.S_IFLNK]),
            packed("Q", [entry.rdev for entry in entries if entry.kind in _DEVICES]),
        )

    def name_list(self) -> list[bytes]:
        """The names, ascending."""
        return self.names.split(b"\0") if self.entry_count else []

    def mode_column(self) -> array[int]:
        """The modes as integers."""
        return column("I", self.modes)

    def entries(self) -> Iterator[Entry]:
        """Yield every entry, in order."""
        targets = iter(self.targets.split(b"\0"))
        rdevs = iter(column("Q", self.rdevs))
        groups = dict(zip(column("I", self.link_indexes), column("Q", self.link_groups), strict=True))
        numbers = zip(
            self.name_list(),
            self.mode_column(),
            column("Q", self.sizes),
            column("q", self.mtimes_ns),
            column("I", self.uids),
            column("I", self.gids),
            strict=True,
        )
        plain = not self.targets and not self.rdevs and not groups
        if plain:
            yield from map(Entry._make, numbers_with_defaults(numbers))
            return
        for index, (name, mode, size, mtime_ns, uid, gid) in enumerate(numbers):
            kind = stat.S_IFMT(mode)
            target = next(targets) if kind == stat.S_IFLNK else b""
            rdev = next(rdevs) if kind in _DEVICES else 0
            yield Entry(name, mode, size, mtime_ns, uid, gid, target, rdev, groups.get(index, NO_GROUP))

    def pick(self, indexes: Sequence[int]) -> list[Entry]:
        """Return the entries at some indexes, which must be regular files (their hard links are left out)."""
        names = self.name_list()
        modes, sizes, mtimes_ns = self.mode_column(), column("Q", self.sizes), column("q", self.mtimes_ns)
        uids, gids = column("I", self.uids), column("I", self.gids)
        return [Entry(names[at], modes[at], sizes[at], mtimes_ns[at], uids[at], gids[at]) for at in indexes]

    def subset(self, indexes: Sequence[int]) -> Rows:
        """Return the rows at some ascending indexes; digests and hard links are left out."""
        names = self.name_list()
        widths = ((self.modes, 4), (self.sizes, 8), (self.mtimes_ns, 8), (self.uids, 4), (self.gids, 4))
        columns = [b"".join([column_bytes[width * at : width * (at + 1)] for at in indexes]) for column_bytes, width in widths]
        made = Rows(len(indexes), b"\0".join([names[at] for at in indexes]), *columns)
        if not self.targets and not self.rdevs:
            return made
        wanted = set(indexes)
        kept = [entry for at, entry in enumerate(self.entries()) if at in wanted]
        targets = b"\0".join([entry.target for entry in kept if entry.kind == stat.S_IFLNK])
        devices = b"".join([entry.rdev.to_bytes(8, "little") for entry in kept if entry.kind in _DEVICES])
        return made._replace(targets=targets, rdevs=devices)

    def digest_map(self) -> dict[int, bytes]:
        """Digest of each regular file by its index; empty unless digests travel."""
        if not self.digests:
            return {}
        regular = (index for index, mode in enumerate(self.mode_column()) if stat.S_ISREG(mode))
        return {index: self.digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES] for at, index in enumerate(regular)}


def numbers_with_defaults(
    numbers: Iterator[tuple[bytes, int, int, int, int, int]],
) -> Iterator[tuple[bytes, int, int, int, int, int, bytes, int, int]]:
    """Complete rows of plain entries (no symlink, device or hard link) to the fields of `Entry`."""
    return ((*row, b"", 0, NO_GROUP) for row in numbers)


class Section(NamedTuple):
    """A run of consecutive entries of one directory.

    Attributes:
        path: The directory, relative to the root; `b""` is the root.
        own: The directory's own attributes (`name` is empty).
        rows: The entries, in ascending order of their names.
        first: Whether this is the directory's first section.
        last: Whether it is its last.
        incomplete: Whether entries may be missing because the directory could not be read in full; nothing may be deleted by it.
        empty: Whether nothing at all is in the directory, before any filter.
        partial: Whether only some names of the directory are listed, in a live session; the others are as they were.
        written: Whether its regular files were written to, so that their contents may differ though times and sizes don't.
    """

    path: bytes
    own: Entry
    rows: Rows
    first: bool = True
    last: bool = True
    incomplete: bool = False
    empty: bool = False
    partial: bool = False
    written: bool = False


def pack_sections(sections: Sequence[Section]) -> bytes:
    """Return the packed form of a chunk."""
    parts: list[bytes] = []
    for section in sections:
        own, rows = section.own, section.rows
        flags = _FIRST * section.first | _LAST * section.last | _INCOMPLETE * section.incomplete | _EMPTY * section.empty
        flags |= _PARTIAL * section.partial | _WRITTEN * section.written
        header = _HEADER.pack(
            flags,
            own.mode,
            own.mtime_ns,
            own.uid,
            own.gid,
            rows.entry_count,
            len(rows.names),
            len(rows.targets),
            len(rows.rdevs) // 8,
            len(rows.link_indexes) // 4,
            1 if rows.digests else 0,
        )
        parts += (_PATH.pack(len(section.path)) if len(section.path) < 0xFFFF else _long_path(section.path), section.path, header)
        parts += rows[1:]
    return b"".join(parts)


def _long_path(path: bytes) -> bytes:
    return _PATH.pack(0xFFFF) + struct.pack("<I", len(path))


def unpack_sections(chunk: bytes) -> list[Section]:
    """Return the sections of a chunk that came from the peer.

    Raises:
        ValueError: The chunk is malformed, beyond a limit, or holds an illegal name, order or type.
    """
    sections: list[Section] = []
    at = 0
    try:
        while at < len(chunk):
            section, at = _unpack_one(chunk, at)
            sections.append(section)
    except struct.error as error:
        raise ValueError("a chunk of entries is cut short") from error
    return sections


def _unpack_one(chunk: bytes, at: int) -> tuple[Section, int]:
    (length,) = _PATH.unpack_from(chunk, at)
    at += 2
    if length == 0xFFFF:
        (length,) = struct.unpack_from("<I", chunk, at)
        at += 4
    path = check_path(chunk[at : at + length])
    if len(path) != length:
        raise ValueError("a chunk of entries is cut short")
    if b"/" + RESERVED_PREFIX in b"/" + path:
        raise ValueError("a directory's name begins with the reserved prefix")
    at += length
    flags, mode, mtime_ns, uid, gid, count, names, targets, rdevs, links, digests = _HEADER.unpack_from(chunk, at)
    at += _HEADER.size
    if count > MAX_SECTION_ENTRIES or links > count or rdevs > count or flags > 63 or digests > 1:
        raise ValueError("a section's header is beyond its limits")
    if not stat.S_ISDIR(mode) or mode > 0xFFFF:
        raise ValueError("a section is of no directory")
    fixed = (names, 4 * count, 8 * count, 8 * count, 4 * count, 4 * count, targets, 8 * rdevs, 4 * links, 8 * links)
    columns: list[bytes] = []
    for size in fixed:
        columns.append(chunk[at : at + size])
        at += size
    rows = Rows(count, *columns)
    if at > len(chunk):
        raise ValueError("a chunk of entries is cut short")
    regular = _check_rows(rows)
    if digests:
        size = DIGEST_BYTES * regular
        rows = rows._replace(digests=chunk[at : at + size])
        at += size
        if at > len(chunk):
            raise ValueError("a chunk of entries is cut short")
    own = Entry(b"", mode, 0, mtime_ns, uid, gid)
    flag_values = (bool(flags & flag) for flag in (_FIRST, _LAST, _INCOMPLETE, _EMPTY, _PARTIAL, _WRITTEN))
    return Section(path, own, rows, *flag_values), at


def _check_rows(rows: Rows) -> int:
    """Check columns from the peer; return the number of regular files.

    Raises:
        ValueError: A name, type, size, target or link is not allowed.
    """
    names = rows.name_list()
    if len(names) != rows.entry_count:
        raise ValueError("names and count of a section differ")
    if not names:
        if rows.names or rows.targets:
            raise ValueError("an empty section holds names")
        return 0
    if not names[0] or max(map(len, names)) > MAX_NAME_BYTES:
        raise ValueError("a name is empty or too long")
    if not all(map(operator.lt, names, islice(names, 1, None))):
        raise ValueError("names are not in strictly ascending order")
    if b"/" in rows.names or b"." in names or b".." in names:
        raise ValueError("a name is illegal")
    if b"\0" + RESERVED_PREFIX in b"\0" + rows.names:
        raise ValueError("a name begins with the reserved prefix")
    modes = rows.mode_column()
    kinds = {stat.S_IFMT(mode) for mode in set(modes)}
    if not kinds <= _KNOWN_KINDS or max(modes) > 0xFFFF:
        raise ValueError("an entry is of an unknown type")
    if max(column("Q", rows.sizes)) > MAX_SIZE:
        raise ValueError("a file's size is beyond 2**63 - 1")
    _check_extras(rows, modes, kinds)
    if kinds == {stat.S_IFREG}:
        return rows.entry_count
    return sum(map(stat.S_ISREG, modes))


def _check_extras(rows: Rows, modes: array[int], kinds: set[int]) -> None:
    symlinks = sum(map(stat.S_ISLNK, modes)) if stat.S_IFLNK in kinds else 0
    targets = rows.targets.split(b"\0") if symlinks else []
    if len(targets) != symlinks or (not symlinks and rows.targets):
        raise ValueError("symlinks and targets differ in number")
    if symlinks and (min(map(len, targets)) == 0 or max(map(len, targets)) > MAX_TARGET_BYTES):
        raise ValueError("a symlink's target is empty or too long")
    devices = sum(stat.S_IFMT(mode) in _DEVICES for mode in modes) if kinds & _DEVICES else 0
    if len(rows.rdevs) != 8 * devices:
        raise ValueError("devices and device numbers differ in number")
    indexes = column("I", rows.link_indexes)
    if not indexes:
        return
    if max(indexes) >= rows.entry_count or not all(map(operator.lt, indexes, islice(indexes, 1, None))):
        raise ValueError("a hard link's index is out of order or range")
    if any(stat.S_ISDIR(modes[index]) for index in indexes) or min(column("Q", rows.link_groups)) == NO_GROUP:
        raise ValueError("a hard link of no group, or of a directory")
