"""How the directories of a tree are kept an eye on: by the kernel's events where they come, and otherwise by polling.

That they come is taken for granted on filesystems that are known. On each other one a file is made and removed once, to see whether that
is told: some kernels that are not Linux's take watches and are silent.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Protocol

from deltasync.detect.polls import PollReason, Polls
from deltasync.detect.sources import Sources
from deltasync.fs.facts import filesystem, is_known, momentary_file

__all__ = ["Detector", "Watches"]

_LIMITS = frozenset((errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM))
_ELSEWHERE = frozenset(("nfs", "smb", "9p", "ceph", "afs", "fuse"))
"""Filesystems whose changes may be made where this kernel does not see them."""


_HEARD_WITHIN_S = 0.25
_LOOK_S = 0.002


class Watches(Protocol):
    """What watches directories by events."""

    @property
    def events(self) -> int:
        """How many events have come."""

    def enter(self, sources: Sources, source: int, path: bytes, dir_fd: int) -> bytes | None:
        """See `detect.inotify.Inotify.enter`."""

    def __len__(self) -> int: ...


class Detector:
    """Watches each directory that is listed, or has it polled.

    Args:
        watches: The kernel's events; None where there are none.
        polls: What polls.
        why: Why everything is polled; None to poll only where needed.
        known: Tells of an open directory whether its filesystem is one on which events come for what is done here.
    """

    def __init__(
        self, watches: Watches | None, polls: Polls, why: PollReason | None = None, *, known: Callable[[int], bool] = is_known
    ) -> None:
        self.polls = polls
        self._watches = watches
        self._why = why or (PollReason.NO_EVENTS if watches is None else None)
        self._devices: dict[int, bool] = {}
        self._known = known
        self._tells: dict[int, bool] = {}

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
                if self._told(self._watches, dir_fd):
                    self.polls.discard(path)
                    return old
                why = PollReason.NO_EVENTS
        self.polls.add(path, why or PollReason.LIMIT, time.monotonic())
        return None

    @property
    def watched(self) -> int:
        """How many directories are watched by events."""
        return 0 if self._watches is None else len(self._watches)

    def _told(self, watches: Watches, dir_fd: int) -> bool:
        """Tell whether events come for what is done on the filesystem of a directory that is watched."""
        device = os.fstat(dir_fd).st_dev
        if device not in self._tells and not self._known(dir_fd):
            before, until = watches.events, time.monotonic() + _HEARD_WITHIN_S
            try:
                with momentary_file(dir_fd):
                    pass
            except OSError:
                # Where nothing can be made, another directory may show it.
                return True
            while watches.events == before and time.monotonic() < until:
                time.sleep(_LOOK_S)
            self._tells[device] = watches.events > before
        return self._tells.get(device, True)

    def _is_elsewhere(self, dir_fd: int) -> bool:
        device = os.fstat(dir_fd).st_dev
        known = self._devices.get(device)
        if known is None:
            known = self._devices[device] = filesystem(dir_fd) in _ELSEWHERE
        return known
