"""What is made without content: directories, symlinks and specials."""

from __future__ import annotations

import stat

from deltasync.engine.ground import Ground
from deltasync.engine.links import Links
from deltasync.patch.attributes import Attributes, apply_at
from deltasync.patch.make import make_directory, make_special, make_symlink
from deltasync.tree.entry import Entry
from deltasync.tree.names import join, split
from deltasync.tree.plan import Step

__all__ = ["Making"]


class Making:
    """Makes entries in a directory of the destination, or says in a dry run that they would be.

    Args:
        ground: Where it works.
        links: Hears of entries that others may be linked to.
    """

    def __init__(self, ground: Ground, links: Links) -> None:
        self._ground = ground
        self._links = links

    def make(self, directory: bytes, dir_fd: int, entry: Entry, current: Entry | None, step: Step) -> bool:
        """Make a directory, symlink or special in the place of `current`; False if it failed, which has been said."""
        ground = self._ground
        path = join(directory, entry.name)
        if not ground.settings.dry_run:
            try:
                ground.save(directory, dir_fd, entry.name)
                self._make_one(path, dir_fd, entry, current if not step.in_the_way else None)
            except (OSError, OverflowError, ValueError) as error:
                ground.failed(directory, entry.name, error, "it can't be made")
                return False
            if entry.link_group:
                self._links.stands(entry)
        ground.counts.entries_changed += 1
        ground.item(path, entry, step)
        return True

    def _make_one(self, path: bytes, dir_fd: int, entry: Entry, current: Entry | None) -> None:
        ground = self._ground
        attributes = ground.fresh(entry, current)
        if entry.kind == stat.S_IFDIR:
            if ground.root is not None:
                ground.root.forget(path)
            make_directory(dir_fd, entry.name)
            if not ground.settings.perms:
                mode = entry.mode & 0o777 & ~ground.abilities.umask | 0o700
                apply_at(dir_fd, entry.name, Attributes(mode=mode), stat.S_IFDIR)
            return
        if entry.kind == stat.S_IFLNK:
            lost = make_symlink(dir_fd, entry.name, entry.target, attributes._replace(mode=None))
        else:
            lost = make_special(dir_fd, entry.name, entry.mode, entry.rdev, attributes)
        ground.lost(*split(path), lost)
