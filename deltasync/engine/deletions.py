"""Deletions: gathered while directories are compared, done last, behind the guards."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from deltasync.engine.ground import Ground
from deltasync.engine.spool import Spool
from deltasync.errors import ExitCode, Problem
from deltasync.patch.leftovers import clean_stale
from deltasync.patch.remove import remove_tree
from deltasync.tree.itemize import DELETING
from deltasync.tree.names import join
from deltasync.wire.messages import Item

__all__ = ["Deletions"]


class Deletions:
    """What the sender does not have, and what earlier runs left behind.

    Attributes:
        held_back: Why nothing may be deleted, or None.
    """

    def __init__(self, ground: Ground) -> None:
        self.held_back: str | None = None
        self._ground = ground
        self._extras = Spool()
        self._leftovers = Spool()
        self._stopped = False
        self._limit = ground.settings.max_delete
        self._deleted = 0
        self._replaced: bytes | None = None

    def note(self, directory: bytes, names: list[bytes]) -> None:
        """Remember names of a directory that the sender does not have."""
        self._extras.append(b"\0".join([directory, *names]))

    def note_leftovers(self, directory: bytes, names: list[bytes]) -> None:
        """Remember names of our own that stand in a directory."""
        self._leftovers.append(b"\0".join([directory, *names]))

    def hold_back(self, path: bytes, why: str) -> None:
        """Forbid every deletion of this run, since a guard stands against it."""
        if self.held_back is None:
            self.held_back = why
            self._ground.reporter.problem(path, why, ExitCode.DELETION_GUARD)

    @property
    def may_take(self) -> bool:
        """Whether a file that is to be deleted may be renamed instead, before the deletions: nothing can hold these back any more."""
        settings = self._ground.settings
        return settings.delete and self.held_back is None and self._limit is None and not settings.dry_run and not settings.backup

    def taken(self, path: bytes) -> None:
        """Count a file that was renamed to what it is now as deleted from its old place."""
        self._removed(path, is_directory=False)

    def run(self) -> None:
        """Delete, unless a guard holds it back."""
        self._ground.read_rules_anew()
        if self.held_back is None:
            for record in self._extras:
                directory, *names = record.split(b"\0")
                for name in reversed(names):
                    self.remove(join(directory, name))
        self._extras = Spool()

    def conclude(self) -> None:
        """Say whether `--max-delete` kept something."""
        if self._stopped:
            why = f"deletions stopped at --max-delete={self._limit}; more would have gone"
            self._ground.reporter.problem(b".", why, ExitCode.DELETION_GUARD)

    def make_way(self, directory: bytes, dir_fd: int, name: bytes) -> bool:
        """Clear an empty directory away for something else; False if it stays, or waits for `replace`."""
        ground, path = self._ground, join(directory, name)
        try:
            occupied = self._occupied(path) if ground.settings.dry_run else not _removed(dir_fd, name)
        except OSError as error:
            if not ground.settings.delete:
                ground.failed(directory, name, error, "the directory in its place can't be removed")
            return False
        if not occupied and ground.root is not None and not ground.settings.dry_run:
            ground.root.forget(path)
        if occupied and not ground.settings.delete:
            ground.reporter.problem(path, "a directory that is not empty stands in its place; --delete would remove it")
        return not occupied

    def _occupied(self, path: bytes) -> bool:
        assert self._ground.root is not None
        with self._ground.root.dir(path) as lease:
            return bool(os.listdir(lease.fd))

    def replace(self, path: bytes) -> bool:
        """Delete a directory in whose place something else comes: only what is in it counts as deleted. False if it stays."""
        self._replaced = path
        try:
            gone = self.remove(path)
        finally:
            self._replaced = None
        if not gone:
            self._ground.reporter.problem(path, "a directory stands in its place and was not removed")
        return gone

    def remove(self, path: bytes) -> bool:
        """Delete an entry and what is beneath it, but for what filters protect; True if it is gone."""
        ground = self._ground
        if ground.root is None or self.held_back is not None:
            return False
        backups = ground.backups

        def protected(beneath: bytes, is_directory: bool) -> bool:
            # What is replaced is not deleted: the rules speak of what is in it (as rsync's do).
            ruled = beneath != self._replaced and ground.protected(beneath, is_directory, doomed=beneath != path)
            return ruled or (backups is not None and backups.holds(beneath))

        gone = remove_tree(
            ground.root,
            path,
            protected,
            self._removed,
            self._allowed,
            failed=self._failed,
            dry_run=ground.settings.dry_run,
            backups=backups,
        )
        ground.root.forget(path)
        return gone

    def _allowed(self, path: bytes) -> bool:
        self._ground.check()
        if path == self._replaced:
            return True
        if self._limit is not None and self._deleted >= self._limit:
            self._stopped = True
            return False
        self._deleted += 1
        return True

    def _removed(self, path: bytes, is_directory: bool) -> None:
        if path == self._replaced:
            return
        self._ground.counts.files_deleted += 1
        if self._ground.settings.itemize:
            self._ground.lines.add(Item(DELETING, path + b"/" * is_directory, b""))

    def _failed(self, problem: Problem) -> None:
        self._ground.reporter.problem(problem.path, problem.error)

    def clean(self) -> None:
        """Remove what earlier runs left, unless a live one holds it."""
        root = self._ground.root
        if root is None or self._ground.settings.dry_run:
            return
        for record in self._leftovers:
            directory, *names = record.split(b"\0")
            # A leftover that can't be removed now is met again by the next run; nothing of the user's depends on it.
            with suppress(OSError), root.dir(directory) as lease:
                for name in names:
                    clean_stale(lease.fd, name)


def _removed(dir_fd: int, name: bytes) -> bool:
    """Remove a directory if it is empty; False if it is not."""
    try:
        os.rmdir(name, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True
