"""Removing a whole tree beneath a held root, children first, on directory descriptors, so that no swapped symlink leads elsewhere.

It goes down and up without recursion and holds few descriptors, so that neither depth nor length of paths limits it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from deltasync.errors import Problem
from deltasync.fs import nofollow
from deltasync.fs.journals import is_journal, quarantine_name
from deltasync.fs.openat2 import DIRECTORY_FLAGS, Opener
from deltasync.fs.root import Root
from deltasync.patch.leftovers import clean_stale
from deltasync.tree.names import check_path, is_reserved, join, split

__all__ = ["Keeper", "remove_tree"]

_OPEN_LEVELS = 32
"""How many of the deepest directories are held open; those above are opened again on the way up."""

_PENDING_DIRECTORIES = 4096
"""How many directories found in one are remembered before they are gone into and the rest is listed."""


class Keeper(Protocol):
    """Makes backups of what is removed; see `patch.backup.Backups`."""

    def is_backup(self, name: bytes) -> bool:
        """Tell whether something is removed without a backup, since it looks like one."""

    def take(self, directory: bytes, dir_fd: int, name: bytes) -> bytes | None:
        """Move something to its backup; return its name in the same directory, or None if it went elsewhere."""


class _Watcher(NamedTuple):
    """Who is asked and told; see `remove_tree`."""

    protected: Callable[[bytes, bool], bool]
    removed: Callable[[bytes, bool], None]
    allowed: Callable[[bytes], bool]
    failed: Callable[[Problem], None]

    def fail(self, path: bytes, error: OSError) -> None:
        reason = "it is a mount point" if error.errno == errno.EXDEV else error.strerror
        self.failed(Problem(path, f"can't be deleted: {reason}"))


def remove_tree(
    root: Root,
    path: bytes,
    protected: Callable[[bytes, bool], bool],
    removed: Callable[[bytes, bool], None],
    allowed: Callable[[bytes], bool],
    *,
    failed: Callable[[Problem], None],
    dry_run: bool = False,
    backups: Keeper | None = None,
) -> bool:
    """Remove what is at `path` and all beneath it; True if nothing is there any more.

    Protected entries stay, and so do the directories that hold them, mount points, and staged files that a live process locks. A directory
    of ours that forbids its owner to change it is made to permit it; if it stays, it gets its mode back.

    Args:
        root: The tree. What it holds open at `path` and beneath is forgotten.
        path: A legal path beneath it, not `b""`.
        protected: Whether an entry (its path, whether it is a directory) must stay; what is in a protected directory is not looked at. It
            may be asked twice.
        removed: Told each entry that is gone: its path, and whether it was a directory. Reserved names are not told.
        allowed: Asked before each removal, with the path; False ends the work there.
        failed: Told each entry that could not be removed; the work goes on.
        dry_run: Remove nothing, and tell and return what would be.
        backups: Where what is no directory goes; a directory in which backups are made stays.

    Raises:
        ValueError: `path` is the root itself, or not legal.
    """
    if not path:
        raise ValueError("the root itself is never removed")
    watcher = _Watcher(protected, removed, allowed, failed)
    parent, name = split(check_path(path))
    try:
        with root.dir(parent) as directory:
            return _Removal(directory.fd, parent, root.opener, watcher, backups, dry_run=dry_run).run(name)
    except FileNotFoundError:
        return True
    except OSError as error:
        watcher.fail(path, error)
        return False
    finally:
        root.forget(path)


class _Level:
    """One directory on the way down.

    Attributes:
        name: Its name in the level above.
        fd: Its descriptor, -1 while it is not held open.
        status: How it was found.
        mode: The mode to give back if it stays, or None.
        pending: Directories in it that are still to be gone into.
        kept: Names of directories that stay, and of whatever could not be removed.
        holds: Whether anything in it is known to stay.
        listed: Whether it was listed to its end.
        progress: Whether anything in it was removed since it was last listed, so that the listing may have slipped by something.
        permitted: Whether its own removal was allowed already.
    """

    __slots__ = ("fd", "holds", "kept", "listed", "mode", "name", "pending", "permitted", "progress", "status")

    def __init__(self, name: bytes, fd: int, mode: int | None) -> None:
        self.name = name
        self.fd = fd
        self.status = os.fstat(fd)
        self.mode = mode
        self.pending: list[bytes] = []
        self.kept: set[bytes] = set()
        self.holds = self.listed = self.progress = self.permitted = False

    def unlock(self) -> bool:
        """Let the owner change the directory, if that is us and was forbidden; False if that is not what is in the way."""
        mode = stat.S_IMODE(self.status.st_mode)
        if self.mode is not None or not _forbids_owner(self.status):
            return False
        os.fchmod(self.fd, mode | stat.S_IRWXU)
        self.mode = mode
        return True

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


def _forbids_owner(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and status.st_mode & stat.S_IRWXU != stat.S_IRWXU


class _Removal:
    """The work of one `remove_tree`: the levels from the topmost directory down to the one in hand."""

    def __init__(self, parent_fd: int, parent: bytes, opener: Opener, watcher: _Watcher, backups: Keeper | None, *, dry_run: bool) -> None:
        self._parent_fd = parent_fd
        self._path = parent
        self._opener = opener
        self._watcher = watcher
        self._backups = backups
        self._dry_run = dry_run
        self._levels: list[_Level] = []
        self._stopped = False
        self._gone = False

    def run(self, name: bytes) -> bool:
        """Do it; an OSError from here is one after which the way back up is lost."""
        is_dir = stat.S_ISDIR(os.stat(name, dir_fd=self._parent_fd, follow_symlinks=False).st_mode)
        path = join(self._path, name)
        if self._watcher.protected(path, is_dir):
            return False
        if not is_dir:
            return self._remove_entry(path, name, None)
        self._enter(name)
        try:
            while self._levels:
                self._step(self._levels[-1])
        finally:
            for level in self._levels:
                level.close()
        return self._gone

    def _step(self, level: _Level) -> None:
        if self._stopped:
            self._leave(gone=False)
        elif level.pending:
            self._enter(level.pending.pop())
        elif not level.listed or (level.holds and level.progress):
            self._list(level)
        elif level.holds:
            self._leave(gone=False)
        else:
            self._remove_level(level)

    def _enter(self, name: bytes) -> None:
        path = join(self._path, name)
        try:
            level = self._opened(self._levels[-1].fd if self._levels else self._parent_fd, name)
        except FileNotFoundError:
            self._gone = not self._levels
        except OSError as error:
            self._watcher.fail(path, error)
            if self._levels:
                self._levels[-1].kept.add(name)
                self._levels[-1].holds = True
        else:
            self._levels.append(level)
            self._path = path
            if len(self._levels) > _OPEN_LEVELS:
                self._levels[-_OPEN_LEVELS - 1].close()

    def _opened(self, dir_fd: int, name: bytes) -> _Level:
        mode = None
        try:
            fd = self._opener(dir_fd, name, one_mount=True)
        except PermissionError:
            status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            if self._dry_run or not stat.S_ISDIR(status.st_mode) or not _forbids_owner(status):
                raise
            mode = stat.S_IMODE(status.st_mode)
            nofollow.chmod(dir_fd, name, mode | stat.S_IRWXU)
            fd = self._opener(dir_fd, name, one_mount=True)
        return _Level(name, fd, mode)

    def _list(self, level: _Level) -> None:
        """List a directory, remove what is no directory, and remember those that are."""
        level.progress = False
        level.listed = True
        try:
            with os.scandir(level.fd) as entries:
                for entry in entries:
                    self._look(level, os.fsencode(entry.name), is_dir=entry.is_dir(follow_symlinks=False))
                    if self._stopped:
                        return
                    if len(level.pending) >= _PENDING_DIRECTORIES and not self._dry_run:
                        level.listed = False
                        return
        except OSError as error:
            self._watcher.fail(self._path, error)
            level.holds = True
            level.progress = False

    def _look(self, level: _Level, name: bytes, *, is_dir: bool) -> None:
        if name in level.kept:
            return
        if is_reserved(name):
            if not self._dry_run and not self._remove_ours(level.fd, name):
                level.holds = True
            return
        path = join(self._path, name)
        if self._watcher.protected(path, is_dir):
            level.holds = True
        elif is_dir:
            level.pending.append(name)
        elif not self._remove_entry(path, name, level):
            level.kept.add(name)
            level.holds = True

    def _remove_ours(self, dir_fd: int, name: bytes) -> bool:
        """Remove what is ours; a patch that is unfinished is finished, since its file may be one that stays. False if it is in use."""
        if is_journal(name):
            from deltasync.patch.recovery import Outcome, recover

            met = recover(dir_fd, name)
            name = name if met is None or met.outcome is not Outcome.QUARANTINED else quarantine_name(name)
        return clean_stale(dir_fd, name)

    def _remove_entry(self, path: bytes, name: bytes, level: _Level | None) -> bool:
        """Remove one non-directory; False if it stays."""
        if not self._watcher.allowed(path):
            self._stopped = True
            return False
        if not self._dry_run:
            try:
                _retried(level, lambda: self._take_away(path, name, level))
            except OSError as error:
                self._watcher.fail(path, error)
                return False
            if level:
                level.progress = True
        self._watcher.removed(path, False)
        return True

    def _take_away(self, path: bytes, name: bytes, level: _Level | None) -> None:
        """Unlink a non-directory, or make it its own backup."""
        dir_fd = level.fd if level else self._parent_fd
        if self._backups is None or self._backups.is_backup(name):
            os.unlink(name, dir_fd=dir_fd)
            return
        try:
            beside = self._backups.take(split(path)[0], dir_fd, name)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise OSError(error.errno, f"its backup can't be made: {error.strerror}") from error
        if level and beside is not None:
            level.kept.add(beside)
            level.holds = True

    def _remove_level(self, level: _Level) -> None:
        """Remove the directory in hand, which seems to be empty."""
        if not level.permitted and not self._watcher.allowed(self._path):
            self._stopped = True
            return
        level.permitted = True
        above = self._reopened_above()
        if not self._dry_run:
            try:
                _retried(above, lambda: os.rmdir(level.name, dir_fd=above.fd if above else self._parent_fd))
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and level.progress:
                    level.listed = False
                    return
                self._watcher.fail(self._path, error)
                self._leave(gone=False)
                return
        self._watcher.removed(self._path, True)
        self._leave(gone=True)

    def _leave(self, *, gone: bool) -> None:
        """Go back up, from a directory that is gone or stays."""
        level, above = self._levels[-1], self._reopened_above()
        if not gone and level.mode is not None:
            try:
                os.fchmod(level.fd, level.mode)
            except OSError as error:
                self._watcher.fail(self._path, error)
        level.close()
        self._levels.pop()
        self._path = split(self._path)[0]
        if above is None:
            self._gone = gone
        elif not gone:
            above.kept.add(level.name)
            above.holds = True
        elif not self._dry_run:
            above.progress = True

    def _reopened_above(self) -> _Level | None:
        """Return the level above the one in hand, open, or None for the topmost.

        Raises:
            OSError: ESTALE: the directory in hand was moved elsewhere meanwhile.
        """
        if len(self._levels) < 2:
            return None
        above, level = self._levels[-2:]
        if above.fd < 0:
            fd = os.open(b"..", DIRECTORY_FLAGS, dir_fd=level.fd)
            if not os.path.samestat(os.fstat(fd), above.status):
                os.close(fd)
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), level.name)
            above.fd = fd
        return above


def _retried(level: _Level | None, remove: Callable[[], None]) -> None:
    """Remove something from a directory that we may have to unlock first; what is gone already is removed too."""
    with suppress(FileNotFoundError):
        try:
            remove()
        except PermissionError:
            if level is None or not level.unlock():
                raise
            remove()
