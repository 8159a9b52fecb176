"""A round's look at the source: the marked places are looked at, compared with what the peer holds, and what differs is listed.

What comes of it is, in this order: renames, which the peer can do by itself; then, mixed, chunks of entries and names that are gone, each
before the entry that takes its place.
"""

from __future__ import annotations

import math
import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from deltasync.detect.directory import Directory, Listing, Terms
from deltasync.detect.finding import Finder, Found
from deltasync.detect.mirror import Mirror, rows_of, same_file
from deltasync.detect.scan import SLICE_ENTRIES, Chunk, Departed, Packing, Scan
from deltasync.detect.worklist import Batch, Dirty, Mark
from deltasync.fs.listing import Files
from deltasync.tree.names import MAX_NAME_BYTES, MAX_PATH_BYTES, is_reserved, join, split
from deltasync.tree.rows import Rows, Section

__all__ = ["Revisit"]

_TOLD_PATHS = 1024
_NEVER_NS = 1 << 64
_AHEAD_NS = 2_000_000_000
_WRITTEN = Dirty(Mark.LOOK | Mark.WRITTEN, math.inf, 0.0)
_LOOK = Dirty(Mark.LOOK, math.inf, 0.0)


class Revisit:
    """Looks at the places of a batch; iterate once over what has changed.

    Args:
        terms: What is looked at, and how; the sources have been opened for this.
        mirror: What the peer holds; it follows what is listed.
        batch: Which places.
        deletes: Whether the peer is told what is gone.
        clock_offset_s: What has to be added to a time of the batch's clock for seconds since the epoch.
        may_delete: Called before anything is said to be gone; raises what forbids it.

    Attributes:
        renames: Pairs of old and new path, in their order; known at once.
        search: Whether other names of a file that was written to are not known, so that all has to be listed for them.
        differing: Directories that were listed and in which something had changed.
        vanished: Directories that are not where they were, and what was marked in them; a moment later it may show where they are.
    """

    def __init__(
        self, terms: Terms, mirror: Mirror, batch: Batch, *, deletes: bool, clock_offset_s: float, may_delete: Callable[[], None]
    ) -> None:
        self._terms = terms
        self._mirror = mirror
        self._batch = batch
        self._deletes = deletes
        self._offset_s = clock_offset_s
        self._may_delete = may_delete
        self._packing = Packing(mirror.record)
        self._scan = Scan(terms, self._packing)
        self._finder = Finder(terms, self._note_links)
        self.renames: list[tuple[bytes, bytes]] = []
        self._touched: set[bytes] = set()
        self.search = False
        self._linked: set[bytes] = set()
        self._own_links: set[bytes] = set()
        self._written: set[bytes] = set()
        self._read_anew: set[bytes] = set()
        self.differing: list[bytes] = []
        self.vanished: list[tuple[bytes, dict[bytes, Mark]]] = []
        for old, new in batch.renames:
            above = split(new)[0]
            while mirror.directory(above) is None:
                # It is new as well, and made for the rename: what it is and what else is in it has to be told.
                self._add(above, Mark.LOOK | Mark.TREE)
                above = split(above)[0]
            if deletes and not self._finder.hidden(new) and mirror.rename(old, new):
                self._renamed(old, new)
            else:
                self._add(old, Mark.LOOK | Mark.TREE)
                self._add(new, Mark.LOOK | Mark.WRITTEN | Mark.TREE)
        if deletes and terms.entered is not None:
            for directory, names in list(batch.names.items()):
                for path in [join(directory, name) for name, dirty in names.items() if dirty.mark & Mark.TREE]:
                    self._find_renamed(path, terms.entered)

    def _renamed(self, old: bytes, new: bytes) -> None:
        """Take note of a rename that the peer does.

        What was listed may be ahead of the events, and then something else was renamed: both places are looked at, and inodes tell.
        """
        self.renames.append((old, new))
        self._touched |= {split(old)[0], split(new)[0]}
        self._add(old, Mark.LOOK | Mark.TREE)
        self._add(new, Mark.LOOK | Mark.TREE)

    def _find_renamed(self, top: bytes, entered: Callable[[int, bytes, int], bytes | None]) -> None:
        """Find directories in a new one that were renamed into it before it was watched, and watch all that are in it."""
        pending = [top] if self._mirror.directory(top) is None else []
        while pending:
            path = pending.pop()
            for index in self._finder.origins(path):
                # What can't be opened or listed is found again, and told, when it is listed in its turn.
                with suppress(OSError), self._terms.sources.roots[index].dir(path) as lease:
                    old = entered(index, path, lease.fd)
                    if old is not None and self._is_gone(old) and self._mirror.rename(old, path):
                        self._renamed(old, path)
                    else:
                        pending += self._directories_in(index, path, lease.fd)

    def _is_gone(self, path: bytes) -> bool:
        directory, name = split(path)
        for index in self._finder.origins(path):
            try:
                with self._terms.sources.roots[index].dir(directory) as lease:
                    os.stat(name, dir_fd=lease.fd, follow_symlinks=False)
            except OSError:
                continue
            return False
        return True

    def _directories_in(self, index: int, path: bytes, dir_fd: int) -> list[bytes]:
        excluded = self._terms.selections[index].for_directory(path)
        with os.scandir(dir_fd) as entries:
            names = [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        return [join(path, name) for name in names if not is_reserved(name) and not (excluded is not None and excluded(name, True))]

    def _add(self, path: bytes, mark: Mark) -> None:
        directory, name = split(path)
        names = self._batch.names.setdefault(directory, {})
        known = names.get(name)
        names[name] = Dirty(mark, math.inf, 0.0) if known is None else known._replace(mark=known.mark | mark)

    def __iter__(self) -> Iterator[Chunk | Departed]:
        batch = self._batch
        if batch.everything is not None:
            yield from self._beneath(b"", batch.everything)
        for directory, since in batch.directories.items():
            yield from self._listed(directory, since, [])
        for directory in sorted({*batch.names, *self._touched}):
            yield from self._looked(directory, batch.names.get(directory, {}))
        if batch.everything is not None:
            self._linked |= self._mirror.searched()
        # By a name that is gone, or new, a file may have changed of which no event told by its others.
        others = self._mirror.met() if batch.everything is None else set()
        for path in sorted((others | self._linked) - self._own_links):
            directory, name = split(path)
            yield from self._looked(directory, {name: _WRITTEN if path in self._linked else _LOOK})
        yield from self._packing.close()

    # A directory with names that are known to be worth a look ------------------------------------------------------------------------

    def _looked(self, directory: bytes, wanted: Mapping[bytes, Dirty]) -> Iterator[Chunk | Departed]:
        """Look at names in a directory."""
        if self._finder.hidden(directory):
            return
        names = sorted(name for name in wanted if not is_reserved(name))
        for at in range(0, max(len(names), 1), SLICE_ENTRIES):
            yield from self._looked_slice(directory, names[at : at + SLICE_ENTRIES], wanted)
        if directory not in self._read_anew and self._finder.says_rules(directory, names):
            self._read_anew.add(directory)
            yield from self._beneath(directory, math.inf)

    def _looked_slice(self, directory: bytes, names: list[bytes], wanted: Mapping[bytes, Dirty]) -> Iterator[Chunk | Departed]:
        found = self._finder.find(directory, names)
        if found is None:
            if directory and self._mirror.directory(directory) is not None:
                self.vanished.append((directory, {name: wanted[name].mark for name in names}))
            return
        gone, plain, written, directories = self._compared(directory, names, wanted, found)
        if gone and self._deletes:
            self._may_delete()
            # What was listed of them before must come before.
            yield from self._packing.close()
            yield from _departed(gone)
        for indexes, is_written in ((plain, False), (written, True)):
            # One section at least, since the directory's own time changes with what is in it.
            if indexes or (not is_written and not written):
                rows = found.rows if len(indexes) == found.rows.entry_count else found.rows.subset(indexes)
                origins = None if found.origins is None else array("I", [found.origins[at] for at in indexes])
                section = Section(directory, found.own, rows, partial=True, written=is_written)
                yield from self._packing.add(section, origins, [found.inodes[at] for at in indexes])
        for name, deep in directories:
            path = join(directory, name)
            if self._mirror.directory(path) is None:
                yield from self._scan.beneath(Directory(path, self._finder.origins(path), []))
            elif deep:
                yield from self._beneath(path, wanted[name].seen_at)
            else:
                yield from self._looked_slice(path, [], {})

    def _compared(
        self, directory: bytes, names: list[bytes], wanted: Mapping[bytes, Dirty], found: Found
    ) -> tuple[list[bytes], list[int], list[int], list[tuple[bytes, bool]]]:
        """Return the paths that are gone, the indexes of what has changed and of what was written to, and the directories.

        With each directory it stands whether all that is beneath it has to be looked at.
        """
        mirror, known = self._mirror, self._mirror.directory(directory) or {}
        gone: list[bytes] = []
        plain: list[int] = []
        written: list[int] = []
        directories: list[tuple[bytes, bool]] = []
        there: set[bytes] = set()
        modes = found.rows.mode_column()
        for at, (name, row) in enumerate(rows_of(found.rows, found.inodes)):
            there.add(name)
            before, mark, path = known.get(name), wanted[name].mark, join(directory, name)
            if before is not None and not same_file(row, before):
                mark |= Mark.WRITTEN
            if before is not None and not same_file(row, before):
                self._linked |= mirror.names_of(before)
            if before is not None and stat.S_IFMT(modes[at]) != mirror.kind(path):
                gone += mirror.forget(path)
            if stat.S_ISDIR(modes[at]):
                # Another directory than the one that was listed here may hold anything.
                directories.append((name, bool(mark & Mark.TREE) or not (before is None or same_file(row, before))))
            if mark & Mark.WRITTEN and stat.S_ISREG(modes[at]) and path not in self._written:
                self._written.add(path)
                written.append(at)
            elif row != before:
                plain.append(at)
        for name in names:
            if name in there or name in found.failed:
                continue
            path = join(directory, name)
            if wanted[name].mark & Mark.WRITTEN:
                # What was written by this name shows by the others.
                self._linked |= mirror.names_with(path)
            if name in known:
                forgotten = mirror.forget(path)
                # What the rules leave out by now is none of ours; whether it stays at the peer is for its own rules to say.
                gone += [] if name in found.kept_there else forgotten
        return gone, plain, written, directories

    def _note_links(self, directory: bytes, rows: Rows, files: Files) -> None:
        """Have the other names of a file looked at that was written to by one: no event tells of them."""
        for name, mode, inode, count in zip(rows.name_list(), rows.mode_column(), files.inodes, files.links, strict=True):
            if count > 1 and stat.S_ISREG(mode):
                path = join(directory, name)
                names = self._mirror.link(path, inode)
                self._linked |= names
                self._own_links.add(path)
                self.search |= len(names) < count and self._mirror.search(inode)

    # Directories of which it is not known what changed in them -----------------------------------------------------------------------

    def _beneath(self, top: bytes, since: float) -> Iterator[Chunk | Departed]:
        """List a directory and all beneath it, and look at what differs."""
        pending = [top]
        while pending:
            directory = pending.pop()
            if len(directory) <= MAX_PATH_BYTES - MAX_NAME_BYTES:
                yield from self._listed(directory, since, pending, anew=directory == top)

    def _listed(self, directory: bytes, since: float, further: list[bytes], *, anew: bool = False) -> Iterator[Chunk | Departed]:
        """List a directory, look at what differs from what the peer holds, and add the directories in it that both have to `further`.

        Where nothing differs nothing is said of it, save `anew` its own attributes.
        """
        if self._finder.hidden(directory):
            return
        known = self._mirror.directory(directory) or {}
        listing = Listing(self._terms, Directory(directory, self._finder.origins(directory), []), None)
        try:
            if not listing.leased:
                differing = {}
                vanished = True
            else:
                vanished = False
                differing = self._differing(listing, directory, known, since, further)
        finally:
            listing.close()
        if vanished:
            if directory and self._mirror.directory(directory) is not None:
                self.vanished.append((directory, {}))
            return
        same = not differing and self._mirror.has_own(directory, listing.own)
        if not same:
            self.differing.append(directory)
        if not same or anew:
            yield from self._looked(directory, differing)

    def _differing(
        self, listing: Listing, directory: bytes, known: Mapping[bytes, bytes], since: float, further: list[bytes]
    ) -> dict[bytes, Dirty]:
        since_ns = _NEVER_NS if since == math.inf else int((since + self._offset_s) * 1e9)
        differing: dict[bytes, Dirty] = {}
        there: set[bytes] = set()
        for at in range(0, len(listing.names), SLICE_ENTRIES):
            for rows, _, files, _ in listing.rows(listing.names[at : at + SLICE_ENTRIES]):
                self._compare(listing, rows, files.inodes, known, since_ns, differing, there)
                for name, mode in zip(rows.name_list(), rows.mode_column(), strict=True):
                    if stat.S_ISDIR(mode) and self._mirror.directory(join(directory, name)) is not None:
                        further.append(join(directory, name))
        if not listing.incomplete:
            differing.update((name, _LOOK) for name in known if name not in there)
        return differing

    def _compare(
        self,
        listing: Listing,
        rows: Rows,
        inodes: Sequence[int],
        known: Mapping[bytes, bytes],
        since_ns: int,
        differing: dict[bytes, Dirty],
        there: set[bytes],
    ) -> None:
        modes = rows.mode_column()
        # What has a time to come was hardly written since.
        until_ns = time.time_ns() + _AHEAD_NS
        for at, (name, row) in enumerate(rows_of(rows, inodes)):
            there.add(name)
            written = since_ns < _NEVER_NS and stat.S_ISREG(modes[at]) and since_ns <= listing.changed_at(name) <= until_ns
            if written or known.get(name) != row:
                differing[name] = Dirty(Mark.LOOK | Mark.WRITTEN * written, math.inf, 0.0)


def _departed(paths: Sequence[bytes]) -> Iterator[Departed]:
    for at in range(0, len(paths), _TOLD_PATHS):
        yield Departed(tuple(paths[at : at + _TOLD_PATHS]))
