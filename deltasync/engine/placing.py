"""Where a large file goes that comes as a delta: beside its base, over a clone of it, in its place, or nowhere at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from deltasync.engine.base import Base
from deltasync.engine.deletions import Deletions
from deltasync.engine.delta_stream import Places
from deltasync.engine.ground import Ground, ModeImpossible
from deltasync.engine.streams import Expected
from deltasync.patch.inplace import MIN_BYTES as IN_PLACE_MIN_BYTES
from deltasync.patch.inplace import InPlace
from deltasync.patch.kept import Kept
from deltasync.patch.staging import Staged
from deltasync.tree.entry import Entry
from deltasync.tree.names import join

__all__ = ["Placing"]

_OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
"""With these the disk forbids it, and not the way in which the file was to be changed."""


class Placing:
    """Makes the places of a large file.

    Args:
        ground: Where the receiver works.
        deletions: What is deleted anyway may become the file itself.
        directory: Returns a descriptor of a directory by its path; raises `OSError`.
    """

    def __init__(self, ground: Ground, deletions: Deletions, directory: Callable[[bytes], int]) -> None:
        self._ground = ground
        self._deletions = deletions
        self._directory = directory
        self._forbidden: OSError | None = None

    def staged(self, expected: Expected, entry: Entry) -> Staged:
        """Stage a new file, which is no base for a later run before it `becomes_partial`.

        Raises:
            OSError: It can't be made.
        """
        dir_fd = self._directory(expected.directory)
        return Staged.create(dir_fd, entry.name, entry.size, sparse=self._ground.settings.sparse, partial=False)

    def places(self, expected: Expected, entry: Entry, base: Base) -> Places:
        """Return where a file may go that comes as a delta to a base."""
        candidate, mode = base.candidate, self._ground.settings.update_mode
        may_adopt = candidate is not None and (candidate.partial or (candidate.goes and self._deletions.may_take))
        return Places(
            stage=lambda: self._stretched(expected, entry, base),
            keep=(lambda: self._kept(expected, entry, base)) if candidate is None and self._ground.backups is None else None,
            adopt=(lambda: self._adopted(expected, entry, base)) if may_adopt else None,
            clone=(lambda: self._cloned(expected, entry, base)) if mode in ("auto", "clone") else None,
            in_place=(lambda: self._in_place(expected, entry, base)) if candidate is None and self._may_patch(entry, base) else None,
            only=candidate is None and mode in ("clone", "inplace"),
            save=(lambda: self._save(expected, entry)) if self._ground.backups is not None else None,
        )

    def _may_patch(self, entry: Entry, base: Base) -> bool:
        """Tell whether a base may be patched in place: where the user wants it, or, by itself, if it is so large that staging is dear.

        A backup costs a copy then, so that nothing is spared.
        """
        mode = self._ground.settings.update_mode
        large = min(entry.size, base.size) >= IN_PLACE_MIN_BYTES
        return mode == "inplace" or (mode == "auto" and large and self._ground.backups is None)

    def _save(self, expected: Expected, entry: Entry) -> None:
        """Copy a file that is about to be patched in place to its backup; runs on the pool.

        Raises:
            OSError: It can't be copied.
        """
        root = self._ground.root
        assert root is not None
        with root.dir(expected.directory) as lease:
            self._ground.save(expected.directory, lease.fd, entry.name, stays=True)

    def _stretched(self, expected: Expected, entry: Entry, base: Base) -> Staged:
        """Stage a new file that can be filled in any order; what was not here before is no patch, whatever the user demands of these."""
        mode = self._ground.settings.update_mode
        if base.candidate is None and mode in ("clone", "inplace"):
            if self._forbidden is not None and self._forbidden.errno in _OF_DISK:
                raise self._forbidden
            raise ModeImpossible(errno.EOPNOTSUPP, f"--update-mode {mode} is not possible for it here; use auto or stage")
        staged = self.staged(expected, entry)
        try:
            staged.stretch()
        except BaseException:
            staged.abandon(keep=False)
            raise
        return staged

    def _cloned(self, expected: Expected, entry: Entry, base: Base) -> Staged | None:
        """Stage a new file that shares the content of a base, where the filesystem can do that."""
        staged: Staged | None = None
        try:
            staged = self.staged(expected, entry)
            if staged.share(base.fd):
                return staged
        except OSError as error:
            # What is wrong here shows again when the file is staged in the other way, if it may be.
            self._forbidden = error
        if staged is not None:
            staged.abandon(keep=False)
        return None

    def _in_place(self, expected: Expected, entry: Entry, base: Base) -> InPlace | None:
        """Begin to patch a base where it stands; by itself only one that nobody else has open, or has under another name."""
        wanted = self._ground.settings.update_mode == "inplace"
        if not wanted and not self._ground.may_stay(os.fstat(base.fd), entry, expected.current):
            return None
        place: InPlace | None = None
        try:
            place = InPlace.create(self._directory(expected.directory), entry.name, entry.size, base.look.identity)
            if place.is_alone(base.fd) or wanted:
                return place
        except OSError as error:
            # Whatever forbids it, a new file can be staged instead, if it may be.
            self._forbidden = error
        if place is not None:
            place.abandon(keep=False)
        return None

    def _kept(self, expected: Expected, entry: Entry, base: Base) -> Kept | None:
        """Leave a base in its place that is the wanted file already."""
        if not self._ground.may_stay(os.fstat(base.fd), entry, expected.current):
            return None
        return Kept(self._directory(expected.directory), entry.name, base.fd)

    def _adopted(self, expected: Expected, entry: Entry, base: Base) -> Staged | None:
        """Take a base that `--delete` would remove anyway, to be renamed."""
        candidate, root = base.candidate, self._ground.root
        assert candidate is not None
        assert root is not None
        try:
            with root.dir(candidate.directory) as lease:
                place = (lease.fd, candidate.name)
                dir_fd = self._directory(expected.directory)
                staged = Staged.adopt(dir_fd, entry.name, entry.size, base.fd, place, sparse=self._ground.settings.sparse)
        except OSError:
            # The directory went away; what was in it can still be copied.
            return None
        if staged is not None and not candidate.partial:
            self._deletions.taken(join(candidate.directory, candidate.name))
        return staged
