"""INT, TERM and HUP while a command runs: the first asks it to stop, a second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from deltasync.errors import ExitCode, Interrupted

__all__ = ["StopEvent", "caught", "raised"]


class StopEvent(threading.Event):
    """An event that a signal handler can set.

    `Event.set` takes a lock that the interrupted thread may hold itself, in the midst of `wait`; the handler would never return. Here
    the lock is a gate that is opened once, and opening it waits for nobody.
    """

    def __init__(self) -> None:
        super().__init__()
        self._opened = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def is_set(self) -> bool:
        """Tell whether it was set."""
        return self._opened

    def set(self) -> None:
        """Set it, and wake all who wait; from one thread only, which is the one that handles signals."""
        if not self._opened:
            self._opened = True
            self._gate.release()

    def clear(self) -> None:
        """Refuse: a run that was asked to stop is not asked to go on.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError("a stop is final")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for `timeout` seconds; tell whether it is set."""
        limit_s = -1.0 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        if not self._opened and self._gate.acquire(timeout=limit_s):
            self._gate.release()
        return self._opened


@contextmanager
def caught(stop: threading.Event, abandon: Callable[[], None] = lambda: None) -> Generator[None]:
    """Handle the signals while the body runs; only in the main thread.

    Args:
        stop: Is set by the first signal.
        abandon: Is called by the second one, right before the process ends with `ExitCode.INTERRUPTED`; a third one ends it within.
    """
    abandoning = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal abandoning
        if not stop.is_set():
            stop.set()
            return
        if not abandoning:
            abandoning = True
            abandon()
        os._exit(ExitCode.INTERRUPTED)

    with _handled(handle):
        yield


@contextmanager
def raised() -> Generator[None]:
    """Raise `Interrupted` on the signals while the body runs, which may wait where nobody looks at a stop; only in the main thread."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted("interrupted")

    with _handled(handle):
        yield


@contextmanager
def _handled(handle: Callable[[int, FrameType | None], None]) -> Generator[None]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # Under nohup it stays ignored.
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
