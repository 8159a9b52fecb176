"""A TCP proxy that cuts, stalls or trickles at chosen bytes."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["Cutter", "Fate", "Passed"]

HANDSHAKE: Final = (14 + 2 + 48, 2 + 64 + len(b"data"))
"""Bytes of the client's messages before its records, for a root called `data`: the first with its preamble, and the third."""
HEADER_BYTES: Final = 4
TAG_BYTES: Final = 16
PIECE_BYTES: Final = 1 << 16
TRICKLED_BYTES: Final = 300


@dataclass(frozen=True)
class Fate:
    """What happens to a connection.

    Attributes:
        at: After how many bytes from the client; None for never.
        deed: `cut` closes both sides; `stall` passes nothing more on, either way; `trickle` goes on byte by byte for a while.
    """

    at: int | None = None
    deed: Literal["cut", "stall", "trickle"] = "cut"


@dataclass
class Passed:
    """What went through one connection.

    Attributes:
        up, down: Bytes from the client and to it.
        starts: Offsets of the client's records.
    """

    up: int = 0
    down: int = 0
    starts: list[int] = field(default_factory=list)
    _header: bytearray = field(default_factory=bytearray)
    _next: int = sum(HANDSHAKE)

    def took(self, piece: bytes) -> None:
        """Follow the client's records."""
        at = 0
        while at < len(piece):
            if self.up + at < self._next:
                at = min(len(piece), self._next - self.up)
                continue
            if not self._header:
                self.starts.append(self.up + at)
            take = piece[at : at + HEADER_BYTES - len(self._header)]
            self._header += take
            at += len(take)
            if len(self._header) == HEADER_BYTES:
                self._next = self.up + at + int.from_bytes(self._header[1:], "big") + TAG_BYTES
                self._header.clear()
        self.up += len(piece)


class Cutter:
    """Stands before a listener; each connection has the next of its fates, and none when these are used up.

    Args:
        port: Where the listener is, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.fates: list[Fate] = []
        self.passed: list[Passed] = []
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
            self.passed.append(Passed())
            thread = threading.Thread(target=self._carry, args=(client, fate, self.passed[-1]))
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket, fate: Fate, passed: Passed) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as there, selectors.DefaultSelector() as ready:
            try:
                for one, other in ((client, there), (there, client)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ready.register(one, selectors.EVENT_READ, other)
                while not self._ended.is_set():
                    for key, _ in ready.select(0.1):
                        source, sink = (client, there) if key.fileobj is client else (there, client)
                        if not self._pass(source, sink, fate, passed, upward=source is client):
                            return
                    if fate.deed == "stall" and passed.up == fate.at:
                        # Both ends stay open, and hear nothing.
                        self._ended.wait()
            finally:
                client.close()

    def _pass(self, source: socket.socket, sink: socket.socket, fate: Fate, passed: Passed, *, upward: bool) -> bool:
        """Pass a piece on; False at the end of the stream, or where it is cut."""
        size = PIECE_BYTES
        if upward and fate.at is not None and passed.up <= fate.at:
            size = min(size, fate.at - passed.up) or 1
        if upward and fate.deed == "trickle" and fate.at is not None and fate.at <= passed.up < fate.at + TRICKLED_BYTES:
            size = 1
        piece = source.recv(size)
        if not piece:
            return False
        if upward and fate.deed == "cut" and passed.up == fate.at:
            return False
        sink.sendall(piece)
        if upward:
            passed.took(piece)
        else:
            passed.down += len(piece)
        return not (upward and fate.deed == "cut" and passed.up == fate.at)
