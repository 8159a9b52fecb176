"""Getting a link to the other end: over SSH or TCP, or to a second half of this process; in a thread, so that the scan need not wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from deltasync.channel.address import Remote, TcpRemote
from deltasync.channel.stream import Link
from deltasync.errors import DeltasyncError

if TYPE_CHECKING:
    from deltasync.channel.ahead import Ahead

__all__ = ["Connection", "Connector"]

MAX_HEARD_LINES = 100
LEAVE_S = 1.0
"""How long a thread that looks up a name is waited for, which nothing can interrupt."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An open link, and how its failures are explained.

    Attributes:
        link: The link.
        explain: Turns an error of the first exchange into one that says what is wrong at the other end.
        heard: Lines that ssh or the far end wrote to standard error since.
    """

    link: Link
    explain: Callable[[DeltasyncError], DeltasyncError]
    heard: deque[bytes]


class Connector:
    """Connects in a thread of its own; a context manager that ends whatever it started.

    Args:
        remote: Where to; None for this process.
        timeout_s: Longest silence of the peer; None for any.
        ahead: A session that was begun already, taken if it leads there.
    """

    def __init__(self, remote: Remote | TcpRemote | None, *, timeout_s: float | None, ahead: Ahead | None = None) -> None:
        self._ahead = ahead
        self._remote = remote
        self._timeout_s = timeout_s
        self._done = threading.Event()
        self._connection: Connection | None = None
        self._error: BaseException | None = None
        self._cleanups: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._left = False
        self._thread = threading.Thread(target=self._work, name="deltasync-connect", daemon=True)

    def __enter__(self) -> Self:
        """Start connecting."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End what was started."""
        with self._lock:
            self._left = True
        for cleanup in self._cleanups:
            cleanup()
        self._thread.join(LEAVE_S if isinstance(self._remote, TcpRemote) else None)

    def _ends_with(self, *cleanups: Callable[[], None]) -> None:
        """Have something done when this ends, which may be now."""
        with self._lock:
            if not self._left:
                self._cleanups += cleanups
                return
        for cleanup in cleanups:
            cleanup()

    def settled(self, wait_s: float) -> bool:
        """Wait up to `wait_s` seconds; True once there is a connection or an error."""
        return self._done.wait(wait_s) if wait_s else self._done.is_set()

    def result(self) -> Connection:
        """Return the connection.

        Raises:
            DeltasyncError: There is none, and why.
        """
        if self._error is not None:
            raise self._error
        assert self._connection is not None
        return self._connection

    def _work(self) -> None:
        try:
            self._connection = self._connect()
        except BaseException as error:  # noqa: BLE001 - the control thread raises it again.
            self._error = error
        finally:
            self._done.set()

    def _connect(self) -> Connection:
        if self._remote is None:
            return self._local()
        return self._tcp(self._remote) if isinstance(self._remote, TcpRemote) else self._ssh(self._remote)

    def _local(self) -> Connection:
        """Start the other end in this process."""
        from deltasync.channel.loopback import plain_links
        from deltasync.engine.serve import Limits, serve_link

        near, far = plain_links()
        server = threading.Thread(
            target=serve_link, args=(far, Limits(to_remote=False), threading.Event()), name="deltasync-far-end", daemon=True
        )
        server.start()
        self._ends_with(near.close, server.join)
        return Connection(near, lambda error: error, deque())

    def _ssh(self, remote: Remote) -> Connection:
        from deltasync.channel.ssh import connect

        stream = (self._ahead and self._ahead.take(remote)) or connect(remote)
        self._ends_with(stream.close)
        stream.timeout_s = self._timeout_s
        # Loaded only now: ssh has begun to connect meanwhile.
        from deltasync.channel.secure import open_initiator

        try:
            link = open_initiator(stream, peer=str(remote))
        except DeltasyncError as error:
            raise stream.explain(error) from error
        # Until now what ssh says explains its failure; from now on it is for the user, told by the control thread in its time.
        heard: deque[bytes] = deque(maxlen=MAX_HEARD_LINES)
        stream.heard = heard.append
        return Connection(link, stream.explain, heard)

    def _tcp(self, remote: TcpRemote) -> Connection:
        from deltasync.channel.tcp_client import Caller

        caller = Caller(remote, given_up=lambda: self._left)
        stream = caller.connect(self._timeout_s)
        self._ends_with(stream.close)
        return Connection(caller.open(stream, self._timeout_s), caller.explain, deque())
