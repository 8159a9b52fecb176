"""A file on its way in as a delta: ranges of the base are copied on the pool, literals fill the rest, all is proven leaf by leaf."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import NamedTuple

from blake3 import blake3

from deltasync.delta.digest import file_digest, leaf_bytes
from deltasync.delta.match import Copy
from deltasync.delta.patch import Patch
from deltasync.delta.spans import Span
from deltasync.engine.base import Base
from deltasync.engine.errands import Errand
from deltasync.engine.pool import SEGMENT_BYTES, Pool, settle
from deltasync.engine.reading import Changing, read_exactly
from deltasync.engine.streams import Expected
from deltasync.errors import RemoteProtocolError
from deltasync.patch.staging import Staged
from deltasync.tree.entry import Entry
from deltasync.wire.messages import FileCopy

__all__ = ["DeltaStream"]

MAX_COPYING = 1
"""Two threads that write to one file only wait for each other, and burn a core while they do: 5 s of system time for 1 GiB, not 0.7."""
MAX_WAITING_RANGES = 1 << 18
"""Most ranges that may wait to be copied; a sender needs no more than one for two blocks of a signature."""


class _Copied(NamedTuple):
    """What copying a batch of ranges brought: an error, or the digests of leaves that it covers."""

    error: OSError | None
    leaves: dict[int, bytes]


class DeltaStream:
    """A file that comes as a delta.

    Args:
        expected: What was asked for.
        entry: What it is now, by the sender's word.
        base: What the sender knows the checksums of; it stays its owner's.
        pool: What copies and hashes.

    Attributes:
        expected, entry: As given; `expected.credited` grows.
        staged: Where it goes, or None where that could not be made and what comes is passed over.
        error: What went wrong with the destination, once something did.
        matched_bytes: How many bytes came from the base.
    """

    def __init__(self, expected: Expected, entry: Entry, base: Base, pool: Pool) -> None:
        self.expected = expected
        self.entry = entry
        self.staged: Staged | None = None
        self.error: OSError | None = None
        self._base = base
        self._pool = pool
        self._patch = Patch(base.size, entry.size)
        self._leaf_bytes = leaf_bytes(entry.size)
        self._leaves: dict[int, bytes] = {}
        self._literals = _LeafHasher(self._leaf_bytes, entry.size, self._leaves)
        self._ranges: deque[Copy] = deque()
        self._running: deque[Future[_Copied]] = deque()
        self._digest: bytes | None = None
        self.proven = False

    @property
    def taken(self) -> int:
        """How many bytes have come, from the base or as literals."""
        return self._patch.matched_bytes + self._patch.literal_bytes

    @property
    def matched_bytes(self) -> int:
        """How many bytes came from the base."""
        return self._patch.matched_bytes

    # What comes ---------------------------------------------------------------------------------------------------------------------

    def copy(self, message: FileCopy) -> None:
        """Take ranges of the base.

        Raises:
            RemoteProtocolError: They reach beyond their files or overlap.
        """
        try:
            for copy in map(Copy, message.target_at, message.base_at, message.lengths):
                self._patch.copy(copy)
                self._ranges.append(copy)
        except ValueError as error:
            raise RemoteProtocolError(f"the peer sent a malformed delta: {error}") from error
        if len(self._ranges) > MAX_WAITING_RANGES:
            raise RemoteProtocolError("the peer sent a delta of too many ranges")

    def data(self, content: bytes | bytearray | memoryview) -> None:
        """Take the next literals.

        Raises:
            RemoteProtocolError: There is no room for so many.
            OSError: They can't be written.
        """
        view = memoryview(content)
        at = 0
        for start, end in self._places(len(view)):
            piece = view[at : at + end - start]
            at += end - start
            if self.staged is not None:
                self.staged.put(start, piece)
                self._literals.take(start, piece)

    def zeros(self, count: int) -> None:
        """Take a run of zeros among the literals; raises as `data`. What was staged is zeros from the start, so that nothing is written."""
        self._places(count)

    def _places(self, count: int) -> list[Span]:
        try:
            return self._patch.fill(count)
        except ValueError as error:
            raise RemoteProtocolError(f"the peer sent a malformed delta: {error}") from error

    @property
    def complete(self) -> bool:
        """Whether every byte has come."""
        return self._patch.complete

    def end(self, digest: bytes) -> None:
        """Take note that all has come, and what its digest is; `steps` goes on to prove it."""
        self._digest = digest

    # What is done -------------------------------------------------------------------------------------------------------------------

    def steps(self) -> Errand:
        """Copy what is to be copied until all has come, then prove it: `proven` says how that went."""
        try:
            while self._digest is None or self._ranges or self._running:
                while self._ranges and len(self._running) < MAX_COPYING:
                    self._begin_batch()
                yield self._may_go_on
                while self._running and self._running[0].done():
                    copied = self._running.popleft().result()
                    self.error = self.error or copied.error
                    self._leaves.update(copied.leaves)
            if self.error is None and self.staged is not None:
                yield from self._hash_the_rest(self.staged)
                leaves = [self._leaves[index] for index in sorted(self._leaves)]
                self.proven = file_digest(self.entry.size, leaves) == self._digest and self._base.unchanged
                self.staged.complete()
        except Changing:
            self.error = OSError("what was staged was cut short by someone else")
        except OSError as error:
            self.error = error
        finally:
            settle(self._running)
            self._running.clear()

    def _may_go_on(self) -> bool:
        if self._running and self._running[0].done():
            return True
        if self._ranges:
            return len(self._running) < MAX_COPYING
        return self._digest is not None and not self._running

    def _begin_batch(self) -> None:
        """Hand ranges to the pool, about a segment of them, cut where leaves end."""
        batch: list[Copy] = []
        size = 0
        while self._ranges and size < SEGMENT_BYTES:
            target_at, base_at, length = self._ranges.popleft()
            take = min(length, SEGMENT_BYTES)
            if take < length:
                take -= (target_at + take) % self._leaf_bytes if take > self._leaf_bytes else 0
                self._ranges.appendleft(Copy(target_at + take, base_at + take, length - take))
            copy = Copy(target_at, base_at, take)
            batch.append(copy)
            size += take
        if self.staged is not None and self.error is None:
            self._running.append(self._pool.submit(self._copy, self.staged, batch))

    def _copy(self, staged: Staged, batch: list[Copy]) -> _Copied:
        """Copy ranges of the base; runs on the pool."""
        leaves: dict[int, bytes] = {}
        try:
            for target_at, base_at, length in batch:
                view = self._pool.buffer(length)
                self._base.read(base_at, view)
                staged.put(target_at, view)
                for index, start, end in self._whole_leaves(target_at, length):
                    vouched = self._base.leaf(index) if target_at == base_at and self._same_grid(end) else None
                    leaves[index] = vouched or blake3(view[start - target_at : end - target_at]).digest()
        except OSError as error:
            return _Copied(error, leaves)
        return _Copied(None, leaves)

    def _same_grid(self, end: int) -> bool:
        """Tell whether a leaf of the target that ends here is, in length and place, one of the base."""
        base = self._base
        return base.block_bytes == self._leaf_bytes and (end % self._leaf_bytes == 0 or end == base.size)

    def _whole_leaves(self, start: int, length: int) -> list[tuple[int, int, int]]:
        """Return number, start and end of each leaf of the target that lies within a range."""
        unit, size, end = self._leaf_bytes, self.entry.size, start + length
        whole: list[tuple[int, int, int]] = []
        for index in range(-(-start // unit), -(-end // unit)):
            stop = min((index + 1) * unit, size)
            if stop <= end:
                whole.append((index, index * unit, stop))
        return whole

    def _hash_the_rest(self, staged: Staged) -> Errand:
        """Hash those leaves that are made of more than one piece."""
        missing = [index for index in range(-(-self.entry.size // self._leaf_bytes)) if index not in self._leaves]
        step = max(SEGMENT_BYTES // self._leaf_bytes, 1)
        batches = (missing[at : at + step] for at in range(0, len(missing), step))
        for future in self._pool.in_order((self._hash, (staged, batch)) for batch in batches):
            yield future.done
            self._leaves.update(future.result())

    def _hash(self, staged: Staged, indexes: list[int]) -> dict[int, bytes]:
        """Hash some leaves of what is staged; runs on the pool."""
        leaves: dict[int, bytes] = {}
        for index in indexes:
            start = index * self._leaf_bytes
            view = self._pool.buffer(min(self._leaf_bytes, self.entry.size - start))
            read_exactly(staged.fd, start, view)
            leaves[index] = blake3(view).digest()
        return leaves

    def abandon(self, *, keep: bool) -> None:  # noqa: ARG002 - as `WholeStream.abandon`.
        """Give it up; nothing of a delta is kept, since its base is still there."""
        settle(self._running)
        self._running.clear()
        if self.staged is not None:
            self.staged.abandon(keep=False)
            self.staged = None


class _LeafHasher:
    """Hashes the leaves that consist of literals alone, as these come."""

    def __init__(self, leaf: int, size: int, leaves: dict[int, bytes]) -> None:
        self._leaf_bytes = leaf
        self._size = size
        self._leaves = leaves
        self._open = blake3()
        self._at = -1

    def take(self, start: int, piece: memoryview) -> None:
        """Take literals that stand at a place of the target."""
        while piece:
            index, off = divmod(start, self._leaf_bytes)
            if not off:
                self._open, self._at = blake3(), start
            end = min((index + 1) * self._leaf_bytes, self._size)
            part = piece[: end - start]
            if start == self._at:
                self._open.update(part)
                self._at += len(part)
                if self._at == end:
                    self._leaves[index] = self._open.digest()
            piece = piece[len(part) :]
            start += len(part)
