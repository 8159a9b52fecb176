"""Small files on their way into their places: the first few at once, and when there are many, by a thread, while others are unpacked."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from deltasync.engine.pool import Pool, settle
from deltasync.engine.streams import Expected
from deltasync.patch.attributes import Lost
from deltasync.patch.small import SmallFile, put_durably, put_together

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Batch", "Result", "SmallFiles"]

AT_ONCE_FILES = 512
"""So many are put in their places before a thread is worth its start."""
MAX_WAITING = 4
"""How many batches may wait for the thread."""

Batch = list[tuple[Expected, SmallFile]]
_Done = list[Lost | OSError | OverflowError]


class Result(NamedTuple):
    """What became of a file: which attributes could not be kept, or why it is not there."""

    expected: Expected
    result: Lost | OSError | OverflowError


class _Waiting(NamedTuple):
    dir_fd: int
    batch: Batch
    future: Future[_Done]


class SmallFiles:
    """Puts batches of small files, each of one directory, in their places, in order.

    Args:
        pool: Whose writing thread does it.
        durable: Whether contents must be durable before they have their names.
    """

    def __init__(self, pool: Pool, *, durable: bool = False) -> None:
        self._put_all = put_durably if durable else put_together
        self._pool = pool
        self._waiting: deque[_Waiting] = deque()
        self._count = 0

    @property
    def busy(self) -> bool:
        """Whether any are not in their places yet."""
        return bool(self._waiting)

    @property
    def ready(self) -> bool:
        """Whether `results` has something to tell."""
        return bool(self._waiting) and self._waiting[0].future.done()

    def put(self, dir_fd: int, batch: Batch) -> Iterator[Result]:
        """Take a batch, and yield what became of it, or of earlier ones, as far as that is known; the rest comes by `results`.

        Args:
            dir_fd: The directory; it may be closed afterwards.
            batch: Its files.
        """
        self._count += len(batch)
        files = [file for _, file in batch]
        if self._count <= AT_ONCE_FILES:
            yield from _told(batch, self._put_all(dir_fd, files))
            return
        own_fd = os.dup(dir_fd)
        self._waiting.append(_Waiting(own_fd, batch, self._pool.write(self._put_all, own_fd, files)))
        yield from self.results(most=MAX_WAITING)

    def results(self, most: int = 0) -> Iterator[Result]:
        """Yield what became of files by now; wait for it while more than `most` batches are under way, unless that is 0."""
        while self._waiting and (self._waiting[0].future.done() or (most and len(self._waiting) > most)):
            dir_fd, batch, future = self._waiting.popleft()
            try:
                yield from _told(batch, future.result())
            finally:
                os.close(dir_fd)

    def close(self) -> None:
        """Drop what has not begun, and wait for what has."""
        settle(waiting.future for waiting in self._waiting)
        while self._waiting:
            os.close(self._waiting.popleft().dir_fd)


def _told(batch: Batch, done: _Done) -> Iterator[Result]:
    for (expected, _), result in zip(batch, done, strict=True):
        yield Result(expected, result)
