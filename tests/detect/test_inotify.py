"""The kernel's events: which directory is known by which path, whatever was seen of its renames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.detect.inotify import Inotify
from deltasync.detect.sources import Sources
from deltasync.detect.worklist import Mark
from deltasync.tree.filters import Filters


class Asked:
    """Counts how often a look at the whole tree is asked for."""

    def __init__(self) -> None:
        self.times = 0

    def contradicted(self) -> None:
        """See `Sink`."""
        self.times += 1

    def mark(self, directory: bytes, name: bytes, mark: Mark, wait_s: float) -> None:
        """What events say does not matter here."""

    def touch(self, directory: bytes) -> None:
        """The same."""

    def rename(self, old: bytes, new: bytes) -> None:
        """The same."""

    def overflowed(self) -> None:
        """The same."""

    def root_ended(self) -> None:
        """The same."""


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[Sources]:
    """A source with `p/x/q` in it."""
    (tmp_path / "source" / "p" / "x" / "q").mkdir(parents=True)
    opened = Sources([os.fsencode(tmp_path / "source") + b"/"])
    yield opened
    opened.close()


def entered(inotify: Inotify, sources: Sources, *paths: bytes) -> list[bytes | None]:
    """Enter directories, as a look at the whole tree does."""
    found: list[bytes | None] = []
    sources.roots[0].forget(b"")
    for path in paths:
        with sources.roots[0].dir(path) as lease:
            found.append(inotify.enter(sources, 0, path, lease.fd))
    return found


def test_directories_that_took_each_others_place_unseen_are_told_apart(sources: Sources, tmp_path: Path) -> None:
    """One is within the other: two looks at the tree and each is known where it is."""
    asked, top = Asked(), tmp_path / "source"
    inotify = Inotify(asked, Filters(), frozenset())
    paths = (b"p", b"p/x", b"p/x/q")
    try:
        assert entered(inotify, sources, *paths) == [None] * 3
        aside = tmp_path / "aside"
        aside.mkdir()
        for path in ("p/x/q", "p/x", "p"):
            (top / path).rename(aside / path.replace("/", "_"))
        for name, path in {"p_x_q": "p", "p_x": "p/x", "p": "p/x/q"}.items():
            (aside / name).rename(top / path)
        assert entered(inotify, sources, *paths) == [b"p/x/q", None, b"p"]
        assert entered(inotify, sources, *paths) == [None] * 3
        assert asked.times == 2
    finally:
        inotify.start()
        inotify.close()


def test_a_directory_that_was_renamed_unseen_takes_along_what_is_in_it(sources: Sources, tmp_path: Path) -> None:
    """Nothing stands where it was."""
    asked, top = Asked(), tmp_path / "source"
    inotify = Inotify(asked, Filters(), frozenset())
    try:
        assert entered(inotify, sources, b"p", b"p/x", b"p/x/q") == [None] * 3
        (top / "p").rename(top / "r")
        assert entered(inotify, sources, b"r", b"r/x", b"r/x/q") == [b"p", None, None]
    finally:
        inotify.start()
        inotify.close()
