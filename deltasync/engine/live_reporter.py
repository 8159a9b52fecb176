"""Who hears of problems in a watch, where a path that failed is not given up: it is tried again, ever more seldom."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from deltasync.engine.job import Observer
from deltasync.engine.reporter import LocalReporter
from deltasync.errors import ExitCode, Problem

__all__ = ["LiveReporter"]

FIRST_RETRY_S = 0.2
SECOND_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0
TOLD_TIMES = 3
MAX_KEPT = 4096
"""How many paths that fail are remembered; the rest waits for the next look at the whole tree."""


class _Failure(NamedTuple):
    error: str
    exit_code: ExitCode
    wait_s: float
    times: int
    told: bool


class LiveReporter(LocalReporter):
    """Tells the observer of what fails three times in a row, once: much that fails in a tree that lives is another thing a second later."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)
        self._failed: dict[bytes, _Failure] = {}
        self._now: dict[bytes, _Failure] = {}

    def problem(self, path: bytes, error: str, exit_code: ExitCode = ExitCode.PARTIAL) -> None:
        """See `Reporter`; what vanished is no problem."""
        if exit_code is ExitCode.VANISHED:
            return
        known = self._failed.get(path)
        times = 1 if known is None or known.error != error else known.times + 1
        told = times > 1 and known is not None and known.told
        if not told and (times >= TOLD_TIMES or exit_code is not ExitCode.PARTIAL or len(self._now) >= MAX_KEPT):
            self._observer.problem(Problem(path, error, exit_code))
            told = True
        wait_s = FIRST_RETRY_S if known is None else min(max(2 * known.wait_s, SECOND_RETRY_S), LONGEST_RETRY_S)
        if len(self._now) < MAX_KEPT:
            self._now[path] = _Failure(error, exit_code, wait_s, times, told)

    def failed(self) -> list[tuple[bytes, float]]:
        """Return the paths that failed since this was last asked, and after how many seconds each is to be tried again."""
        now, self._now = self._now, {}
        self._failed.update((path, failure) for path, failure in now.items() if path in self._failed or len(self._failed) < MAX_KEPT)
        return [(path, failure.wait_s) for path, failure in now.items()]

    def succeeded(self, path: bytes) -> None:
        """Forget a path that came well, so that its next failure is a first one."""
        self._failed.pop(path, None)

    def tell_rest(self, is_gone: Callable[[bytes], bool]) -> None:
        """Tell of what failed and was to be tried again, since the watch ends; what is gone by now is no problem."""
        for path, failure in self._failed.items():
            if not failure.told and not is_gone(path):
                self._observer.problem(Problem(path, failure.error, failure.exit_code))
        self._failed.clear()
