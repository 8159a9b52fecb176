"""What SSH and the far end say on standard error: the end of it is kept, to explain a failure, and whole lines may be passed on."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock

__all__ = ["KEPT_BYTES", "PipedSaid", "Said"]

KEPT_BYTES = 32 << 10
"""How much is kept."""

_MAX_LINE_BYTES = 4096
"""How much of a line without an end is passed on."""


class Said:
    """The last `KEPT_BYTES` of what was said.

    Attributes:
        heard: Called with each whole line from then on, without its end, by the thread that adds it. None keeps silent.
    """

    heard: Callable[[bytes], None] | None

    def __init__(self) -> None:
        self.heard = None
        self._kept = bytearray()
        self._line = bytearray()

    def add(self, data: bytes) -> None:
        """Keep what was said now; by one thread at a time."""
        self._kept += data
        del self._kept[:-KEPT_BYTES]
        *lines, rest = (self._line + data).split(b"\n")
        self._line = bytearray(rest[-_MAX_LINE_BYTES:])
        for line in lines:
            if self.heard is not None:
                self.heard(bytes(line.rstrip(b"\r")))

    def kept(self) -> bytes:
        """Return the end of everything that was said."""
        return bytes(self._kept)


class PipedSaid(Said):
    """What is said through a pipe: a `Beside` of the stream that is waited for.

    Args:
        fd: The reading end, owned from now on.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._lock = Lock()
        self._open = True
        os.set_blocking(fd, False)

    def fileno(self) -> int:
        """See `Beside.fileno`."""
        return self._fd

    def drain(self) -> bool:
        """See `Beside.drain`."""
        with self._lock:
            while self._open:
                try:
                    data = os.read(self._fd, KEPT_BYTES)
                except BlockingIOError:
                    return True
                if not data:
                    break
                self.add(data)
            return False

    def kept(self) -> bytes:
        """Take what there is, and return the end of everything."""
        self.drain()
        return super().kept()

    def close(self) -> None:
        """Take what there is, and close the descriptor; what was kept stays. Doing it twice does nothing."""
        self.drain()
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._fd)
