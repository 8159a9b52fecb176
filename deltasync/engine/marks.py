"""Marks on their way from the detector to the sessions: one work list for each, behind one lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from deltasync.detect.worklist import Batch, Mark, WorkList

__all__ = ["LOST_S", "Marks"]

LOST_S = 2.0
"""How long before a loss of events was noticed the first of them may have happened."""
QUIET_S = 0.25
"""How long no event may have contradicted what was found before the whole tree is looked at for it."""
LONGEST_QUIET_S = 5.0
_NEVER = float("inf")


class Marks:
    """A work list that threads share: a `detect.inotify.Sink` for the detector, batches for the session.

    Args:
        settle_s: As in `WorkList`.
        clock: Gives the time of marks, in seconds.

    Attributes:
        ended: Whether a source was seen to go; the session looks whether it is back, and clears this.
        overflows: How often events were lost.
    """

    def __init__(self, settle_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.ended = False
        self.overflows = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._list = WorkList(settle_s)
        self._wake: Callable[[], None] = _nobody
        self._next_due = self._doubted_at = self._doubt_due = _NEVER

    def wakes(self, wake: Callable[[], None]) -> None:
        """Have somebody woken, from another thread, when something is due earlier than it was."""
        self._wake = wake

    def _changed(self) -> bool:
        """Tell whether whoever waits must be woken; called with the lock held."""
        due = self._due_at()
        if due >= self._next_due:
            return False
        self._next_due = due
        return True

    def _due_at(self) -> float:
        due = self._list.due_at
        return self._doubt_due if due is None else min(due, self._doubt_due)

    def mark(self, directory: bytes, name: bytes, mark: Mark, wait_s: float) -> None:
        """See `Sink`."""
        with self._lock:
            self._list.mark(directory, name, mark, self._clock(), wait_s)
            changed = self._changed()
        if changed:
            self._wake()

    def mark_again(self, path: bytes, mark: Mark, wait_s: float) -> None:
        """Have an entry of a batch that was taken looked at again, wherever it is by now."""
        with self._lock:
            self._list.mark_again(path, mark, self._clock(), wait_s)
            changed = self._changed()
        if changed:
            self._wake()

    def touch(self, directory: bytes) -> None:
        """See `Sink`."""
        with self._lock:
            self._list.touch(directory, self._clock())
            changed = self._changed()
        if changed:
            self._wake()

    def rename(self, old: bytes, new: bytes) -> None:
        """See `Sink`."""
        with self._lock:
            self._list.rename(old, new, self._clock())
            changed = self._changed()
        if changed:
            self._wake()

    def overflowed(self) -> None:
        """See `Sink`."""
        with self._lock:
            self.overflows += 1
        self.doubt_everything(LOST_S)

    def contradicted(self) -> None:
        """See `Sink`."""
        with self._lock:
            now = self._clock()
            self._doubted_at = min(now, self._doubted_at)
            self._doubt_due = min(now + QUIET_S, self._doubted_at + LONGEST_QUIET_S)
            changed = self._changed()
        if changed:
            self._wake()

    def doubt_everything(self, since_s: float) -> None:
        """Have everything looked at; nothing is known of what was written in the last `since_s` seconds."""
        with self._lock:
            now = self._clock()
            self._list.doubt_everything(now - since_s, now)
            changed = self._changed()
        if changed:
            self._wake()

    def root_ended(self) -> None:
        """See `Sink`."""
        self.ended = True
        self._wake()

    def left_s(self) -> float:
        """Return in how many seconds something is due; 0 or less for now."""
        with self._lock:
            return self._due_at() - self._clock()

    def take(self) -> Batch | None:
        """Return what is due; None if nothing is."""
        with self._lock:
            now = self._clock()
            if self._doubt_due <= now:
                self._list.doubt_everything(self._doubted_at - LOST_S, now)
                self._doubted_at = self._doubt_due = _NEVER
            batch = self._list.take(now)
            self._next_due = self._due_at()
            return batch

    def give_back(self, batch: Batch) -> None:
        """Take back what was taken and not done."""
        with self._lock:
            self._list.give_back(batch, self._clock())

    def __len__(self) -> int:
        return len(self._list)


def _nobody() -> None:
    """Wake nobody: no session stands yet."""
