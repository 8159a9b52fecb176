"""The process of one session of `deltasync listen`: started by it, never by hand."""

from __future__ import annotations

import gc
import os
import signal
from types import FrameType

from deltasync.cli.failures import told
from deltasync.cli.main import GC_ALLOCATIONS
from deltasync.cli.signals import StopEvent
from deltasync.engine.worker import Task, work
from deltasync.errors import AuthenticationError, DeltasyncError, Interrupted, TransportError

__all__ = ["worker"]

MAX_TASK_BYTES = 65536


def worker() -> None:
    """Serve the session that standard input describes, and end the process with its exit code.

    TERM ends the session because the listener ends, USR1 because it may not go on.
    """
    gc.set_threshold(GC_ALLOCATIONS)
    stop = StopEvent()
    withdrawn = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal withdrawn
        withdrawn = withdrawn or number == signal.SIGUSR1
        stop.set()

    def ended(error: DeltasyncError) -> DeltasyncError:
        if not isinstance(error, Interrupted):
            return error
        if withdrawn:
            return AuthenticationError("the listener has withdrawn what this client was allowed")
        return TransportError("the listener was stopped; run again when it is back: what is there is not sent once more")

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, handle)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    data = b""
    while len(data) < MAX_TASK_BYTES and (more := os.read(0, MAX_TASK_BYTES)):
        data += more
    try:
        code = work(Task.decode(data), stop, ended)
    except Exception as error:  # noqa: BLE001 - the last place where a defect can still be told as one line.
        code = told(error)
    os._exit(code)
