"""The sessions of a listener: each a process of its own, started with nothing but its socket, its root and its keys."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

import deltasync
from deltasync.engine.admission import Grant
from deltasync.engine.listen_log import Field
from deltasync.engine.worker import Task
from deltasync.errors import ExitCode
from deltasync.fs.confinement import Account
from deltasync.fs.home import make_private
from deltasync.wire.keys import encode
from deltasync.wire.noise import TransportKeys

__all__ = ["Session", "Sessions"]

STOP_S = 10.0
"""How long a session may take to finish what it is committing, once it was told to end."""
WITHDRAWN_S = 1.0
"""The same for one whose grant is gone: within two seconds it must have ended."""

_START = "import sys; p = sys.argv.pop(1); p in sys.path or sys.path.insert(0, p); from deltasync.cli.worker import worker; worker()"
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
MAX_REPORT_BYTES = 4096


@dataclass(slots=True, eq=False)
class Session:
    """One of them.

    Attributes:
        key: The client's public key.
        address: Where it comes from.
        grant: What it may do.
        process: Its process.
        began_at: When it began, by the monotonic clock.
        kill_at: When it is killed, if it was told to end.
        report: What the process has told so far.
    """

    key: bytes
    address: str
    grant: Grant
    process: subprocess.Popen[bytes]
    began_at: float
    kill_at: float | None = None
    report: bytes = b""

    def hear(self) -> bool:
        """Take what the process has told, without waiting; False once it is about to end."""
        try:
            data = os.read(self.fileno(), MAX_REPORT_BYTES)
        except BlockingIOError:
            return True
        self.report = (self.report + data)[:MAX_REPORT_BYTES]
        return bool(data)

    def counts(self) -> tuple[int, int]:
        """Return how many bytes it says to have sent and received; zeros if it says nothing."""
        with suppress(ValueError):
            sent, received = map(int, self.report.split())
            return sent, received
        return 0, 0

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the process tells something, or is about to end."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    @property
    def fields(self) -> dict[str, Field]:
        """What every line of the log about it says."""
        access = "ro" if self.grant.read_only else "rw"
        return {
            "session": self.process.pid,
            "address": self.address,
            "key": encode(self.key),
            "client": self.grant.client,
            "root": self.grant.root.name,
            "access": access,
        }


class Sessions:
    """All of them.

    Args:
        state: The directory of this installation, beneath which each root has one for what is remembered; None to remember nothing.
        account: The user that sessions become; None to stay who this is.
    """

    def __init__(self, state: str | None, account: Account | None) -> None:
        self._state = state
        self._account = account
        self._sessions: list[Session] = []

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        """Give them all; the list may change meanwhile."""
        return iter(tuple(self._sessions))

    def begin(self, connected: socket.socket, address: str, key: bytes, keys: TransportKeys, grant: Grant) -> Session:
        """Start a process for a client that was let in; its connection is closed here.

        Raises:
            OSError: No process can be started.
        """
        # Of its own: a directory that is listed through a descriptor that others list through too would show each a part.
        root_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=grant.root.fd)
        try:
            state = self._state_of(grant)
            task = Task(os.getpid(), connected.fileno(), root_fd, grant.read_only, keys.send, keys.receive, self._account, state)
            process = self._start(task, state)
        finally:
            os.close(root_fd)
            connected.close()
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        session = Session(key, address, grant, process, monotonic())
        self._sessions.append(session)
        return session

    def _state_of(self, grant: Grant) -> str | None:
        """Return where a root is remembered; a user to become has no way to it."""
        if self._state is None or self._account is not None:
            return None
        directory = os.path.join(self._state, "roots", grant.root.name)
        try:
            make_private(directory)
        except OSError:
            # It costs time to remember nothing, and nothing else.
            return None
        return directory

    def _start(self, task: Task, state: str | None) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"HOME": "."}
        if state is not None:
            environment["DELTASYNC_HOME"] = state
        place = os.path.dirname(os.path.dirname(os.path.abspath(deltasync.__file__)))
        read_fd, write_fd = os.pipe()
        try:
            # It fits into the pipe as a whole, so that nobody is waited for.
            os.write(write_fd, task.encode())
            os.close(write_fd)
            return subprocess.Popen(
                [sys.executable, "-I", "-c", _START, place],
                stdin=read_fd,
                stdout=subprocess.PIPE,
                env=environment,
                cwd="/",
                pass_fds=(task.socket_fd, task.root_fd),
                start_new_session=True,
            )
        finally:
            os.close(read_fd)

    def end(self, session: Session, number: signal.Signals, within_s: float) -> None:
        """Tell a session to end; it is killed when it has not done so in time. One that was told before is not told again."""
        if session.kill_at is None:
            session.kill_at = monotonic() + within_s
            session.process.send_signal(number)

    def reap(self, over: Callable[[Session, int], None]) -> None:
        """Tell of each that is over its exit code, and kill those whose time has run out."""
        for session in self:
            if session.kill_at is not None and monotonic() > session.kill_at:
                session.process.kill()
            code = session.process.poll()
            if code is None:
                continue
            self._sessions.remove(session)
            over(session, code if code >= 0 else ExitCode.PROTOCOL)
            assert session.process.stdout is not None
            session.process.stdout.close()
