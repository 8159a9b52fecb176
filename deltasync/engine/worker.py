"""One session of a listener, in a process of its own: it confines itself first, and knows nothing but its socket, its root and its keys."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules

from deltasync.channel.pipes import PipeStream
from deltasync.channel.secure import SecureLink
from deltasync.engine.serve import Limits, serve_link
from deltasync.errors import DeltasyncError, ExitCode
from deltasync.fs.confinement import Account, become, confine, end_with_parent, limit
from deltasync.fs.root import Root
from deltasync.wire.noise import TransportKeys

__all__ = ["IDLE_S", "LATER", "ROOMS", "Task", "load_all", "work"]

IDLE_S = 300.0
"""How long a client may be silent, or take nothing; it gives a sign of life four times a minute."""

ROOMS = ("_native", "delta", "detect", "engine", "fs", "patch", "tree", "wire")
LATER = ("concurrent.futures", "concurrent.futures.thread", "difflib", "sqlite3")
"""What is otherwise loaded when it is needed: the user to become may have no access to the place where this program is installed."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is told, through a pipe and never by words that others could see.

    Attributes:
        parent: The process number of the listener.
        socket_fd: The connection, right behind the handshake.
        root_fd: The directory to serve.
        read_only: Whether it is only read.
        send: Key of the records to the client, 32 bytes.
        receive: Key of the records from the client, 32 bytes.
        account: The user to become; None to stay who it is.
        state: A directory for what is remembered of the root; None to remember nothing.
    """

    parent: int
    socket_fd: int
    root_fd: int
    read_only: bool
    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)
    account: Account | None = None
    state: str | None = None

    def encode(self) -> bytes:
        """Return the form for the pipe."""
        keys = (self.send.hex(), self.receive.hex())
        return json.dumps([self.parent, self.socket_fd, self.root_fd, self.read_only, *keys, self.account, self.state]).encode()

    @classmethod
    def decode(cls, data: bytes) -> Task:
        """Undo `encode`."""
        parent, socket_fd, root_fd, read_only, send, receive, account, state = json.loads(data)
        user = None if account is None else Account(account[0], account[1], tuple(account[2]))
        return cls(parent, socket_fd, root_fd, read_only, bytes.fromhex(send), bytes.fromhex(receive), user, state)


def work(task: Task, stop: threading.Event, ended: Callable[[DeltasyncError], DeltasyncError]) -> int:
    """Serve the session; return its exit code.

    Args:
        task: What to do.
        stop: Ends the session.
        ended: Returns what the client is told of an error: why it was stopped.
    """
    # It finds out what the kernel can do by looking elsewhere, which it can't do any more once it is confined.
    root = Root(task.root_fd)
    try:
        _confine(task)
    except OSError as error:
        # Not one byte of the client has been read; whoever looks after the listener must know.
        os.write(2, f"deltasync: a session could not be confined: {error}\n".encode("utf-8", "backslashreplace"))
        return ExitCode.LOCAL_IO
    stream = PipeStream(task.socket_fd, task.socket_fd)
    stream.timeout_s = IDLE_S
    link = SecureLink(stream, TransportKeys(task.send, task.receive))
    try:
        return serve_link(link, Limits(root, task.read_only), stop, ended)
    finally:
        root.close()
        # The listener may be gone by now; then nobody keeps a log.
        with suppress(OSError):
            os.write(1, b"%d %d" % (link.bytes_sent, link.bytes_received))


def load_all() -> None:
    """Load whatever a session may come to need; what this installation does not have will not be asked for."""
    packages = [import_module(f"deltasync.{room}") for room in ROOMS]
    modules = [f"{package.__name__}.{found.name}" for package in packages for found in iter_modules(package.__path__)]
    for name in (*LATER, *modules):
        with suppress(ImportError):
            import_module(name)


def _confine(task: Task) -> None:
    limit()
    if task.account is not None:
        load_all()
        become(task.account)
    end_with_parent(task.parent)
    libraries = [path for path in (*sys.path, sys.prefix, sys.base_prefix) if path]
    confine(task.root_fd, read_only=task.read_only, libraries=libraries, state=task.state)
