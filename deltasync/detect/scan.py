"""The scan of a source tree: depth first, on directory descriptors, in packed chunks.

Nothing holds the whole tree: a directory that has been listed costs its names until its last entry has been looked at, and the
directories on the way to it what is left of theirs.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from deltasync.detect.directory import Directory, LinkGroups, Listing, Origins, Terms
from deltasync.tree.names import MAX_NAME_BYTES, MAX_PATH_BYTES, join
from deltasync.tree.rows import MAX_CHUNK_BYTES, Section, pack_sections

__all__ = ["Chunk", "Scan"]

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


class _Batch:
    def __init__(self) -> None:
        self.sections: list[Section] = []
        self.origins: list[Origins | None] = []
        self.entries = 0
        self.size = 0

    def add(self, section: Section, origins: Origins | None, size: int) -> None:
        self.sections.append(section)
        self.origins.append(origins)
        self.entries += section.rows.entry_count
        self.size += size


class Scan:
    """Walks the sources and yields chunks.

    Args:
        terms: What is scanned, and how.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._groups = LinkGroups() if terms.hard_links else None
        self._batch = _Batch()

    def __iter__(self) -> Iterator[Chunk]:
        stack: list[Directory] = []
        everywhere = tuple(range(len(self._terms.sources.roots)))
        top = Directory(b"", everywhere, [])
        yield from self._walk(top)
        stack.append(top)
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
            for rows, origins, is_last_part in listing.rows(slice_names):
                last = at >= len(names) and is_last_part
                empty = not listing.listed and not listing.incomplete
                yield from self._add(Section(path, listing.own, rows, first, last, listing.incomplete, empty), origins)
                first = False

    def _add(self, section: Section, origins: Origins | None) -> Iterator[Chunk]:
        size = len(section.path) + sum(map(len, section.rows[1:])) + 64
        batch = self._batch
        if batch.sections and (batch.entries + section.rows.entry_count > CHUNK_ENTRIES or batch.size + size > MAX_CHUNK_BYTES // 2):
            yield self._close()
        self._batch.add(section, origins, size)
