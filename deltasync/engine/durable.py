"""Durability on demand: what was changed in a run, synced before anything of it is called done.

Contents are synced before they take their names (`patch.small`, `patch.staging`); what is left for the end are names and attributes.
"""

from __future__ import annotations

import os

from deltasync.engine.spool import Spool
from deltasync.errors import DestinationError
from deltasync.fs.root import Root
from deltasync.patch.sync import NotDurable, sync_directory, sync_filesystem, tells_of_filesystems

__all__ = ["Durable"]


class Durable:
    """Remembers where something was changed, and syncs that.

    Args:
        root: The destination.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._by_filesystem = tells_of_filesystems()
        self._filesystems: dict[int, int] = {}
        self._directories = Spool()
        self.saw(root.fd)

    def close(self) -> None:
        """Let go of everything."""
        while self._filesystems:
            os.close(self._filesystems.popitem()[1])

    def saw(self, fd: int) -> None:
        """Take note of a filesystem by a directory in it, before anything is changed there."""
        device = os.fstat(fd).st_dev
        if device not in self._filesystems:
            self._filesystems[device] = os.dup(fd)

    def changes(self, directory: bytes) -> None:
        """Take note of a directory, beneath the root, that is going to be changed."""
        if not self._by_filesystem:
            self._directories.append(directory)

    def settle(self) -> None:
        """Have everything survive a power cut that was changed until now.

        Raises:
            DestinationError: It may not.
        """
        try:
            for fd in self._filesystems.values() if self._by_filesystem else ():
                sync_filesystem(fd)
            for directory in self._directories:
                self._sync(directory)
            self._directories = Spool()
        except NotDurable as error:
            text = "nothing of this run is certain to survive a power cut; run again when the disk is well, with --checksum"
            raise DestinationError(f"--fsync: {error.strerror}; {text}") from error

    def _sync(self, directory: bytes) -> None:
        try:
            lease = self._root.dir(directory)
        except (FileNotFoundError, NotADirectoryError):
            # It was deleted since; the one above it was changed as well.
            return
        with lease:
            sync_directory(lease.fd)
