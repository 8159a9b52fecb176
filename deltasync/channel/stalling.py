"""A socket that gives up when nothing was taken from it for too long: paramiko by itself tries for ever."""

from __future__ import annotations

import errno
import socket
from time import monotonic

__all__ = ["StallingSocket"]


class StallingSocket(socket.socket):
    """A socket with short timeouts of its own, as paramiko sets them, and a limit to how often they may follow each other.

    Attributes:
        limit_s: How long nothing may be taken, 0 or more; None for ever.
        stalled: Whether the limit was exceeded; then nothing more can be sent in good order.
    """

    limit_s: float | None = None
    stalled: bool = False
    _since_s: float | None = None

    def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]  # Any buffer will do.
        """See `socket.socket.send`.

        Raises:
            BrokenPipeError: The limit was exceeded.
            TimeoutError: Nothing was taken this time.
        """
        try:
            count = super().send(data, flags)
        except TimeoutError:
            now = monotonic()
            self._since_s = now if self._since_s is None else self._since_s
            if self.limit_s is None or now - self._since_s < self.limit_s:
                raise
            self.stalled = True
            # ETIMEDOUT would be a TimeoutError, after which paramiko tries again.
            raise BrokenPipeError(errno.EPIPE, "nothing was taken for too long") from None
        self._since_s = None
        return count
