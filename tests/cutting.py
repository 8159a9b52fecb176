"""A TCP proxy that cuts, stalls or trickles at chosen bytes."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["Connection", "Cutter", "Deed", "Fate", "Passed", "Way"]

HANDSHAKE: Final = {"up": 14 + 2 + 48 + 2 + 64 + len(b"data"), "down": 14 + 2 + 48}
"""Bytes before the records, for a root called `data`: of the client's two messages and its preamble, and of the listener's."""
HEADER_BYTES: Final = 4
TAG_BYTES: Final = 16
PIECE_BYTES: Final = 1 << 16
TRICKLED_BYTES: Final = 300


Way = Literal["up", "down"]
"""From the client, or to it."""
Deed = Literal["cut", "stall", "trickle"]


@dataclass(frozen=True)
class Fate:
    """What happens to a connection.

    Attributes:
        at: After how many bytes; None for never.
        deed: `cut` closes both sides; `stall` passes nothing more on, either way; `trickle` goes on byte by byte for a while.
        way: Which bytes are counted.
    """

    at: int | None = None
    deed: Deed = "cut"
    way: Way = "up"


class Passed:
    """What went through a connection one way.

    Attributes:
        bytes: How many bytes.
        starts: Offsets of the records.
    """

    def __init__(self, way: Way) -> None:
        self.bytes = 0
        self.starts: list[int] = []
        self._header = bytearray()
        self._next = HANDSHAKE[way]

    def took(self, piece: bytes) -> None:
        """Follow the records."""
        at = 0
        while at < len(piece):
            if self.bytes + at < self._next:
                at = min(len(piece), self._next - self.bytes)
                continue
            if not self._header:
                self.starts.append(self.bytes + at)
            take = piece[at : at + HEADER_BYTES - len(self._header)]
            self._header += take
            at += len(take)
            if len(self._header) == HEADER_BYTES:
                self._next = self.bytes + at + int.from_bytes(self._header[1:], "big") + TAG_BYTES
                self._header.clear()
        self.bytes += len(piece)


@dataclass
class Connection:
    """What went through a connection, from the client and to it."""

    up: Passed = field(default_factory=lambda: Passed("up"))
    down: Passed = field(default_factory=lambda: Passed("down"))

    def went(self, way: Way) -> Passed:
        """What went that way."""
        return self.up if way == "up" else self.down


class Cutter:
    """Stands before a listener; each connection has the next of its fates, and none when these are used up.

    Args:
        port: Where the listener is, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.fates: list[Fate] = []
        self.connections: list[Connection] = []
        self._port = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._ended = threading.Event()
        self._held: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        """End everything."""
        self._ended.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join()
        for one in self._held:
            one.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            fate = self.fates.pop(0) if self.fates else Fate()
            self.connections.append(Connection())
            thread = threading.Thread(target=self._carry, args=(client, fate, self.connections[-1]))
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket, fate: Fate, connection: Connection) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as there, selectors.DefaultSelector() as ready:
            try:
                for one, way in ((client, "up"), (there, "down")):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ready.register(one, selectors.EVENT_READ, way)
                while not self._ended.is_set():
                    for key, _ in ready.select(0.1):
                        source, sink = (client, there) if key.data == "up" else (there, client)
                        if not _pass(source, sink, fate if fate.way == key.data else Fate(), connection.went(key.data)):
                            return
                    if fate.deed == "stall" and connection.went(fate.way).bytes == fate.at:
                        # Both ends stay open, and hear nothing.
                        self._ended.wait()
            finally:
                client.close()


def _pass(source: socket.socket, sink: socket.socket, fate: Fate, passed: Passed) -> bool:
    """Pass a piece on; False at the end of the stream, or where it is cut."""
    size = PIECE_BYTES
    if fate.at is not None and passed.bytes <= fate.at:
        size = min(size, fate.at - passed.bytes) or 1
    if fate.deed == "trickle" and fate.at is not None and fate.at <= passed.bytes < fate.at + TRICKLED_BYTES:
        size = 1
    piece = source.recv(size)
    cut = fate.deed == "cut" and fate.at is not None
    if not piece or (cut and passed.bytes == fate.at):
        return False
    sink.sendall(piece)
    passed.took(piece)
    return not (cut and passed.bytes == fate.at)
