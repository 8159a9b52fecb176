"""Renaming an entry beneath a held root, on directory descriptors, so that no swapped symlink leads elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from deltasync.fs.listing import entry_at
from deltasync.fs.root import Dir, Root
from deltasync.tree.entry import Entry
from deltasync.tree.names import split

__all__ = ["rename_entry"]


def rename_entry(root: Root, old: bytes, new: bytes, protected: Callable[[bool], bool], *, may_replace: bool) -> Entry:
    """Give an entry another place in the tree; a file or an empty directory that stands there is replaced.

    Args:
        root: The tree; what it holds open at both places and beneath is forgotten.
        old: Where the entry is.
        new: Where it shall be; missing directories above it are made, for their owner alone.
        protected: Told whether it is a directory; whether it must stay.

        may_replace: Whether what stands there may be replaced.

    Returns: The entry, as it was.

    Raises:
        OSError: It can't be renamed.
    """
    old_parent, old_name = split(old)
    new_parent, new_name = split(new)
    with root.dir(old_parent) as from_lease, _made(root, new_parent) as to_lease:
        entry = entry_at(from_lease.fd, old_name)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if protected(entry.kind == stat.S_IFDIR):
            raise PermissionError(errno.EPERM, "the rules keep it where it is")
        if not may_replace and entry_at(to_lease.fd, new_name) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        try:
            os.rename(old_name, new_name, src_dir_fd=from_lease.fd, dst_dir_fd=to_lease.fd)
        finally:
            root.forget(old)
            root.forget(new)
    return entry


def _made(root: Root, path: bytes) -> Dir:
    """Lease a directory, made if it is missing."""
    try:
        return root.dir(path)
    except FileNotFoundError:
        parent, name = split(path)
        with _made(root, parent) as lease:
            os.mkdir(name, 0o700, dir_fd=lease.fd)
    return root.dir(path)
