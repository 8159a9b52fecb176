"""A session carried by paramiko, where there is no OpenSSH client or the user wants none.

Host keys are held against known_hosts without mercy: there is no way to accept an unknown one here. paramiko runs one thread of its own
for each transport, which ends with the stream.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any

import paramiko

from deltasync.channel.address import Remote, refuse_unsafe_names
from deltasync.channel.child import GRACE_S, Child
from deltasync.channel.paramiko_auth import log_in
from deltasync.channel.paramiko_config import route_to
from deltasync.channel.paramiko_link import CONNECT_TIMEOUT_S, WINDOW_BYTES, negotiate, reach, through_proxy
from deltasync.channel.remote_command import remote_words
from deltasync.channel.said import Said
from deltasync.channel.ssh_errors import ended, last_line, silent, unreachable
from deltasync.channel.stalling import StallingSocket
from deltasync.channel.stream import Buffer
from deltasync.channel.terminal import Asker
from deltasync.errors import ConnectionLost, DeadlineExceeded, DeltasyncError
from deltasync.tree.names import shown

__all__ = ["ParamikoStream"]

_SLICE_S = 1.0
"""How long paramiko is left waiting at a time, before standard error is looked at."""

_PIECE_BYTES = 32 << 10
"""How much is handed to paramiko at a time; no packet holds more."""


class ParamikoStream:
    """An `SshStream` over paramiko. The connection is made when first something is sent or waited for, so that `close` can end it.

    Args:
        remote: Where to.

    Raises:
        UsageError: The host is none, or the ssh_config asks for what paramiko can't do.
    """

    timeout_s: float | None

    def __init__(self, remote: Remote) -> None:
        refuse_unsafe_names(remote)
        # What paramiko logs would be written to the terminal, and is in our errors anyway.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)
        self.timeout_s = None
        self._peer = str(remote)
        self._remote_path = remote.remote_path
        self._route = route_to(remote)
        self._said = Said()
        self._asker = Asker()
        self._proxy: Child | None = None
        self._channel: Any = None
        self._connection: StallingSocket | None = None
        self._failure: DeltasyncError | None = None
        self._answered = False
        self._rest = memoryview(b"")
        self._connecting = Lock()
        self._lock = Lock()
        self._closed = False
        self._inside = 0
        self._closers: list[Callable[[], object]] = []

    @property
    def heard(self) -> Callable[[bytes], None] | None:
        """See `SshStream.heard`."""
        return self._said.heard

    @heard.setter
    def heard(self, heard: Callable[[bytes], None] | None) -> None:
        self._said.heard = heard

    def send(self, data: Buffer) -> None:
        """See `ByteStream.send`."""
        view = memoryview(data).cast("B")
        channel = self._enter()
        try:
            deadline = self._deadline()
            while view:
                try:
                    count = channel.send(bytes(view[:_PIECE_BYTES]))
                except TimeoutError:
                    self._check(deadline, "the peer took nothing")
                    continue
                if not count:
                    raise ConnectionLost("the connection is closed")
                view = view[count:]
                deadline = self._deadline()
        except (OSError, EOFError, paramiko.SSHException) as error:
            if self._connection is not None and self._connection.stalled and not self._closed:
                raise DeadlineExceeded(f"the peer took nothing for {self.timeout_s:g} s") from error
            raise _broke(error) from error
        finally:
            self._leave()

    def recv_into(self, buffer: memoryview) -> int:
        """See `ByteStream.recv_into`."""
        channel = self._enter()
        try:
            deadline = self._deadline()
            while True:
                self._listen()
                try:
                    data = self._rest or memoryview(channel.recv(WINDOW_BYTES))
                except TimeoutError:
                    self._check(deadline, "nothing came from the peer")
                    continue
                if self._closed:
                    raise ConnectionLost("the connection is closed")
                # paramiko's buffer moves all that is left in it at each reading, so it is always emptied.
                taken, self._rest = data[: len(buffer)], data[len(buffer) :]
                buffer[: len(taken)] = taken
                self._answered = self._answered or bool(taken)
                return len(taken)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise _broke(error) from error
        finally:
            self._leave()

    def close_send(self) -> None:
        """See `ByteStream.close_send`."""
        if self._closed:
            return
        channel = self._enter()
        try:
            channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise _broke(error) from error
        finally:
            self._leave()

    def close(self) -> None:
        """See `ByteStream.close`; the far end gets a second to end by itself, if it has answered and nobody waits here."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            closers, self._closers = self._closers, []
            awaited = self._answered and not self._inside
        self._asker.close()
        if awaited:
            self._part(self._channel)
        for closer in reversed(closers):
            closer()

    def explain(self, error: DeltasyncError) -> DeltasyncError:
        """See `SshStream.explain`."""
        if isinstance(error, DeadlineExceeded):
            return silent(error, self._peer)
        if not isinstance(error, ConnectionLost) or self._channel is None or (self._closed and not self._answered):
            return error
        exit_code = None
        if not self._closed and self._channel.status_event.wait(GRACE_S) and self._channel.exit_status >= 0:
            exit_code = self._channel.exit_status
        if not self._closed:
            self._listen()
        said = self._said.kept() if self.heard is None else b""
        return ended(error, self._peer, self._remote_path, answered=self._answered, exit_code=exit_code, said=said)

    def _part(self, channel: Any) -> None:  # noqa: ANN401 - paramiko has no types.
        """End the session so that what was sent still arrives: a connection that is just dropped may take it along."""
        writable = select.poll()
        writable.register(channel.get_transport().sock, select.POLLOUT)
        # Sending waits for ever where there is no room; and a peer that reads nothing is not worth waiting for.
        if channel.get_transport().is_active() and writable.poll(0):
            try:
                channel.shutdown_write()
            except (OSError, EOFError, paramiko.SSHException):
                return
            channel.status_event.wait(GRACE_S)

    def _enter(self) -> Any:  # noqa: ANN401
        """Return the channel, connecting if there is none yet."""
        with self._connecting:
            if self._failure is not None:
                raise self._failure
            if self._channel is None and not self._closed:
                self._connect()
        with self._lock:
            if self._closed:
                raise ConnectionLost("the connection is closed")
            self._inside += 1
        timeout_s = self.timeout_s
        assert self._connection is not None
        self._connection.limit_s = timeout_s
        self._channel.settimeout(_SLICE_S if timeout_s is None else min(_SLICE_S, timeout_s))
        return self._channel

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1

    def _deadline(self) -> float | None:
        return None if self.timeout_s is None else monotonic() + self.timeout_s

    def _check(self, deadline: float | None, complaint: str) -> None:
        if self._closed:
            raise ConnectionLost("the connection is closed")
        if deadline is not None and monotonic() >= deadline:
            raise DeadlineExceeded(f"{complaint} for {self.timeout_s:g} s")

    def _listen(self) -> None:
        """Take what the far end and the proxy have said on standard error."""
        while self._channel is not None and self._channel.recv_stderr_ready():
            self._said.add(self._channel.recv_stderr(_PIECE_BYTES))
        if self._proxy is not None:
            self._proxy.said.drain()

    def _own(self, closer: Callable[[], object]) -> None:
        """Have something done by `close`, or at once if that was called already."""
        with self._lock:
            if not self._closed:
                self._closers.append(closer)
                return
        closer()
        raise ConnectionLost("the connection is closed")

    def _connect(self) -> None:
        """Reach the host, verify it, log in and start deltasync there; what fails once is not tried again."""
        try:
            self._channel = self._session()
        except (OSError, EOFError, DeltasyncError, paramiko.SSHException) as error:
            if self._closed:
                self._failure = ConnectionLost("the connection is closed")
            elif isinstance(error, DeltasyncError):
                self._failure = error
            else:
                said = last_line(self._proxy.said.kept()) if self._proxy is not None else ""
                self._failure = unreachable(self._peer, said or shown(str(error)) or "the connection ended")
            raise self._failure from error

    def _session(self) -> Any:  # noqa: ANN401
        if self._route.proxy is not None:
            self._proxy = through_proxy(self._route, self._peer, self._own)
            connection = StallingSocket(fileno=self._proxy.socket.detach())
            self._own(connection.close)
        else:
            connection = reach(self._route, self._peer, self._own)
        self._connection = connection
        transport = negotiate(connection, self._route, self._peer, self._own)
        log_in(transport, self._route, self._peer, self._asker)
        channel = transport.open_session(timeout=CONNECT_TIMEOUT_S)
        channel.exec_command(os.fsencode(" ".join(remote_words(self._remote_path))))
        return channel


def _broke(error: Exception) -> ConnectionLost:
    """Return what a broken connection is to the session; some of paramiko's errors say nothing at all."""
    return ConnectionLost(f"the connection broke: {shown(str(error)) or type(error).__name__}")
