"""What a watch looks at without being told to: polled directories, and now and then the whole tree; and the word of it to the user."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Literal

from deltasync.detect.detector import Detector
from deltasync.detect.polls import PollReason
from deltasync.engine.live import LiveObserver
from deltasync.tree.names import shown

__all__ = ["Schedule"]

JITTER = (0.75, 1.25)
NAMED = 3
"""So many polled directories are named in a line."""
SPARE_WATCHES = 524_288


class Schedule:
    """When what is looked at without an event.

    Args:
        detector: What watches and polls.
        rescan_s: About how often the whole tree is looked at.
        observer: Hears what is polled, and why, once for each reason.

    Attributes:
        mode: How changes are seen: `events`, `polling` or `mixed`; empty before it was told.
    """

    def __init__(self, detector: Detector, rescan_s: float, observer: LiveObserver) -> None:
        self._detector = detector
        self._rescan_s = rescan_s
        self._observer = observer
        self._told: set[PollReason] = {PollReason.ASKED}
        self._seen_changes = -1
        self.mode = ""
        self._rescan_at = 0.0
        self.scanned()

    def scanned(self) -> None:
        """Take note that the whole tree was looked at."""
        self._rescan_at = time.monotonic() + self._rescan_s * random.uniform(*JITTER)  # noqa: S311 - so that not all watches look at once.

    def left_s(self) -> float:
        """Return in how many seconds there is something to look at; 0 or less for now."""
        return min(self._rescan_at, self._detector.polls.due_at()) - time.monotonic()

    def rescan_due(self) -> bool:
        """Tell whether the whole tree is to be looked at."""
        return self._rescan_at <= time.monotonic()

    def poll(self) -> dict[bytes, float]:
        """Return what is to be polled now, as `Polls.take`."""
        return self._detector.polls.take(time.monotonic())

    def polled(self, paths: list[bytes], changed: Iterable[bytes], began_at: float, cost_s: float) -> None:
        """See `Polls.polled`."""
        self._detector.polls.polled(paths, changed, began_at, cost_s)

    def forget(self, paths: Iterable[bytes]) -> None:
        """Poll directories no more, since they are gone."""
        for path in paths:
            self._detector.polls.discard(path)

    def tell(self, *, anew: bool = False) -> None:
        """Tell the observer how changes are seen, if that is another way now, or `anew` after a full sync."""
        polls = self._detector.polls
        if polls.changes == self._seen_changes and not anew:
            return
        self._seen_changes = polls.changes
        mode: Literal["events", "polling", "mixed"] = "events" if not polls else "mixed" if self._detector.watched else "polling"
        for why in sorted(polls.reasons() - self._told, key=lambda reason: reason.value):
            self._told.add(why)
            self._observer.note(self._line(why))
        if mode != self.mode or anew:
            self.mode = mode
            self._observer.watching(mode, polls.tops())

    def _line(self, why: PollReason) -> str:
        polls = self._detector.polls
        tops = polls.tops(why)
        named = ", ".join(shown(path) or "everything" for path in tops[:NAMED])
        named += f" and {len(tops) - NAMED:,} more" if len(tops) > NAMED else ""
        if why is PollReason.LIMIT:
            wanted = max(SPARE_WATCHES, 1 << (2 * (len(polls) + self._detector.watched)).bit_length())
            reason = f"the kernel's limit of watches is reached; `sudo sysctl fs.inotify.max_user_watches={wanted}` raises it"
        elif why is PollReason.NO_EVENTS:
            reason = "the kernel gives no events; on Linux `sudo sysctl fs.inotify.max_user_instances=1024` may help"
        else:
            reason = "on such filesystems changes made elsewhere bring no events"
        return f"polled every {polls.interval_s:.3g} s or so instead of watched: {named}; {reason}"
