"""TCP connections: made to whichever address of a host answers first, and given the options that a session needs.

Source: RFC 8305 (Happy Eyeballs), section 5: the families take turns, and an address that does not answer within a quarter of a second
is not waited for before the next is tried.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import zip_longest
from time import monotonic

from deltasync.channel.address import TcpAddress
from deltasync.errors import Interrupted, TransportError
from deltasync.tree.names import shown

__all__ = ["CONNECT_S", "dial", "prepare"]

CONNECT_S = 30.0
"""How long a connection may take unless `--timeout` says otherwise."""

_STAGGER_S = 0.25
_LOOK_EVERY_S = 0.1
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 300_000))
"""A host that is gone is noticed within two minutes of silence, or five (in ms) where something was sent to it, also where nobody asked
for a timeout."""

_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


def prepare(connected: socket.socket) -> None:
    """Set what every session wants: nothing is held back to be joined with more, and a host that is gone is noticed."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        # Not every system has all of them by these names.
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def dial(address: TcpAddress, *, timeout_s: float | None = None, given_up: Callable[[], bool] = lambda: False) -> socket.socket:
    """Connect, and return the socket, which does not block.

    Args:
        address: Where to.
        timeout_s: How long all of it may take; None for 30 seconds.
        given_up: Asked ten times a second whether to go on.

    Raises:
        TransportError: Nobody answers there.
        Interrupted: It was given up.
    """
    deadline = monotonic() + (CONNECT_S if timeout_s is None else timeout_s)
    race = _Race(_addresses(address))
    try:
        return race.run(deadline, given_up)
    except OSError as error:
        raise TransportError(f"no connection to {shown(str(address))}: {os.strerror(error.errno or errno.ETIMEDOUT)}") from error
    finally:
        race.close()


def _addresses(address: TcpAddress) -> list[_Address]:
    """Return what a host's name stands for, the families taking turns."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "this is no name of a host"
        raise TransportError(f"no connection to {shown(str(address))}: {why}") from error
    first = found[0][0]
    ours = [(family, place) for family, _, _, _, place in found if family == first]
    others = [(family, place) for family, _, _, _, place in found if family != first]
    return [one for pair in zip_longest(ours, others) for one in pair if one is not None]


class _Race:
    """Attempts at several addresses, a quarter of a second apart; the first that stands wins."""

    def __init__(self, addresses: list[_Address]) -> None:
        self._left: Iterator[_Address] = iter(addresses)
        self._running: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self._error = OSError(errno.ETIMEDOUT, "nobody answers")

    def run(self, deadline: float, given_up: Callable[[], bool]) -> socket.socket:
        """Return the winner; raises `OSError`, the last that was met, if nobody wins before the deadline."""
        next_at, more = monotonic(), True
        while (now := monotonic()) < deadline:
            if given_up():
                raise Interrupted("interrupted")
            if more and (now >= next_at or not self._running):
                more, next_at = self._begin(), now + _STAGGER_S
            elif not self._running:
                raise self._error
            else:
                until = min(deadline, next_at) if more else deadline
                for fd, _ in self._poll.poll(1000 * min(_LOOK_EVERY_S, max(0.001, until - now))):
                    if (winner := self._settle(fd)) is not None:
                        return winner
        raise self._error

    def close(self) -> None:
        """Let go of those that have not won."""
        for attempt in self._running.values():
            attempt.close()

    def _begin(self) -> bool:
        """Begin an attempt at the next address; False if there is none."""
        found = next(self._left, None)
        if found is None:
            return False
        attempt: socket.socket | None = None
        try:
            attempt = socket.socket(found[0], socket.SOCK_STREAM)
            attempt.setblocking(False)
            with suppress(BlockingIOError):
                attempt.connect(found[1])
        except OSError as error:
            # A family that this system does not have, or a network that it does not reach: the next one may do.
            self._error = error
            if attempt is not None:
                attempt.close()
            return True
        self._running[attempt.fileno()] = attempt
        self._poll.register(attempt, select.POLLOUT)
        return True

    def _settle(self, fd: int) -> socket.socket | None:
        attempt = self._running.pop(fd)
        self._poll.unregister(fd)
        number = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number:
            prepare(attempt)
            return attempt
        self._error = OSError(number, os.strerror(number))
        attempt.close()
        return None
