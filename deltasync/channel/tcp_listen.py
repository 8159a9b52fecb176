"""Where a listener listens: a socket that it makes, or those that systemd hands over.

Source: sd_listen_fds(3): the sockets are the descriptors from 3 on, `LISTEN_FDS` is how many, and `LISTEN_PID` whom they are for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from deltasync.channel.address import TcpAddress
from deltasync.errors import TransportError, UsageError
from deltasync.tree.names import shown

__all__ = ["bound", "handed_over", "place_of"]

BACKLOG = 512
_FIRST_FD = 3


def bound(address: TcpAddress) -> socket.socket:
    """Listen at an address; port 0 picks one.

    Raises:
        TransportError: The address is not one of this machine's, or is in use.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE)
        family, _, _, _, place = found[0]
        return socket.create_server(place[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = "this is no name of a host" if isinstance(error, (UnicodeError, socket.gaierror)) else os.strerror(error.errno or 0)
        raise TransportError(f"can't listen at {shown(str(address))}: {why}") from error


def handed_over(environment: Mapping[str, str]) -> list[socket.socket]:
    """Return the sockets that this process was started with; none where there are none.

    Raises:
        UsageError: One of them is no listening TCP socket.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()) or not environment.get("LISTEN_FDS", "").isdecimal():
        return []
    sockets = []
    for fd in range(_FIRST_FD, _FIRST_FD + int(environment["LISTEN_FDS"])):
        os.set_inheritable(fd, False)
        found = socket.socket(fileno=fd)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM or not listens:
            raise UsageError(f"descriptor {fd}, handed over by LISTEN_FDS, is no listening TCP socket")
        sockets.append(found)
    return sockets


def place_of(listening: socket.socket) -> TcpAddress:
    """Return where a socket listens."""
    host, port, *_ = listening.getsockname()
    return TcpAddress(host, port)
