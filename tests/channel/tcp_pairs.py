"""Two ends of a real TCP connection on the loopback address."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager

from deltasync.channel.address import TcpAddress
from deltasync.channel.pipes import PipeStream
from deltasync.channel.tcp import dial, prepare

__all__ = ["tcp_streams"]


@contextmanager
def tcp_streams(host: str = "127.0.0.1") -> Generator[tuple[PipeStream, PipeStream], None, None]:
    """Give the connecting end and the accepting end."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        near = dial(TcpAddress(host, server.getsockname()[1])).detach()
        accepted, _ = server.accept()
    prepare(accepted)
    far = accepted.detach()
    one, other = PipeStream(near, near), PipeStream(far, far)
    try:
        yield one, other
    finally:
        one.close()
        other.close()
