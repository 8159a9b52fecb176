"""How fast a run goes and how long it will still take, told only when it can be known. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from deltasync.cli.rates import duration, size
from deltasync.engine.job import Progress

__all__ = ["Estimate", "Estimator", "progress_text"]

WINDOW_S = 15.0
"""Only what happened within these last seconds counts."""
MIN_SPAN_S = 2.0
"""Nothing is foretold from less than this."""


class Estimate(NamedTuple):
    """What is told.

    Attributes:
        sent_bytes_s: Bytes a second on the channel.
        left_s: Seconds until all is done; None where it can't be said.
    """

    sent_bytes_s: float
    left_s: float | None


class _Sample(NamedTuple):
    at_s: float
    progress: Progress


class Estimator:
    """Looks back over the last seconds of a run."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def add(self, now_s: float, progress: Progress) -> Estimate:
        """Return the estimate with one more sample; `now_s` is of a clock that never goes back."""
        samples = self._samples
        samples.append(_Sample(now_s, progress))
        while len(samples) > 2 and now_s - samples[1].at_s >= WINDOW_S:
            samples.popleft()
        first_s, first = samples[0]
        span_s = now_s - first_s
        if span_s <= 0.0:
            return Estimate(0.0, None)
        sent_bytes_s = (progress.bytes_sent - first.bytes_sent) / span_s
        if not progress.total_known or span_s < MIN_SPAN_S:
            return Estimate(sent_bytes_s, None)
        by_bytes = _left(progress.bytes_total - progress.bytes_done, progress.bytes_done - first.bytes_done, span_s)
        by_files = _left(progress.files_total - progress.files_done, progress.files_done - first.files_done, span_s)
        if by_bytes is None:
            return Estimate(sent_bytes_s, None)
        # Many small files are slow by their number, large ones by their bytes; within one large file no file gets done at all.
        return Estimate(sent_bytes_s, max(by_bytes, by_files or 0.0))


def _left(remaining: int, done: int, span_s: float) -> float | None:
    if remaining <= 0:
        return 0.0
    return remaining * span_s / done if done > 0 else None


def progress_text(progress: Progress, estimate: Estimate) -> str:
    """Return the figures as one line; a `+` behind a total says that it still grows."""
    grows = "" if progress.total_known else "+"
    left = "time left unknown" if estimate.left_s is None else f"{duration(estimate.left_s)} left"
    return (
        f"{progress.files_done:,}/{progress.files_total:,}{grows} files"
        f"  {size(progress.bytes_done)}/{size(progress.bytes_total)}{grows}"
        f"  {size(estimate.sent_bytes_s)}/s  {left}"
    )
