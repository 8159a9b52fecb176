"""A session over SSH that is begun before the rest of the program is loaded: connecting takes longer, so both go on at once."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

from deltasync.channel.address import Remote
from deltasync.channel.ssh import SshStream, connect
from deltasync.errors import DeltasyncError

__all__ = ["Ahead"]


class Ahead:
    """At most one session, begun for whoever asks for it first; a context manager that ends one that nobody asked for.

    Args:
        remote: Where the session shall lead; None for nowhere: then nothing is begun.
    """

    def __init__(self, remote: Remote | None) -> None:
        self._remote = remote
        self._stream: SshStream | None = None
        # Whoever connects later meets the same error, and tells it.
        with suppress(DeltasyncError):
            self._stream = None if remote is None else connect(remote)

    def take(self, remote: Remote) -> SshStream | None:
        """Hand the session over to the caller; None if there is none, if it leads elsewhere, or if it was taken before."""
        if remote != self._remote:
            return None
        stream, self._stream = self._stream, None
        return stream

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the session if it is still here."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
