"""How long files take from their detection: a histogram of fixed size, however many there are."""

from __future__ import annotations

import math
import threading
from typing import NamedTuple

__all__ = ["Latencies", "Latency"]

STEP = 1.05
"""Each class of the histogram is this many times the one before, so that a percentile is right to 5 %."""
CLASSES = 600


class Latency(NamedTuple):
    """Figures of a watch, in microseconds a file; 0 if there was none."""

    mean: float
    p50: float
    p99: float


class Latencies:
    """Counts durations; safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * CLASSES
        self._count = 0
        self._sum_us = 0.0

    def add(self, duration_s: float, count: int = 1) -> None:
        """Count `count` files that took a duration in seconds."""
        duration_us = max(duration_s * 1e6, 1.0)
        with self._lock:
            self._counts[min(int(math.log(duration_us, STEP)), CLASSES - 1)] += count
            self._count += count
            self._sum_us += duration_us * count

    def figures(self) -> Latency:
        """Return the mean, the median and the 99th percentile."""
        if not self._count:
            return Latency(0.0, 0.0, 0.0)
        return Latency(self._sum_us / self._count, self._at(0.5), self._at(0.99))

    def _at(self, share: float) -> float:
        left = share * self._count
        for number, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return float(STEP ** (number + 0.5))
        return float(STEP**CLASSES)
