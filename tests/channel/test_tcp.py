"""TCP passes what every stream and every link must, and finds the address that answers."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic

import pytest

from deltasync.channel.address import TcpAddress
from deltasync.channel.secure import Credentials, open_initiator, open_responder
from deltasync.channel.stream import ByteStream, Link
from deltasync.channel.tcp import dial
from deltasync.errors import Interrupted, TransportError
from deltasync.wire.noise import public_key
from deltasync.wire.preamble import Suite
from tests.channel.conformance import LinkConformance, StreamConformance, Worker
from tests.channel.tcp_pairs import tcp_streams
from tests.sources import PROJECT

CLIENT, LISTENER = b"\1" * 32, b"\2" * 32


class TestTcp(StreamConformance):
    """A connection over the loopback address."""

    @contextmanager
    def connected(self) -> Generator[tuple[ByteStream, ByteStream], None, None]:
        """Give a fresh connection."""
        with tcp_streams() as ends:
            yield ends


class TestSealedTcp(LinkConformance):
    """Sealed records over it, after a handshake with pinned keys."""

    @contextmanager
    def connected(self, timeout_s: float | None) -> Generator[tuple[Link, Link], None, None]:
        """Give the two ends of a fresh link."""
        with tcp_streams() as (near, far):
            answering = Worker(lambda: open_responder(far, Credentials(Suite.XK, static=LISTENER)))
            one = open_initiator(near, Credentials(Suite.XK, static=CLIENT, remote_static=public_key(LISTENER)))
            other = answering.result()
            near.timeout_s = far.timeout_s = timeout_s
            yield one, other  # type: ignore[misc]  # A worker returns an object of any kind.


def test_a_push_over_ssh_loads_none_of_it() -> None:
    """Neither the near end nor the far end of SSH pays for TCP."""
    code = (
        "import sys, deltasync.cli.main, deltasync.cli.transfer, deltasync.cli.serve, deltasync.engine.run, deltasync.engine.connecting, "
        "deltasync.engine.transfer, deltasync.engine.sender, deltasync.engine.serve, deltasync.channel.openssh, deltasync.channel.secure; "
        "print([name for name in sys.modules if name.startswith('deltasync.') and name.split('.')[-1] in "
        "('tcp', 'tcp_client', 'tcp_listen', 'own_key', 'trust', 'line_file', 'keys', 'reception', 'listener', 'landlock')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def refused_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_options_are_set() -> None:
    """Small messages are not held back, and a host that is gone is noticed."""
    with socket.create_server(("127.0.0.1", 0)) as server, dial(TcpAddress(*server.getsockname())) as connected:
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not connected.getblocking()


def test_the_first_address_that_answers_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses, one of a family that can't be, one that never answers: none is in the way for long."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as full:
        # A listener whose queue is full and whose first connection nobody accepts does not answer any further.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = server.getsockname()[1]
        with socket.create_connection(full.getsockname()):
            silent = full.getsockname()
            places = [(socket.AF_INET6, ("::1", 1, 0, 0)), (socket.AF_INET, silent), (socket.AF_INET, ("127.0.0.1", port))]
            found = [(family, socket.SOCK_STREAM, 6, "", place) for family, place in places]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            began = monotonic()
            with dial(TcpAddress("name", port), timeout_s=20) as connected:
                assert connected.getpeername() == ("127.0.0.1", port)
            assert monotonic() - began < 5


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nobody_there_is_one_line(host: str) -> None:
    """It names address and port."""
    port = refused_port()
    with pytest.raises(TransportError, match=f"no connection to {host}:{port}: {os.strerror(errno.ECONNREFUSED)}"):
        dial(TcpAddress(host, port))


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70, "\x1b"])
def test_a_name_that_stands_for_nothing(host: str) -> None:
    """No connection, whatever is wrong with the name, and nothing of it reaches the terminal as it is."""
    with pytest.raises(TransportError) as caught:
        dial(TcpAddress(host, 1))
    assert "\x1b" not in str(caught.value)


def silent_listener() -> tuple[socket.socket, socket.socket]:
    """Return a listener that answers nobody any more, and what must stay open for it."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    return full, socket.create_connection(full.getsockname())


def test_waiting_has_an_end() -> None:
    """A deadline, or whoever waited gives up."""
    listener, first = silent_listener()
    with listener, first:
        address = TcpAddress(*listener.getsockname())
        with pytest.raises(TransportError):
            dial(address, timeout_s=0.05)
        with pytest.raises(Interrupted):
            dial(address, given_up=lambda: True)


def test_ipv6_has_brackets() -> None:
    """So that the port is told from the address."""
    assert str(TcpAddress("::1", 1)) == "[::1]:1"
    with tcp_streams("::1") as (one, other):
        one.send(b"x")
        assert other.recv_into(memoryview(bytearray(1))) == 1
