"""How the directories of a tree are kept an eye on: by the kernel's events where they come, and otherwise by polling."""

from __future__ import annotations

import errno
import os
import time
from typing import Protocol

from deltasync.detect.polls import PollReason, Polls
from deltasync.detect.sources import Sources
from deltasync.fs.facts import filesystem

__all__ = ["Detector", "Watches"]

_LIMITS = frozenset((errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM))
_ELSEWHERE = frozenset(("nfs", "smb", "9p", "ceph", "afs", "fuse"))
"""Filesystems whose changes may be made where this kernel does not see them."""


class Watches(Protocol):
    """What watches directories by events."""

    def enter(self, sources: Sources, source: int, path: bytes, dir_fd: int) -> bytes | None:
        """See `detect.inotify.Inotify.enter`."""

    def __len__(self) -> int: ...


class Detector:
    """Watches each directory that is listed, or has it polled.

    Args:
        watches: The kernel's events; None where there are none.
        polls: What polls.
        why: Why everything is polled; None to poll only where needed.
    """

    def __init__(self, watches: Watches | None, polls: Polls, why: PollReason | None = None) -> None:
        self.polls = polls
        self._watches = watches
        self._why = why or (PollReason.NO_EVENTS if watches is None else None)
        self._devices: dict[int, bool] = {}

    def enter(self, sources: Sources, source: int, path: bytes, dir_fd: int) -> bytes | None:
        """Watch a directory that is about to be listed, or have it polled; arguments and result as in `Inotify.enter`.

        Raises:
            OSError: It can't be watched, for another reason than a limit.
        """
        why = self._why or (PollReason.FILESYSTEM if self._is_elsewhere(dir_fd) else None)
        if why is None and self._watches is not None:
            try:
                old = self._watches.enter(sources, source, path, dir_fd)
            except OSError as error:
                if error.errno not in _LIMITS:
                    raise
            else:
                self.polls.discard(path)
                return old
        self.polls.add(path, why or PollReason.LIMIT, time.monotonic())
        return None

    @property
    def watched(self) -> int:
        """How many directories are watched by events."""
        return 0 if self._watches is None else len(self._watches)

    def _is_elsewhere(self, dir_fd: int) -> bool:
        device = os.fstat(dir_fd).st_dev
        known = self._devices.get(device)
        if known is None:
            known = self._devices[device] = filesystem(dir_fd) in _ELSEWHERE
        return known
