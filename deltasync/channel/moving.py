"""A link that can go on over another connection: each direction by itself, between two messages, without a byte lost or out of order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic

from deltasync.channel.stream import Buffer, Link
from deltasync.errors import ConnectionLost, RemoteProtocolError

__all__ = ["MovingLink"]

FOLLOW_S = 20.0
"""How long the other connection may take to stand here when the peer speaks on it already."""
_LOOK_S = 0.1


class MovingLink:
    """A `Link` over one link, and later over a second one, which it owns then as well.

    What says that a direction moves is the session's message; here the first link's FIN ends what was sent there, and is awaited.

    Args:
        first: Where it begins.
    """

    def __init__(self, first: Link) -> None:
        self._first = first
        self._second: Link | None = None
        self._outgoing = self._incoming = first
        self._follows = self._closed = self._in_vain = False
        self._limit_s: float | None = None
        self._changed = threading.Condition()

    @property
    def cipher(self) -> str:
        """See `Link.cipher`."""
        return self._first.cipher

    @property
    def bytes_sent(self) -> int:
        """See `Link.bytes_sent`; of both connections."""
        return self._first.bytes_sent + (self._second.bytes_sent if self._second is not None else 0)

    @property
    def bytes_received(self) -> int:
        """See `Link.bytes_received`; of both connections."""
        return self._first.bytes_received + (self._second.bytes_received if self._second is not None else 0)

    @property
    def moved(self) -> bool:
        """Whether any direction goes over the second link."""
        return self._second is not None and self._second in (self._outgoing, self._incoming)

    def limit(self, timeout_s: float) -> None:
        """See `Link.limit`; of both connections."""
        with self._changed:
            self._limit_s = timeout_s
            for link in (self._first, self._second):
                if link is not None:
                    link.limit(timeout_s)

    def have(self, second: Link) -> bool:
        """Take the second link; False, and it is closed, if this is closed already."""
        with self._changed:
            if not self._closed:
                self._second = second
                if self._limit_s is not None:
                    second.limit(self._limit_s)
                self._changed.notify_all()
                return True
        second.close()
        return False

    def give_up(self) -> None:
        """Say that there will be no second link."""
        with self._changed:
            self._in_vain = self._second is None
            self._changed.notify_all()

    def move(self) -> None:
        """Send what follows over the second link; called by whoever sends, between two messages.

        Raises:
            ConnectionLost, DeadlineExceeded: As `send`.
        """
        assert self._second is not None
        self._first.finish()
        self._outgoing = self._second

    def follow(self) -> None:
        """Receive what follows from the second link; called by whoever receives.

        Raises:
            RemoteProtocolError: The peer said so twice.
        """
        if self._follows:
            raise RemoteProtocolError("the peer moved to another connection twice")
        self._follows = True

    def send(self, parts: Sequence[Buffer]) -> None:
        """See `Link.send`."""
        self._outgoing.send(parts)

    def recv(self, room: memoryview | None = None) -> memoryview | None:
        """See `Link.recv`."""
        if self._follows and self._incoming is self._first:
            if self._first.recv() is not None:
                raise RemoteProtocolError("the peer moved to another connection, and went on in this one")
            self._incoming = self._other()
        return self._incoming.recv(room)

    def _other(self) -> Link:
        deadline = monotonic() + FOLLOW_S
        with self._changed:
            while self._second is None:
                if self._closed or self._in_vain or monotonic() >= deadline:
                    raise ConnectionLost("the connection that the peer moved to does not stand")
                self._changed.wait(_LOOK_S)
            return self._second

    def finish(self) -> None:
        """See `Link.finish`."""
        self._outgoing.finish()

    def close(self) -> None:
        """See `Link.close`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._second is not None:
            self._second.close()
        self._first.close()
