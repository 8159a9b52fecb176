"""Which names in a directory the rules leave out, where merge files of the tree add to them: both sides read their own.

The directories on the way to the one in hand are kept with their rules, so that a walk reads each file once, and a directory that is
being emptied keeps the rules of a file that is gone from it by then.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final, NamedTuple

from deltasync.fs.merge_file import RulesError, read_merge_file
from deltasync.fs.root import Dir, Root
from deltasync.tree.filters import Filters
from deltasync.tree.grammar import DirMerge
from deltasync.tree.merging import Items, Reader, Slot, advanced, flat, items_from_wire, merge_file_names
from deltasync.tree.name_matcher import Excluded
from deltasync.tree.names import join, shown, split
from deltasync.tree.rules import Rule, Side

__all__ = ["Place", "Selection", "place_of"]

_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_MAX_COMPILED: Final = 32


class Place(NamedTuple):
    """Where the root of a transfer is.

    Attributes:
        root: It, open; None where it does not exist.
        above: Its path in the filesystem, or beneath the only directory that may be read; without a slash around it.
        whole: Whether it is itself transferred, rather than only entries in it.
        beneath: The only directory that may be read; None for no limit.
    """

    root: Root | None
    above: bytes = b""
    whole: bool = True
    beneath: Root | None = None

    @contextmanager
    def opened_above(self, path: bytes) -> Iterator[int]:
        """Open a directory above the root, by its path as in `above`.

        Raises:
            OSError: It can't be opened.
        """
        if self.beneath is not None:
            with self.beneath.dir(path) as lease:
                yield lease.fd
            return
        fd = os.open(b"/" + path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)


def place_of(root: Root | None, path: bytes, *, whole: bool, beneath: Root | None) -> Place:
    """Return the place of a root, given its path as the user writes it (beneath the only directory, where there is one)."""
    if beneath is not None:
        parts = [part for part in path.split(b"/") if part not in (b"", b".", b"~")]
        return Place(root, b"/".join(parts), whole, beneath)
    return Place(root, os.path.abspath(path).strip(b"/"), whole)


class _Node:
    """A directory with its rules."""

    __slots__ = ("items", "made", "path")

    def __init__(self, path: bytes, items: Items, made: dict[bool, Filters]) -> None:
        self.path = path
        self.items = items
        self.made = made

    def filters(self, make: Callable[[tuple[Rule, ...]], Filters], *, lasting: bool) -> Filters:
        """Return what matches by all its rules, or by those that last in a directory that is deleted."""
        known = self.made.get(lasting)
        if known is None:
            known = self.made[lasting] = make(tuple(rule for rule in flat(self.items) if not (lasting and rule.perishable)))
        return known


class Selection:
    """The rules of one side over one tree.

    Args:
        items: The rules that count on this side, as given.
        side: Which side.
        place: Where the tree is.
        everywhere: What git leaves out everywhere, as an ignore file of its has it.
        traces: Whether rules from files say where they stand, for `deciding`.

    Attributes:
        changes: Whether files of the tree add to the rules.
    """

    def __init__(self, items: Items, side: Side, place: Place, everywhere: bytes = b"", *, traces: bool = False) -> None:
        self._traces = traces
        self._everywhere = everywhere
        self._items = items
        self._side = side
        self._place = place
        self._nodes: list[_Node] = []
        self._compiled: dict[tuple[Rule, ...], Filters] = {}
        self.changes = any(isinstance(item, Slot) for item in items)

    @classmethod
    def from_wire(cls, wire: Sequence[bytes], side: Side, place: Place, everywhere: bytes = b"") -> Selection:
        """Return the selection by the rules in `Settings.rules`.

        Raises:
            ValueError: As `items_from_wire`.
        """
        return cls(items_from_wire(wire, side), side, place, everywhere)

    def forget(self) -> None:
        """Forget what files say, so that they are read anew."""
        self._nodes.clear()

    def for_directory(self, path: bytes) -> Excluded | None:
        """Return what tells the names in a directory that are left out, or None if none can be.

        Raises:
            RulesError: What the files here or above say is not known.
        """
        return self._node(path).filters(self._filters, lasting=False).for_directory(path)

    def excluded(self, path: bytes, is_dir: bool, *, lasting: bool = False) -> bool:
        """Tell whether an entry itself is left out.

        Args:
            path: Its path; the root (`b""`) is never left out.
            is_dir: Whether it is a directory.
            lasting: Whether it is in a directory that is deleted, where perishable rules do not count.

        Raises:
            RulesError: As `for_directory`.
        """
        parent, name = split(path)
        excluded = self._node(parent).filters(self._filters, lasting=lasting).for_directory(parent) if name else None
        return excluded is not None and excluded(name, is_dir)

    def admits(self, path: bytes) -> bool:
        """Tell whether neither a directory nor any above it is left out.

        Raises:
            RulesError: As `for_directory`.
        """
        while path:
            if self.excluded(path, is_dir=True):
                return False
            path = split(path)[0]
        return True

    def left_out(self, path: bytes) -> bool:
        """Tell whether an entry, whatever it is, or a directory above it is left out; where the rules are not known, it may be."""
        try:
            return self.excluded(path, is_dir=False) or not self.admits(path)
        except RulesError:
            return True

    def deciding(self, path: bytes, is_dir: bool) -> Rule | None:
        """Return the rule that decides about an entry itself; None if none matches it. It is slow.

        Raises:
            RulesError: As `for_directory`.
        """
        for rule in flat(self._node(split(path)[0]).items):
            if Filters([rule._replace(include=False)], self._place.above).excluded(path, is_dir):
                return rule
        return None

    def reads(self, directory: bytes, name: bytes) -> bool:
        """Tell whether what stands at a name in a directory may be read for its rules.

        Raises:
            RulesError: As `for_directory`.
        """
        return self.changes and name in merge_file_names(self._node(directory).items)

    def _filters(self, rules: tuple[Rule, ...]) -> Filters:
        known = self._compiled.get(rules)
        if known is None:
            if len(self._compiled) >= _MAX_COMPILED:
                self._compiled.clear()
            known = self._compiled[rules] = Filters(rules, self._place.above)
        return known

    def _node(self, path: bytes) -> _Node:
        nodes = self._nodes
        if not self.changes:
            path = b""
        while nodes and nodes[-1].path and not (path + b"/").startswith(nodes[-1].path + b"/"):
            nodes.pop()
        if not nodes:
            nodes.append(_Node(b"", self._at_root(), {}))
        while nodes[-1].path != path:
            above = nodes[-1]
            rest = path[len(above.path) + 1 :] if above.path else path
            here = join(above.path, rest.partition(b"/")[0])
            items = above.items
            if not above.path and not self._place.whole:
                items = self._begun(join(self._place.above, here), items)
            items = self._stepped(here, items)
            nodes.append(_Node(here, items, above.made if items is above.items else {}))
        return nodes[-1]

    def _at_root(self) -> Items:
        if not self.changes or not self._place.whole:
            return self._items
        return self._stepped(b"", self._begun(self._place.above, self._items))

    def _begun(self, top: bytes, items: Items) -> Items:
        """Read the files above a directory that is the first to be read, by its path in the filesystem."""
        starts = {merge: start for merge in _merges(items) if (start := _start(merge, top)) is not None}
        path = b""
        for name in top.split(b"/") if starts and top else ():
            items = self._stepped_above(path, items, starts)
            path = join(path, name)
        return items

    def _stepped_above(self, path: bytes, items: Items, starts: Mapping[DirMerge, bytes]) -> Items:
        def placed(rule: Rule) -> Rule:
            rule = _found_in(rule, b"/" + path)
            return rule._replace(absolute=True, base=path) if rule.anchored and not rule.absolute else rule

        def begins(merge: DirMerge) -> bool:
            return merge in starts and (path + b"/").startswith(starts[merge])

        with _explained(b"/" + path), ExitStack() as stack:
            dir_fd = _opened(stack, lambda: self._place.opened_above(path))
            return advanced(items, _reader(dir_fd), self._read_at_top, placed, begins, side=self._side, above=True, traces=self._traces)

    def _read_at_top(self, name: bytes) -> bytes | None:
        return None if self._place.root is None else read_merge_file(self._place.root.fd, name)

    def _stepped(self, path: bytes, items: Items) -> Items:
        root = self._place.root
        with _explained(path), ExitStack() as stack:
            dir_fd = None if root is None else _opened(stack, lambda: root.dir(path))
            read = _reader(dir_fd)
            here = functools.partial(self._repository, path, dir_fd)
            return advanced(
                items,
                read,
                self._read_at_top,
                lambda rule: _found_in(rule, path).within(path),
                lambda _: True,
                side=self._side,
                repository=here,
                traces=self._traces,
            )

    def _repository(self, path: bytes, dir_fd: int | None) -> bytes | None:
        """Return what git leaves out in all of the repository at a directory; the top of the tree counts as one."""
        root = self._place.root
        is_top = path == (b"" if self._place.whole else path.partition(b"/")[0])
        own: bytes | None = None
        if root is not None and dir_fd is not None and _has(dir_fd, b".git"):
            with ExitStack() as stack:
                info = _opened(stack, lambda: root.dir(join(path, b".git/info")))
                own = (None if info is None else read_merge_file(info, b"exclude")) or b""
        if own is None and not is_top:
            return None
        # Of two lines that match the last decides, and what is said of the repository comes before what is said of all.
        return b"%b\n%b" % (self._everywhere, own or b"")


def _found_in(rule: Rule, directory: bytes) -> Rule:
    """Return a rule whose origin names the directory of its file."""
    if rule.origin is None or not directory:
        return rule
    return rule._replace(origin=rule.origin._replace(where=f"{shown(directory).rstrip('/')}/{rule.origin.where}"))


def _has(dir_fd: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def _opened(stack: ExitStack, open_it: Callable[[], AbstractContextManager[Dir | int]]) -> int | None:
    """Open a directory; return None if there is none."""
    try:
        lease = stack.enter_context(open_it())
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    return lease if isinstance(lease, int) else lease.fd


def _reader(dir_fd: int | None) -> Reader:
    return lambda name: None if dir_fd is None else read_merge_file(dir_fd, name)


@contextmanager
def _explained(path: bytes) -> Iterator[None]:
    """Say of what goes wrong in which directory it did."""
    beneath = f"{shown(path).rstrip('/')}/" if path else ""
    try:
        yield
    except RulesError as error:
        raise RulesError(error.errno, f"{beneath}{error.strerror}") from error
    except OSError as error:
        raise RulesError(error.errno, f"the rules in {shown(path or b'.')} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise RulesError(errno.EINVAL, f"{beneath}{error}") from error


def _merges(items: Items) -> Iterator[DirMerge]:
    for item in items:
        if isinstance(item, Slot):
            yield item.merge
            yield from _merges(item.items)


def _start(merge: DirMerge, top: bytes) -> bytes | None:
    """Return the path of the directory from which on a merge file is looked for, ended by a slash; None if that is not above the top."""
    directory, slash, _ = merge.file.rpartition(b"/")
    if not slash:
        return None
    start = os.path.normpath(os.path.join(b"/" + top, directory or b"/")).strip(b"/")
    path = start + b"/" if start else b""
    return path if (top + b"/").startswith(path) and path != top + b"/" else None
