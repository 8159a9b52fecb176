"""The guard of the sources of a watch: whether they still are what they were, so that what is missing may be taken for deleted.

A source that is gone, whose filesystem is not mounted, that is another directory than before or that has become empty says nothing about
what was in it. Nothing is deleted for it then.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from deltasync.detect.sources import expand_home
from deltasync.tree.names import join, shown
from deltasync.tree.sources import CONTENTS, source_place

__all__ = ["MANY", "Guard", "Verdict", "Why"]

MANY = 20
"""A source that had more entries than this is not believed to have become empty."""


class Why(Enum):
    """What is wrong with the sources."""

    NOTHING = auto()
    MISSING = auto()
    EMPTY = auto()
    REPLACED = auto()


class Verdict(NamedTuple):
    """What the guard has found; `text` is a line for the user, empty where nothing is wrong."""

    why: Why
    text: str = ""


class Guard:
    """Remembers which directories the sources are.

    Args:
        paths: The sources as written.
        may_be_empty: Whether the user said that a source may become empty.
    """

    def __init__(self, paths: Sequence[bytes], *, may_be_empty: bool = False) -> None:
        self._paths = [expand_home(path) for path in paths]
        self._may_be_empty = may_be_empty
        self._known: dict[bytes, tuple[int, int]] = {}

    def learn(self) -> None:
        """Take the sources for what they are now."""
        self._known.clear()
        for path in self._paths:
            status = _status(path)
            if status is not None and stat.S_ISDIR(status.st_mode):
                self._known[path] = (status.st_dev, status.st_ino)

    def look(self, entries: int) -> Verdict:
        """Look at the sources.

        Args:
            entries: How many entries they had when all was well.
        """
        for path in self._paths:
            status = _status(path)
            known = self._known.get(path)
            if status is None:
                if known is not None or _status(_above(path)) is None:
                    return Verdict(
                        Why.MISSING, f"{shown(path)}: the source is not there; nothing is deleted, and it goes on when it is back"
                    )
                continue
            if not stat.S_ISDIR(status.st_mode):
                continue
            if not self._may_be_empty and entries > MANY and _is_empty(path):
                text = "the source has become empty; is its filesystem mounted? Nothing is deleted (--force-empty does it)"
                return Verdict(Why.EMPTY, f"{shown(path)}: {text}")
            if known is not None and known != (status.st_dev, status.st_ino):
                return Verdict(Why.REPLACED, f"{shown(path)}: another directory stands in its place; nothing is deleted for what it lacks")
        return Verdict(Why.NOTHING)


def _above(path: bytes) -> bytes:
    """Return the directory that is opened for a source."""
    return expand_home(source_place(path).directory)


def _status(path: bytes) -> os.stat_result | None:
    place = source_place(path)
    try:
        if place.top == CONTENTS:
            return os.stat(place.directory)
        return os.lstat(join(place.directory, place.top))
    except OSError:
        return None


def _is_empty(path: bytes) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is None
    except OSError:
        # What can't be listed is told when it is looked at, and forbids no more than that.
        return False
