"""Which directories are polled, and when: all of them once in an interval, those in which something changed lately more often. Pure.

By itself the interval grows with what a pass costs, so that polling takes at most 5 % of one core: 4 % for the passes, 1 % for the
directories that are hot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto

from deltasync.tree.names import split

__all__ = ["PollReason", "Polls"]

SHORTEST_S = 1.0
SHORTEST_HOT_S = 0.25
PASS_SHARE = 0.04
HOT_SHARE = 0.01
HOT_FOR_S = 30.0
"""How long a directory in which something has changed is hot."""
MAX_HOT = 256
SLICE_DIRECTORIES = 512
"""So many directories are looked at in one round, so that what events tell need not wait for a whole pass."""
TICK_S = 0.05
"""Files that were written this long before the last look may have been written again in the same tick of a clock."""


class PollReason(Enum):
    """Why a directory is polled."""

    ASKED = auto()
    LIMIT = auto()
    FILESYSTEM = auto()
    NO_EVENTS = auto()


class Polls:
    """Directories to be polled. Times are seconds of one clock that never goes back.

    Args:
        every_s: Poll everything at this interval; None for what suits.

    Attributes:
        changes: How often a directory came or went; for who tells of what is polled.
    """

    def __init__(self, every_s: float | None = None) -> None:
        self.changes = 0
        self._every_s = every_s
        self._interval_s = SHORTEST_S if every_s is None else every_s
        self._hot_interval_s = SHORTEST_HOT_S
        self._reasons: dict[bytes, PollReason] = {}
        self._looked_at: dict[bytes, float] = {}
        self._pass: list[bytes] = []
        self._pass_at = self._hot_at = 0.0
        self._pass_began_at = self._pass_cost_s = 0.0
        self._hot: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._reasons)

    def __contains__(self, path: bytes) -> bool:
        return path in self._reasons

    @property
    def interval_s(self) -> float:
        """How much time lies between the beginnings of two passes."""
        return self._interval_s

    def add(self, path: bytes, why: PollReason, now: float) -> None:
        """Have a directory polled that is about to be listed."""
        if not self._reasons:
            self._pass_at, self._hot_at = now + self._interval_s, now
        self.changes += path not in self._reasons
        self._reasons[path] = why
        self._looked_at[path] = now

    def discard(self, path: bytes) -> None:
        """Have a directory polled no more: it is watched, or gone."""
        if self._reasons.pop(path, None) is not None:
            self.changes += 1
            self._looked_at.pop(path, None)
            self._hot.pop(path, None)

    def reasons(self) -> set[PollReason]:
        """Return why directories are polled."""
        return {*self._reasons.values()}

    def tops(self, why: PollReason | None = None) -> tuple[bytes, ...]:
        """Return the polled directories that are in no other, ascending; those of one reason, or all."""
        chosen = self._reasons.keys() if why is None else {path for path, reason in self._reasons.items() if reason is why}
        return tuple(sorted(path for path in chosen if not path or split(path)[0] not in chosen))

    def due_at(self) -> float:
        """Return when something is to be polled; infinity for never."""
        if not self._reasons:
            return float("inf")
        if self._pass:
            return 0.0
        return min(self._pass_at, self._hot_at) if self._hot else self._pass_at

    def take(self, now: float) -> dict[bytes, float]:
        """Return what is to be polled now: directories, and since when files in them may have been written unseen."""
        if not self._pass and self._reasons and self._pass_at <= now:
            self._pass = [*reversed(self._reasons)]
            self._pass_began_at, self._pass_cost_s = now, 0.0
            self._pass_at = now + self._interval_s
        if self._pass:
            taken = [self._pass.pop() for _ in range(min(len(self._pass), SLICE_DIRECTORIES))]
        elif self._hot and self._hot_at <= now:
            self._hot = {path: until for path, until in self._hot.items() if until > now}
            taken = [*self._hot]
            self._hot_at = now + self._hot_interval_s
        else:
            return {}
        return {path: self._looked_at[path] - TICK_S for path in taken if path in self._reasons}

    def polled(self, paths: Sequence[bytes], changed: Iterable[bytes], began_at: float, cost_s: float) -> None:
        """Take note that directories were looked at.

        Args:
            paths: Which; what `take` gave.
            changed: Those of them in which something had changed.
            began_at: When the look began.
            cost_s: The processor time that it took.
        """
        for path in paths:
            if path in self._reasons:
                self._looked_at[path] = began_at
        if self._every_s is not None:
            return
        self._pass_cost_s += cost_s
        self._interval_s = max(SHORTEST_S, self._pass_cost_s / PASS_SHARE)
        self._pass_at = max(self._pass_began_at + self._interval_s, began_at)
        for path in changed:
            if path in self._reasons and (path in self._hot or len(self._hot) < MAX_HOT):
                self._hot[path] = began_at + HOT_FOR_S
        share = len(self._hot) / max(len(self._reasons), 1)
        self._hot_interval_s = min(self._interval_s, max(SHORTEST_HOT_S, self._pass_cost_s * share / HOT_SHARE))
