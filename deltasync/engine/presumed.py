"""Deltas that come without having been asked for: which the receiver takes, and which it passes over."""

from __future__ import annotations

from collections.abc import Iterable

from deltasync._native.columns import column
from deltasync.delta.digest import DIGEST_BYTES
from deltasync.errors import RemoteProtocolError
from deltasync.wire.messages import MAX_OPEN_CHUNKS, MAX_PRESUMED, FileAbort, FileBegin, FileCopy, FileData, FileEnd, FileZeros, Message
from deltasync.wire.messages import Presumed as Announced

__all__ = ["Presumed"]

_STREAM = (FileBegin, FileData, FileZeros, FileCopy, FileEnd, FileAbort)


class Presumed:
    """What is announced of the next chunk, and what is passed over of those before it."""

    def __init__(self) -> None:
        self._announced: dict[int, bytes] = {}
        self._passed_over: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether the sender has not come to the end of all that is passed over."""
        return bool(self._passed_over)

    def announce(self, message: Announced) -> None:
        """Take word of what will come after the next chunk.

        Raises:
            RemoteProtocolError: It is malformed, or the second before a chunk.
        """
        try:
            indexes = column("I", message.indexes)
        except ValueError as error:
            raise RemoteProtocolError(f"the peer sent malformed indexes: {error}") from error
        if self._announced or len({*indexes}) < len(indexes) or len(message.digests) != DIGEST_BYTES * len(indexes):
            raise RemoteProtocolError("the peer announced deltas twice, or not with a digest for each")
        self._announced = {index: message.digests[DIGEST_BYTES * at : DIGEST_BYTES * (at + 1)] for at, index in enumerate(indexes)}

    def of_chunk(self, first_id: int, entries: int) -> dict[int, bytes]:
        """Return the numbers of the files of the chunk that comes now whose deltas follow, and the digests of their bases.

        Raises:
            RemoteProtocolError: The chunk has not so many entries.
        """
        announced, self._announced = self._announced, {}
        if any(index >= entries for index in announced):
            raise RemoteProtocolError("the peer announced deltas of files that it did not list")
        return {first_id + index: digest for index, digest in announced.items()}

    def pass_over(self, ids: Iterable[int]) -> None:
        """Pass over the streams of some files, each to its end.

        Raises:
            RemoteProtocolError: There are too many.
        """
        self._passed_over.update(ids)
        if len(self._passed_over) > MAX_PRESUMED * MAX_OPEN_CHUNKS:
            raise RemoteProtocolError("the peer sent too many deltas that were not asked for")

    def passes_over(self, message: Message) -> bool:
        """Tell whether a message belongs to what is passed over."""
        if not self._passed_over or not isinstance(message, _STREAM) or message.file_id not in self._passed_over:
            return False
        if isinstance(message, (FileEnd, FileAbort)):
            self._passed_over.discard(message.file_id)
        return True
