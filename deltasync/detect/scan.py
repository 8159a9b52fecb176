"""The scan of a source tree: depth first, on directory descriptors, in packed chunks.

Nothing holds the whole tree: a directory that has been listed costs its names until its last entry has been looked at, and the
directories on the way to it what is left of theirs.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from deltasync.detect.directory import Directory, LinkGroups, Listing, Origins, Terms
from deltasync.tree.names import MAX_NAME_BYTES, MAX_PATH_BYTES, join
from deltasync.tree.rows import MAX_CHUNK_BYTES, Section, pack_sections

__all__ = ["Chunk", "Departed", "Packing", "Scan"]

SLICE_ENTRIES = 1024
CHUNK_ENTRIES = 2048
"""A chunk is closed at this many entries: enough to spread its fixed costs, few enough to flow early."""


class Chunk(NamedTuple):
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
    origins: tuple[Origins | None, ...]
    packed: bytes
    entries: int
    files: int
    file_bytes: int


class Departed(NamedTuple):
    """Entries that are gone; what was in a directory stands before it."""

    paths: tuple[bytes, ...]


class Packing:
    """Packs sections into chunks.

    Args:
        saw: Told of each section, and of the inodes of its entries.
    """

    def __init__(self, saw: Callable[[Section, Sequence[int]], None] | None = None) -> None:
        self._saw = saw
        self._sections: list[Section] = []
        self._origins: list[Origins | None] = []
        self._entries = self._size = 0

    def add(self, section: Section, origins: Origins | None, inodes: Sequence[int]) -> Iterator[Chunk]:
        """Take a section, and the inodes of its entries; yield the chunk before it if that is full."""
        if self._saw is not None:
            self._saw(section, inodes)
        size = len(section.path) + sum(map(len, section.rows[1:])) + 64
        if self._sections and (self._entries + section.rows.entry_count > CHUNK_ENTRIES or self._size + size > MAX_CHUNK_BYTES // 2):
            yield from self.close()
        self._sections.append(section)
        self._origins.append(origins)
        self._entries += section.rows.entry_count
        self._size += size

    def close(self) -> Iterator[Chunk]:
        """Yield the chunk in hand, if there is any."""
        sections, origins, entries = self._sections, self._origins, self._entries
        self._sections, self._origins = [], []
        self._entries = self._size = 0
        files = file_bytes = 0
        for section in sections:
            modes = section.rows.mode_column()
            files += sum(map(stat.S_ISREG, modes))
            file_bytes += sum(memoryview(section.rows.sizes).cast("Q"))
        if sections:
            yield Chunk(tuple(sections), tuple(origins), pack_sections(sections), entries, files, file_bytes)


class Scan:
    """Walks the sources and yields chunks.

    Args:
        terms: What is scanned, and how.
        packing: What packs the sections; None for one of its own.
    """

    def __init__(self, terms: Terms, packing: Packing | None = None) -> None:
        self._terms = terms
        self._groups = LinkGroups() if terms.hard_links else None
        self._packing = packing or Packing()

    def __iter__(self) -> Iterator[Chunk]:
        yield from self.beneath(Directory(b"", tuple(range(len(self._terms.sources.roots))), []))
        yield from self._packing.close()

    def beneath(self, top: Directory) -> Iterator[Chunk]:
        """Walk a directory and all beneath it; the last chunk is left in the packing."""
        yield from self._walk(top)
        stack = [top]
        while stack:
            directory = stack[-1]
            if not directory.pending:
                stack.pop()
                continue
            name, origins = directory.pending.pop()
            path = join(directory.path, name)
            if len(path) > MAX_PATH_BYTES - MAX_NAME_BYTES:
                self._terms.failed(path, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)))
                continue
            child = Directory(path, origins, [])
            yield from self._walk(child)
            if child.pending:
                stack.append(child)

    def _walk(self, directory: Directory) -> Iterator[Chunk]:
        """List one directory, add its sections, and note its subdirectories in `pending`."""
        listing = Listing(self._terms, directory, self._groups)
        try:
            yield from self._sections(directory.path, listing)
        finally:
            listing.close()
        directory.pending.reverse()

    def _sections(self, path: bytes, listing: Listing) -> Iterator[Chunk]:
        names = listing.names
        at = 0
        first = True
        while first or at < len(names):
            slice_names = names[at : at + SLICE_ENTRIES]
            at += len(slice_names)
            for rows, origins, files, is_last_part in listing.rows(slice_names):
                last = at >= len(names) and is_last_part
                empty = not listing.listed and not listing.incomplete
                section = Section(path, listing.own, rows, first, last, listing.incomplete, empty)
                yield from self._packing.add(section, origins, files.inodes)
                first = False
