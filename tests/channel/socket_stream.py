"""A stream over a socket, for tests: the simplest one that a kernel carries."""

from __future__ import annotations

import socket
from contextlib import suppress

from deltasync.channel.stream import Buffer
from deltasync.errors import ConnectionLost, DeadlineExceeded

__all__ = ["SocketStream", "socket_streams"]


class SocketStream:
    """A `ByteStream` over one connected socket, which it owns."""

    timeout_s: float | None

    def __init__(self, connected: socket.socket) -> None:
        self.timeout_s = None
        self._socket = connected
        self._closed = False

    def send(self, data: Buffer) -> None:
        """See `ByteStream.send`."""
        view = memoryview(data).cast("B")
        try:
            while view:
                self._socket.settimeout(self.timeout_s)
                view = view[self._socket.send(view) :]
        except TimeoutError:
            raise DeadlineExceeded("nothing was taken") from None
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def recv_into(self, buffer: memoryview) -> int:
        """See `ByteStream.recv_into`."""
        try:
            self._socket.settimeout(self.timeout_s)
            count = self._socket.recv_into(buffer)
        except TimeoutError:
            raise DeadlineExceeded("nothing came") from None
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        if self._closed:
            raise ConnectionLost("closed here")
        return count

    def close_send(self) -> None:
        """See `ByteStream.close_send`."""
        self._shut(socket.SHUT_WR)

    def close(self) -> None:
        """See `ByteStream.close`; the descriptor is released by `release`, so that a thread that still waits never meets another's."""
        self._closed = True
        self._shut(socket.SHUT_RDWR)

    def release(self) -> None:
        """Close the descriptor."""
        self._socket.close()

    def _shut(self, how: int) -> None:
        with suppress(OSError):  # It is shut already, by here or by the peer.
            self._socket.shutdown(how)


def socket_streams() -> tuple[SocketStream, SocketStream]:
    """Return the two ends of a fresh pair of sockets."""
    one, other = socket.socketpair()
    return SocketStream(one), SocketStream(other)
