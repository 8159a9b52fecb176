"""Directories as packed rows: listed by name, then looked at in slices, on a directory's descriptor.

Both the scan of a source and the look at a destination use this, so that equal directories give equal bytes. A directory is listed in
full (names only) and its entries are looked at a slice at a time, so that a flat directory of a million entries costs its names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple

from deltasync._native import find_bulk
from deltasync._native.columns import packed
from deltasync.tree.entry import Entry, kept_time
from deltasync.tree.names import RESERVED_PREFIX, is_reserved
from deltasync.tree.rows import Rows

__all__ = ["Failure", "Files", "entry_at", "entry_of", "list_names", "look", "own_entry"]

Failure = Callable[[bytes, OSError], None]
"""Called with the name and the error of an entry that could not be looked at; it is left out of the rows."""

_RESERVED = os.fsdecode(RESERVED_PREFIX)
_BULK = find_bulk()


class Files(NamedTuple):
    """Which files the entries of some rows are, in the order of the rows.

    Attributes:
        devices: Numbers of the devices that they are on.
        inodes: Their numbers there.
        links: How many names each has.
    """

    devices: Sequence[int]
    inodes: Sequence[int]
    links: Sequence[int]


def list_names(dir_fd: int) -> tuple[list[bytes], list[bytes]]:
    """List a directory: its names in ascending order of bytes, and apart from them the names of the reserved prefix.

    Raises:
        OSError: The directory can't be read.
    """
    if _BULK is not None:
        joined_names = _BULK.list_names(dir_fd)
        names = joined_names.split(b"\0") if joined_names else []
        if b"\0" + RESERVED_PREFIX not in b"\0" + joined_names:
            return names, []
        return [name for name in names if not is_reserved(name)], [name for name in names if is_reserved(name)]
    listed = os.listdir(dir_fd)
    reserved = [name for name in listed if name.startswith(_RESERVED)]
    if reserved:
        listed = [name for name in listed if not name.startswith(_RESERVED)]
    # In one piece the names take a third of the memory that they take one by one: each form is let go before the next is made.
    joined = "\0".join(listed)
    del listed
    packed_names = os.fsencode(joined)
    del joined
    names = packed_names.split(b"\0") if packed_names else []
    del packed_names
    names.sort()
    return names, [os.fsencode(name) for name in reserved]


def entry_of(name: bytes, status: os.stat_result, target: bytes = b"") -> Entry:
    """Return the entry for a `stat` result; see `Entry` for what counts per type."""
    mode = status.st_mode
    size = status.st_size if stat.S_ISREG(mode) else 0
    rdev = status.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
    return Entry(name, mode, size, kept_time(status.st_mtime_ns), status.st_uid, status.st_gid, target, rdev)


def own_entry(dir_fd: int) -> Entry:
    """Return a directory's own entry (its name is empty)."""
    return entry_of(b"", os.fstat(dir_fd))


def entry_at(dir_fd: int, name: bytes) -> Entry | None:
    """Look at one name without following a symlink; None if there is nothing.

    Raises:
        OSError: It can't be looked at, for another reason than that it is not there.
    """
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        target = os.readlink(name, dir_fd=dir_fd) if stat.S_ISLNK(status.st_mode) else b""
    except FileNotFoundError:
        return None
    return entry_of(name, status, target)


def look(dir_fd: int, names: Sequence[bytes], failed: Failure) -> tuple[Rows, Files]:
    """Look at the named entries of a directory.

    Args:
        dir_fd: The directory.
        names: Names in ascending order.
        failed: Told of each entry that could not be looked at.

    Returns: The rows of those that could be, and which files they are.
    """
    if _BULK is not None and names:
        joined = b"\0".join(names)
        columns = _BULK.look(dir_fd, joined, len(names))
        looked = None if columns is None else _rows_of(dir_fd, names, joined, columns)
        if looked is not None:
            return looked
    return _look_singly(dir_fd, names, failed)


def _rows_of(dir_fd: int, names: Sequence[bytes], joined: bytes, columns: Sequence[bytes]) -> tuple[Rows, Files] | None:
    """Return the rows of entries whose columns are known; None if the target of a symlink can't be read."""
    mode_column = memoryview(columns[0]).cast("I")
    targets: list[bytes] = []
    if any(map(stat.S_ISLNK, set(mode_column))):
        broken: list[bytes] = []
        _read_targets(dir_fd, names, mode_column, targets, lambda name, _error: broken.append(name))
        if broken:
            return None
    modes, sizes, mtimes_ns, uids, gids, *files = columns
    rows = Rows(len(names), joined, modes, sizes, mtimes_ns, uids, gids, b"\0".join(targets))
    return rows, Files(*(memoryview(column).cast("Q") for column in files))


def _look_singly(dir_fd: int, names: Sequence[bytes], failed: Failure) -> tuple[Rows, Files]:
    """Do what `look` does, entry by entry."""
    try:
        found = [os.stat(name, dir_fd=dir_fd, follow_symlinks=False) for name in names]
        kept: Sequence[bytes] = names
    except OSError:
        found, kept = _look_each(dir_fd, names, failed)
    modes = [status.st_mode for status in found]
    kinds = {stat.S_IFMT(mode) for mode in set(modes)}
    targets: list[bytes] = []
    if stat.S_IFLNK in kinds:
        broken = _read_targets(dir_fd, kept, modes, targets, failed)
        if broken:
            keep = [index for index in range(len(kept)) if index not in broken]
            kept, found, modes = [kept[i] for i in keep], [found[i] for i in keep], [modes[i] for i in keep]
    if kinds <= {stat.S_IFREG}:
        sizes = packed("Q", [status.st_size for status in found])
    else:
        sizes = packed("Q", [status.st_size if stat.S_ISREG(status.st_mode) else 0 for status in found])
    devices = b""
    if kinds & {stat.S_IFCHR, stat.S_IFBLK}:
        devices = packed("Q", [s.st_rdev for s in found if stat.S_IFMT(s.st_mode) in (stat.S_IFCHR, stat.S_IFBLK)])
    rows = Rows(
        len(found),
        b"\0".join(kept),
        packed("I", modes),
        sizes,
        _times(found),
        packed("I", [status.st_uid for status in found]),
        packed("I", [status.st_gid for status in found]),
        b"\0".join(targets),
        devices,
    )
    return rows, Files([status.st_dev for status in found], [status.st_ino for status in found], [status.st_nlink for status in found])


def _times(found: Sequence[os.stat_result]) -> bytes:
    times_ns = [status.st_mtime_ns for status in found]
    try:
        return packed("q", times_ns)
    except OverflowError:
        return packed("q", [kept_time(time_ns) for time_ns in times_ns])


def _look_each(dir_fd: int, names: Sequence[bytes], failed: Failure) -> tuple[list[os.stat_result], list[bytes]]:
    found: list[os.stat_result] = []
    kept: list[bytes] = []
    for name in names:
        try:
            found.append(os.stat(name, dir_fd=dir_fd, follow_symlinks=False))
        except OSError as error:
            failed(name, error)
        else:
            kept.append(name)
    return found, kept


def _read_targets(dir_fd: int, names: Sequence[bytes], modes: Sequence[int], targets: list[bytes], failed: Failure) -> set[int]:
    """Append the targets of the symlinks among `names`; return the indexes of those that could not be read."""
    broken: set[int] = set()
    for index, mode in enumerate(modes):
        if stat.S_ISLNK(mode):
            try:
                targets.append(os.readlink(names[index], dir_fd=dir_fd))
            except OSError as error:
                failed(names[index], error)
                broken.add(index)
    return broken
