"""One directory of the sources while it is looked at: listed in every source that has it, filtered, packed."""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from deltasync._native.columns import packed
from deltasync.detect.kept import Kept
from deltasync.detect.sources import Sources
from deltasync.fs.journals import is_decided, is_journal
from deltasync.fs.listing import Files, entry_at, list_names, look, own_entry
from deltasync.fs.merge_file import RulesError
from deltasync.fs.root import Dir
from deltasync.fs.selection import Selection
from deltasync.tree.entry import Entry
from deltasync.tree.names import is_reserved, join, split
from deltasync.tree.rows import MAX_CHUNK_BYTES, Rows

__all__ = ["Directory", "LinkGroups", "Listing", "Origins", "Terms"]

Origins: TypeAlias = "array[int]"
"""Per entry the index of the source that it comes from."""


class Terms(NamedTuple):
    """What is scanned, and how.

    Attributes:
        sources: The opened sources.
        selections: For each source which entries are left out; an excluded directory is not entered.
        for_peer: For each source which entries a peer would not delete that had the same files of rules.
        failed: Told the path and the error of what can't be read.
        dropped: Told the path of each entry whose name is reserved.
        recursive: Whether directories are transferred at all.
        hard_links: Whether hard links are found and numbered.
        entered: Told of each directory that is about to be listed, with the source (its index), the path and the open descriptor; returns
            the path that it had when it was last told, if that was another.
        linked: Told of each name of a file that has several: its path, and its inode.
        one_filesystem: Whether directories on another device than their source's are not entered (1), or left out (2).
        kept_empty: Tells of a path whether that directory is sent though there are only directories in it; None to send all that are.
        digest: Gives the digest of a regular file (source index, directory, name, size) for `--checksum`; None not to.
    """

    sources: Sources
    selections: Sequence[Selection]
    for_peer: Sequence[Selection]
    failed: Callable[[bytes, OSError], None]
    dropped: Callable[[bytes], None]
    recursive: bool = True
    hard_links: bool = False
    one_filesystem: int = 0
    kept_empty: Callable[[bytes], bool] | None = None
    digest: Callable[[int, bytes, bytes, int], bytes] | None = None
    entered: Callable[[int, bytes, int], bytes | None] | None = None
    linked: Callable[[bytes, int], object] | None = None


class Directory(NamedTuple):
    """A directory whose subdirectories are still to be walked: their names, the next one last, and the sources that have it."""

    path: bytes
    origins: tuple[int, ...]
    pending: list[tuple[bytes, tuple[int, ...]]]


class LinkGroups:
    """Hard links met in a scan: each file with several names gets a number, and is forgotten when its last name was met."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int], list[int]] = {}
        self._last_group = 0

    def columns(self, modes: Sequence[int], files: Files) -> tuple[bytes, bytes]:
        """Return the link columns (indexes and groups) of entries of these modes, which are these files."""
        indexes: list[int] = []
        groups: list[int] = []
        for index, names in enumerate(files.links):
            if names > 1 and not stat.S_ISDIR(modes[index]):
                indexes.append(index)
                groups.append(self._group((files.devices[index], files.inodes[index]), names))
        return packed("I", indexes), packed("Q", groups)

    def _group(self, key: tuple[int, int], names: int) -> int:
        known = self._groups.get(key)
        if known is None:
            self._last_group += 1
            self._groups[key] = [self._last_group, names - 1]
            return self._last_group
        known[1] -= 1
        if not known[1]:
            del self._groups[key]
        return known[0]


class Listing:
    """One directory while it is looked at: opened in every source that has it, its names merged.

    Args:
        terms: What is scanned, and how.
        directory: Which directory; its subdirectories are added to `pending`.
        groups: The hard links met so far, or None if they don't matter.

    Attributes:
        names: Its names, ascending.
        own: Its own attributes.
        listed: Whether anything is in it, before any filter.
        incomplete: Whether something in it could not be read.
    """

    def __init__(self, terms: Terms, directory: Directory, groups: LinkGroups | None) -> None:
        self._terms = terms
        self._groups = groups
        self._directory = directory
        self._leases: list[Dir] = []
        self.incomplete = False
        self.listed = False
        self.own = Entry(b"", stat.S_IFDIR | 0o755, 0, 0, 0, 0)
        self._origin: dict[bytes, tuple[int, ...]] | None = None
        self._fds: dict[int, int] = {}
        self._kept: dict[int, Kept] = {}
        self.names: list[bytes] = []
        lists: list[tuple[int, list[bytes]]] = []
        whole: set[bool] = set()
        for index in directory.origins:
            lists += self._open(index, whole)
        # What else is in a directory on the way to something was not asked for, and is not deleted.
        self.incomplete = self.incomplete or (bool(directory.path) and whole == {False})
        if len(lists) == 1:
            self.names = lists[0][1]
        elif lists:
            self._merge(lists)
        self.listed = bool(self.names)
        if not directory.path:
            self._show_tops()

    @property
    def _named(self) -> bool:
        """Whether the user has named what is in it, one by one."""
        return not self._directory.path and not self._terms.sources.whole

    @property
    def leased(self) -> bool:
        """Whether the directory could be opened in any source."""
        return bool(self._fds)

    def _open(self, index: int, whole: set[bool]) -> list[tuple[int, list[bytes]]]:
        sources, path = self._terms.sources, self._directory.path
        try:
            lease = sources.roots[index].dir(path)
            self._leases.append(lease)
            self._fds[index] = lease.fd
            closed = self._is_closed(index, lease.fd)
            if self._terms.entered is not None and not closed:
                self._terms.entered(index, path, lease.fd)
            own = own_entry(lease.fd)
            if len(self._fds) == 1:
                self.own = own
            self._kept[index] = self._kept_of(index)
            shown = [] if closed else sources.shown_in(index, path)
            whole.add(shown is None)
            names, reserved = list_names(lease.fd) if shown is None else _parted(shown)
            if shown is not None or any(map(is_journal, reserved)):
                names = self._whole(lease.fd, names)
        except OSError as error:
            several = len(self._directory.origins) > 1 and not isinstance(error, RulesError)
            if several and error.errno in (errno.ENOTDIR, errno.ENOENT, errno.ELOOP):
                return []
            self.incomplete = True
            self._terms.failed(path, error)
            if path and not self._fds:
                self._look_from_above(index)
            return []
        for name in reserved:
            self._terms.dropped(join(path, name))
        return [(index, names)]

    def _whole(self, dir_fd: int, names: list[bytes]) -> list[bytes]:
        """Leave out, and report, files that are half old, half new, because a patch of them was interrupted or is being made."""
        whole = [name for name in names if not is_decided(dir_fd, name)]
        if len(whole) < len(names):
            self.incomplete = True
            for name in sorted({*names} - {*whole}):
                error = OSError(errno.EBUSY, "a patch of it is not finished; `deltasync recover` finishes it")
                self._terms.failed(join(self._directory.path, name), error)
        return whole

    def _look_from_above(self, index: int) -> None:
        """Learn a directory's own attributes without opening it, so that they are kept where its contents can't be read."""
        parent, name = split(self._directory.path)
        # If not even this can be done, the failure to open it has been told already.
        with suppress(OSError), self._terms.sources.roots[index].dir(parent) as lease:
            own = entry_at(lease.fd, name)
            if own is not None and own.kind == stat.S_IFDIR:
                self.own = own._replace(name=b"")

    def _merge(self, lists: list[tuple[int, list[bytes]]]) -> None:
        merged: dict[bytes, tuple[int, ...]] = {}
        for index, names in lists:
            for name in names:
                merged[name] = (*merged.get(name, ()), index)
        self._origin = merged
        self.names = sorted(merged)

    def _show_tops(self) -> None:
        if not self._terms.sources.whole:
            self.listed = True

    def rows(self, names: list[bytes]) -> Iterator[tuple[Rows, Origins | None, Files, bool]]:
        """Yield the rows of a slice of the names, and which files they are, in parts small enough for a chunk; the flag marks the last."""
        rows, files, origins = self._look(names)
        size = sum(map(len, rows[1:]))
        if size > MAX_CHUNK_BYTES // 2 and len(names) > 1:
            half = len(names) // 2
            for part, part_origins, part_files, _ in self.rows(names[:half]):
                yield part, part_origins, part_files, False
            yield from self.rows(names[half:])
            return
        self._note_subdirectories(rows)
        if self._terms.linked is not None and any(names > 1 for names in files.links):
            self._note_links(rows, files, self._terms.linked)
        if self._groups is not None:
            indexes, groups = self._groups.columns(rows.mode_column(), files)
            rows = rows._replace(link_indexes=indexes, link_groups=groups)
        if self._terms.digest:
            rows = rows._replace(digests=self._digests(rows, origins, self._terms.digest))
        yield rows, origins, files, True

    def _look(self, names: list[bytes]) -> tuple[Rows, Files, Origins | None]:
        if self._origin is None:
            fd = next(iter(self._fds.values()), -1)
            first = next(iter(self._fds), 0)
            rows, files = look(fd, names, self._missed)
            kept = self._kept.get(first, Kept(None)).names(rows, files)
            if kept is not None:
                rows, files = look(fd, kept, self._missed)
            return rows, files, array("I", [first]) * rows.entry_count if first else None
        return self._look_merged(names)

    def _look_merged(self, names: list[bytes]) -> tuple[Rows, Files, Origins]:
        """Look at names that stand in several sources: the first source that has a name gives its entry."""
        assert self._origin is not None
        parts: list[tuple[Entry, tuple[int, int, int], int]] = []
        for name in names:
            origins = self._origin[name]
            for at, index in enumerate(origins):
                rows, files = look(self._fds[index], [name], self._missed)
                if not rows.entry_count:
                    break
                if self._kept[index].names(rows, files) is None:
                    self._origin[name] = (index, *(other for other in origins[at + 1 :] if not self._kept[other].excludes(name)))
                    parts.append((next(rows.entries()), (files.devices[0], files.inodes[0], files.links[0]), index))
                    break
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
        files = Files(*([part[1][at] for part in parts] for at in range(3)))
        return merged, files, array("I", [index for _, _, index in parts])

    def _kept_of(self, index: int) -> Kept:
        terms = self._terms
        return Kept(
            terms.selections[index].for_directory(self._directory.path),
            terms.recursive,
            self._device(index) if terms.one_filesystem > 1 and not self._named else None,
            None if terms.kept_empty is None else self._occupied,
            (lambda name: terms.sources.implied(index, join(self._directory.path, name))) if terms.sources.selective else None,
        )

    def _is_closed(self, index: int, fd: int) -> bool:
        """Tell whether a directory is not entered, since it is on another filesystem; only its own attributes are told."""
        bounded = self._terms.one_filesystem and self._directory.path
        return bool(bounded) and os.fstat(fd).st_dev != self._device(index)

    def _device(self, index: int) -> int:
        """Return the device that a source lies on: where it is named without a slash, that of the directory so named."""
        root, path = self._terms.sources.roots[index], self._directory.path
        if path and self._terms.sources.shown[index] is not None:
            return os.stat(path.split(b"/", 1)[0], dir_fd=root.fd, follow_symlinks=False).st_dev
        return os.fstat(root.fd).st_dev

    def _occupied(self, name: bytes) -> bool:
        """Tell whether there is anything but directories in a directory and beneath, or it is sent none the less."""
        terms, path = self._terms, join(self._directory.path, name)
        if terms.kept_empty is None or terms.kept_empty(path):
            return True
        origins = self._directory.origins if self._origin is None else self._origin[name]
        # What can't be read is told where it is listed.
        quiet = terms._replace(kept_empty=None, digest=None, entered=None, linked=None, failed=_nothing, dropped=_nothing)
        pending = [(path, origins)]
        while pending:
            above, origins = pending.pop()
            beneath = Directory(above, origins, [])
            listing = Listing(quiet, beneath, None)
            try:
                if listing.incomplete or any(
                    not stat.S_ISDIR(mode) for part in listing.rows(listing.names) for mode in part[0].mode_column()
                ):
                    return True
            finally:
                listing.close()
            pending += [(join(above, name), origins) for name, origins in beneath.pending]
        return False

    def changed_at(self, name: bytes) -> int:
        """Return when an entry was last changed, content or attributes, whatever time it shows: its ctime in ns; 0 if it is gone."""
        origin = 0 if self._origin is None else self._origin[name][0]
        try:
            return os.stat(name, dir_fd=self._fds.get(origin, next(iter(self._fds.values()))), follow_symlinks=False).st_ctime_ns
        except OSError:
            # It shows when it is looked at.
            return 0

    def _missed(self, name: bytes, error: OSError) -> None:
        self.incomplete = self.incomplete or not isinstance(error, FileNotFoundError)
        self._terms.failed(join(self._directory.path, name), error)

    def _note_subdirectories(self, rows: Rows) -> None:
        modes = rows.mode_column()
        if not any(map(stat.S_ISDIR, set(modes))):
            return
        names = None
        for index, mode in enumerate(modes):
            if stat.S_ISDIR(mode):
                if names is None:
                    names = rows.name_list()
                name = names[index]
                origins = self._directory.origins if self._origin is None else self._origin[name]
                if self._origin is None and len(self._fds) == 1:
                    origins = tuple(self._fds)
                self._directory.pending.append((name, origins))

    def _note_links(self, rows: Rows, files: Files, linked: Callable[[bytes, int], object]) -> None:
        for name, mode, inode, count in zip(rows.name_list(), rows.mode_column(), files.inodes, files.links, strict=True):
            if count > 1 and stat.S_ISREG(mode):
                linked(join(self._directory.path, name), inode)

    def _digests(self, rows: Rows, origins: Origins | None, digest: Callable[[int, bytes, bytes, int], bytes]) -> bytes:
        made: list[bytes] = []
        for index, entry in enumerate(rows.entries()):
            if stat.S_ISREG(entry.mode):
                made.append(digest(origins[index] if origins else 0, self._directory.path, entry.name, entry.size))
        return b"".join(made)

    def close(self) -> None:
        """Let go of the directory."""
        for lease in self._leases:
            lease.release()


def _nothing(*_: object) -> None:
    """Say nothing."""


def _parted(names: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Part names as `list_names` does."""
    ascending = sorted(set(names))
    return [name for name in ascending if not is_reserved(name)], [name for name in ascending if is_reserved(name)]
