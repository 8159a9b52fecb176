"""The way to a host and a verified, logged-in paramiko transport over it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from deltasync.channel.child import Child
from deltasync.channel.known_hosts import KnownHosts, Verdict, names_of
from deltasync.channel.paramiko_config import Route
from deltasync.channel.ssh_errors import changed_host_key, revoked_host_key, unknown_host_key, unreachable
from deltasync.channel.stalling import StallingSocket

__all__ = ["CONNECT_TIMEOUT_S", "WINDOW_BYTES", "negotiate", "reach", "through_proxy"]

WINDOW_BYTES = 2 << 20
"""How much may be under way towards us; with far more, paramiko's buffer becomes slow."""

CONNECT_TIMEOUT_S = 60.0
"""How long the way to one address, and then the exchange of keys, may take."""

Own = Callable[[Callable[[], object]], None]
"""Hands over what must be done when the stream is closed; raises `ConnectionLost` if it is closed already, having done it."""


def through_proxy(route: Route, peer: str, own: Own) -> Child:
    """Start the ProxyCommand in a shell, as OpenSSH does.

    Raises:
        ConnectionLost: The stream was closed meanwhile.
        TransportError: It can't be started.
    """
    proxy = Child(["/bin/sh", "-c", f"exec {route.proxy}"], peer)
    own(proxy.end)
    own(proxy.socket.close)
    return proxy


def reach(route: Route, peer: str, own: Own) -> StallingSocket:
    """Connect to the first of the host's addresses that answers.

    Raises:
        ConnectionLost: The stream was closed meanwhile.
        TransportError: None answers, or the name has no address.
    """
    try:
        found = socket.getaddrinfo(route.host, route.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise unreachable(peer, f"the host name can't be resolved: {error}") from error
    failure = "the host name has no address"
    for family, kind, protocol, _, address in found:
        connection = StallingSocket(family, kind, protocol)
        own(partial(_abandon, connection))
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(address)
        except OSError as error:
            failure = error.strerror or str(error)
            connection.close()
            continue
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    raise unreachable(peer, f"{failure} ({route.host} port {route.port})")


def _abandon(connection: socket.socket) -> None:
    # Closing alone wakes nobody who waits for the connection; shutting it down does, and fails if there never was one.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def negotiate(connection: socket.socket, route: Route, peer: str, own: Own) -> Any:  # noqa: ANN401 - paramiko has no types.
    """Exchange keys over a connection and verify the host's; returns the transport, on which nobody is logged in yet.

    Raises:
        AuthenticationError: The host's key is unknown, changed or revoked.
        ConnectionLost: The stream was closed meanwhile.
        SSHException: paramiko's own: the two can't agree, or the connection broke.
        TransportError: The host said nothing for too long.
    """
    import paramiko

    known = KnownHosts.read(route.known_hosts)
    names = names_of(route.host, route.port, route.alias)
    transport = paramiko.Transport(connection, default_window_size=WINDOW_BYTES)
    own(transport.close)
    options = transport.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda cipher: "-gcm@" not in cipher)
    wanted = _algorithms(known.key_types(names))
    options.key_types = sorted(options.key_types, key=lambda algorithm: algorithm not in wanted)
    transport.start_client(timeout=CONNECT_TIMEOUT_S)
    if not transport.initial_kex_done:
        raise unreachable(peer, f"no SSH answered within {CONNECT_TIMEOUT_S:g} s")
    key = transport.get_remote_server_key()
    match known.verdict(names, key.get_name(), key.asbytes()):
        case Verdict.UNKNOWN:
            raise unknown_host_key(peer)
        case Verdict.CHANGED:
            raise changed_host_key(peer)
        case Verdict.REVOKED:
            raise revoked_host_key(peer)
        case Verdict.KNOWN:
            return transport


def _algorithms(key_types: list[str]) -> set[str]:
    """Return the names of the signatures that keys of these types make."""
    return {name for kind in key_types for name in (("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,))}
