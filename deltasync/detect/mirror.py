"""What the peer holds of the source, as far as this side has listed it: the sender's memory in a live session.

A directory costs what its names cost and some 80 bytes an entry. Rows are the bytes of the columns in which entries travel, so that to
tell whether an entry has changed is to compare two short strings. Each ends in the inode, which does not travel: by it a file that has
another's place is told from the one that was there, also where size and times are the same.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator, Sequence

from deltasync._native.columns import packed
from deltasync.tree.entry import Entry
from deltasync.tree.names import join, split
from deltasync.tree.rows import Rows, Section

__all__ = ["Mirror", "rows_of", "same_file"]

_MODE = struct.Struct("<I")
_ROW = struct.Struct("<IQqII")
_INODE_BYTES = 8


def rows_of(rows: Rows, inodes: Sequence[int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name of each entry, and its attributes and inode as bytes that are equal if these are."""
    names = rows.name_list()
    numbers = packed("Q", inodes)
    modes, sizes, mtimes_ns, uids, gids = rows.modes, rows.sizes, rows.mtimes_ns, rows.uids, rows.gids
    if not rows.targets and not rows.rdevs:
        for at, name in enumerate(names):
            four, eight = 4 * at, 8 * at
            attributes = (
                modes[four : four + 4]
                + sizes[eight : eight + 8]
                + mtimes_ns[eight : eight + 8]
                + uids[four : four + 4]
                + gids[four : four + 4]
                + numbers[eight : eight + 8]
            )
            yield name, attributes
        return
    for at, entry in enumerate(rows.entries()):
        four, eight = 4 * at, 8 * at
        attributes = modes[four : four + 4] + sizes[eight : eight + 8] + mtimes_ns[eight : eight + 8]
        attributes += uids[four : four + 4] + gids[four : four + 4]
        yield entry.name, attributes + entry.target + entry.rdev.to_bytes(8, "little") + numbers[eight : eight + 8]


class Mirror:
    """Entries by directory.

    Attributes:
        owed: Entries that were forgotten since `settle` was last called: the peer may still have them.
    """

    def __init__(self) -> None:
        self._directories: dict[bytes, dict[bytes, bytes]] = {b"": {}}
        self._root: bytes | None = None
        self.owed: list[bytes] = []
        self._moved: list[tuple[bytes, bytes]] = []
        self._searched: set[int] = set()
        self._wanted_links: set[int] = set()
        self._links: dict[int, set[bytes]] = {}
        self._link_at: dict[bytes, int] = {}
        self._met: set[int] = set()

    def __len__(self) -> int:
        return sum(map(len, self._directories.values()))

    def record(self, section: Section, inodes: Sequence[int]) -> None:
        """Take note of entries that are listed, and of their inodes; what a directory has no more is taken away by `forget`.

        Nothing is known of a directory that is not known to be one: a descriptor still leads to it when it is gone from where it was.
        """
        directory, name = split(section.path)
        above = self._directories.get(directory, {})
        if section.path:
            row = above.get(name)
            if row is None or kind_of(row) != stat.S_IFDIR:
                return
            above[name] = _own_row(section.own) + row[_ROW.size :]
        else:
            self._root = _own_row(section.own)
        self._directories.setdefault(section.path, {}).update(rows_of(section.rows, inodes))

    def has_own(self, path: bytes, own: Entry) -> bool:
        """Tell whether the peer has a directory's own attributes as they are."""
        row = self.row(path) if path else self._root
        return row is not None and row[: _ROW.size] == _own_row(own)

    def row(self, path: bytes) -> bytes | None:
        """Return the attributes of an entry, or None if the peer does not have it."""
        directory, name = split(path)
        return self._directories.get(directory, {}).get(name)

    def kind(self, path: bytes) -> int:
        """Return the type of an entry (`stat.S_IFDIR` and the like), 0 if the peer does not have it."""
        row = self.row(path)
        return 0 if row is None else kind_of(row)

    def directory(self, path: bytes) -> dict[bytes, bytes] | None:
        """Return the rows of a directory by name, not to be changed; None for one that is not known."""
        return self._directories.get(path)

    def forget(self, path: bytes) -> list[bytes]:
        """Forget an entry and what is beneath it; return their paths, those in a directory before it; none if it is not known."""
        directory, name = split(path)
        row = self._directories.get(directory, {}).pop(name, None)
        if row is None:
            return []
        gone = [*self._emptied(path), path]
        self._part(row)
        self.owed += gone
        return gone

    def _emptied(self, path: bytes) -> Iterator[bytes]:
        stack = [path]
        found: list[bytes] = []
        while stack:
            directory = stack.pop()
            for name, row in self._directories.pop(directory, {}).items():
                found.append(join(directory, name))
                self._part(row)
                if kind_of(row) == stat.S_IFDIR:
                    stack.append(found[-1])
        # What is beneath comes behind its directory; in the end every directory shall come behind what is in it.
        return reversed(found)

    def _part(self, row: bytes) -> None:
        inode = int.from_bytes(row[-_INODE_BYTES:], "little") if self._links else 0
        if inode in self._links:
            self._met.add(inode)

    def doubt(self, path: bytes, *, beneath: bool = False) -> None:
        """Take note that the peer may have an entry in another form than it was listed in: it is listed again when it is looked at.

        Args:
            path: The entry.
            beneath: Whether the same is true of all that is in it.
        """
        for inner in [*self.paths(path)] if beneath else ():
            self.doubt(inner)
        directory, name = split(path)
        rows = self._directories.get(directory, {})
        if name in rows:
            rows[name] = rows[name][: _MODE.size]

    def saw(self, path: bytes, size: int, mtime_ns: int, inode: int | None) -> None:
        """Take note of what a file was when it was read; one that was not what had been listed any more is doubted."""
        row = self.row(path)
        if row is None or len(row) < _ROW.size:
            return
        _, listed_size, listed_mtime_ns, _, _ = _ROW.unpack_from(row)
        if (size, mtime_ns) != (listed_size, listed_mtime_ns) or inode not in (None, int.from_bytes(row[-_INODE_BYTES:], "little")):
            self.doubt(path)

    def settle(self) -> None:
        """Take note that the peer has done all that was said."""
        self.owed.clear()
        self._moved.clear()

    def rename(self, old: bytes, new: bytes) -> bool:
        """Move an entry and all beneath it, making the directory of its new name if there is none.

        Returns: False, and nothing is changed, if the peer could not do the same.
        """
        row, there = self.row(old), self.kind(new)
        directory, name = split(new)
        if row is None or (new + b"/").startswith(old + b"/"):
            return False
        is_directory = kind_of(row) == stat.S_IFDIR
        if there and (is_directory or there == stat.S_IFDIR):
            return False
        if not self._made(directory):
            return False
        old_directory, old_name = split(old)
        del self._directories[old_directory][old_name]
        self._directories[directory][name] = row
        if is_directory:
            self._move(old, new)
        self._moved.append((old, new))
        return True

    def _made(self, directory: bytes) -> bool:
        """Add a directory and those above it as far as they are missing; False if something else is known in the place of one."""
        missing: list[bytes] = []
        while directory not in self._directories:
            if self.row(directory) is not None:
                return False
            missing.append(directory)
            directory = split(directory)[0]
        for path in reversed(missing):
            parent, name = split(path)
            self._directories[parent][name] = _ROW.pack(stat.S_IFDIR, 0, 0, 0, 0)
            self._directories[path] = {}
        return True

    def _move(self, old: bytes, new: bytes) -> None:
        stack = [b""]
        while stack:
            beneath = stack.pop()
            rows = self._directories.pop(old + beneath, None)
            if rows is None:
                continue
            self._directories[new + beneath] = rows
            stack += [beneath + b"/" + name for name, row in rows.items() if kind_of(row) == stat.S_IFDIR]

    def lost(self, since: Mirror) -> list[bytes]:
        """Return what the peer may have by this and not by a later mirror, what is in a directory before it; no path twice."""
        return sorted({path for path in self._candidates() if since.lacks(path)}, key=lambda path: (-path.count(b"/"), path))

    def owe(self, other: Mirror) -> None:
        """Take note that the peer may also have what another mirror holds, from a session that broke off."""
        self.owed = list({*self.owed, *other._candidates()})

    def _candidates(self) -> list[bytes]:
        """Return what the peer may have, whatever of it came to be done."""
        candidates = [*self.owed, *self.paths()]
        for old, new in reversed(self._moved):
            # Whether the peer came to rename it is not known.
            beneath = new + b"/"
            candidates += [old + path[len(new) :] for path in candidates if path == new or path.startswith(beneath)]
        return candidates

    def link(self, path: bytes, inode: int) -> set[bytes]:
        """Take note of a name of a file that has several; return all that are known, some of which may not be its names any more."""
        names = self._links.setdefault(inode, set())
        names.add(path)
        self._link_at[path] = inode
        self._met.add(inode)
        return names

    def met(self) -> set[bytes]:
        """Return the names of the files of several names of which one was listed or forgotten since this was last asked."""
        met, self._met = self._met, set()
        return {path for inode in met for path in self._links[inode]}

    def names_of(self, row: bytes) -> set[bytes]:
        """Return the names of the file that a row is of, as far as it is known to have had several."""
        return self._links.get(int.from_bytes(row[-_INODE_BYTES:], "little"), set())

    def names_with(self, path: bytes) -> set[bytes]:
        """Return the names of the file that had this one among several, whether it is still known or not."""
        return self._links.get(self._link_at.get(path, 0), set())

    def search(self, inode: int) -> bool:
        """Have the names of a file that was written to searched for; False if they were before."""
        if inode in self._searched:
            return False
        self._searched.add(inode)
        self._wanted_links.add(inode)
        return True

    def searched(self) -> set[bytes]:
        """Now that all has been listed, return the names of the files that were searched for."""
        wanted, self._wanted_links = self._wanted_links, set()
        return {path for inode in wanted for path in self._links[inode]}

    def paths(self, top: bytes = b"") -> Iterator[bytes]:
        """Yield every entry beneath a directory, those in a directory before it."""
        stack = [top]
        order: list[bytes] = []
        while stack:
            directory = stack.pop()
            order.append(directory)
            stack += [join(directory, name) for name, row in self._directories.get(directory, {}).items() if kind_of(row) == stat.S_IFDIR]
        for directory in reversed(order):
            yield from (join(directory, name) for name in self._directories.get(directory, {}))

    def lacks(self, path: bytes) -> bool:
        """Tell whether the peer does not have an entry."""
        return self.row(path) is None


def _own_row(own: Entry) -> bytes:
    return _ROW.pack(own.mode, 0, own.mtime_ns, own.uid, own.gid)


def same_file(row: bytes, other: bytes) -> bool:
    """Tell whether two rows are of one file, whatever has become of it."""
    return row[-_INODE_BYTES:] == other[-_INODE_BYTES:]


def kind_of(row: bytes) -> int:
    """Return the type of an entry from its row."""
    return stat.S_IFMT(_MODE.unpack_from(row)[0])
