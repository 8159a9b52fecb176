"""Who hears of problems in a watch, where a path that failed is not given up: it is tried again, ever more seldom."""

from __future__ import annotations

from deltasync.engine.job import Observer
from deltasync.engine.reporter import LocalReporter
from deltasync.errors import ExitCode, Problem

__all__ = ["LiveReporter"]

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0
MAX_KEPT = 4096
"""How many paths that fail are remembered; the rest waits for the next look at the whole tree."""


class LiveReporter(LocalReporter):
    """Tells the observer of each problem once, however often it is met."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)
        self._failed: dict[bytes, tuple[str, float]] = {}
        self._now: dict[bytes, str] = {}

    def problem(self, path: bytes, error: str, exit_code: ExitCode = ExitCode.PARTIAL) -> None:
        """See `Reporter`; what vanished in a tree that lives is no problem."""
        if exit_code is ExitCode.VANISHED:
            return
        if len(self._now) < MAX_KEPT:
            self._now[path] = error
        known = self._failed.get(path)
        if known is None or known[0] != error:
            self._observer.problem(Problem(path, error, exit_code))

    def failed(self) -> list[tuple[bytes, float]]:
        """Return the paths that failed since this was last asked, and after how many seconds each is to be tried again."""
        again: list[tuple[bytes, float]] = []
        for path, error in self._now.items():
            known = self._failed.get(path)
            wait_s = FIRST_RETRY_S if known is None or known[0] != error else min(2 * known[1], LONGEST_RETRY_S)
            if known is not None or len(self._failed) < MAX_KEPT:
                self._failed[path] = error, wait_s
            again.append((path, wait_s))
        self._now.clear()
        return again

    def succeeded(self, path: bytes) -> None:
        """Forget a path that came well, so that its next failure is told again."""
        self._failed.pop(path, None)
