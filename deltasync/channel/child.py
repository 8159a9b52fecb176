"""A child process that carries a stream (ssh, or a ProxyCommand), and what it says on standard error."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock

from deltasync.errors import TransportError
from deltasync.tree.names import shown

__all__ = ["GRACE_S", "KEPT_BYTES", "Child", "Said"]

GRACE_S = 1.0
"""How long a child may take to end by itself, and then to end when told to."""

KEPT_BYTES = 32 << 10
"""How much of what a child says is kept: the end of it."""

_MAX_LINE_BYTES = 4096


class Said:
    """The standard error of a child: drained by whoever waits for its stream; the end of it is kept.

    Args:
        fd: The reading end of a pipe, owned from now on.

    Attributes:
        heard: Called with each whole line from then on, as it was said, without its end; by the thread that drains. None keeps silent.
    """

    heard: Callable[[bytes], None] | None

    def __init__(self, fd: int) -> None:
        self.heard = None
        self._fd = fd
        self._lock = Lock()
        self._open = True
        self._kept = bytearray()
        self._line = bytearray()
        os.set_blocking(fd, False)

    def fileno(self) -> int:
        """See `Beside.fileno`."""
        return self._fd

    def drain(self) -> bool:
        """See `Beside.drain`."""
        with self._lock:
            while self._open:
                try:
                    data = os.read(self._fd, KEPT_BYTES)
                except BlockingIOError:
                    return True
                if not data:
                    return False
                self._take(data)
            return False

    def kept(self) -> bytes:
        """Take what there is, and return the last `KEPT_BYTES` of everything."""
        self.drain()
        with self._lock:
            return bytes(self._kept)

    def close(self) -> None:
        """Take what there is, and close the descriptor; what was kept stays."""
        self.drain()
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._fd)

    def _take(self, data: bytes) -> None:
        self._kept += data
        del self._kept[:-KEPT_BYTES]
        if self.heard is None:
            return
        *lines, rest = (self._line + data).split(b"\n")
        for line in lines:
            self.heard(bytes(line.rstrip(b"\r")))
        self._line = bytearray(rest[-_MAX_LINE_BYTES:])


class Child:
    """A running child, whose standard input and output are one socket and whose standard error is kept.

    It ignores SIGINT: a Ctrl-C at the terminal reaches the whole foreground group, and the child must live on until this side has ended
    the session in good order. A shell sets that up and then becomes the command: it can't be done in this process, between fork and exec,
    while other threads run.

    Args:
        argv: The command and its arguments.
        peer: The host that it leads to, for errors.

    Attributes:
        socket: This side's end; whoever takes it over closes it.
        said: What the child says.

    Raises:
        TransportError: There is no such command.
    """

    def __init__(self, argv: Sequence[str], peer: str) -> None:
        if shutil.which(argv[0]) is None:
            raise TransportError(f"can't connect to {peer}: there is no command `{shown(argv[0])}` here")
        self.socket, theirs = socket.socketpair()
        said, saying = os.pipe2(os.O_CLOEXEC)
        self.said = Said(said)
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", *argv], stdin=theirs, stdout=theirs, stderr=saying
            )
        except OSError as error:
            self.socket.close()
            self.said.close()
            raise TransportError(f"can't connect to {peer}: {error.strerror}") from error
        finally:
            theirs.close()
            os.close(saying)

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the child's end; returns its exit code (negative: the signal that ended it), or None if it still runs."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def end(self) -> None:
        """Wait for the child's end, and bring it about if it takes too long; then the child is reaped. `socket` must be closed before."""
        for told in (self._process.terminate, self._process.kill):
            if self.wait(GRACE_S) is not None:
                break
            told()
        self._process.wait()
        self.said.close()
