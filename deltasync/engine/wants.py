"""The sender's memory of what it has listed and what the receiver wants of it."""

from __future__ import annotations

import stat
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from deltasync._native.columns import column
from deltasync.delta.digest import SAME_DIGEST_BYTES
from deltasync.detect.scan import Chunk
from deltasync.errors import RemoteProtocolError
from deltasync.tree.entry import Entry
from deltasync.tree.names import join
from deltasync.wire.messages import Want, WantDeferred

__all__ = ["Answer", "OpenChunks", "Wanted"]


class Wanted(NamedTuple):
    """A file that the receiver wants.

    Attributes:
        file_id: Its number: the entries of the session are counted from 0.
        source: Index of the source that has it.
        directory: Its directory, relative to the root.
        entry: The file as it was listed.
        credited: How many of its listed bytes count as done.
        had: The digest of what the receiver has of it, of the same size; empty for nothing. See `engine.sameness`.
    """

    file_id: int
    source: int
    directory: bytes
    entry: Entry
    credited: int = 0
    had: bytes = b""

    @property
    def path(self) -> bytes:
        """The file's path, relative to the root."""
        return join(self.directory, self.entry.name)


class Answer(NamedTuple):
    """Files that are wanted now, in order: whole, or as deltas to bases whose signatures follow.

    Of those whose deltas were sent without having been asked for, `taken` are the numbers of those that the receiver takes, and `refused`
    of those that it passes over.
    """

    whole: list[Wanted]
    delta: list[Wanted]
    taken: Collection[int] = ()
    refused: Collection[int] = ()


class OpenChunks:
    """Chunks that were sent and not yet answered, and files that were put off.

    Attributes:
        files_settled, bytes_settled: Regular files that turned out to need nothing, and their sizes.
    """

    def __init__(self) -> None:
        self.files_settled = 0
        self.bytes_settled = 0
        self._open: deque[tuple[int, int, Chunk, Collection[int]]] = deque()
        self._chunks = 0
        self._entries = 0
        self._deferred: dict[int, Wanted] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, chunk: Chunk, presumed: Collection[int] = ()) -> None:
        """Remember a chunk that is sent now, and the numbers of those of its files whose deltas were not asked for."""
        self._open.append((self._chunks, self._entries, chunk, presumed))
        self._chunks += 1
        self._entries += chunk.entries

    def answer(self, want: Want) -> Answer:
        """Take the receiver's answer to the oldest open chunk; return the files to be sent now, in order.

        Raises:
            RemoteProtocolError: It answers another chunk, or names what is not a regular file in it.
        """
        if not self._open or self._open[0][0] != want.chunk:
            raise RemoteProtocolError(f"the peer answered chunk {want.chunk} out of turn")
        _, first_id, chunk, presumed = self._open.popleft()
        try:
            whole = _located(chunk, first_id, column("I", want.whole))
            deferred = _located(chunk, first_id, column("I", want.deferred))
            delta = _located(chunk, first_id, column("I", want.delta))
            whole = _with_digests(whole, first_id, column("I", want.had), want.digests)
            if len({wanted.file_id for wanted in (*whole, *deferred, *delta)}) < len(whole) + len(deferred) + len(delta):
                raise ValueError("a file is wanted in two ways")
            taken = {first_id + index for index in column("I", want.presumed)}
            if not taken <= {*presumed} & {wanted.file_id for wanted in delta}:
                raise ValueError("a delta is taken that was not offered")
        except ValueError as error:
            raise RemoteProtocolError(f"the peer wants what was not listed: {error}") from error
        self._deferred.update((wanted.file_id, wanted) for wanted in deferred)
        self.files_settled += chunk.files - len(whole) - len(deferred) - len(delta)
        self.bytes_settled += chunk.file_bytes - sum(wanted.entry.size for wanted in (*whole, *deferred, *delta))
        return Answer(whole, [wanted for wanted in delta if wanted.file_id not in taken], taken, {*presumed} - taken)

    def deferred(self, want: WantDeferred) -> Answer:
        """Return files that were put off and are wanted now.

        Raises:
            RemoteProtocolError: One was not put off.
        """
        try:
            whole = [self._deferred.pop(file_id) for file_id in column("Q", want.ids)]
            return Answer(whole, [self._deferred.pop(file_id) for file_id in column("Q", want.delta)])
        except (KeyError, ValueError) as error:
            raise RemoteProtocolError(f"the peer wants a file that it did not put off: {error}") from error

    def conclude(self) -> None:
        """Take note that the receiver has everything: what is still put off needed nothing in the end."""
        self.files_settled += len(self._deferred)
        self.bytes_settled += sum(wanted.entry.size for wanted in self._deferred.values())
        self._deferred.clear()


def _with_digests(whole: list[Wanted], first_id: int, had: Sequence[int], digests: bytes) -> list[Wanted]:
    """Note which of the files that are wanted whole the receiver has something of.

    Raises:
        ValueError: There is another number of digests, or one is of a file that is not wanted whole.
    """
    if len(digests) != SAME_DIGEST_BYTES * len(had):
        raise ValueError("there is not a digest for each of the files that are had")
    if not had:
        return whole
    known = {first_id + index: digests[SAME_DIGEST_BYTES * at : SAME_DIGEST_BYTES * (at + 1)] for at, index in enumerate(had)}
    if len(known) < len(had) or not known.keys() <= {wanted.file_id for wanted in whole}:
        raise ValueError("something is had of a file that is not wanted")
    return [wanted._replace(had=known.get(wanted.file_id, b"")) for wanted in whole]


def _located(chunk: Chunk, first_id: int, indexes: Sequence[int]) -> list[Wanted]:
    """Return the files at some indexes of a chunk, ascending.

    Raises:
        ValueError: An index is out of order or range, or its entry is no regular file.
    """
    if not indexes:
        return []
    if indexes[-1] >= chunk.entries or any(one >= other for one, other in pairwise(indexes)):
        raise ValueError("an index is out of order or range")
    starts = [0, *accumulate(section.rows.entry_count for section in chunk.sections)]
    located: list[Wanted] = []
    at = 0
    while at < len(indexes):
        number = bisect_right(starts, indexes[at]) - 1
        end = at
        while end < len(indexes) and indexes[end] < starts[number + 1]:
            end += 1
        section, origins = chunk.sections[number], chunk.origins[number]
        inside = [index - starts[number] for index in indexes[at:end]]
        for index, entry in zip(inside, section.rows.pick(inside), strict=True):
            if not stat.S_ISREG(entry.mode):
                raise ValueError("an entry is no regular file")
            located.append(Wanted(first_id + starts[number] + index, origins[index] if origins else 0, section.path, entry))
        at = end
    return located
