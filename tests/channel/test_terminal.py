"""The user is asked at the terminal, unseen where it must be, and never waited for in vain."""

from __future__ import annotations

import os
import termios
from collections.abc import Generator
from pathlib import Path

import pytest

from deltasync.channel.terminal import Asker
from deltasync.errors import ConnectionLost
from tests.channel.conformance import Worker


class Terminal:
    """A terminal with a user in front of it.

    Attributes:
        path: Where programs open it.
    """

    def __init__(self) -> None:
        self._user, self._program = os.openpty()
        self.path = os.ttyname(self._program)

    def read_until(self, text: bytes) -> bytes:
        """Read from the screen until the text stands at its end."""
        seen = b""
        while not seen.endswith(text):
            seen += os.read(self._user, 1000)
        return seen

    def type(self, text: bytes) -> None:
        """Type."""
        os.write(self._user, text)

    @property
    def echoes(self) -> bool:
        """Whether what is typed is seen."""
        return bool(termios.tcgetattr(self._program)[3] & termios.ECHO)

    def close(self) -> None:
        """Take it away."""
        os.close(self._user)
        os.close(self._program)


@pytest.fixture
def terminal() -> Generator[Terminal, None, None]:
    """A terminal."""
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.mark.parametrize("echo", [False, True])
def test_an_answer_is_returned(terminal: Terminal, echo: bool) -> None:
    """It is seen only where it may be, and afterwards the terminal is as it was."""
    asker = Asker(terminal.path)
    asking = Worker(lambda: asker.ask("Secret: ", echo=echo))
    terminal.read_until(b"Secret: ")
    assert terminal.echoes is echo
    terminal.type("pässword\n".encode())
    assert asking.result() == "pässword"
    assert ("pässword".encode() in terminal.read_until(b"\r\n")) is echo
    assert terminal.echoes
    asker.close()


def test_closing_ends_the_question(terminal: Terminal) -> None:
    """Whoever waits for an answer is woken, and the terminal is as it was."""
    asker = Asker(terminal.path)
    asking = Worker(lambda: asker.ask("Secret: "))
    terminal.read_until(b"Secret: ")
    asker.close()
    asker.close()
    with pytest.raises(ConnectionLost):
        asking.result()
    assert terminal.echoes


def test_an_end_is_no_answer(terminal: Terminal) -> None:
    """Ctrl-D on an empty line."""
    asker = Asker(terminal.path)
    asking = Worker(lambda: asker.ask("Secret: "))
    terminal.read_until(b"Secret: ")
    terminal.type(b"\x04")
    assert asking.result() is None
    asker.close()


def test_no_terminal_is_no_answer(tmp_path: Path) -> None:
    """Nothing is waited for."""
    asker = Asker(str(tmp_path / "no-tty"))
    assert not asker.present
    assert asker.ask("Secret: ") is None
    asker.close()


def test_nothing_stays_open(terminal: Terminal) -> None:
    """A run that connects again and again must not run out of descriptors; after `close` nothing is asked."""
    before = sorted(os.listdir("/proc/self/fd"))
    Asker(terminal.path).close()
    asker = Asker(terminal.path)
    asking = Worker(lambda: asker.ask("Password: "))
    terminal.read_until(b": ")
    asker.close()
    with pytest.raises(ConnectionLost):
        asking.result()
    with pytest.raises(ConnectionLost):
        asker.ask("Password: ")
    assert sorted(os.listdir("/proc/self/fd")) == before
