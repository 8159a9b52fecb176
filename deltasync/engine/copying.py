"""Ranges of a base on their way into a staged file, by the one thread that writes."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from deltasync.delta.match import Copy
from deltasync.delta.spans import Span, extents
from deltasync.engine.base import Base
from deltasync.engine.leaves import Leaf, Leaves
from deltasync.engine.pool import NEAR_BYTES, SEGMENT_BYTES, Pool
from deltasync.engine.reading import is_hole
from deltasync.patch.staging import Staged

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Copying"]

MAX_COPYING = 3
"""How many batches of ranges of a file may wait for the thread that writes."""


class _Copied(NamedTuple):
    """What copying a batch of ranges brought: an error, or the leaves that it covers."""

    error: OSError | None
    leaves: dict[int, Leaf]


class Copying:
    """Copies what a delta keeps of its base.

    Args:
        base: What is copied from.
        leaves: Learn what is copied.
        pool: Whose writing thread copies.

    Attributes:
        ranges: What is not handed over yet, in its order.
        error: What went wrong, once something did; nothing more is copied then.
    """

    def __init__(self, base: Base, leaves: Leaves, pool: Pool) -> None:
        self.ranges: deque[Copy] = deque()
        self.error: OSError | None = None
        self._base = base
        self._leaves = leaves
        self._pool = pool
        self._running: deque[tuple[Future[_Copied], list[Copy]]] = deque()

    @property
    def idle(self) -> bool:
        """Whether everything that was to be copied is."""
        return not self.ranges and not self._running

    @property
    def ready(self) -> bool:
        """Whether `advance` would do something."""
        if self._running and self._running[0][0].done():
            return True
        return bool(self.ranges) and len(self._running) < MAX_COPYING

    def advance(self, staged: Staged | None) -> None:
        """Hand ranges over, to be copied to a staged file, and take what was done; without one they are passed over."""
        while self._running and self._running[0][0].done():
            self._take(self._running.popleft()[0].result())
        while self.ranges and len(self._running) < MAX_COPYING:
            batch = self._batch()
            if staged is not None and self.error is None:
                self._running.append((self._pool.write(self._copy, staged, batch), batch))

    def stop(self) -> None:
        """Take back what has not begun, and wait for what has."""
        waiting, self._running = self._running, deque()
        for future, batch in reversed(waiting):
            if future.cancel():
                self.ranges.extendleft(reversed(batch))
        for future, _ in waiting:
            if not future.cancelled():
                self._take(future.result())

    def finish(self, staged: Staged, most_bytes: int) -> bool:
        """After `stop`, copy what is left, on this thread; False if that failed, or is more than so many bytes."""
        if sum(copy.length for copy in self.ranges) > most_bytes:
            return False
        while self.ranges and self.error is None:
            self._take(self._copy(staged, self._batch()))
        return self.error is None

    def _take(self, copied: _Copied) -> None:
        self.error = self.error or copied.error
        self._leaves.note(copied.leaves)

    def _batch(self) -> list[Copy]:
        """Take ranges, about a segment of them, cut where leaves end."""
        batch: list[Copy] = []
        size = 0
        while self.ranges and size < SEGMENT_BYTES:
            target_at, base_at, length = self.ranges.popleft()
            take = min(length, SEGMENT_BYTES)
            if take < length:
                take -= (target_at + take) % self._leaves.leaf_bytes if take > self._leaves.leaf_bytes else 0
                self.ranges.appendleft(Copy(target_at + take, base_at + take, length - take))
            copy = Copy(target_at, base_at, take)
            batch.append(copy)
            size += take
        return batch

    def _copy(self, staged: Staged, batch: list[Copy]) -> _Copied:
        """Copy ranges of the base; runs on the pool."""
        leaves: dict[int, Leaf] = {}
        try:
            copies = iter(batch)
            for extent in extents((Span(copy.base_at, copy.base_at + copy.length) for copy in batch), NEAR_BYTES, SEGMENT_BYTES):
                here = islice(copies, len(extent.spans))
                if is_hole(self._base.fd, extent.start, extent.end - extent.start):
                    for target_at, _, length in here:
                        staged.clear(target_at, length)
                        leaves.update(self._leaves.of_zeros(target_at, length))
                    continue
                content = self._pool.buffer(extent.end - extent.start)
                self._base.read(extent.start, content)
                for copy in here:
                    view = content[copy.base_at - extent.start :][: copy.length]
                    staged.put(copy.target_at, view)
                    leaves.update(self._leaves_of(copy, view))
        except OSError as error:
            return _Copied(error, leaves)
        return _Copied(None, leaves)

    def _leaves_of(self, copy: Copy, content: memoryview) -> dict[int, Leaf]:
        """Return the leaves that lie within what was copied: by the base's word, where it vouches for all of them, or hashed."""
        within = self._leaves.within(copy.target_at, copy.length)
        vouched = dict(self._leaves.of_base(copy.target_at, copy.length)) if within and copy.target_at == copy.base_at else {}
        return vouched if len(vouched) == len(within) else dict(self._leaves.of_content(copy.target_at, content)) | vouched
