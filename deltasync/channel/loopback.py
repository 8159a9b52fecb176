"""The channel inside one process: bounded streams in memory, and a link over them that seals nothing.

`loopback()` gives two ends of what any transport gives, so that everything above can be tried without a network. `plain_links()` gives
two ends of what the engine uses when both sides run in this process: there is nobody to hide bytes from, so those that can't change are
handed over as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Condition

from deltasync.channel.stream import Buffer
from deltasync.errors import ConnectionLost, DeadlineExceeded, LocalProtocolError

__all__ = ["CAPACITY_BYTES", "LoopbackStream", "PlainLink", "loopback", "plain_links"]

CAPACITY_BYTES = 4 << 20
"""How much one direction holds before the sender waits."""

_JOINED_BYTES = 64 << 10
"""Parts of no more than this in all are joined: one copy costs less than waking the receiver for each."""


class _Lane:
    """One direction: chunks that never change, in order, `capacity` bytes of them at most."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._chunks: deque[memoryview] = deque()
        self._held = 0
        self._changed = Condition()
        self._ended = False
        self._abandoned = False

    def put(self, data: Buffer, timeout_s: float | None) -> None:
        """Queue all of `data`, by reference where it can't change."""
        view = memoryview(data).cast("B")
        immutable = isinstance(view.obj, bytes)
        at = 0
        while at < len(view):
            with self._changed:
                if not self._changed.wait_for(self._takes, timeout_s):
                    raise DeadlineExceeded(f"the peer took nothing for {timeout_s:g} s")
                if self._ended or self._abandoned:
                    raise ConnectionLost("the connection is closed")
                piece = view[at : at + self._capacity - self._held]
                at += len(piece)
                self._held += len(piece)
                self._chunks.append(piece if immutable else memoryview(bytes(piece)))
                self._changed.notify_all()

    def get(self, limit: int, timeout_s: float | None) -> memoryview | None:
        """Return the next bytes, at most `limit`; None when the lane has ended and is empty."""
        with self._changed:
            if not self._changed.wait_for(self._gives, timeout_s):
                raise DeadlineExceeded(f"nothing came from the peer for {timeout_s:g} s")
            if self._abandoned:
                raise ConnectionLost("the connection is closed")
            if not self._chunks:
                return None
            chunk = self._chunks.popleft()
            if len(chunk) > limit:
                self._chunks.appendleft(chunk[limit:])
                chunk = chunk[:limit]
            self._held -= len(chunk)
            self._changed.notify_all()
            return chunk

    def end(self) -> None:
        """Take nothing more; what is queued can still be got."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Give nothing more, and let nothing more in."""
        with self._changed:
            self._abandoned = True
            self._chunks.clear()
            self._changed.notify_all()

    def _takes(self) -> bool:
        return self._held < self._capacity or self._ended or self._abandoned

    def _gives(self) -> bool:
        return bool(self._chunks) or self._ended or self._abandoned


class LoopbackStream:
    """One end of a stream in memory: a `ByteStream`. Made by `loopback`."""

    timeout_s: float | None

    def __init__(self, outgoing: _Lane, incoming: _Lane) -> None:
        self.timeout_s = None
        self._outgoing = outgoing
        self._incoming = incoming

    def send(self, data: Buffer) -> None:
        """See `ByteStream.send`."""
        self._outgoing.put(data, self.timeout_s)

    def recv_into(self, buffer: memoryview) -> int:
        """See `ByteStream.recv_into`."""
        chunk = self._incoming.get(len(buffer), self.timeout_s)
        if chunk is None:
            return 0
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close_send(self) -> None:
        """See `ByteStream.close_send`."""
        self._outgoing.end()

    def close(self) -> None:
        """See `ByteStream.close`; what was sent before can still be received."""
        self._outgoing.end()
        self._incoming.abandon()


class PlainLink:
    """One end of a link inside this process: a `Link`. Made by `plain_links`.

    Attributes:
        timeout_s: As of a `ByteStream`.
    """

    cipher: str
    bytes_sent: int
    bytes_received: int
    timeout_s: float | None

    def __init__(self, outgoing: _FinLane, incoming: _FinLane) -> None:
        self.cipher = "none"
        self.bytes_sent = 0
        self.bytes_received = 0
        self.timeout_s = None
        self._outgoing = outgoing
        self._incoming = incoming

    def limit(self, timeout_s: float) -> None:
        """See `Link.limit`; the other end is this process, which is never away."""

    def send(self, parts: Sequence[Buffer]) -> None:
        """See `Link.send`.

        Raises:
            LocalProtocolError: `finish` was called before.
        """
        if self._outgoing.finished:
            raise LocalProtocolError("bytes to send after the end; please report this")
        for data in [b"".join(parts)] if sum(map(len, parts)) <= _JOINED_BYTES else parts:
            self._outgoing.put(data, self.timeout_s)
            self.bytes_sent += memoryview(data).nbytes

    def recv(self, room: memoryview | None = None) -> memoryview | None:  # noqa: ARG002 - what is here already need not be moved.
        """See `Link.recv`."""
        chunk = self._incoming.get(CAPACITY_BYTES, self.timeout_s)
        if chunk is None and not self._incoming.finished:
            raise ConnectionLost("the connection ended before the peer was finished")
        self.bytes_received += len(chunk or b"")
        return chunk

    def finish(self) -> None:
        """See `Link.finish`.

        Raises:
            LocalProtocolError: It was called before.
        """
        if self._outgoing.finished:
            raise LocalProtocolError("the end is said once; please report this")
        self._outgoing.finish()

    def close(self) -> None:
        """See `Link.close`; what was sent before can still be received."""
        self._outgoing.end()
        self._incoming.abandon()


class _FinLane(_Lane):
    """A lane that knows whether its end is a FIN or a mere stop."""

    finished = False

    def finish(self) -> None:
        """End the lane, as its sender wanted it."""
        with self._changed:
            if self._ended or self._abandoned:
                raise ConnectionLost("the connection is closed")
            self.finished = True
        self.end()


def loopback(capacity_bytes: int = CAPACITY_BYTES) -> tuple[LoopbackStream, LoopbackStream]:
    """Return the two ends of a new stream, each direction of which holds at most `capacity_bytes`, at least 1."""
    there, back = _Lane(capacity_bytes), _Lane(capacity_bytes)
    return LoopbackStream(there, back), LoopbackStream(back, there)


def plain_links(capacity_bytes: int = CAPACITY_BYTES) -> tuple[PlainLink, PlainLink]:
    """Return the two ends of a new link, each direction of which holds at most `capacity_bytes`, at least 1."""
    there, back = _FinLane(capacity_bytes), _FinLane(capacity_bytes)
    return PlainLink(there, back), PlainLink(back, there)
