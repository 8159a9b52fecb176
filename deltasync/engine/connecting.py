"""Getting a link to the other end: over SSH or TCP, or to a second half of this process; in a thread, so that the scan need not wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from deltasync.channel.address import DataPlan, Remote, TcpRemote
from deltasync.channel.stream import Link
from deltasync.errors import AuthenticationError, DeltasyncError

if TYPE_CHECKING:
    from deltasync.channel.ahead import Ahead
    from deltasync.channel.secure import Credentials
    from deltasync.engine.data_move import Near
    from deltasync.engine.peer import Peer

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
        data: Makes what looks after a data connection; None where there shall be none.
    """

    link: Link
    explain: Callable[[DeltasyncError], DeltasyncError]
    heard: deque[bytes]
    data: Callable[[Peer], Near] | None = None


class Connector:
    """Connects in a thread of its own; a context manager that ends whatever it started.

    Args:
        remote: Where to; None for this process.
        timeout_s: Longest silence of the peer; None for any.
        ahead: A session that was begun already, taken if it leads there.
        data: What the user says about a data connection beside SSH; None for none.
        e2e: The key that the far end of SSH must prove; None where SSH is enough.
    """

    def __init__(
        self,
        remote: Remote | TcpRemote | None,
        *,
        timeout_s: float | None,
        ahead: Ahead | None = None,
        data: DataPlan | None = None,
        e2e: bytes | None = None,
    ) -> None:
        self._ahead = ahead
        self._data = data
        self._e2e = e2e
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
            link: Link = open_initiator(stream, self._credentials(), peer=str(remote))
        except DeltasyncError as error:
            raise self._unproven(remote, error, stream.explain(error)) from error
        # Until now what ssh says explains its failure; from now on it is for the user, told by the control thread in its time.
        heard: deque[bytes] = deque(maxlen=MAX_HEARD_LINES)
        stream.heard = heard.append
        if self._data is None:
            return Connection(link, stream.explain, heard)
        return self._movable(link, remote, self._data, Connection(link, stream.explain, heard))

    def _credentials(self) -> Credentials | None:
        """Return how to prove ourselves within SSH; None for what SSH has proven already."""
        if self._e2e is None:
            return None
        from deltasync.channel.secure import Credentials as Made
        from deltasync.fs.own_key import home, load_or_make
        from deltasync.wire.preamble import Suite

        return Made(Suite.XK, static=load_or_make(home()).private, remote_static=self._e2e)

    def _unproven(self, remote: Remote, error: DeltasyncError, explained: DeltasyncError) -> DeltasyncError:
        """Return what an error of the handshake means where the far end must prove a key."""
        from deltasync.channel.ssh_errors import Unproven

        if self._e2e is None or not (isinstance(error, AuthenticationError) or isinstance(explained, Unproven)):
            return explained
        from deltasync.wire.keys import encode

        return AuthenticationError(
            f"{remote} did not prove that it holds the key {encode(self._e2e)} (--e2e), and nothing was told to it: "
            "deltasync key show prints the key there"
        )

    def _movable(self, link: Link, remote: Remote, plan: DataPlan, connection: Connection) -> Connection:
        """Return a connection that may go on over TCP."""
        from deltasync.channel.data_dial import reach
        from deltasync.channel.moving import MovingLink
        from deltasync.engine.data_move import Near

        def reached(port: int, key: bytes, given_up: Callable[[], bool]) -> Link:
            return reach(remote, plan, port, key, given_up, timeout_s=self._timeout_s)

        def near(peer: Peer) -> Near:
            return Near(peer, moving, reached, everywhere=plan.host is not None, ports=(plan.first_port, plan.last_port))

        moving = MovingLink(link)
        return replace(connection, link=moving, data=near)

    def _tcp(self, remote: TcpRemote) -> Connection:
        from deltasync.channel.tcp_client import Caller

        caller = Caller(remote, given_up=lambda: self._left)
        stream = caller.connect(self._timeout_s)
        self._ends_with(stream.close)
        return Connection(caller.open(stream, self._timeout_s), caller.explain, deque())
