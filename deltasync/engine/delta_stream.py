"""A file on its way in as a delta: ranges of the base are copied on the pool, literals fill the rest, all is proven leaf by leaf."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from deltasync._native import Kernel
from deltasync._native.columns import packed
from deltasync.delta.digest import file_digest, leaf_bytes, zero_digest
from deltasync.delta.effort import effort
from deltasync.delta.match import Copy
from deltasync.delta.patch import Patch
from deltasync.delta.signature import weak_sums
from deltasync.delta.spans import Span
from deltasync.engine.base import Base
from deltasync.engine.errands import Errand
from deltasync.engine.pool import SEGMENT_BYTES, Pool, settle
from deltasync.engine.reading import Changing, is_hole, read_exactly
from deltasync.engine.streams import Expected
from deltasync.errors import RemoteProtocolError
from deltasync.fs.index import Remembered
from deltasync.patch.staging import Kept, Staged
from deltasync.tree.entry import Entry
from deltasync.wire.messages import FileCopy

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["DeltaStream", "Places"]

MAX_COPYING = 3
"""How many batches of ranges of a file may wait for the thread that writes."""
MAX_WAITING_RANGES = 1 << 18
"""Most ranges that may wait to be copied; a sender needs no more than one for two blocks of a signature."""


class _Leaf(NamedTuple):
    """What is known of a leaf: its digest, and its packed weak sum."""

    digest: bytes
    weak: bytes


Leaves = dict[int, _Leaf]


class _Copied(NamedTuple):
    """What copying a batch of ranges brought: an error, or the leaves that it covers."""

    error: OSError | None
    leaves: Leaves


class Places(NamedTuple):
    """Where a file that comes as a delta may go; which of them, is decided when it shows what of the base it keeps.

    Attributes:
        stage: Stages a new file.
        keep: The base stays and takes attributes only, since it is the file already; its result is None if that can't be.
        adopt: The base is renamed and patched, since all that is kept of it keeps its offset; its result is None if that can't be. None
            where it may not be.
    """

    stage: Callable[[], Staged]
    keep: Callable[[], Kept | None]
    adopt: Callable[[], Staged | None] | None


class DeltaStream:
    """A file that comes as a delta.

    Args:
        expected: What was asked for.
        entry: What it is now, by the sender's word.
        base: What the sender knows the checksums of; it stays its owner's.
        pool: What copies and hashes.
        kernel: The engine.
        places: Where the file may go.

    Attributes:
        expected, entry: As given; `expected.credited` grows.
        staged: Where it goes, or None where that could not be made and what comes is passed over, or is not settled yet.
        error: What went wrong with the destination, once something did.
        matched_bytes: How many bytes came from the base.
    """

    def __init__(
        self,
        expected: Expected,
        entry: Entry,
        base: Base,
        pool: Pool,
        kernel: Kernel,
        places: Places,
    ) -> None:
        self.expected = expected
        self.entry = entry
        self.staged: Staged | Kept | None = None
        self.error: OSError | None = None
        self._base = base
        self._pool = pool
        self._kernel = kernel
        self._patch = Patch(base.size, entry.size)
        self._leaf_bytes = leaf_bytes(entry.size)
        self._leaves: Leaves = {}
        self._places = places
        self._undecided = True
        self._adopted = False
        self._held: list[Copy] = []
        self._held_end = 0
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
                if self._undecided and (
                    copy.target_at != copy.base_at or (self._places.adopt is None and copy.target_at != self._held_end)
                ):
                    self._go_on_beside()
                (self._held if self._undecided else self._ranges).append(copy)
                self._held_end = copy.target_at + copy.length
        except ValueError as error:
            raise RemoteProtocolError(f"the peer sent a malformed delta: {error}") from error
        if len(self._ranges) + len(self._held) > MAX_WAITING_RANGES:
            raise RemoteProtocolError("the peer sent a delta of too many ranges")

    def data(self, content: bytes | bytearray | memoryview) -> None:
        """Take the next literals.

        Raises:
            RemoteProtocolError: There is no room for so many.
            OSError: They can't be written.
        """
        self._settle_place()
        view = memoryview(content)
        at = 0
        for start, end in self._filled(len(view)):
            piece = view[at : at + end - start]
            at += end - start
            if isinstance(self.staged, Staged):
                self.staged.put(start, piece)
                for index, begin, stop in self._whole_leaves(start, end - start):
                    self._leaves[index] = self._leaf(piece[begin - start : stop - start])

    def zeros(self, count: int) -> None:
        """Take a run of zeros among the literals; raises as `data`. What was staged is zeros from the start, unless it was a base."""
        self._settle_place()
        places = self._filled(count)
        if self._adopted and isinstance(self.staged, Staged):
            zeros = memoryview(bytes(min(count, SEGMENT_BYTES)))
            for start, end in places:
                for at in range(start, end, len(zeros)):
                    self.staged.put(at, zeros[: end - at])

    def _filled(self, count: int) -> list[Span]:
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
        if self._undecided and self._places.adopt is None and self._patch.matched_bytes == self.entry.size == self._base.size:
            self._stay_with(self._places.keep() if self._base.unchanged else None)
        self._settle_place()
        self._digest = digest

    def _go_on_beside(self) -> None:
        """Copy from the base, which stays what it is."""
        if self._undecided:
            self._undecided = False
            self._ranges.extend(self._held)
            self._held.clear()
            try:
                self.staged = self._places.stage()
            except OSError as error:
                # What still comes is passed over; the end tells.
                self.error = error

    def _settle_place(self) -> None:
        """Now that all ranges are known, have the base become the file if it may."""
        if not self._undecided:
            return
        if self._places.adopt is not None and self._base.unchanged:
            self._stay_with(self._places.adopt())
            self._adopted = not self._undecided
        self._go_on_beside()

    def _stay_with(self, place: Staged | Kept | None) -> None:
        """Have the base be the file, if it can be: then nothing is copied, and what it vouches for is known."""
        if place is None:
            return
        self.staged = place
        self._undecided = False
        for target_at, _, length in self._held:
            for index, _, end in self._whole_leaves(target_at, length):
                vouched = self._base.leaf(index) if self._same_grid(end) else None
                if vouched:
                    self._leaves[index] = _Leaf(*vouched)
        self._held.clear()

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
                digests = [self._leaves[index].digest for index in sorted(self._leaves)]
                self.proven = file_digest(self.entry.size, digests) == self._digest and (self._adopted or self._base.unchanged)
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
        if isinstance(self.staged, Staged) and self.error is None:
            self._running.append(self._pool.write(self._copy, self.staged, batch))

    def _copy(self, staged: Staged, batch: list[Copy]) -> _Copied:
        """Copy ranges of the base; runs on the pool."""
        leaves: Leaves = {}
        try:
            for target_at, base_at, length in batch:
                if is_hole(self._base.fd, base_at, length):
                    # What was staged is zeros from the start; so a hole stays one.
                    for index, start, end in self._whole_leaves(target_at, length):
                        leaves[index] = _Leaf(zero_digest(end - start), bytes(4))
                    continue
                view = self._pool.buffer(length)
                self._base.read(base_at, view)
                staged.put(target_at, view)
                for index, start, end in self._whole_leaves(target_at, length):
                    vouched = self._base.leaf(index) if target_at == base_at and self._same_grid(end) else None
                    leaves[index] = _Leaf(*vouched) if vouched else self._leaf(view[start - target_at : end - target_at])
        except OSError as error:
            return _Copied(error, leaves)
        return _Copied(None, leaves)

    def _leaf(self, content: memoryview) -> _Leaf:
        """Hash a leaf; its weak sum is only of use to the index, and left out where the engine is too slow for that."""
        weak = packed("I", weak_sums(self._kernel, content, len(content))) if self._worth_remembering else bytes(4)
        return _Leaf(blake3(content).digest(), weak)

    @property
    def checksums(self) -> Remembered | None:
        """The checksums of the proven file; None if there are none worth remembering."""
        if not self._worth_remembering:
            return None
        leaves = [self._leaves[index] for index in sorted(self._leaves)]
        return Remembered(self._leaf_bytes, b"".join([leaf.weak for leaf in leaves]), b"".join([leaf.digest for leaf in leaves]))

    @property
    def _worth_remembering(self) -> bool:
        return max(self.entry.size, self._base.size) <= effort(self._kernel.NAME).sum_bytes

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

    def _hash_the_rest(self, staged: Staged | Kept) -> Errand:
        """Hash those leaves that are made of more than one piece."""
        missing = [index for index in range(-(-self.entry.size // self._leaf_bytes)) if index not in self._leaves]
        step = max(SEGMENT_BYTES // self._leaf_bytes, 1)
        batches = (missing[at : at + step] for at in range(0, len(missing), step))
        for future in self._pool.in_order((self._hash, (staged, batch)) for batch in batches):
            yield future.done
            self._leaves.update(future.result())

    def _hash(self, staged: Staged | Kept, indexes: list[int]) -> Leaves:
        """Hash some leaves of what is staged; runs on the pool."""
        leaves: Leaves = {}
        for index in indexes:
            start = index * self._leaf_bytes
            view = self._pool.buffer(min(self._leaf_bytes, self.entry.size - start))
            read_exactly(staged.fd, start, view)
            leaves[index] = self._leaf(view)
        return leaves

    def abandon(self, *, keep: bool) -> None:
        """Give it up; nothing of a delta is kept, since its base is still there, unless it was taken for the file."""
        settle(self._running)
        self._running.clear()
        if self.staged is not None:
            self.staged.abandon(keep=keep and self._adopted)
            self.staged = None
