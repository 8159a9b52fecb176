"""A run as the command line asks for it; a lost connection is made again.

This module imports little: the connection is begun first, and the rest of the engine is loaded while it is being made.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from deltasync._native import EngineMissing, choose
from deltasync.engine.connecting import Connector
from deltasync.engine.job import Job, Observer, Summary
from deltasync.errors import ConnectionLost, ExitCode, Interrupted, Problem, TransportError, UsageError

if TYPE_CHECKING:
    from deltasync.engine.transfer import Transfer

__all__ = ["run"]

BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Waits before a lost connection is made again; the last one repeats."""


def run(job: Job, observer: Observer, stop: threading.Event) -> Summary:
    """Do a job.

    Args:
        job: What to do.
        observer: Hears of items, problems and progress.
        stop: Set to end the run; it ends within a second with `Interrupted`.

    Raises:
        UsageError: The engine that is asked for is not there.
        DeltasyncError: The run as a whole failed; what had been done stays.
    """
    began_at = time.monotonic()
    if job.engine != "auto":
        _check_engine(job.engine)
    if job.direction == "push" and not any(os.path.lexists(os.path.expanduser(source)) for source in job.sources):
        return _nothing_to_send(job, observer, began_at)
    attempt = sent = received = 0
    once = _Once(observer)
    while True:
        transfer: Transfer | None = None
        try:
            with Connector(job.remote, timeout_s=job.settings.timeout_s or None) as connector:
                from deltasync.engine.transfer import Transfer as Attempt

                transfer = Attempt(job, once, stop, connector, began_at)
                summary = transfer.run()
                return replace(summary, bytes_sent=summary.bytes_sent + sent, bytes_received=summary.bytes_received + received)
        except TransportError as error:
            # What never stood is not tried again; what did may take more than one attempt to come back.
            if attempt == job.retries or not (attempt or isinstance(error, ConnectionLost)):
                raise
            if transfer is not None:
                sent, received = sent + transfer.sent, received + transfer.received
            wait_s = BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)]
            attempt += 1
            observer.note(f"{error}; trying again in {wait_s:g} s")
            if stop.wait(wait_s):
                raise Interrupted("interrupted") from error


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
    channel = "local" if job.remote is None else "ssh"
    return Summary(problems=problems, elapsed_s=time.monotonic() - began_at, channel=channel, exit_code=ExitCode.PARTIAL)
