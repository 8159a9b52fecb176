"""The one tree of errors: each class owns its exit code; its text is the line that the user reads.

A failure of one path is a `Problem`: a value, collected and reported while the rest goes on. A failure of the whole session is raised
as a `DeltasyncError`. This module is pure and imports nothing of deltasync.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "AuthenticationError",
    "ConnectionLost",
    "DeadlineExceeded",
    "DeltasyncError",
    "DestinationError",
    "ExitCode",
    "Interrupted",
    "LocalProtocolError",
    "PeerFailure",
    "Problem",
    "RemoteProtocolError",
    "SourceTrouble",
    "StateError",
    "TransportError",
    "Unanswered",
    "UsageError",
    "worst",
]


class ExitCode(IntEnum):
    """Exit codes of the command line; the order in which one outranks another is `RANKED`."""

    OK = 0
    USAGE = 2
    AUTHENTICATION = 5
    CONNECTION = 10
    LOCAL_IO = 11
    PROTOCOL = 12
    INTERRUPTED = 20
    PARTIAL = 23
    VANISHED = 24
    DELETION_GUARD = 25
    TIMEOUT = 30


RANKED = (
    ExitCode.USAGE,
    ExitCode.AUTHENTICATION,
    ExitCode.PROTOCOL,
    ExitCode.CONNECTION,
    ExitCode.TIMEOUT,
    ExitCode.INTERRUPTED,
    ExitCode.LOCAL_IO,
    ExitCode.DELETION_GUARD,
    ExitCode.PARTIAL,
    ExitCode.VANISHED,
    ExitCode.OK,
)


def worst(*codes: int) -> ExitCode:
    """Return the code that counts when several apply; no codes at all are `ExitCode.OK`.

    Raises:
        ValueError: A code is not one of `ExitCode`.
    """
    return min((ExitCode(code) for code in codes), key=RANKED.index, default=ExitCode.OK)


class DeltasyncError(Exception):
    """A failure of the whole run; `str()` is the one line that the user reads."""

    exit_code: ExitCode = ExitCode.PARTIAL


class UsageError(DeltasyncError):
    """The command line asks for something that can't be."""

    exit_code = ExitCode.USAGE


class AuthenticationError(DeltasyncError):
    """The other side is not who it should be, or does not accept us."""

    exit_code = ExitCode.AUTHENTICATION


class Unanswered(AuthenticationError):
    """The other side closed the connection without a word: that is how it refuses; but where it had let us in, the line may have broken."""


class TransportError(DeltasyncError):
    """No connection could be made."""

    exit_code = ExitCode.CONNECTION


class ConnectionLost(TransportError):
    """A connection that had stood ended before the session was finished."""


class RemoteProtocolError(DeltasyncError):
    """The peer sent what the protocol does not allow, or is no deltasync of this protocol version."""

    exit_code = ExitCode.PROTOCOL


class LocalProtocolError(DeltasyncError):
    """This side was about to break the protocol: a defect of deltasync."""

    exit_code = ExitCode.PROTOCOL


class DestinationError(DeltasyncError):
    """The destination can't be made, opened or written at all."""

    exit_code = ExitCode.LOCAL_IO


class DeadlineExceeded(DeltasyncError):
    """Nothing was heard of the peer for longer than `--timeout`."""

    exit_code = ExitCode.TIMEOUT


class SourceTrouble(DeltasyncError):
    """The source of a watch is not what it was, so that nothing may be concluded from what is missing in it."""

    exit_code = ExitCode.LOCAL_IO


class StateError(DeltasyncError):
    """What this installation keeps for itself (its key, whom it trusts) can't be read, written or trusted."""

    exit_code = ExitCode.LOCAL_IO


class Interrupted(DeltasyncError):
    """INT or TERM asked the run to stop."""

    exit_code = ExitCode.INTERRUPTED


class PeerFailure(DeltasyncError):
    """The peer ended the session and said why; its exit code is kept.

    Args:
        exit_code: One of `ExitCode`.
        text: The peer's line, already escaped for a terminal.
    """

    def __init__(self, exit_code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = ExitCode(exit_code)


class Problem(NamedTuple):
    """What went wrong with one path, while the run went on.

    Attributes:
        path: The path beneath the destination (or the source argument), as bytes.
        error: What failed and what to do, one line, without the path.
        exit_code: `PARTIAL` for a failure, `VANISHED` for a source file that is gone, `DELETION_GUARD` for deletions held back.
    """

    path: bytes
    error: str
    exit_code: ExitCode = ExitCode.PARTIAL
