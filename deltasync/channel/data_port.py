"""The far end's part of a data connection: a port that is open for a moment, for the one who holds the key of this session."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from deltasync.channel.address import TcpAddress
from deltasync.channel.pipes import PipeStream
from deltasync.channel.secure import SecureLink
from deltasync.channel.tcp import prepare
from deltasync.channel.tcp_listen import bound
from deltasync.errors import DeltasyncError, TransportError
from deltasync.wire.one_time import FIRST_BYTES, prove

__all__ = ["LISTEN_S", "MAX_GUESTS", "DataPort", "arrived_at"]

LISTEN_S = 20.0
"""How long the port is open at most; whoever has not proven the key by then is closed."""
MAX_GUESTS = 8
"""How many may be connected without having proven anything; the oldest gives way."""
_LOOK_S = 0.1


def arrived_at(environment: dict[str, str] | os._Environ[str] = os.environ) -> str | None:
    """Return the address of this machine at which SSH was reached, by `SSH_CONNECTION` (ssh(1)); None if that is not known."""
    words = environment.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 and words[2] != "UNKNOWN" else None


class DataPort:
    """A listening port; `close` must be called.

    Args:
        key: What the peer must prove, 32 bytes.
        host: The address to listen at; None for all.
        first_port: The first of the ports that may be taken; 0 for any.
        last_port: The last of them.

    Raises:
        TransportError: None of the ports can be had.
    """

    def __init__(self, key: bytes, host: str | None, first_port: int, last_port: int) -> None:
        self._key = key
        self._listening = _listening(host, first_port, last_port)
        self._listening.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._guests: dict[socket.socket, bytearray] = {}
        self.port: int = self._listening.getsockname()[1]

    def wait(self, given_up: Callable[[], bool]) -> SecureLink | None:
        """Return the link to the first who proves the key; None if nobody did in time, or when `given_up`, asked ten times a second."""
        deadline = monotonic() + LISTEN_S
        while not given_up() and (left_s := deadline - monotonic()) > 0:
            for ready, _ in self._selector.select(min(_LOOK_S, left_s)):
                if ready.fileobj is self._listening:
                    self._admit()
                elif isinstance(ready.fileobj, socket.socket) and (link := self._hear(ready.fileobj)) is not None:
                    return link
        return None

    def close(self) -> None:
        """Close the port, and everybody who has proven nothing."""
        for guest in (*self._guests, self._listening):
            guest.close()
        self._guests.clear()
        self._selector.close()

    def _admit(self) -> None:
        # Whoever is gone again needs no answer.
        with suppress(OSError):
            guest, _ = self._listening.accept()
            guest.setblocking(False)
            if len(self._guests) == MAX_GUESTS:
                self._dismiss(next(iter(self._guests)))
            self._guests[guest] = bytearray()
            self._selector.register(guest, selectors.EVENT_READ)

    def _dismiss(self, guest: socket.socket) -> None:
        self._selector.unregister(guest)
        del self._guests[guest]
        guest.close()

    def _hear(self, guest: socket.socket) -> SecureLink | None:
        held = self._guests.get(guest)
        if held is None:
            return None
        try:
            data = guest.recv(FIRST_BYTES - len(held))
            held += data
            if data and len(held) < FIRST_BYTES:
                return None
            proof = prove(self._key, bytes(held))
            # It fits in the empty buffer of the socket.
            guest.sendall(proof.answer)
            prepare(guest)
        except BlockingIOError:
            return None
        except (DeltasyncError, OSError):
            # A stranger hears nothing.
            self._dismiss(guest)
            return None
        self._selector.unregister(guest)
        del self._guests[guest]
        fd = guest.detach()
        return SecureLink(PipeStream(fd, fd), proof.keys, bytes_sent=FIRST_BYTES, bytes_received=FIRST_BYTES)


def _listening(host: str | None, first_port: int, last_port: int) -> socket.socket:
    places = [host] if host is not None else ["::", "0.0.0.0"]  # noqa: S104 - the user names an address of this machine that it does not know.
    error: TransportError | None = None
    for port in range(first_port, last_port + 1):
        for place in places:
            try:
                return _all_families(port) if place == "::" and host is None else bound(TcpAddress(place, port))
            except TransportError as failed:
                error = failed
    raise error or TransportError("no port to listen at")


def _all_families(port: int) -> socket.socket:
    try:
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError) as error:
        raise TransportError(f"can't listen at port {port}: {error}") from error
