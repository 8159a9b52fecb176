"""Where the backups of a run go: the user's `--backup-dir` found, once, before anything of the destination is changed.

What of the path lies beneath the destination may have been made by the sender, in this run or an earlier one; so no symlink is followed
there, nor in what does not exist yet.
"""

from __future__ import annotations

import os

from deltasync.engine.destination import Destination
from deltasync.engine.ground import Ground
from deltasync.errors import DestinationError
from deltasync.fs.openat2 import DIRECTORY_FLAGS
from deltasync.fs.root import Root
from deltasync.patch.backup import Backups, Tree
from deltasync.tree.names import check_path, is_reserved, shown

__all__ = ["open_backups"]


def open_backups(destination: Destination, ground: Ground, beneath: Root | None = None) -> Backups | None:
    """Find where backups go; None where none are made.

    Args:
        destination: Where the tree goes.
        ground: Where the receiver works.
        beneath: The only directory that may be written in, or None for no limit.

    Raises:
        DestinationError: The directory is no directory, can't be opened, or is not within the limit; or backups would have the names of
            what they are of.
    """
    settings = ground.settings
    root, path = destination.root, settings.backup_dir
    if not settings.backup or settings.dry_run or root is None:
        return None
    tree = None
    if path is not None:
        try:
            tree = _tree(root, path) if beneath is None else _tree_beneath(destination, root, path, beneath)
            if any(map(is_reserved, tree.prefix.split(b"/"))):
                raise ValueError("names that begin with `.deltasync~` are reserved")
            _check_directory(tree)
        except (OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            raise DestinationError(f"{shown(path)}: the backup directory can't be used: {text}; name another --backup-dir") from error
    if not settings.backup_suffix and (tree is None or (tree.at_destination and not tree.prefix)):
        raise DestinationError("the backup directory is the destination itself: name another one, or give a --suffix")
    return Backups(root, settings.backup_suffix, tree, gives_away=ground.abilities.is_root, sync=settings.fsync, check=ground.check)


def _check_directory(tree: Tree) -> None:
    """Refuse what stands in the place of the directory and is none.

    Raises:
        OSError: As open(2).
    """
    try:
        tree.root.dir(tree.prefix).release()
    except FileNotFoundError:
        return


def _tree(root: Root, path: bytes) -> Tree:
    """Go as far as there are directories; what is missing from there on is made when it is needed."""
    here = os.dup(root.fd) if not path.startswith(b"/") else os.open(b"/", DIRECTORY_FLAGS)
    try:
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        for at, part in enumerate(parts):
            if part != b".." and os.path.samestat(os.fstat(here), os.fstat(root.fd)):
                rest = _normal(parts[at:])
                if rest is not None:
                    return Tree(root, rest, at_destination=True)
            try:
                there = os.open(part, DIRECTORY_FLAGS & ~os.O_NOFOLLOW, dir_fd=here)
            except FileNotFoundError:
                rest = _normal(parts[at:])
                if rest is None or _stands(here, part):
                    raise
                return Tree(Root(os.dup(here)), rest, at_destination=False)
            os.close(here)
            here = there
        if os.path.samestat(os.fstat(here), os.fstat(root.fd)):
            return Tree(root, b"", at_destination=True)
        return Tree(Root(os.dup(here)), b"", at_destination=False)
    finally:
        os.close(here)


def _stands(dir_fd: int, name: bytes) -> bool:
    """Tell whether there is anything of that name, if only a symlink that leads nowhere."""
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _tree_beneath(destination: Destination, root: Root, path: bytes, beneath: Root) -> Tree:
    """Find a path within the limit, by its names alone.

    Raises:
        ValueError: It leads out.
    """
    within = destination.within.split(b"/") if destination.within else []
    whole = _normal([*([] if path.startswith(b"/") else within), *path.split(b"/")])
    if whole is None:
        raise ValueError("it is not beneath what may be written to")
    parts = whole.split(b"/") if whole else []
    if parts[: len(within)] == within:
        return Tree(root, b"/".join(parts[len(within) :]), at_destination=True)
    return Tree(Root(os.dup(beneath.fd)), whole, at_destination=False)


def _normal(parts: list[bytes]) -> bytes | None:
    """Return a relative path without empty names, `.` and `..`; None if it leads upwards.

    Raises:
        ValueError: A name is illegal.
    """
    names: list[bytes] = []
    for part in parts:
        if part == b"..":
            if not names:
                return None
            names.pop()
        elif part not in (b"", b"."):
            names.append(part)
    return check_path(b"/".join(names))
