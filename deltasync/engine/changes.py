"""What a round of a live session changes by name at the destination: entries that were renamed, and entries that are gone."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from deltasync.engine.deletions import Deletions
from deltasync.engine.destination import Destination
from deltasync.engine.ground import Ground
from deltasync.errors import RemoteProtocolError
from deltasync.fs.listing import entry_at
from deltasync.patch.rename import rename_entry
from deltasync.tree.names import check_path, is_reserved, split
from deltasync.wire.messages import Gone, Renames

__all__ = ["Changes"]


class Changes:
    """Does what the sender says of names, as it comes.

    Args:
        ground: Where the receiver works.
        destination: How the tree's root maps to the destination.
        deletions: What deletes, behind the guards.

    Attributes:
        not_renamed: Numbers of the pairs of this round that could not be renamed; the sender lists these anew.
    """

    def __init__(self, ground: Ground, destination: Destination, deletions: Deletions) -> None:
        self.not_renamed: list[int] = []
        self._ground = ground
        self._name = destination.name
        self._deletions = deletions
        self._pairs = 0

    def rename(self, message: Renames) -> None:
        """Rename entries, each as far as that is possible.

        Raises:
            RemoteProtocolError: A path is none.
        """
        self._ground.read_rules_anew()
        for old, new in message.pairs:
            at, self._pairs = self._pairs, self._pairs + 1
            if self._name is not None or not self._renamed(self._here(old), self._here(new)):
                self.not_renamed.append(at)

    def _renamed(self, old: bytes, new: bytes) -> bool:
        ground = self._ground
        if ground.root is None or old == new or (new + b"/").startswith(old + b"/"):
            return False
        try:
            entry = rename_entry(ground.root, old, new, self._stays(old, new), may_replace=ground.backups is None)
        except OSError:
            # Whatever forbids it, the sender lists what has the new name, and says that the old one is gone.
            return False
        self._names_change(old, new)
        ground.counts.entries_changed += 1
        ground.renamed(new, entry)
        return True

    def _stays(self, *paths: bytes) -> Callable[[bool], bool]:
        """Return what tells whether something at any of some paths must stay, given whether it is a directory."""
        return lambda is_dir: any(self._ground.protected(path, is_dir) for path in paths)

    def remove(self, message: Gone) -> None:
        """Delete entries; a directory in which something stands that the sender never had stays, unless `--delete`.

        Raises:
            RemoteProtocolError: A path is none.
        """
        self._ground.read_rules_anew()
        for sent in message.paths:
            path = self._here(sent)
            self._ground.check()
            if self._ground.root is None:
                continue
            if self._ground.settings.delete or not self._holds_something(path):
                self._names_change(path)
                self._deletions.remove(path)

    def _names_change(self, *paths: bytes) -> None:
        if self._ground.durable is not None:
            for path in paths:
                self._ground.durable.changes(split(path)[0])

    def _holds_something(self, path: bytes) -> bool:
        """Tell whether a path is a directory that is not empty."""
        root = self._ground.root
        assert root is not None
        parent, name = split(path)
        try:
            with root.dir(parent) as lease:
                entry = entry_at(lease.fd, name)
            if entry is None or entry.kind != stat.S_IFDIR:
                return False
            with root.dir(path) as lease:
                return any(not is_reserved(other) for other in map(os.fsencode, os.listdir(lease.fd)))
        except OSError as error:
            # What is not there needs no removal; anything else shows when it is removed.
            return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

    def _here(self, path: bytes) -> bytes:
        """Return a path of the sender's as it is here.

        Raises:
            RemoteProtocolError: It is none, or the root, or one of our own.
        """
        try:
            names = check_path(path).split(b"/")
        except ValueError as error:
            raise RemoteProtocolError(f"the peer sent an {error}") from error
        if not path or any(map(is_reserved, names)):
            raise RemoteProtocolError("the peer spoke of a path that can't change")
        if self._name is None:
            return path
        if len(names) > 1:
            raise RemoteProtocolError("the peer spoke of several entries where it had announced one")
        return self._name
