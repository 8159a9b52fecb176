"""What a channel is: an ordered byte stream to the peer, and the link above it that carries the session's bytes.

A `ByteStream` is what a transport gives (a loopback pipe, an SSH session, a TCP socket). A `Link` is what the engine uses: the same
bytes, sealed where the transport leaves the process. One thread may send while another receives; each of the two directions is used
by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Buffer", "ByteStream", "Link"]

Buffer = bytes | bytearray | memoryview


class ByteStream(Protocol):
    """An ordered, reliable, two-way stream of bytes."""

    timeout_s: float | None
    """How long one `send` or `recv_into` may wait without any progress; None waits for ever. Exceeding it raises `DeadlineExceeded`."""

    def send(self, data: Buffer) -> None:
        """Hand over all of `data`, waiting while the stream is full.

        Raises:
            ConnectionLost: The stream is closed or broken.
            DeadlineExceeded: No byte was taken for `timeout_s`.
        """

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes and put at least one into `buffer`; 0 means that the peer has closed its side.

        Raises:
            ConnectionLost: The stream broke, or `close` was called here.
            DeadlineExceeded: Nothing arrived for `timeout_s`.
        """

    def close_send(self) -> None:
        """Tell the peer that no more will come; receiving goes on. Calling it twice does nothing."""

    def close(self) -> None:
        """Release everything; another thread that waits in `send` or `recv_into` is woken with `ConnectionLost`. Never raises."""


class Link(Protocol):
    """The session's own bytes over a `ByteStream`: sealed, counted, and ended by a FIN that proves completeness."""

    @property
    def cipher(self) -> str:
        """`"AES-256-GCM"`, or `"none"` inside one process."""

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the stream so far, sealing included."""

    @property
    def bytes_received(self) -> int:
        """Bytes taken from the stream so far, sealing included."""

    def limit(self, timeout_s: float) -> None:
        """Accept no longer silence of the peer than so many seconds from now on, if more was accepted until now."""

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send the parts one after the other, as one piece of the stream of plain bytes; returns when the stream has taken them.

        Raises:
            ConnectionLost: The stream is closed or broken.
            DeadlineExceeded: The peer took nothing for the stream's `timeout_s`.
        """

    def recv(self, room: memoryview | None = None) -> memoryview | None:
        """Wait for plain bytes; the view is valid until the next call. None: the peer finished, and everything it sent has arrived.

        Args:
            room: Where the next bytes belong: the link may put them there, and return the beginning of it. If this raises, nothing new is
                in it but what the peer has sealed.

        Raises:
            ConnectionLost: The stream ended or broke without a FIN, or `close` was called here.
            RemoteProtocolError: A record is malformed, forged, replayed, out of order or missing.
            DeadlineExceeded: Nothing arrived for the stream's `timeout_s`.
        """

    def finish(self) -> None:
        """Send the FIN: nothing follows in this direction."""

    def close(self) -> None:
        """Close the stream beneath; wakes whoever waits in it. Never raises."""
