"""A TCP proxy between ssh and sshd that counts what passes: bytes on the wire, counted outside of whoever sends them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["Counter", "counting_proxy"]

PIECE_BYTES = 256 << 10


class Counter:
    """Bytes that passed.

    Attributes:
        port: Where the proxy listens, on loopback.
        up, down: Bytes from the client, and to it.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.up = self.down = 0


@contextmanager
def counting_proxy(port: int, reach: Callable[[], socket.socket]) -> Iterator[Counter]:
    """Run a proxy for a while; all connections have ended when this has.

    Args:
        port: Where it listens, on loopback; 0 for any.
        reach: Makes a connection to the server.
    """
    listener = socket.create_server(("127.0.0.1", port))
    counter = Counter(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def pass_on(source: socket.socket, target: socket.socket, *, upwards: bool) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                target.sendall(data)
                if upwards:
                    counter.up += len(data)
                else:
                    counter.down += len(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def carry(client: socket.socket) -> None:
        with client, reach() as server:
            back = threading.Thread(target=pass_on, args=(server, client), kwargs={"upwards": False})
            back.start()
            pass_on(client, server, upwards=True)
            back.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threads.append(threading.Thread(target=carry, args=(client,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield counter
    finally:
        # Shutting it down wakes whoever accepts; closing alone does not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()
