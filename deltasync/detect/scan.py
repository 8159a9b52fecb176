"""The scan of a source tree: depth first, on directory descriptors, in packed chunks.

Nothing holds the whole tree: a directory that has been listed costs its names until its last entry has been looked at, and the
directories on the way to it what is left of theirs.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from deltasync.detect.sources import Sources
from deltasync.fs.listing import list_names, look, own_entry
from deltasync.fs.root import Dir
from deltasync.tree.entry import Entry
from deltasync.tree.filters import Filters
from deltasync.tree.names import join
from deltasync.tree.rows import MAX_CHUNK_BYTES, MAX_SECTION_ENTRIES, Rows, Section, pack_sections, packed
from deltasync.tree.sources import CONTENTS

__all__ = ["Chunk", "Scan", "ScanFailure"]

ScanFailure = Callable[[bytes, OSError], None]
"""Called with the path and the error of what could not be read."""

SLICE_ENTRIES = 1024
CHUNK_ENTRIES = 2048
"""A chunk is closed at this many entries: enough to spread its fixed costs, few enough to flow early. At most `MAX_SECTION_ENTRIES`."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A number of consecutive sections of the scan.

    Attributes:
        sections: The sections, with local numbers for owners and groups.
        origins: For each section, per entry the index of the source that it comes from; None where all are of the first.
        packed: Their packed form.
        entries: How many entries they hold.
        files: How many of these are regular files.
        file_bytes: The sizes of these.
    """

    sections: tuple[Section, ...]
    origins: tuple[bytes | None, ...]
    packed: bytes
    entries: int
    files: int
    file_bytes: int


@dataclass(slots=True)
class _Directory:
    """A directory whose subdirectories are still to be walked: their names, the next one last, and the sources that have it."""

    path: bytes
    origins: tuple[int, ...]
    pending: list[tuple[bytes, tuple[int, ...]]]


@dataclass(slots=True)
class _Batch:
    sections: list[Section] = field(default_factory=list)
    origins: list[bytes | None] = field(default_factory=list)
    entries: int = 0
    size: int = 0

    def add(self, section: Section, origins: bytes | None, size: int) -> None:
        self.sections.append(section)
        self.origins.append(origins)
        self.entries += section.rows.entry_count
        self.size += size


class Scan:
    """Walks the sources and yields chunks.

    Args:
        sources: The opened sources.
        filters: Which entries are left out; an excluded directory is not entered.
        failed: Told of what can't be read.
        recursive: Whether directories are entered at all.
        hard_links: Whether hard links are found and numbered.
        digest: Gives the digest of a regular file (source index, directory, name, size) for `--checksum`; None not to.
        dropped: Told the path of each entry whose name is reserved.
    """

    def __init__(
        self,
        sources: Sources,
        filters: Filters,
        failed: ScanFailure,
        *,
        recursive: bool = True,
        hard_links: bool = False,
        digest: Callable[[int, bytes, bytes, int], bytes] | None = None,
        dropped: Callable[[bytes], None] | None = None,
    ) -> None:
        self._sources = sources
        self._filters = filters
        self._failed = failed
        self._recursive = recursive
        self._hard_links = hard_links
        self._digest = digest
        self._dropped = dropped
        self._groups: dict[tuple[int, int], list[int]] = {}
        self._last_group = 0
        self._batch = _Batch()

    def __iter__(self) -> Iterator[Chunk]:
        stack: list[_Directory] = []
        everywhere = tuple(range(len(self._sources.roots)))
        top = _Directory(b"", everywhere, [])
        yield from self._walk(top)
        stack.append(top)
        while stack:
            directory = stack[-1]
            if not directory.pending:
                stack.pop()
                continue
            name, origins = directory.pending.pop()
            child = _Directory(join(directory.path, name), origins, [])
            yield from self._walk(child)
            if child.pending:
                stack.append(child)
        if self._batch.sections:
            yield self._close()

    def _close(self) -> Chunk:
        batch, self._batch = self._batch, _Batch()
        files = file_bytes = 0
        for section in batch.sections:
            modes = section.rows.mode_column()
            files += sum(map(stat.S_ISREG, modes))
            file_bytes += sum(memoryview(section.rows.sizes).cast("Q"))
        return Chunk(tuple(batch.sections), tuple(batch.origins), pack_sections(batch.sections), batch.entries, files, file_bytes)

    def _walk(self, directory: _Directory) -> Iterator[Chunk]:
        """List one directory, add its sections, and note its subdirectories in `pending`."""
        listing = _Listing(self, directory)
        names = listing.names
        at = 0
        first = True
        while first or at < len(names):
            slice_names = names[at : at + SLICE_ENTRIES]
            at += len(slice_names)
            for rows, origins, is_last_part in listing.rows(slice_names):
                last = at >= len(names) and is_last_part
                section = Section(directory.path, listing.own, rows, first, last, listing.incomplete, not listing.listed)
                yield from self._add(section, origins)
                first = False
        directory.pending.reverse()
        listing.close()

    def _add(self, section: Section, origins: bytes | None) -> Iterator[Chunk]:
        size = len(section.path) + sum(map(len, section.rows[1:])) + 64
        batch = self._batch
        if batch.sections and (batch.entries + section.rows.entry_count > CHUNK_ENTRIES or batch.size + size > MAX_CHUNK_BYTES // 2):
            yield self._close()
        self._batch.add(section, origins, size)

    def link_columns(self, found: Sequence[os.stat_result]) -> tuple[bytes, bytes]:
        """Return the link columns of entries with these `stat` results, numbering groups as they are met."""
        if not self._hard_links:
            return b"", b""
        indexes: list[int] = []
        groups: list[int] = []
        for index, status in enumerate(found):
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                indexes.append(index)
                groups.append(self._group(status))
        return packed("I", indexes), packed("Q", groups)

    def _group(self, status: os.stat_result) -> int:
        key = (status.st_dev, status.st_ino)
        known = self._groups.get(key)
        if known is None:
            self._last_group += 1
            self._groups[key] = [self._last_group, status.st_nlink - 1]
            return self._last_group
        known[1] -= 1
        if not known[1]:
            del self._groups[key]
        return known[0]


class _Listing:
    """One directory while it is looked at: opened in every source that has it, its names merged."""

    def __init__(self, scan: Scan, directory: _Directory) -> None:
        self._scan = scan
        self._directory = directory
        self._leases: list[Dir] = []
        self.incomplete = False
        self.listed = False
        self.own = Entry(b"", stat.S_IFDIR | 0o755, 0, 0, 0, 0)
        self._origin: dict[bytes, tuple[int, ...]] | None = None
        self._fds: dict[int, int] = {}
        self.names: list[bytes] = []
        lists: list[tuple[int, list[bytes]]] = []
        for index in directory.origins:
            lists += self._open(index)
        if len(lists) == 1:
            self.names = lists[0][1]
        elif lists:
            self._merge(lists)
        self.listed = bool(self.names)
        if not directory.path:
            self._show_tops()
        self._matcher = scan._filters.for_directory(directory.path)

    def _open(self, index: int) -> list[tuple[int, list[bytes]]]:
        sources, path = self._scan._sources, self._directory.path
        try:
            lease = sources.roots[index].dir(path)
            self._leases.append(lease)
            self._fds[index] = lease.fd
            own = own_entry(lease.fd)
            if len(self._fds) == 1:
                self.own = own
            if not path and sources.tops[index] != CONTENTS:
                return [(index, [sources.tops[index]])]
            names, reserved = list_names(lease.fd)
        except OSError as error:
            if len(self._directory.origins) > 1 and error.errno in (errno.ENOTDIR, errno.ENOENT, errno.ELOOP):
                return []
            self.incomplete = True
            self._scan._failed(path, error)
            return []
        if reserved and self._scan._dropped:
            for name in reserved:
                self._scan._dropped(join(path, name))
        return [(index, names)]

    def _merge(self, lists: list[tuple[int, list[bytes]]]) -> None:
        merged: dict[bytes, tuple[int, ...]] = {}
        for index, names in lists:
            for name in names:
                merged[name] = (*merged.get(name, ()), index)
        self._origin = merged
        self.names = sorted(merged)

    def _show_tops(self) -> None:
        if not self._scan._sources.whole:
            self.listed = True

    def rows(self, names: list[bytes]) -> Iterator[tuple[Rows, bytes | None, bool]]:
        """Yield the rows of a slice of the names, in parts small enough for a chunk; the flag marks the last part."""
        rows, found, origins = self._look(names)
        size = sum(map(len, rows[1:]))
        if size > MAX_CHUNK_BYTES // 2 and len(names) > 1:
            half = len(names) // 2
            for part, part_origins, _ in self.rows(names[:half]):
                yield part, part_origins, False
            yield from self.rows(names[half:])
            return
        self._note_subdirectories(rows, found)
        indexes, groups = self._scan.link_columns(found)
        rows = rows._replace(link_indexes=indexes, link_groups=groups)
        if self._scan._digest:
            rows = rows._replace(digests=self._digests(rows, origins, self._scan._digest))
        yield rows, origins, True

    def _look(self, names: list[bytes]) -> tuple[Rows, list[os.stat_result], bytes | None]:
        if self._origin is None:
            fd = next(iter(self._fds.values()), -1)
            rows, found = look(fd, names, self._missed)
            kept = self._kept(rows)
            if kept is not None:
                rows, found = look(fd, kept, self._missed)
            first = next(iter(self._fds), 0)
            return rows, found, bytes([first]) * rows.entry_count if first else None
        return self._look_merged(names)

    def _look_merged(self, names: list[bytes]) -> tuple[Rows, list[os.stat_result], bytes | None]:
        """Look at names that stand in several sources: the first source that has a name gives its entry."""
        assert self._origin is not None
        parts: list[tuple[Entry, os.stat_result, int]] = []
        for name in names:
            index = self._origin[name][0]
            rows, found = look(self._fds[index], [name], self._missed)
            if self._kept(rows) is None and rows.entry_count:
                parts.append((next(rows.entries()), found[0], index))
        columns = list(zip(*[entry for entry, _, _ in parts], strict=True)) or [()] * 9
        devices = [entry.rdev for entry, _, _ in parts if stat.S_IFMT(entry.mode) in (stat.S_IFCHR, stat.S_IFBLK)]
        merged = Rows(
            len(parts),
            b"\0".join(columns[0]),
            packed("I", columns[1]),
            packed("Q", columns[2]),
            packed("q", columns[3]),
            packed("I", columns[4]),
            packed("I", columns[5]),
            b"\0".join(entry.target for entry, _, _ in parts if stat.S_ISLNK(entry.mode)),
            packed("Q", devices),
        )
        return merged, [status for _, status, _ in parts], bytes(index for _, _, index in parts)

    def _kept(self, rows: Rows) -> list[bytes] | None:
        """Return the names that the filters keep, or None where they keep all."""
        excluded, recursive = self._matcher, self._scan._recursive
        if excluded is None and recursive:
            return None
        pairs = list(zip(rows.name_list(), rows.mode_column(), strict=True))
        kept = [
            name
            for name, mode in pairs
            if not (excluded is not None and excluded(name, stat.S_ISDIR(mode))) and (recursive or not stat.S_ISDIR(mode))
        ]
        return None if len(kept) == len(pairs) else kept

    def _missed(self, name: bytes, error: OSError) -> None:
        self.incomplete = self.incomplete or not isinstance(error, FileNotFoundError)
        self._scan._failed(join(self._directory.path, name), error)

    def _note_subdirectories(self, rows: Rows, found: list[os.stat_result]) -> None:
        names = None
        for index, status in enumerate(found):
            if stat.S_ISDIR(status.st_mode):
                if names is None:
                    names = rows.name_list()
                name = names[index]
                origins = self._directory.origins if self._origin is None else self._origin[name]
                if self._origin is None and len(self._fds) == 1:
                    origins = tuple(self._fds)
                self._directory.pending.append((name, origins))

    def _digests(self, rows: Rows, origins: bytes | None, digest: Callable[[int, bytes, bytes, int], bytes]) -> bytes:
        made: list[bytes] = []
        for index, entry in enumerate(rows.entries()):
            if stat.S_ISREG(entry.mode):
                made.append(digest(origins[index] if origins else 0, self._directory.path, entry.name, entry.size))
        return b"".join(made)

    def close(self) -> None:
        """Let go of the directory."""
        for lease in self._leases:
            lease.release()
