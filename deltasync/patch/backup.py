"""Backups: what is replaced or deleted gets another name first, beside its old one or in a tree of backups.

What is replaced is linked to its backup's name, so that its own name never stands for nothing; where that can't be it is copied. What is
deleted is renamed. The rules are rsync's (`backup.c`, 3.5.0), but that a directory which has the name of a backup beside its file is never
removed for it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from deltasync.fs.root import Root
from deltasync.patch.attributes import Attributes, apply_fd
from deltasync.patch.leftovers import unique_name
from deltasync.patch.make import make_directory, make_special, make_symlink
from deltasync.patch.remove import remove_tree
from deltasync.patch.staging import Staged
from deltasync.patch.sync import sync_directory
from deltasync.tree.names import MAX_NAME_BYTES, MAX_PATH_BYTES, join, shown

__all__ = ["Backups", "Tree"]

_PIECE_BYTES = 1 << 20
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES)
"""Why something can't be linked that can perhaps be copied."""


class Tree(NamedTuple):
    """A tree of backups.

    Attributes:
        root: A held directory.
        prefix: The path of the tree beneath it; what is missing of that is made.
        at_destination: Whether that directory is the destination's own root.
    """

    root: Root
    prefix: bytes
    at_destination: bool


class Backups:
    """Makes backups of entries of a destination.

    Args:
        destination: Its root.
        suffix: What is put behind the names of backups; not empty unless there is a tree.
        tree: Where backups go; None for beside what they are of.
        gives_away: Whether this process may give files to others.
        sync: Whether what is copied must be durable before it counts.
        check: Called again and again while something is copied; raises what ends the session.
    """

    def __init__(
        self, destination: Root, suffix: bytes, tree: Tree | None, *, gives_away: bool, sync: bool, check: Callable[[], None]
    ) -> None:
        self._destination = destination
        self._suffix = suffix
        self._tree = tree
        self._gives_away = gives_away
        self._sync = sync
        self._check = check

    def close(self) -> None:
        """Let go of the tree of backups, unless that is the destination's."""
        if self._tree is not None and not self._tree.at_destination:
            self._tree.root.close()

    @property
    def fd(self) -> int:
        """A directory on the filesystem that backups go to."""
        return self._destination.fd if self._tree is None else self._tree.root.fd

    def is_backup(self, name: bytes) -> bool:
        """Tell whether something looks like a backup itself, so that it is deleted without another one."""
        return self._tree is None and len(name) > len(self._suffix) and name.endswith(self._suffix)

    def holds(self, path: bytes) -> bool:
        """Tell whether a path of the destination is that of the tree of backups, which is never deleted."""
        return self._tree is not None and self._tree.at_destination and bool(path) and path == self._tree.prefix

    def save(self, directory: bytes, dir_fd: int, name: bytes, *, stays: bool = False) -> None:
        """Make a backup of what is about to be replaced; nothing is done where nothing is, or a directory.

        Args:
            directory: Its directory, beneath the destination.
            dir_fd: A descriptor of that.
            name: Its name there.
            stays: The file itself will be written to, so that its content must be copied.

        Raises:
            OSError: There is none now; what the name stands for is as it was.
        """
        try:
            status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            self._into(directory, dir_fd, name, lambda fd, to: self._saved(dir_fd, name, status, fd, to, stays=stays))

    def take(self, directory: bytes, dir_fd: int, name: bytes) -> bytes | None:
        """Move what is to be deleted to its backup; returns its name in the same directory, or None if it went elsewhere.

        Raises:
            FileNotFoundError: It is gone already.
            OSError: It can't be moved; it is where it was, or in both places.
        """
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        self._into(directory, dir_fd, name, lambda fd, to: self._moved(dir_fd, name, status, fd, to))
        beside = self._tree is None or (self._tree.at_destination and not self._tree.prefix)
        return name + self._suffix if beside else None

    # Where it goes ------------------------------------------------------------------------------------------------------------------

    def _into(self, directory: bytes, dir_fd: int, name: bytes, put: Callable[[int, bytes], None]) -> None:
        """Have something put under the name of a backup; what stands there is replaced."""
        to, tree = name + self._suffix, self._tree
        if tree is None:
            _put_or_say(dir_fd, to, put)
            return
        try:
            self._put_in_tree(tree, directory, to, put)
        except FileNotFoundError:
            # A directory that was known may have been deleted since; one that is gone itself is met again below.
            os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            tree.root.forget(tree.prefix.partition(b"/")[0])
            self._put_in_tree(tree, directory, to, put)

    def _put_in_tree(self, tree: Tree, directory: bytes, to: bytes, put: Callable[[int, bytes], None]) -> None:
        with self._opened(tree, directory) as fd:
            try:
                put(fd, to)
            except IsADirectoryError:
                # Older backups of what was beneath a directory of this name make room, as older backups of a file do.
                path = join(_opposite(tree, directory), to)
                remove_tree(tree.root, path, lambda _path, _is_dir: False, lambda _path, _is_dir: None, self._go_on, failed=lambda _: None)
                _put_or_say(fd, to, put)

    def _go_on(self, _path: bytes) -> bool:
        self._check()
        return True

    @contextmanager
    def _opened(self, tree: Tree, directory: bytes) -> Iterator[int]:
        """Open the directory in the tree of backups that stands for one of the destination; what is missing is made."""
        path = _opposite(tree, directory)
        try:
            lease = tree.root.dir(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            self._make(tree, directory)
            lease = tree.root.dir(path)
        with lease:
            yield lease.fd

    def _make(self, tree: Tree, directory: bytes) -> None:
        """Make a directory of the tree and those above it, those that stand for one of the destination with its mode and owner."""
        above = b""
        for part in tree.prefix.split(b"/") if tree.prefix else ():
            with tree.root.dir(above) as lease, suppress(FileExistsError):
                os.mkdir(part, 0o777, dir_fd=lease.fd)
            above = join(above, part)
        original = b""
        for part in directory.split(b"/") if directory else ():
            original = join(original, part)
            with tree.root.dir(above) as lease:
                made = make_directory(lease.fd, part)
            above = join(above, part)
            if made:
                self._dress(tree, above, original)

    def _dress(self, tree: Tree, made: bytes, original: bytes) -> None:
        with self._destination.dir(original) as lease:
            status = os.fstat(lease.fd)
        tree.root.forget(made)
        with tree.root.dir(made) as lease:
            apply_fd(lease.fd, self._attributes(status)._replace(mtime_ns=None), stat.S_IFDIR)

    # What goes there ----------------------------------------------------------------------------------------------------------------

    def _saved(self, dir_fd: int, name: bytes, status: os.stat_result, to_fd: int, to: bytes, *, stays: bool) -> None:
        if stays and stat.S_ISREG(status.st_mode):
            self._copy(dir_fd, name, status, to_fd, to)
            return
        staged = unique_name()
        try:
            os.link(name, staged, src_dir_fd=dir_fd, dst_dir_fd=to_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            self._copy(dir_fd, name, status, to_fd, to)
            return
        try:
            os.rename(staged, to, src_dir_fd=to_fd, dst_dir_fd=to_fd)
        finally:
            # Onto another name of the same file a rename does nothing (rename(2)); after any other that succeeded this name is gone.
            with suppress(OSError):
                os.unlink(staged, dir_fd=to_fd)

    def _moved(self, dir_fd: int, name: bytes, status: os.stat_result, to_fd: int, to: bytes) -> None:
        try:
            os.rename(name, to, src_dir_fd=dir_fd, dst_dir_fd=to_fd)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy(dir_fd, name, status, to_fd, to)
        # A rename between two names of one file does nothing, and a copy leaves its original.
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=dir_fd)

    def _copy(self, dir_fd: int, name: bytes, status: os.stat_result, to_fd: int, to: bytes) -> None:
        attributes = self._attributes(status)
        if stat.S_ISREG(status.st_mode):
            self._copy_content(dir_fd, name, to_fd, to, attributes)
        elif stat.S_ISLNK(status.st_mode):
            make_symlink(to_fd, to, os.readlink(name, dir_fd=dir_fd), attributes._replace(mode=None))
        else:
            make_special(to_fd, to, status.st_mode, status.st_rdev, attributes)

    def _copy_content(self, dir_fd: int, name: bytes, to_fd: int, to: bytes, attributes: Attributes) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
        staged: Staged | None = None
        try:
            size = os.fstat(fd).st_size
            staged = Staged.create(to_fd, to, size, sparse=True)
            if staged.share(fd):
                staged.complete()
            while staged.written < size:
                self._check()
                piece = os.pread(fd, min(_PIECE_BYTES, size - staged.written), staged.written)
                if not piece:
                    raise OSError(errno.EIO, "somebody cut it short")
                staged.write(piece)
            staged.commit(attributes, sync=self._sync)
            if self._sync:
                sync_directory(to_fd)
        finally:
            os.close(fd)
            if staged is not None:
                staged.abandon(keep=False)

    def _attributes(self, status: os.stat_result) -> Attributes:
        owner = (status.st_uid, status.st_gid) if self._gives_away else (None, None)
        return Attributes(stat.S_IMODE(status.st_mode), status.st_mtime_ns, *owner)


def _opposite(tree: Tree, directory: bytes) -> bytes:
    """Return the path in the tree of backups that stands for a directory of the destination.

    Raises:
        OSError: It would be too long.
    """
    path = join(tree.prefix, directory) if directory else tree.prefix
    if len(path) + MAX_NAME_BYTES >= MAX_PATH_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return path


def _put_or_say(fd: int, to: bytes, put: Callable[[int, bytes], None]) -> None:
    """Put something under a name that no directory should have.

    Raises:
        IsADirectoryError: One has it.
    """
    try:
        put(fd, to)
    except IsADirectoryError as error:
        text = f"a directory has its name, {shown(to)}: rename that, or choose another --suffix"
        raise IsADirectoryError(errno.EISDIR, text) from error
