"""What a sender may list: directories that were asked for, names in their order, and nothing that our own rules exclude."""

from __future__ import annotations

import stat

from deltasync.engine.ground import Ground
from deltasync.errors import RemoteProtocolError
from deltasync.tree.names import split
from deltasync.tree.rows import Section
from deltasync.wire.messages import Tree

__all__ = ["Listed"]


class Listed:
    """Checks sections in their order.

    Args:
        ground: Where the receiver works.
        tree: What the sender said that it would list.
    """

    def __init__(self, ground: Ground, tree: Tree) -> None:
        self._ground = ground
        self._tree = tree
        self._tops = frozenset(tree.tops)
        self._last_name = self._admitted = b""

    def check(self, section: Section) -> None:
        """Check a section.

        Raises:
            RemoteProtocolError: It holds what it may not hold.
        """
        if (section.partial or section.written) and not (self._tree.live and section.first and section.last):
            raise RemoteProtocolError("the peer sent a section of a live session where there can be none")
        self._check_place(section)
        self._check_rules(section)

    def _check_place(self, section: Section) -> None:
        """Refuse a directory that was not asked for, and names that don't follow on those of the section before."""
        path, names = section.path, section.rows.name_list()
        settings = self._ground.settings
        if path and (
            not (settings.recursive or settings.dirs or settings.relative)
            or not (self._tree.whole or path.partition(b"/")[0] in self._tops)
        ):
            raise RemoteProtocolError("the peer sent a directory that was not asked for")
        if names:
            if not section.first and names[0] <= self._last_name:
                raise RemoteProtocolError("the peer sent the names of a directory out of order")
            self._last_name = names[-1]
        elif section.first:
            self._last_name = b""
        if self._ground.to_remote or self._ground.filters.empty or settings.relative:
            return
        # What is above a directory that was let in was let in with it.
        above = path
        while above and not (self._admitted + b"/").startswith(above + b"/"):
            if self._ground.filters.excluded(above, is_dir=True):
                raise RemoteProtocolError("the peer sent a directory that the rules exclude")
            above = split(above)[0]
        self._admitted = path

    def _check_rules(self, section: Section) -> None:
        """Refuse what our own rules exclude, or what was not asked for: the sender should never have sent it."""
        excluded = None if self._ground.to_remote else self._ground.filters.for_directory(section.path)
        if excluded is not None:
            for name, mode in zip(section.rows.name_list(), section.rows.mode_column(), strict=True):
                # With paths, a directory may be there for what is beneath it, whatever the rules say of it.
                if not (self._ground.settings.relative and stat.S_ISDIR(mode)) and excluded(name, stat.S_ISDIR(mode)):
                    raise RemoteProtocolError("the peer sent an entry that the rules exclude")
        if not section.path and not self._tree.whole and not set(section.rows.name_list()) <= self._tops:
            raise RemoteProtocolError("the peer sent an entry that was not asked for")
