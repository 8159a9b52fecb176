"""Writing lines to a descriptor, each at once and whole: no buffer holds a line back, or is left to fail at exit.

Python's own text streams encode by the locale, and complain at exit about a pipe that was closed long before.
"""

from __future__ import annotations

import os
import select

__all__ = ["STDERR", "STDOUT", "LineWriter"]

STDOUT = 1
STDERR = 2


class LineWriter:
    """Writes to a descriptor until that fails; then nothing more.

    Args:
        descriptor: An open file descriptor; it stays the caller's.

    Attributes:
        error: Why nothing is written any more; None while all is well, and for a pipe that nobody reads, which is no error.
        within_line: Whether a line has been begun and not finished.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
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
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                # Another program that shares the terminal or pipe has made it non-blocking.
                select.select([], [self._descriptor], [])
            except BrokenPipeError:
                self._over = True
            except OSError as error:
                self._over = True
                self.error = error
        self.within_line = False

    def takes_at_once(self) -> bool:
        """Tell whether a short line can be written without waiting for a reader, and without landing in the middle of another."""
        return not self.within_line and bool(select.select([], [self._descriptor], [], 0)[1])
