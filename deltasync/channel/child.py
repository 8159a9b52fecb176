"""A child process that carries a stream: ssh, or a ProxyCommand."""

from __future__ import annotations

import math
import os
import signal
import socket
from collections.abc import Sequence
from threading import Lock
from time import monotonic, sleep

from deltasync.channel.programs import is_program
from deltasync.channel.said import PipedSaid
from deltasync.channel.ssh_errors import unreachable
from deltasync.tree.names import shown

__all__ = ["GRACE_S", "Child"]

SOCKET_BYTES = 1 << 20
GRACE_S = 0.5
"""How long a child may take to end by itself, and then to end when told to."""
_LONGEST_PAUSE_S = 0.005
"""Between two looks at whether it has ended: ssh needs a few milliseconds for that, and each is the user's."""


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
        said: What the child says on standard error.

    Raises:
        TransportError: There is no such command, or it can't be started.
    """

    def __init__(self, argv: Sequence[str], peer: str) -> None:
        if not is_program(argv[0]):
            raise unreachable(peer, f"there is no command `{shown(argv[0])}` here", "install it, or name another with --rsh or --ssh")
        self.socket, theirs = socket.socketpair()
        for end in (self.socket, theirs):
            # With its default of 208 KiB the socket holds ssh up: measured 465 MB/s up and 472 down, against 519 and 586 with this.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        said, saying = os.pipe()
        self.said = PipedSaid(said)
        self._reaping = Lock()
        self._exit_code: int | None = None
        try:
            self._pid = _spawn(["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", *argv], (theirs.fileno(), theirs.fileno(), saying))
        except OSError as error:
            self.socket.close()
            self.said.close()
            raise unreachable(peer, error.strerror or str(error)) from error
        finally:
            theirs.close()
            os.close(saying)

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the child's end; returns its exit code (negative: the signal that ended it), or None if it still runs."""
        deadline = monotonic() + timeout_s
        pause_s = 0.0005
        while not self._has_ended():
            left_s = deadline - monotonic()
            if left_s <= 0:
                break
            sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return self._exit_code

    def _has_ended(self) -> bool:
        with self._reaping:
            if self._exit_code is None:
                try:
                    pid, status = os.waitpid(self._pid, os.WNOHANG)
                except ChildProcessError:
                    # Whoever started us has children reaped by the system: how this one ended nobody can tell.
                    pid, status = self._pid, 0
                if pid:
                    self._exit_code = os.waitstatus_to_exitcode(status)
            return self._exit_code is not None

    def _tell(self, number: int) -> None:
        """Send a signal, unless the child has ended: the number of one that was reaped may be another's by then."""
        with self._reaping:
            if self._exit_code is None:
                os.kill(self._pid, number)

    def end(self, grace_s: float = GRACE_S) -> None:
        """Wait for the child's end, and bring it about if it takes too long; then the child is reaped. `socket` must be closed before.

        Args:
            grace_s: How long it may take to end by itself; 0 tells it at once.
        """
        if self.wait(grace_s) is None:
            self._tell(signal.SIGTERM)
            if self.wait(GRACE_S) is None:
                self._tell(signal.SIGKILL)
        self.wait(math.inf)
        self.said.close()


def _spawn(argv: list[str], standard: tuple[int, int, int]) -> int:
    """Start a process with these three standard descriptors, and no other of ours but what was inherited; return its number."""
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(standard)]
    # What Python ignores by itself, a command expects to be ended by.
    ignored = [number for number in (signal.SIGPIPE, signal.SIGXFSZ) if signal.getsignal(number) is signal.SIG_IGN]
    return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsigdef=ignored)
