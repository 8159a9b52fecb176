"""Who hears of items, problems and notes: the observer on this side, or the peer's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from deltasync.engine.peer import Peer
from deltasync.errors import ExitCode, Problem
from deltasync.wire.messages import Item, Items, Message, Note, Trouble

if TYPE_CHECKING:
    from deltasync.engine.job import Observer

__all__ = ["LocalReporter", "RemoteReporter", "Reporter", "reason"]

ITEMS_A_MESSAGE = 512
ITEM_BYTES_A_MESSAGE = 128 << 10
MAX_TEXT = 1000
MAX_TOLD_BYTES = 32 << 20
"""More problems than this are not told one by one, since whoever hears of them keeps them to the end."""
PROBLEM_BYTES = 256


class Reporter(Protocol):
    """Takes what a role has to tell."""

    codes: list[ExitCode]
    """The exit codes of all problems, so that the role knows how it went."""

    def item(self, code: str, path: bytes, link: bytes = b"") -> None:
        """An entry was created, changed or deleted."""

    def problem(self, path: bytes, error: str, exit_code: ExitCode = ExitCode.PARTIAL) -> None:
        """A path failed."""

    def note(self, text: str) -> None:
        """Something to be said once."""

    def flush(self) -> None:
        """Pass on what has been gathered."""

    def take(self, message: Message) -> bool:
        """Tell what the peer reports; False if the message is no report."""


def reason(error: OSError | ValueError | OverflowError, deed: str) -> str:
    """Return the text of a problem: what could not be done, and why."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{deed}: {text}"


class LocalReporter:
    """Tells the observer in this process; also what the peer reports."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told_bytes = 0
        self.codes: list[ExitCode] = []
        self.problems: list[Problem] = []

    def item(self, code: str, path: bytes, link: bytes = b"") -> None:
        """See `Reporter`."""
        self._observer.item(code, path, link)

    def problem(self, path: bytes, error: str, exit_code: ExitCode = ExitCode.PARTIAL) -> None:
        """See `Reporter`."""
        if exit_code not in self.codes:
            self.codes.append(exit_code)
        before = self._told_bytes
        self._told_bytes += PROBLEM_BYTES + len(path) + len(error)
        if self._told_bytes > MAX_TOLD_BYTES:
            if before <= MAX_TOLD_BYTES:
                self.note("there are more problems than can be told; mend those above and run again")
            return
        problem = Problem(path, error, exit_code)
        self.problems.append(problem)
        self._observer.problem(problem)

    def note(self, text: str) -> None:
        """See `Reporter`."""
        self._observer.note(text)

    def flush(self) -> None:
        """Nothing is gathered."""

    def take(self, message: Message) -> bool:
        """Tell what the peer reports; False if the message is no report."""
        if isinstance(message, Items):
            for code, path, link in message.items:
                self.item(code, path, link)
        elif isinstance(message, Trouble):
            self.problem(message.path, message.text, _known(message.exit_code))
        elif isinstance(message, Note):
            self.note(message.text)
        else:
            return False
        return True


def _known(code: int) -> ExitCode:
    return ExitCode(code) if code in (ExitCode.VANISHED, ExitCode.DELETION_GUARD, ExitCode.LOCAL_IO) else ExitCode.PARTIAL


class RemoteReporter:
    """Sends reports to the peer, whose user is watching."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._items: list[Item] = []
        self._item_bytes = 0
        self.codes: list[ExitCode] = []

    def item(self, code: str, path: bytes, link: bytes = b"") -> None:
        """See `Reporter`."""
        self._items.append(Item(code, path, link))
        self._item_bytes += len(path) + len(link)
        if len(self._items) >= ITEMS_A_MESSAGE or self._item_bytes >= ITEM_BYTES_A_MESSAGE:
            self.flush()

    def problem(self, path: bytes, error: str, exit_code: ExitCode = ExitCode.PARTIAL) -> None:
        """See `Reporter`."""
        self.codes.append(exit_code)
        self.flush()
        self._peer.send(Trouble(path, error[:MAX_TEXT], exit_code))

    def note(self, text: str) -> None:
        """See `Reporter`."""
        self._peer.send(Note(text[:MAX_TEXT]))

    def flush(self) -> None:
        """See `Reporter`."""
        if self._items:
            self._peer.send(Items(tuple(self._items)), squeeze=True)
            self._items.clear()
            self._item_bytes = 0

    def take(self, message: Message) -> bool:
        """The user is at the peer's side, so that its reports are not ours to tell; True if the message is one."""
        return isinstance(message, (Items, Trouble, Note))
