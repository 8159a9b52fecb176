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
MIN_FILES = 50
"""Fewer files than this, done within the window, say nothing about those to come."""


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
        sent_bytes_s = (progress.bytes_sent - first.bytes_sent) / span_s if span_s > 0.0 else 0.0
        return Estimate(sent_bytes_s, _left_s(first, progress, span_s))


def _left_s(first: Progress, last: Progress, span_s: float) -> float | None:
    if not last.total_known:
        return None
    files_left, bytes_left = last.files_total - last.files_done, last.bytes_total - last.bytes_done
    if files_left <= 0 and bytes_left <= 0:
        return 0.0
    files, content_bytes = last.files_done - first.files_done, last.bytes_done - first.bytes_done
    if span_s < MIN_SPAN_S or (bytes_left > 0 and content_bytes <= 0) or (bytes_left <= 0 and files < MIN_FILES):
        return None
    # Many small files are slow by their number, large ones by their bytes.
    by_files = files_left * span_s / files if files >= MIN_FILES else 0.0
    by_bytes = bytes_left * span_s / content_bytes if bytes_left > 0 else 0.0
    return max(by_files, by_bytes)


def progress_text(progress: Progress, estimate: Estimate) -> str:
    """Return the figures as one line; a `+` behind a total says that it still grows."""
    grows = "" if progress.total_known else "+"
    left = "time left unknown" if estimate.left_s is None else f"{duration(estimate.left_s)} left"
    return (
        f"{progress.files_done:,}/{progress.files_total:,}{grows} files"
        f"  {size(progress.bytes_done)}/{size(progress.bytes_total)}{grows}"
        f"  {size(estimate.sent_bytes_s)}/s  {left}"
    )
