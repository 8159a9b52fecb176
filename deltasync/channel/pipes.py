"""A stream over file descriptors: the pipes or the socket that `serve --stdio` was started with, or those of a child that carries it.

The waiting is done by poll, beside a pipe that `close` ends, so that whoever waits in another thread is woken.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Protocol

from deltasync.channel.stream import Buffer
from deltasync.errors import ConnectionLost, DeadlineExceeded

__all__ = ["PIPE_BYTES", "Beside", "PipeStream"]

PIPE_BYTES = 1 << 20
"""How much a pipe is asked to hold: the most that Linux gives to a plain user as it is delivered."""


class Beside(Protocol):
    """Something that is read while a stream waits, as the standard error of the child that carries it."""

    def fileno(self) -> int:
        """Return the descriptor to wait for."""

    def drain(self) -> bool:
        """Take what there is without waiting; False once nothing will ever come again. Any thread may call it."""


class PipeStream:
    """A `ByteStream` over two descriptors, which it owns and which may be the same; both are closed by `close`.

    Standard descriptors (0 to 2) are not closed but turned to the null device, so that no file opened later gets their number.

    Args:
        read_fd: A pipe or socket to receive from.
        write_fd: A pipe or socket to send to.
        beside: Read while the stream waits; still the caller's.
    """

    timeout_s: float | None

    def __init__(self, read_fd: int, write_fd: int, beside: Beside | None = None) -> None:
        self.timeout_s = None
        self._lock = Lock()
        self._closed = False
        self._ended = False
        self._inside = 0
        self._wake_fd, self._waking_fd = os.pipe()
        self._beside = beside
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._blocking = {fd: os.get_blocking(fd) for fd in (read_fd, write_fd)}
        for fd in self._blocking:
            os.set_blocking(fd, False)
            _widen(fd)
        self._reading = _poll(read_fd, select.POLLIN, self._wake_fd, beside)
        self._writing = _poll(write_fd, select.POLLOUT, self._wake_fd, beside)

    def send(self, data: Buffer) -> None:
        """See `ByteStream.send`."""
        view = memoryview(data).cast("B")
        self._enter()
        try:
            if self._ended:
                raise ConnectionLost("the connection is closed")
            while view:
                try:
                    view = view[os.write(self._write_fd, view) :]
                except BlockingIOError:
                    self._wait(self._writing, self._write_fd, "the peer took nothing")
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error.strerror}") from error
        finally:
            self._leave()

    def recv_into(self, buffer: memoryview) -> int:
        """See `ByteStream.recv_into`."""
        self._enter()
        try:
            while True:
                try:
                    count = os.readv(self._read_fd, [buffer])
                except BlockingIOError:
                    self._wait(self._reading, self._read_fd, "nothing came from the peer")
                    continue
                if self._closed:
                    raise ConnectionLost("the connection is closed")
                return count
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error.strerror}") from error
        finally:
            self._leave()

    def close_send(self) -> None:
        """See `ByteStream.close_send`."""
        with self._lock:
            if self._closed or self._ended:
                return
            self._ended = True
            if _is_socket(self._write_fd):
                _shut(self._write_fd, both=False)
            else:
                self._end_pipe()

    def close(self) -> None:
        """See `ByteStream.close`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.close(self._waking_fd)
            for fd in self._blocking:
                if _is_socket(fd):
                    # Whoever else holds the socket, as a login shell does, must not keep the peer waiting for the end.
                    _shut(fd, both=True)
            if not self._inside:
                self._release()

    def _end_pipe(self) -> None:
        """Let go of a pipe's write end, leaving in its place what nothing can be written to."""
        nowhere = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.set_blocking(self._write_fd, self._blocking[self._write_fd])
        os.dup2(nowhere, self._write_fd, inheritable=self._write_fd <= 2)
        os.close(nowhere)

    def _enter(self) -> None:
        with self._lock:
            if self._closed:
                raise ConnectionLost("the connection is closed")
            self._inside += 1

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._closed and not self._inside:
                self._release()

    def _release(self) -> None:
        """Close what is open; only when no thread is inside, so that none meets a descriptor that is another's by then."""
        for fd, blocking in self._blocking.items():
            # A terminal, or whatever else is shared with the process that started this one, is left as it was.
            os.set_blocking(fd, blocking)
            if fd <= 2:
                nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                os.dup2(nowhere, fd)
                os.close(nowhere)
            else:
                os.close(fd)
        os.close(self._wake_fd)

    def _wait(self, poll: select.poll, fd: int, complaint: str) -> None:
        """Wait until the descriptor is ready; what lies beside is drained meanwhile, and counts for nothing."""
        timeout_s = self.timeout_s
        deadline = None if timeout_s is None else monotonic() + timeout_s
        while True:
            left_ms = None if deadline is None else max(0, (deadline - monotonic()) * 1000)
            ready = {found for found, _ in poll.poll(left_ms)}
            if self._closed:
                raise ConnectionLost("the connection is closed")
            if fd in ready:
                return
            if not ready:
                raise DeadlineExceeded(f"{complaint} for {timeout_s:g} s")
            if self._beside is not None and not self._beside.drain():
                poll.unregister(self._beside.fileno())


def _poll(fd: int, event: int, wake_fd: int, beside: Beside | None) -> select.poll:
    poll = select.poll()
    poll.register(fd, event)
    poll.register(wake_fd, select.POLLIN)
    if beside is not None:
        poll.register(beside.fileno(), select.POLLIN)
    return poll


def _is_socket(fd: int) -> bool:
    return stat.S_ISSOCK(os.fstat(fd).st_mode)


def _shut(fd: int, *, both: bool) -> None:
    # Loaded late, as the far end starts without it.
    import socket

    how = socket.SHUT_RDWR if both else socket.SHUT_WR
    shared = socket.socket(fileno=os.dup(fd))
    # The peer may have gone already, and the connection with it.
    with suppress(OSError):
        shared.shutdown(how)
    shared.close()


def _widen(fd: int) -> None:
    if hasattr(fcntl, "F_SETPIPE_SZ") and stat.S_ISFIFO(os.fstat(fd).st_mode):
        # The limits of the user or of the system may allow less; then the pipe stays as it is.
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
