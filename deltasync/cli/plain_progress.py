"""Progress where there is no terminal and `--progress` asks for it all the same: a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

from deltasync.cli.estimate import Estimator, progress_text
from deltasync.engine.job import Progress

__all__ = ["PlainProgress"]

EVERY_S = 1.0


class PlainProgress:
    """Writes a line at most once a second, and one when all is done; see `report.Display`.

    Args:
        write: Takes a line.
        clock: Seconds, of a clock that never goes back.
    """

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._estimator = Estimator()
        self._written_at = -EVERY_S
        self._written = ""

    def show(self, progress: Progress) -> None:
        """Write a line, if it is time."""
        now = self._clock()
        estimate = self._estimator.add(now, progress)
        complete = progress.total_known and progress.files_done >= progress.files_total
        if now - self._written_at >= EVERY_S or complete:
            line = progress_text(progress, estimate)
            if line != self._written:
                self._write(line)
            self._written, self._written_at = line, now

    def clear(self) -> None:
        """Lines stay."""
