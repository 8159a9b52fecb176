"""Writing lines to a descriptor, each at once and whole: no buffer holds a line back, or is left to fail at exit.

Python's own text streams encode by the locale, and complain at exit about a pipe that was closed long before.
"""

from __future__ import annotations

import os
import select
import stat
import threading

__all__ = ["STDERR", "STDOUT", "LineWriter", "print_text"]

STDOUT = 1
STDERR = 2

CHUNK_BYTES = 4096
"""Most that is written at once; a pipe that poll(2) calls ready takes as much without waiting (PIPE_BUF of pipe(7))."""
LOOK_EVERY_MS = 100
"""How often a stop is looked for while nobody reads, and how long a reader is waited for after it."""


def print_text(text: str) -> None:
    """Write a text to standard output.

    Raises:
        LocalFileError: It can't be written; a pipe that nobody reads is no error.
    """
    writer = LineWriter(STDOUT)
    writer.write(text.encode())
    if writer.error is not None:
        from deltasync.cli.failures import LocalFileError

        raise LocalFileError(f"standard output can't be written to: {writer.error.strerror}")


class LineWriter:
    """Writes to a descriptor until that fails; then nothing more.

    Args:
        descriptor: An open file descriptor; it stays the caller's.
        stop: Once it is set, a reader that does not read is given up instead of waited for; None to wait for ever.

    Attributes:
        error: Why nothing is written any more; None while all is well, and for a pipe that nobody reads, which is no error.
        within_line: Whether a line has been begun and not finished.
    """

    def __init__(self, descriptor: int, stop: threading.Event | None = None) -> None:
        self._descriptor = descriptor
        self._stop = stop
        # A regular file takes everything at once; to look before each line would cost more than to write it.
        self._looks = stop is not None and not stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._over = False
        self.error: OSError | None = None
        self.within_line = False

    def line(self, text: str) -> None:
        """Write a line as UTF-8, whatever the locale says."""
        self.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def write(self, data: bytes) -> None:
        """Write everything; never raises."""
        left = memoryview(data)
        self.within_line = True
        while left and not self._over:
            try:
                if self._ready():
                    left = left[os.write(self._descriptor, left[:CHUNK_BYTES]) :]
                else:
                    self._over = True
            except BlockingIOError:
                # Another program that shares the terminal or pipe has made it non-blocking.
                self._looks = True
            except BrokenPipeError:
                self._over = True
            except OSError as error:
                self._over = True
                self.error = error
        self.within_line = False

    def _ready(self) -> bool:
        """Wait until something can be written; False if the run is to stop and nobody reads."""
        while self._looks and not self._takes(LOOK_EVERY_MS):
            if self._stop is not None and self._stop.is_set():
                return False
        return True

    def _takes(self, limit_ms: int) -> bool:
        # A poll object of its own each time, since a signal handler may come in between and look too.
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(limit_ms))

    def takes_at_once(self) -> bool:
        """Tell whether a short line can be written without waiting for a reader, and without landing in the middle of another."""
        return not self.within_line and self._takes(0)
