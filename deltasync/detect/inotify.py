"""The kernel's events of a tree, through watchdog's `InotifyFD`: each says where to look, none is believed further.

Directories are watched before they are listed, by way of their open descriptors, so that nothing falls between the two and no path is
looked up twice. What an event's path is, the kernel does not say: it is kept by watch, and follows the renames of directories.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Set as AbstractSet
from typing import Protocol

from watchdog.observers.inotify_c import CallbackId, InotifyEvent, InotifyFD, Mask, WatchDescriptor
from watchdog.observers.inotify_c import InotifyConstants as In

from deltasync.detect.sources import Sources
from deltasync.detect.worklist import Mark
from deltasync.tree.filters import Filters
from deltasync.tree.names import is_reserved, join, split

__all__ = ["Inotify", "Sink"]

_MASK = Mask(
    In.IN_CLOSE_WRITE
    | In.IN_MODIFY
    | In.IN_ATTRIB
    | In.IN_CREATE
    | In.IN_DELETE
    | In.IN_MOVED_FROM
    | In.IN_MOVED_TO
    | In.IN_DELETE_SELF
    | In.IN_MOVE_SELF
    | In.IN_ONLYDIR
    | In.IN_EXCL_UNLINK
)
_ENDED = In.IN_DELETE_SELF | In.IN_MOVE_SELF | In.IN_UNMOUNT
_WAIT_CREATED_S = 0.02
"""A new file is mostly written and closed at once; a symlink or hard link never is."""
_WAIT_DIRECTORY_S = 0.005
"""A new directory is mostly filled at once; what is renamed into it had better be seen as a rename."""
_WAIT_WRITTEN_S = 0.1
"""A file that is written to is left alone until it is closed, or until it rests."""
_WAIT_ATTRIBUTES_S = 0.002
_WAIT_DELETED_S = 0.003
"""What is deleted is often made anew."""
_WAIT_MOVED_S = 0.01
"""The other half of a rename follows at once, unless it leads out of the tree."""
_MOVES_KEPT = 1024
_MOVE_KEPT_S = 0.5


class Sink(Protocol):
    """Whoever gathers what the events say; called on the thread of the events."""

    def mark(self, directory: bytes, name: bytes, mark: Mark, wait_s: float) -> None:
        """A name is to be looked at."""

    def touch(self, directory: bytes) -> None:
        """A directory's own attributes are to be looked at."""

    def rename(self, old: bytes, new: bytes) -> None:
        """An entry has another path."""

    def overflowed(self) -> None:
        """Events were lost."""

    def contradicted(self) -> None:
        """A directory was found elsewhere than events have told: once it is quiet, the whole tree is to be looked at."""

    def root_ended(self) -> None:
        """A source was removed, renamed or unmounted."""


class _Place:
    """A watched directory: the source that it belongs to, its path, and what the rules say of names in it."""

    __slots__ = ("excluded", "path", "rule_files", "shown", "source")

    def __init__(self, source: int, path: bytes, shown: list[bytes] | None, filters: Filters, rule_files: AbstractSet[bytes]) -> None:
        self.source = source
        self.path = path
        self.shown = None if path else shown
        self.excluded = filters.for_directory(path)
        self.rule_files = rule_files

    def passes_over(self, name: bytes, *, is_dir: bool) -> bool:
        """Tell whether a name in it is none of ours."""
        if is_reserved(name) or (self.shown is not None and name not in self.shown):
            return True
        return self.excluded is not None and name not in self.rule_files and self.excluded(name, is_dir)


class Inotify:
    """Watches directories.

    Args:
        sink: Hears what is to be looked at.
        filters: Which names are none of ours.
        rule_files: Names of files that rules are read from, though the files themselves may be none of ours.
    """

    def __init__(self, sink: Sink, filters: Filters, rule_files: AbstractSet[bytes] = frozenset()) -> None:
        self._sink = sink
        self._filters = filters
        self._rule_files = rule_files
        self._lock = threading.Lock()
        self._places: dict[WatchDescriptor, _Place] = {}
        self._numbers: dict[WatchDescriptor, CallbackId] = {}
        self._moves: dict[int, tuple[_Place, bytes, bool, float]] = {}
        self._ids = 0
        self._fd = InotifyFD()
        self.events = 0

    def __len__(self) -> int:
        return len(self._places)

    def start(self) -> None:
        """Begin to listen."""
        self._fd.start()

    def close(self) -> None:
        """End every watch, and the thread."""
        self._fd.stop()
        self._fd.join()

    def enter(self, sources: Sources, source: int, path: bytes, dir_fd: int) -> bytes | None:
        """Watch a directory that is about to be listed; return the path at which it was watched until now, if that is another.

        Args:
            sources: The opened sources.
            source: Which of them it belongs to.
            path: Its path in the tree.
            dir_fd: It, open.

        Raises:
            OSError: ENOSPC: there are no more watches to be had; otherwise as inotify_add_watch(2).
        """
        with self._lock:
            watch, place = self._add(dir_fd)
            if place is not None and place.path == path and place.source == source:
                return None
            if not _still_there(sources, source, path, dir_fd):
                # It was renamed meanwhile; where it is now, an event tells or has told.
                if place is None:
                    self._end(watch)
                return None
            if place is not None:
                # One half of its rename was not seen, since nobody watched where it came to, or both are yet to be taken.
                old = place.path
                if not _is_directory(sources, place.source, old):
                    self._follow(place.source, old, source, path)
                else:
                    # What is beneath the old path may belong to what stands there now; what belongs to this one shows when it is listed.
                    self._places[watch] = _Place(source, path, sources.shown[source], self._filters, self._rule_files)
                self._sink.contradicted()
                return old
            self._places[watch] = _Place(source, path, sources.shown[source], self._filters, self._rule_files)
            return None

    def _add(self, dir_fd: int) -> tuple[WatchDescriptor, _Place | None]:
        """Watch an open directory; return the watch, and what is known of it if it is an old one."""
        # Each callback has an id of its own: watchdog writes its whole table into a warning when one comes again.
        self._ids += 1
        number = CallbackId(self._ids)
        watch = self._fd.add_callback(b"/proc/self/fd/%d" % dir_fd, _MASK, self, number)
        place = self._places.get(watch)
        if place is not None:
            self._fd.remove_callbacks([(watch, number)])
        else:
            self._numbers[watch] = number
        return watch, place

    # Called by watchdog, on its thread ----------------------------------------------------------------------------------------------

    def on_event(self, event: InotifyEvent) -> None:
        """Take an event."""
        self.events += 1
        if self._moves:
            self._forget_left()
        mask, name = event.mask, event.name
        place = self._places.get(event.wd)
        if place is None:
            return
        if mask & _ENDED:
            if mask & In.IN_UNMOUNT or not place.path or (place.shown is None and b"/" not in place.path):
                self._sink.root_ended()
            return
        if not name:
            if mask & In.IN_ATTRIB:
                self._sink.touch(place.path)
            return
        is_dir = bool(mask & In.IN_ISDIR)
        if place.passes_over(name, is_dir=is_dir):
            if mask & In.IN_MOVED_TO:
                self._left(event.cookie)
            return
        if mask & (In.IN_MOVED_FROM | In.IN_MOVED_TO):
            self._moved(place, event, is_dir=is_dir)
            return
        self._sink.mark(place.path, name, *_meaning(mask, is_dir=is_dir))

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Forget a watch that the kernel has ended."""
        with self._lock:
            self._places.pop(wd, None)
            self._numbers.pop(wd, None)

    def on_queue_overflow(self) -> None:
        """Take note that events were lost."""
        self._sink.overflowed()

    def _moved(self, place: _Place, event: InotifyEvent, *, is_dir: bool) -> None:
        path = join(place.path, event.name)
        if event.mask & In.IN_MOVED_FROM:
            if len(self._moves) >= _MOVES_KEPT:
                self._left(next(iter(self._moves)))
            self._moves[event.cookie] = (place, path, is_dir, time.monotonic())
            self._sink.mark(place.path, event.name, Mark.LOOK, _WAIT_MOVED_S)
            return
        origin = self._moves.pop(event.cookie, None)
        if origin is None:
            self._sink.mark(place.path, event.name, Mark.LOOK | (Mark.TREE if is_dir else Mark.WRITTEN), 0.0)
            return
        old = origin[1]
        if is_dir:
            with self._lock:
                known = any(other.path == path and other.source == place.source for other in self._places.values())
                self._follow(origin[0].source, old, place.source, path)
            if known:
                # It was entered before its event came, so that another one, which has its old name now, may have been taken for it.
                self._sink.contradicted()
        self._sink.rename(old, path)

    def _beneath(self, source: int, path: bytes) -> list[WatchDescriptor]:
        """Return the watches of a directory and of all beneath it."""
        within = path + b"/"
        places = self._places.items()
        return [watch for watch, place in places if place.source == source and (place.path == path or place.path.startswith(within))]

    def _follow(self, old_source: int, old: bytes, source: int, new: bytes) -> None:
        """Give the watches of a directory and of all beneath it their new paths."""
        for watch in self._beneath(old_source, old):
            place = self._places[watch]
            self._places[watch] = _Place(source, new + place.path[len(old) :], place.shown, self._filters, self._rule_files)

    def _forget_left(self) -> None:
        """End the watches of directories that were moved out of the tree: the other half of their rename has not come."""
        long_ago = time.monotonic() - _MOVE_KEPT_S
        for cookie in [cookie for cookie, move in self._moves.items() if move[3] < long_ago]:
            self._left(cookie)

    def _left(self, cookie: int) -> None:
        move = self._moves.pop(cookie, None)
        if move is None or not move[2]:
            return
        with self._lock:
            for watch in self._beneath(move[0].source, move[1]):
                self._end(watch)
        # Another directory may have its name by now; it is watched when it is listed.
        self._sink.mark(*split(move[1]), Mark.LOOK | Mark.TREE, 0.0)

    def _end(self, watch: WatchDescriptor) -> None:
        self._places.pop(watch, None)
        number = self._numbers.pop(watch, None)
        if number is not None:
            self._fd.remove_callbacks([(watch, number)])


def _meaning(mask: int, *, is_dir: bool) -> tuple[Mark, float]:
    """Return what an event of a name asks for, and how long that had better wait."""
    if mask & In.IN_CREATE:
        return (Mark.LOOK | Mark.TREE, _WAIT_DIRECTORY_S) if is_dir else (Mark.LOOK | Mark.WRITTEN, _WAIT_CREATED_S)
    if mask & In.IN_CLOSE_WRITE:
        return Mark.LOOK | Mark.WRITTEN, 0.0
    if mask & In.IN_MODIFY:
        return Mark.LOOK | Mark.WRITTEN, _WAIT_WRITTEN_S
    if mask & In.IN_DELETE:
        return Mark.LOOK | Mark.GONE, _WAIT_DELETED_S
    return Mark.LOOK, _WAIT_ATTRIBUTES_S


def _is_directory(sources: Sources, source: int, path: bytes) -> bool:
    """Tell whether a directory stands at a path, or may stand there."""
    try:
        return stat.S_ISDIR(os.stat(path or b".", dir_fd=sources.roots[source].fd, follow_symlinks=False).st_mode)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG


def _still_there(sources: Sources, source: int, path: bytes, dir_fd: int) -> bool:
    """Tell whether a path still leads to an open directory."""
    place = os.fstat(dir_fd)
    if not path:
        return True
    try:
        found = os.stat(path, dir_fd=sources.roots[source].fd, follow_symlinks=False)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return (found.st_dev, found.st_ino) == (place.st_dev, place.st_ino)
