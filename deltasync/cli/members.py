"""Watches of several destinations that speak through one report, each in its turn."""

from __future__ import annotations

import threading
from typing import Literal

from deltasync.cli.live import LiveReport
from deltasync.engine.job import Summary
from deltasync.engine.live import BatchDone, Standing
from deltasync.engine.progress import Progress
from deltasync.errors import Problem

__all__ = ["Member"]


class Member:
    """An `engine.live.LiveObserver` for one of several destinations.

    Args:
        report: Where everything is said.
        dest: The destination, as the user wrote it.
        lock: Held by whoever speaks.
        first: Whether the progress of the first sync is shown of this one.
    """

    def __init__(self, report: LiveReport, dest: str, lock: threading.Lock, *, first: bool) -> None:
        self._report = report
        self._dest = dest
        self._lock = lock
        self._first = first

    def item(self, code: str, path: bytes, link: bytes) -> None:
        """See `engine.job.Observer`."""
        with self._lock:
            self._report.item(code, path, link)

    def problem(self, problem: Problem) -> None:
        """See `engine.job.Observer`."""
        with self._lock:
            self._report.problem(problem._replace(error=f"{problem.error} ({self._dest})"))

    def note(self, text: str) -> None:
        """See `engine.job.Observer`."""
        with self._lock:
            self._report.note(f"{self._dest}: {text}")

    def progress(self, progress: Progress) -> None:
        """See `engine.job.Observer`."""
        if self._first:
            with self._lock:
                self._report.progress(progress)

    def broken_off(self, reached: Summary) -> None:
        """See `engine.job.Observer`."""
        with self._lock:
            self._report.broken_off(reached)

    def watching(self, mode: Literal["events", "polling", "mixed"], polled: tuple[bytes, ...]) -> None:
        """See `engine.live.LiveObserver`."""
        with self._lock:
            self._report.at(self._dest).watching(mode, polled)

    def batch(self, batch: BatchDone) -> None:
        """See `engine.live.LiveObserver`."""
        with self._lock:
            self._report.at(self._dest).batch(batch)

    def connection(self, state: Literal["up", "down"], why: str) -> None:
        """See `engine.live.LiveObserver`."""
        with self._lock:
            self._report.at(self._dest).connection(state, why)

    def standing(self, standing: Standing) -> None:
        """See `engine.live.LiveObserver`."""
        with self._lock:
            self._report.at(self._dest).standing(standing)

    def paused(self, reason: str) -> None:
        """See `engine.live.LiveObserver`."""
        if self._first:
            # The source is everybody's.
            with self._lock:
                self._report.paused(reason)
