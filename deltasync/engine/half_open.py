"""The connections of a listener that nobody has proven anything on yet: bounded in number, in time, and for each address.

When there are too many, the oldest of those that have shown the least gives way; so whoever holds many open and says nothing is in the way
of himself alone.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic

from deltasync.wire.reception import Reception

__all__ = ["AUTHENTICATE_S", "LINGER_S", "MAX_HALF_OPEN", "MAX_PER_ADDRESS", "Guest", "HalfOpen", "neighbourhood"]

MAX_HALF_OPEN = 64
MAX_PER_ADDRESS = 8
AUTHENTICATE_S = 10.0
"""From the connection to the end of the handshake, whatever the client does in between."""
LINGER_S = 2.0
"""How long a client that was told something has to hear it."""

_V6_NETWORK = 64
"""Whoever has an IPv6 address has all of its /64."""


def neighbourhood(address: str) -> str:
    """Return what connections from an address are counted by: the address itself, of IPv6 the first 64 bits."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _V6_NETWORK), strict=False)) if found.version == 6 else str(found)


@dataclass(slots=True, eq=False)
class Guest:
    """One such connection.

    Attributes:
        socket: The connection; it does not block.
        address: Where it comes from.
        reception: Its handshake.
        deadline: When it must be done, by the monotonic clock.
        leaving: Whether all is said, and only its hearing is waited for.
    """

    socket: socket.socket
    address: str
    reception: Reception
    deadline: float = field(default_factory=lambda: monotonic() + AUTHENTICATE_S)
    leaving: bool = False

    @property
    def counted_by(self) -> str:
        """See `neighbourhood`."""
        return neighbourhood(self.address)


class HalfOpen:
    """All of them, the oldest first."""

    def __init__(self) -> None:
        self._guests: dict[Guest, str] = {}

    def __len__(self) -> int:
        return len(self._guests)

    def __iter__(self) -> Iterator[Guest]:
        """Give them all, the oldest first; the table may change meanwhile."""
        return iter(tuple(self._guests))

    def __contains__(self, guest: object) -> bool:
        return guest in self._guests

    def add(self, guest: Guest) -> Guest | None:
        """Take one in, and return the one that gives way for it; its connection is the caller's to close."""
        counted_by = guest.counted_by
        here = [other for other, where in self._guests.items() if where == counted_by]
        loser = None
        if len(here) >= MAX_PER_ADDRESS:
            loser = _least(here)
        elif len(self._guests) >= MAX_HALF_OPEN:
            loser = _least(list(self._guests))
        if loser is not None:
            del self._guests[loser]
        self._guests[guest] = counted_by
        return loser

    def remove(self, guest: Guest) -> None:
        """Let one go; that it is not there is no error."""
        self._guests.pop(guest, None)

    def expired(self) -> list[Guest]:
        """Return those whose time is over."""
        now = monotonic()
        return [guest for guest in self._guests if guest.deadline <= now]


def _least(guests: list[Guest]) -> Guest:
    """Return who gives way: who only waits to leave, then who has proven nothing, and of equals the oldest."""
    return min(guests, key=lambda guest: (not guest.leaving, guest.reception.proven))
