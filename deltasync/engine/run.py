"""A run as the command line asks for it; a lost connection is made again.

This module imports little: the connection is begun first, and the rest of the engine is loaded while it is being made.
"""

from __future__ import annotations

import os
import threading
import time

from deltasync.engine.connecting import Connector
from deltasync.engine.job import Job, Observer, Summary
from deltasync.errors import ConnectionLost, ExitCode, Interrupted, Problem

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
        DeltasyncError: The run as a whole failed; what had been done stays.
    """
    began_at = time.monotonic()
    if job.direction == "push" and not any(os.path.lexists(os.path.expanduser(source)) for source in job.sources):
        return _nothing_to_send(job, observer, began_at)
    attempt = 0
    while True:
        try:
            with Connector(job.remote, timeout_s=job.settings.timeout_s or None) as connector:
                from deltasync.engine.transfer import Transfer

                return Transfer(job, observer, stop, connector, began_at).run()
        except ConnectionLost as error:
            if attempt == job.retries:
                raise
            wait_s = BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)]
            attempt += 1
            observer.note(f"{error}; trying again in {wait_s:g} s")
            if stop.wait(wait_s):
                raise Interrupted("interrupted") from error


def _nothing_to_send(job: Job, observer: Observer, began_at: float) -> Summary:
    problems = tuple(Problem(source, "this source is not there") for source in job.sources)
    for problem in problems:
        observer.problem(problem)
    channel = "local" if job.remote is None else "ssh"
    return Summary(problems=problems, elapsed_s=time.monotonic() - began_at, channel=channel, exit_code=ExitCode.PARTIAL)
