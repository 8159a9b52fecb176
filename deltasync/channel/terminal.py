"""Asking the user at the terminal: passphrases, passwords, second factors."""

from __future__ import annotations

import os
import select
import termios
from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock

from deltasync.errors import ConnectionLost

__all__ = ["Asker"]

_MAX_ANSWER_BYTES = 4096


class Asker:
    """Asks at the controlling terminal; `close` ends an answer that is waited for, from another thread.

    Args:
        path: The terminal.
    """

    def __init__(self, path: str = "/dev/tty") -> None:
        self._path = path
        self._closed_fd, self._close_fd = os.pipe()
        self._lock = Lock()
        self._asking = 0
        self._closed = False

    @property
    def present(self) -> bool:
        """Whether there is a terminal to ask at."""
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    def ask(self, prompt: str, *, echo: bool = False) -> str | None:
        """Show a prompt and wait for a line.

        Args:
            prompt: Safe for a terminal.
            echo: Whether the answer may be seen.

        Returns:
            The line without its end; None when there is no terminal, or it was hung up or ended.

        Raises:
            ConnectionLost: `close` was called.
        """
        with self._lock:
            if self._closed:
                raise ConnectionLost("the connection is closed")
            self._asking += 1
        try:
            return self._ask(prompt, echo=echo)
        finally:
            with self._lock:
                self._asking -= 1
                self._release()

    def close(self) -> None:
        """Ask nothing more. Calling it twice does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._close_fd)
                self._release()

    def _release(self) -> None:
        """Close the end that is waited for, once nobody waits for it any more."""
        if self._closed and not self._asking and self._closed_fd >= 0:
            os.close(self._closed_fd)
            self._closed_fd = -1

    def _ask(self, prompt: str, *, echo: bool) -> str | None:
        try:
            tty = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            with _echo(tty, on=echo):
                os.write(tty, prompt.encode("utf-8", "replace"))
                return self._line(tty)
        finally:
            os.close(tty)

    def _line(self, tty: int) -> str | None:
        line = bytearray()
        poll = select.poll()
        poll.register(tty, select.POLLIN)
        poll.register(self._closed_fd, select.POLLIN)
        while not line.endswith(b"\n"):
            if any(fd == self._closed_fd for fd, _ in poll.poll()):
                raise ConnectionLost("the connection is closed")
            data = os.read(tty, _MAX_ANSWER_BYTES)
            line += data
            if not data or len(line) > _MAX_ANSWER_BYTES:
                return None
        return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


@contextmanager
def _echo(tty: int, *, on: bool) -> Generator[None, None, None]:
    """Show what is typed, or hide it, and leave the terminal as it was."""
    before = termios.tcgetattr(tty)
    wanted = list(before)
    wanted[3] = (wanted[3] | termios.ECHO) if on else (wanted[3] & ~termios.ECHO | termios.ECHONL)
    termios.tcsetattr(tty, termios.TCSAFLUSH, wanted)
    try:
        yield
    finally:
        termios.tcsetattr(tty, termios.TCSADRAIN, before)
