"""The destination: opened or made, and how the root of the sender's tree maps to it."""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from deltasync.errors import DestinationError, RemoteProtocolError
from deltasync.fs.root import Root
from deltasync.tree.names import MAX_NAME_BYTES, shown
from deltasync.tree.rows import Section
from deltasync.wire.messages import Tree
from deltasync.wire.settings import Settings

__all__ = ["Destination", "open_destination"]

MAX_PLACE_BYTES = 4095
"""Longest path of a destination, as the system has it for those outside of `--root` too."""


class Destination(NamedTuple):
    """Where a tree goes.

    Attributes:
        root: The held directory; None in a dry run into one that does not exist, and where nothing comes.
        made: Whether the directory was made by this run (or would be).
        name: What the tree's only entry is called at the destination, or None to keep names.
        within: Where the directory is beneath the only one that may be written in; empty where there is no limit.
    """

    root: Root | None
    made: bool = False
    name: bytes | None = None
    within: bytes = b""

    def renamed(self, section: Section) -> Section:
        """Return a section with its entry's name at the destination.

        Raises:
            RemoteProtocolError: A tree of one entry has more.
        """
        if self.name is None:
            return section
        if section.path or section.rows.entry_count > 1:
            raise RemoteProtocolError("the peer sent several entries where it had announced one")
        if any(map(stat.S_ISDIR, section.rows.mode_column())):
            raise RemoteProtocolError("the peer sent a directory where it had announced none")
        if not section.rows.entry_count:
            return section
        return section._replace(rows=section.rows._replace(names=self.name))


def open_destination(dest: bytes, tree: Tree, settings: Settings, *, beneath: Root | None = None) -> Destination:
    """Open the destination, or make its last component (with `--mkpath` all of them).

    Args:
        dest: The path as written; `b""` is the current directory.
        tree: What is coming; where that is nothing at all, nothing is made or opened for it.
        settings: The options.
        beneath: The only directory that may be written in (`serve --root`), or None for no limit.

    Raises:
        DestinationError: It can't be opened or made.
    """
    if not tree.tops:
        return Destination(None)
    try:
        if beneath is not None:
            return _open_beneath(dest, tree, settings, beneath)
        return _open_at(os.path.expanduser(dest) if dest.startswith(b"~") else dest, tree, settings)
    except OSError as error:
        hint = "; its parent directory is missing: make it, or use --mkpath" if error.errno == errno.ENOENT else ""
        raise DestinationError(f"{shown(dest)}: the destination can't be opened: {error.strerror}{hint}") from error
    except ValueError as error:
        raise DestinationError(f"{shown(dest)}: the destination can't be opened: {error}") from error


def _open_at(dest: bytes, tree: Tree, settings: Settings) -> Destination:
    path = dest or b"."
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        return Destination(Root.open(path))
    if tree.lone and not path.endswith(b"/"):
        parent, name = os.path.split(path)
        if not settings.dry_run and settings.mkpath and parent:
            os.makedirs(parent, exist_ok=True)
        _check_name(name)
        try:
            return Destination(Root.open(parent or b"."), name=name)
        except FileNotFoundError:
            if settings.dry_run and settings.mkpath:
                return Destination(None, made=True, name=name)
            raise
    if mode is not None:
        raise DestinationError(f"{shown(dest)}: the destination is not a directory; name one, or remove what is there")
    if settings.dry_run:
        if not settings.mkpath:
            os.stat(os.path.dirname(path.rstrip(b"/")) or b".")
        return Destination(None, made=True)
    if settings.mkpath:
        os.makedirs(path, exist_ok=True)
    else:
        os.mkdir(path)
    return Destination(Root.open(path), made=True)


def _check_name(name: bytes) -> None:
    if len(name) > MAX_NAME_BYTES or name in (b"", b".", b".."):
        raise OSError(errno.EINVAL, "it is no name for a file")


def _open_beneath(dest: bytes, tree: Tree, settings: Settings, beneath: Root) -> Destination:
    """Open a destination inside a confining root: every component is a real directory there, whatever the path says."""
    parts = [part for part in dest.split(b"/") if part not in (b"", b".", b"~")]
    if b".." in parts:
        raise DestinationError(f"{shown(dest)}: a destination beneath --root can't hold `..`")
    path = b"/".join(parts)
    if len(path) > MAX_PLACE_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    try:
        return Destination(_held(beneath, path), within=path)
    except NotADirectoryError:
        if not tree.lone:
            raise
    except FileNotFoundError:
        pass
    parent, name = b"/".join(parts[:-1]), parts[-1]
    if settings.mkpath and not settings.dry_run:
        for depth in range(1, len(parts)):
            _make(beneath, b"/".join(parts[: depth - 1]), parts[depth - 1])
    if settings.dry_run and settings.mkpath and not _stands(beneath, parent):
        return Destination(None, made=True, name=name if tree.lone and not dest.endswith(b"/") else None)
    held = _held(beneath, parent)
    if tree.lone and not dest.endswith(b"/"):
        return Destination(held, name=name, within=parent)
    held.close()
    if settings.dry_run:
        return Destination(None, made=True)
    _make(beneath, parent, name)
    return Destination(_held(beneath, path), made=True, within=path)


def _make(beneath: Root, parent: bytes, name: bytes) -> None:
    with beneath.dir(parent) as lease:
        try:
            os.mkdir(name, 0o777, dir_fd=lease.fd)
        except FileExistsError:
            # What is there is a directory, or opening it says that it is none.
            return


def _stands(beneath: Root, path: bytes) -> bool:
    try:
        beneath.dir(path).release()
    except FileNotFoundError:
        return False
    return True


def _held(beneath: Root, path: bytes) -> Root:
    with beneath.dir(path) as lease:
        return Root(os.dup(lease.fd))
