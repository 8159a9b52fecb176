"""A session's way out of SSH: a data connection is made beside it, and whatever is said from then on goes there.

The initiator makes the key and sends it inside the session. When both have proven it to each other it moves its direction first, which
tells the responder that the connection stands at both ends. Whatever goes wrong before that leaves the session where it is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from deltasync.channel.moving import MovingLink
from deltasync.channel.stream import Link
from deltasync.errors import DeltasyncError, RemoteProtocolError, TransportError
from deltasync.wire.messages import DataAt, DataKey, Moved
from deltasync.wire.one_time import KEY_BYTES

if TYPE_CHECKING:
    from deltasync.engine.peer import Peer

__all__ = ["DATA_TCP", "LEAVE_S", "DataMove", "Far", "Near"]

DATA_TCP = "data-tcp"
"""The feature's name."""
LEAVE_S = 1.0
"""How long the thread is waited for that connects: a name that is looked up can't be interrupted."""


class DataMove:
    """What both ends have in common.

    Args:
        peer: The session.
        link: Its link.
    """

    def __init__(self, peer: Peer, link: MovingLink) -> None:
        self._peer = peer
        self._link = link
        self._closed = threading.Event()
        self._followed = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, message: DataKey | DataAt | Moved) -> None:
        """Take a message about the data connection; called by the thread that receives.

        Raises:
            RemoteProtocolError: It is not due.
        """
        if isinstance(message, Moved):
            if self._thread is None:
                raise RemoteProtocolError("the peer moved to a connection that was not agreed on")
            self._link.follow()
            self._followed.set()
        else:
            self._begin(message)

    def _begin(self, message: DataKey | DataAt) -> None:
        raise RemoteProtocolError(f"the peer sent {type(message).__name__}, which was not due")

    def _start(self, work: Callable[[], Link | None]) -> None:
        if self._thread is not None:
            raise RemoteProtocolError("the peer wants a second data connection")
        self._thread = threading.Thread(target=self._work, args=(work,), name="deltasync-data", daemon=True)
        self._thread.start()

    def _work(self, work: Callable[[], Link | None]) -> None:
        try:
            second = work()
            if second is not None and self._link.have(second):
                self._move()
        except DeltasyncError:
            # The session goes on where it is; if that is what broke, whoever waits for it hears so by itself.
            self._link.give_up()
            return
        self._link.give_up()

    def _move(self) -> None:
        self._peer.move(self._link)

    def close(self) -> None:
        """Give up what has not come to stand."""
        self._closed.set()
        self._followed.set()
        if self._thread is not None:
            self._thread.join(LEAVE_S)


class Near(DataMove):
    """The side that connected by SSH.

    Args:
        peer: The session.
        link: Its link.
        reach: Connects to a port of the far end; given the port, the key, and what tells whether to give up.
        everywhere: Whether the far end shall listen at all of its addresses.
        ports: The first and the last port that it may take; 0 for any.
    """

    def __init__(
        self,
        peer: Peer,
        link: MovingLink,
        reach: Callable[[int, bytes, Callable[[], bool]], Link],
        *,
        everywhere: bool = False,
        ports: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(peer, link)
        self._reach = reach
        self._ports = ports
        self._everywhere = everywhere
        self._key = os.urandom(KEY_BYTES)
        self._asked = False

    def ask(self) -> None:
        """Hand the key to the far end; raises as `Peer.send`."""
        self._asked = True
        self._peer.send(DataKey(self._key, *self._ports, self._everywhere))

    def _begin(self, message: DataKey | DataAt) -> None:
        if not isinstance(message, DataAt) or not self._asked:
            super()._begin(message)
        elif message.port:
            self._start(lambda: self._reach(message.port, self._key, self._closed.is_set))


class Far(DataMove):
    """The side that serves: it opens a port for as long as it takes, at most 20 seconds."""

    def _begin(self, message: DataKey | DataAt) -> None:
        if not isinstance(message, DataKey):
            super()._begin(message)
        else:
            self._start(lambda: self._listen(message))

    def _listen(self, message: DataKey) -> Link | None:
        # Few sessions need it, and all begin with loading this module.
        from deltasync.channel.data_port import DataPort, arrived_at

        try:
            port = DataPort(message.key, None if message.everywhere else arrived_at(), message.first_port, message.last_port)
        except TransportError:
            self._peer.send(DataAt(0))
            return None
        try:
            self._peer.send(DataAt(port.port))
            return port.wait(self._closed.is_set)
        finally:
            port.close()

    def _move(self) -> None:
        # The initiator speaks there first: then it stands at both ends.
        self._followed.wait()
        if not self._closed.is_set():
            super()._move()
