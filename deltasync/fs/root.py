"""A tree held by a descriptor of its root: every directory beneath is reached through it, never through a path of the system.

Directories are given out as leases on descriptors. Idle descriptors stay open, the least recently used are closed first, so that work
that goes through a tree directory by directory pays one short open for each.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Self

from deltasync.fs.openat2 import DIRECTORY_FLAGS, Opener, best_opener
from deltasync.tree.names import check_path, split

__all__ = ["Dir", "Root"]

_SEGMENT_BYTES = 4095
"""Longest path that one system call takes (PATH_MAX without its final NUL)."""

_ANCESTORS_TRIED = 16
"""How many directories above a wanted one are looked up among the open ones before the walk starts at the root."""


class _Held:
    """One open descriptor and how many leases stand on it; all fields are guarded by the lock of its `Root`."""

    __slots__ = ("fd", "forgotten", "leases", "path")

    def __init__(self, fd: int, path: bytes, *, forgotten: bool = False) -> None:
        self.fd = fd
        self.path = path
        self.leases = 1
        self.forgotten = forgotten


class Dir:
    """A lease on an open directory; `release` it, or use it as a context manager.

    Attributes:
        fd: The descriptor, open for reading; -1 once released.
        path: The path beneath the root, `b""` for the root.
    """

    __slots__ = ("_give_back", "_held", "fd", "path")

    def __init__(self, held: _Held, give_back: Callable[[_Held], None]) -> None:
        self._give_back = give_back
        self._held: _Held | None = held
        self.fd = held.fd
        self.path = held.path

    def release(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        held = self._held
        if held is not None:
            self._held = None
            self.fd = -1
            self._give_back(held)

    def __enter__(self) -> Self:
        """Return the lease itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Release it."""
        self.release()


class Root:
    """The held root of a tree. Any number of threads may use it at once.

    Args:
        fd: An open directory; the root owns it from now on.
        max_open: How many descriptors beneath the root may be open; only leases in use go beyond it.
        opener: How directories are opened; None for the best way that this system has.
    """

    def __init__(self, fd: int, *, max_open: int = 64, opener: Opener | None = None) -> None:
        self.fd = fd
        self._most_known = max_open + 1  # The root is always known.
        self.opener = opener or best_opener()
        self._lock = threading.Lock()
        self._known: dict[bytes, _Held] = {b"": _Held(fd, b"")}
        self._idle: OrderedDict[bytes, _Held] = OrderedDict()
        self._forgets = 0

    @classmethod
    def open(cls, path: bytes, *, max_open: int = 64, opener: Opener | None = None) -> Root:
        """Hold the directory at the user's own `path`; symlinks in it are followed.

        Raises:
            OSError: It can't be opened, or is no directory.
        """
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), max_open=max_open, opener=opener)

    def dir(self, path: bytes) -> Dir:
        """Lease the directory at `path` beneath the root; `b""` is the root itself.

        Raises:
            OSError: ELOOP, ENOTDIR, ENOENT, EXDEV: no real directory is there; EBADF: the root is closed; otherwise as open(2).
            ValueError: `path` is not a legal relative path.
        """
        with self._lock:
            held = self._known.get(path)
            if held is not None:
                # As `_lease`, without the call: this is done for each entry that changes.
                if not held.leases:
                    del self._idle[path]
                held.leases += 1
                return Dir(held, self._give_back)
        return self._open(path)

    def forget(self, path: bytes) -> None:
        """Drop cached descriptors of `path` and what is beneath it: it was removed, renamed or replaced. Leases in use stay good."""
        beneath = path + b"/" if path else b""
        with self._lock:
            self._forgets += 1
            for known in [known for known in self._known if known and (known == path or known.startswith(beneath))]:
                self._drop(self._known[known])

    def close(self) -> None:
        """Close the root and every idle descriptor; those on lease close when they are released. A second call does nothing."""
        self.forget(b"")
        with self._lock:
            held = self._known.pop(b"", None)
            if held is not None:
                held.forgotten = True
        if held is not None:
            self._give_back(held)

    def _lease(self, held: _Held) -> Dir:
        if not held.leases:
            del self._idle[held.path]
        held.leases += 1
        return Dir(held, self._give_back)

    def _give_back(self, held: _Held) -> None:
        with self._lock:
            held.leases -= 1
            if held.leases:
                return
            if held.forgotten:
                os.close(held.fd)
            else:
                self._idle[held.path] = held
                if len(self._known) > self._most_known:
                    self._shrink()

    def _shrink(self) -> None:
        while len(self._known) > self._most_known and self._idle:
            self._drop(next(iter(self._idle.values())))

    def _drop(self, held: _Held) -> None:
        del self._known[held.path]
        held.forgotten = True
        if not held.leases:
            del self._idle[held.path]
            os.close(held.fd)

    def _open(self, path: bytes) -> Dir:
        check_path(path)
        base, forgets = self._nearest(path)
        with base:
            fd = self._descend(base.fd, path[len(base.path) + 1 :] if base.path else path)
        with self._lock:
            other = self._known.get(path)
            if other is not None:
                os.close(fd)
                return self._lease(other)
            # What was opened while something was being forgotten may be the very thing: this lease may use it, no later one.
            fresh = forgets == self._forgets
            held = _Held(fd, path, forgotten=not fresh)
            if fresh:
                self._known[path] = held
                self._shrink()
            return Dir(held, self._give_back)

    def _nearest(self, path: bytes) -> tuple[Dir, int]:
        """Lease the nearest open directory above `path`, and tell how often something had been forgotten until then."""
        with self._lock:
            above = path
            for _ in range(_ANCESTORS_TRIED):
                above = split(above)[0]
                held = self._known.get(above)
                if held is not None:
                    return self._lease(held), self._forgets
            held = self._known.get(b"")
            if held is None:
                raise OSError(errno.EBADF, "the root is closed", path)
            return self._lease(held), self._forgets

    def _descend(self, base_fd: int, path: bytes) -> int:
        if b"/" not in path:
            return os.open(path, DIRECTORY_FLAGS, dir_fd=base_fd)
        fd = base_fd
        while path:
            if len(path) <= _SEGMENT_BYTES:
                segment, path = path, b""
            else:
                end = path.rindex(b"/", 0, _SEGMENT_BYTES + 1)
                segment, path = path[:end], path[end + 1 :]
            try:
                deeper = self.opener(fd, segment)
            finally:
                if fd != base_fd:
                    os.close(fd)
            fd = deeper
        return fd
