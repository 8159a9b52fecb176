"""What stands at some names of a directory, in all sources that have it, as far as the rules keep it."""

from __future__ import annotations

import errno
import stat
from array import array
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from typing import Final, NamedTuple

from deltasync.detect.directory import Origins, Terms
from deltasync.fs.listing import Files, look, own_entry
from deltasync.fs.merge_file import RulesError
from deltasync.tree.entry import Entry
from deltasync.tree.names import join
from deltasync.tree.rows import Rows

__all__ = ["NOT_THERE", "Finder", "Found"]

NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Errors of what is not there."""


class Found(NamedTuple):
    """What was found of the names that were looked for in a directory.

    Attributes:
        own: The directory's own attributes.
        rows: Those that are there.
        inodes: Their inodes.
        origins: The sources that they are from; None if all are from the first.
        failed: Names that can't be looked at.
        kept_there: Names that the rules leave out, and that stay at a peer by what the rules for it say here.
    """

    own: Entry
    rows: Rows
    inodes: Sequence[int]
    origins: Origins | None
    failed: set[bytes]
    kept_there: AbstractSet[bytes] = frozenset()


class Finder:
    """Looks at names.

    Args:
        terms: What is looked at, and how.
        note_links: Told of the rows of a directory among which there are files of several names, before any is left out.
    """

    def __init__(self, terms: Terms, note_links: Callable[[bytes, Rows, Files], None]) -> None:
        self._terms = terms
        self._note_links = note_links
        self._rules_change = any(selection.changes for selection in terms.selections)

    def find(self, directory: bytes, names: list[bytes]) -> Found | None:
        """Look at names in all sources that have the directory; the first that has a name gives its entry. None without a directory."""
        missing: set[bytes] = set()
        failed: set[bytes] = set()
        kept_there: set[bytes] = set()

        def missed(name: bytes, error: OSError) -> None:
            if error.errno in NOT_THERE:
                missing.add(name)
            else:
                failed.add(name)
                self._terms.failed(join(directory, name), error)

        with ExitStack() as stack:
            opened: list[tuple[int, int]] = []
            for index in self.origins(directory):
                try:
                    opened.append((index, stack.enter_context(self._terms.sources.roots[index].dir(directory)).fd))
                except OSError as error:
                    if error.errno not in NOT_THERE:
                        self._terms.failed(directory, error)
                        return None
            if not opened:
                return None
            own = own_entry(opened[0][1])
            left = names
            parts: list[tuple[int, Rows, Sequence[int]]] = []
            for index, fd in opened:
                shown = None if directory else self._terms.sources.shown[index]
                missing = set() if shown is None else {name for name in left if name not in shown}
                rows, files = look(fd, [name for name in left if name not in missing], missed)
                if any(names > 1 for names in files.links):
                    self._note_links(directory, rows, files)
                try:
                    kept = self._kept(index, directory, rows, files.inodes)
                    kept_there |= self._kept_there(index, directory, rows, kept[0])
                except RulesError as error:
                    self._terms.failed(directory, error)
                    failed.update(rows.name_list())
                    kept = rows.subset([]), []
                parts.append((index, *kept))
                left = sorted({*left} - {*kept[0].name_list()} - failed)
            return self._joined(own, parts, failed)._replace(kept_there=kept_there)

    def _joined(self, own: Entry, parts: list[tuple[int, Rows, Sequence[int]]], failed: set[bytes]) -> Found:
        parts = [part for part in parts if part[1].entry_count] or parts[:1]
        if len(parts) == 1:
            index, rows, inodes = parts[0]
            return Found(own, rows, inodes, array("I", [index]) * rows.entry_count if index else None, failed)
        entries = sorted((*pair, index) for index, rows, inodes in parts for pair in zip(rows.entries(), inodes, strict=True))
        origins = array("I", [index for _, _, index in entries])
        return Found(own, Rows.of([entry for entry, _, _ in entries]), [inode for _, inode, _ in entries], origins, failed)

    def _kept(self, index: int, directory: bytes, rows: Rows, inodes: Sequence[int]) -> tuple[Rows, Sequence[int]]:
        """Return the rows that the rules keep, and their inodes."""
        excluded, recursive = self._terms.selections[index].for_directory(directory), self._terms.recursive
        if excluded is None and recursive:
            return rows, inodes
        pairs = enumerate(zip(rows.name_list(), rows.mode_column(), strict=True))
        kept = [
            at
            for at, (name, mode) in pairs
            if not (excluded is not None and excluded(name, stat.S_ISDIR(mode))) and (recursive or not stat.S_ISDIR(mode))
        ]
        return (rows, inodes) if len(kept) == rows.entry_count else (rows.subset(kept), [inodes[at] for at in kept])

    def _kept_there(self, index: int, directory: bytes, rows: Rows, kept: Rows) -> set[bytes]:
        """Return the names that were left out and that a peer with the same files of rules would not delete."""
        if not self._rules_change or kept.entry_count == rows.entry_count:
            return set()
        names = {*kept.name_list()}
        excluded = self._terms.for_peer[index].for_directory(directory)
        pairs = zip(rows.name_list(), rows.mode_column(), strict=True)
        return {name for name, mode in pairs if name not in names and excluded is not None and excluded(name, stat.S_ISDIR(mode))}

    def hidden(self, directory: bytes) -> bool:
        """Tell whether files of rules leave out a directory, or one above it, in every source; an event does not know of these."""
        if not self._rules_change:
            return False
        try:
            return not any(self._terms.selections[index].admits(directory) for index in self.origins(directory))
        except RulesError:
            # Where they can't be read, nothing is sent; it is told where they are.
            return True

    def says_rules(self, directory: bytes, names: Sequence[bytes]) -> bool:
        """Tell whether one of some names in a directory may be a file of rules."""
        if not self._rules_change:
            return False
        try:
            return any(self._terms.selections[index].reads(directory, name) for index in self.origins(directory) for name in names)
        except RulesError:
            return False

    def origins(self, directory: bytes) -> tuple[int, ...]:
        """Return the sources in which a directory may be."""
        top = directory.partition(b"/")[0]
        shown = self._terms.sources.shown
        return tuple(index for index, names in enumerate(shown) if not top or names is None or top in names)
