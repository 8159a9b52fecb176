"""A run as the command line asks for it; a lost connection is made again.

This module imports little: the connection is begun first, and the rest of the engine is loaded while it is being made.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from deltasync._native import EngineMissing, choose, engine_name
from deltasync.engine.connecting import Connector
from deltasync.engine.job import Job, Observer, Summary, channel_of
from deltasync.errors import ConnectionLost, ExitCode, Interrupted, Problem, TransportError, Unanswered, UsageError

if TYPE_CHECKING:
    from deltasync.channel.ahead import Ahead
    from deltasync.engine.transfer import Transfer

__all__ = ["run"]

BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Waits before a lost connection is made again; the last one repeats."""


def run(job: Job, observer: Observer, stop: threading.Event, ahead: Ahead | None = None) -> Summary:
    """Do a job.

    Args:
        job: What to do.
        observer: Hears of items, problems and progress.
        stop: Set to end the run; it ends within a second with `Interrupted`.
        ahead: A session over SSH that was begun before the job was known, used if it leads where the job does.

    Raises:
        UsageError: The engine that is asked for is not there.
        DeltasyncError: The run as a whole failed; what had been done stays.
    """
    began_at = time.monotonic()
    if job.engine != "auto":
        _check_engine(job.engine)
    if job.direction == "push" and not any(os.path.lexists(os.path.expanduser(source)) for source in job.sources):
        return _nothing_to_send(job, observer, began_at)
    attempts = _Attempts(job, _Once(observer), stop, began_at, ahead)
    try:
        return attempts.run()
    except Exception:
        observer.broken_off(attempts.reached())
        raise


class _Attempts:
    """The attempts at a job, until one comes to its end or another would be in vain."""

    def __init__(self, job: Job, observer: _Once, stop: threading.Event, began_at: float, ahead: Ahead | None) -> None:
        self._ahead = ahead
        self._job = job
        self._observer = observer
        self._stop = stop
        self._began_at = began_at
        self._earlier = Summary(channel=channel_of(job.remote))
        self._last: Transfer | None = None

    def run(self) -> Summary:
        """Do the job.

        Raises:
            DeltasyncError: The last attempt failed.
        """
        retries = 0
        while True:
            try:
                return self._attempt()
            except (TransportError, Unanswered) as error:
                # What never stood is not tried again; what did may take more than one attempt to come back, and may break at once again.
                if not (retries or isinstance(error, ConnectionLost)):
                    raise
                if retries == self._job.retries:
                    raise self._final(error) from error
                self._spend(self._last)
                self._earlier, self._last = self.reached(), None
                # What broke once may be broken again by whatever stands in its way; SSH brings the rest.
                self._job = replace(self._job, data=None)
                wait_s = BACKOFF_S[min(retries, len(BACKOFF_S) - 1)]
                retries += 1
                self._observer.again(f"{error}; trying again in {wait_s:g} s")
                if self._stop.wait(wait_s):
                    raise Interrupted("interrupted") from error

    def _spend(self, broken: Transfer | None) -> None:
        """Let the attempts together delete no more than `--max-delete` allows."""
        settings = self._job.settings
        if broken is None or not settings.delete or settings.max_delete is None:
            return
        deleted = broken.deleted
        if deleted is None:
            self._observer.note("the connection broke when deletions may have begun: no more are made, so that --max-delete holds")
        from msgspec.structs import replace as with_options

        left = 0 if deleted is None else max(settings.max_delete - deleted, 0)
        self._job = replace(self._job, settings=with_options(settings, max_delete=left))

    def _final(self, error: TransportError | Unanswered) -> TransportError | Unanswered:
        """Return an error that no attempt follows, with what to do about it; where no connection is made any more, SSH has said it."""
        if not isinstance(error, ConnectionLost):
            return error
        return ConnectionLost(f"{error}; run again: what is there is not sent once more")

    def _attempt(self) -> Summary:
        job = self._job
        timeout_s = job.settings.timeout_s or None
        with Connector(job.remote, timeout_s=timeout_s, ahead=self._ahead, data=job.data, e2e=job.e2e) as connector:
            from deltasync.engine.transfer import Transfer as Attempt

            self._last = Attempt(job, self._observer, self._stop, connector, self._began_at)
            return self._last.run().after(self._earlier)

    def reached(self) -> Summary:
        """Return what all attempts have done so far."""
        return self._earlier if self._last is None else self._last.reached().after(self._earlier)


def _check_engine(engine: str) -> None:
    try:
        choose(engine)
    except EngineMissing as error:
        raise UsageError(str(error)) from error


class _Once:
    """An observer that passes on each problem and note once, though several attempts meet them."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told: set[Problem | str] = set()
        self.item = observer.item
        self.progress = observer.progress
        self.again = observer.note
        self.broken_off = observer.broken_off

    def problem(self, problem: Problem) -> None:
        """Pass a problem on."""
        if problem not in self._told:
            self._told.add(problem)
            self._observer.problem(problem)

    def note(self, text: str) -> None:
        """Pass a note on."""
        if text not in self._told:
            self._told.add(text)
            self._observer.note(text)


def _nothing_to_send(job: Job, observer: Observer, began_at: float) -> Summary:
    problems = tuple(Problem(source, "this source is not there") for source in job.sources)
    for problem in problems:
        observer.problem(problem)
    return Summary(
        problems=problems,
        elapsed_s=time.monotonic() - began_at,
        channel=channel_of(job.remote),
        engine=engine_name() if job.engine == "auto" else job.engine,
        exit_code=ExitCode.PARTIAL,
    )
