"""One file as the sender of a delta sees it: its content is compared, rolled over and read in segments, on the pool, in order."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence

from deltasync._native import Kernel
from deltasync._native.columns import packed
from deltasync.delta.blocks import fine_block_bytes, strong_bytes
from deltasync.delta.digest import DIGEST_BYTES, file_digest, leaf_bytes
from deltasync.delta.effort import effort
from deltasync.delta.match import Copy, at_own_offsets, search, uncovered
from deltasync.delta.signature import Signature, block_digests, weak_sums, zero_digests
from deltasync.delta.spans import Span, Spans, complement, extents
from deltasync.engine.errands import Errand
from deltasync.engine.holdings import Holding
from deltasync.engine.outflow import Credit, Outflow, Sampler
from deltasync.engine.peer import Peer
from deltasync.engine.pool import NEAR_BYTES, SEGMENT_BYTES, Pool, pieces
from deltasync.engine.reading import is_hole, read_exactly, same_file
from deltasync.engine.wants import Wanted
from deltasync.wire.messages import MAX_COPIES, MAX_FILE_DATA_BYTES, MAX_GAPS, FileCopy, FileData, Gaps

__all__ = ["DeltaFile"]

SMALL_GAPS_BYTES = 8 << 20
"""Up to so many unmatched bytes a second round is always worth its checksums."""
MEDIUM_GAPS_BYTES = 256 << 20
"""Up to so many it is worth them if anything matched at all: they cost a hundredth of what they may spare, and 0.6 s of one core."""
FRUITLESS_BATCHES = 16
"""After so many pieces without a match, the target is taken for new there, and only sampled until something matches again."""
SAMPLE_EVERY = 8
LOOK_BACK = 64
"""How many of the pieces that were passed over are looked at after all when something matches: those before it, and those since."""


class DeltaFile:
    """What is known of one file while its delta is made.

    Args:
        peer: The session.
        outflow: What contents go out by.
        pool: What reads, hashes and rolls.
        kernel: The engine.
        wanted: The file.
        fd: Its descriptor; it stays the caller's.
        size: Its length now.
        known: The digests of its first leaves, as many as are known.
        sums: Whether to take the weak sums of its leaves as well, to remember them.
        held: What is remembered of what the receiver has; the sums of leaves that are still the same are taken from there.

    Attributes:
        credit: How much of it counts as done.
    """

    def __init__(
        self,
        peer: Peer,
        outflow: Outflow,
        pool: Pool,
        kernel: Kernel,
        wanted: Wanted,
        fd: int,
        size: int,
        known: Sequence[bytes] = (),
        *,
        sums: bool = False,
        held: Holding | None = None,
    ) -> None:
        self.credit = Credit(outflow, wanted)
        self._peer = peer
        self._out = outflow
        self._pool = pool
        self._kernel = kernel
        self._wanted = wanted
        self._fd = fd
        self._size = size
        self._leaf_bytes = leaf_bytes(size)
        self._known = known
        self._leaves: list[bytes] = []
        self._sums = sums and size <= effort(kernel.NAME).sum_bytes
        self._weak = bytearray()
        self._held = held if held is not None and leaf_bytes(held.size) == self._leaf_bytes else None
        self._covered = Spans()
        self._copies: list[Copy] = []
        self._roll_bytes = effort(kernel.NAME).roll_bytes

    # Copies -------------------------------------------------------------------------------------------------------------------------

    def own_offsets(self, signature: Signature) -> Errand:
        """Find and send the blocks that stand at their own offsets, as fast as the signature comes in.

        Raises (here and below):
            OSError: The file can't be read.
            Changing: It is shorter than it was.
        """
        block_bytes, blocks = signature.layout.block_bytes, len(signature.layout)
        step = max(SEGMENT_BYTES // block_bytes, 1) * block_bytes
        keep = block_bytes == self._leaf_bytes
        first = 0
        for future in self._pool.in_order((self._digests, (at, step, block_bytes)) for at in range(0, self._size, step)):
            yield future.done
            digests, weak = future.result()
            if keep:
                self._leaves += digests
                self._weak += weak
            need = min(first + len(digests), blocks)
            if first < blocks:
                yield lambda need=need: signature.count >= need  # type: ignore[misc]
                last_bytes = self._size - (first + len(digests) - 1) * block_bytes
                self._send(at_own_offsets(signature, first, digests, min(last_bytes, block_bytes)))
            first += len(digests)

    def own_ranges(self, signature: Signature) -> Errand:
        """Find and send what stands at its own offset in the ranges of a second round, as fast as the signature comes in."""
        first = 0
        for future in self._pool.in_order((self._digests_of, (piece, signature.layout.block_bytes)) for piece in pieces(signature.layout)):
            yield future.done
            hashed = future.result()
            need = first + sum(len(digests) for _, digests in hashed)
            yield lambda need=need: signature.count >= need  # type: ignore[misc]
            copies: list[Copy] = []
            for span, digests in hashed:
                if span.end <= self._size:
                    last_bytes = (span.end - span.start - 1) % signature.layout.block_bytes + 1
                    copies += at_own_offsets(signature, first, digests, last_bytes)
                first += len(digests)
            self._send(copies)

    def search(self, signature: Signature, least_bytes: int = 0) -> Errand:
        """Roll over what is left and is at least so long, and send what is found, once the whole signature has come."""
        yield lambda: signature.complete
        least_bytes = max(least_bytes, signature.layout.block_bytes)
        missing = [span for span in self._covered.missing(0, self._size) if span.end - span.start >= least_bytes]
        if not missing or not len(signature.layout):
            return
        missing = self._within_effort(missing)
        indexed = self._pool.submit(signature.index, self._kernel)
        yield indexed.done
        indexed.result()
        self._copies.sort()
        sampled = _Sampled(_batches(missing))
        for batches in (sampled, sampled.passed_over()):
            for future in self._pool.in_order((self._search, (signature, batch)) for batch in batches):
                yield future.done
                found = future.result()
                sampled.heard(fruitful=bool(found))
                self._send(found)

    def _within_effort(self, spans: list[Span]) -> list[Span]:
        """Return the first of some ranges, as far as this engine may still roll over them."""
        kept: list[Span] = []
        for start, end in spans:
            take = min(end - start, self._roll_bytes)
            self._roll_bytes -= take
            if take:
                kept.append(Span(start, start + take))
            if take < end - start:
                self._out.slow_engine(self._kernel.NAME)
                break
        return kept

    def _search(self, signature: Signature, spans: list[Span]) -> list[Copy]:
        """Search some ranges of the file; runs on the pool."""
        found: list[Copy] = []
        reach = signature.layout.block_bytes - 1
        for extent in extents(spans, NEAR_BYTES, SEGMENT_BYTES):
            content = self._pool.buffer(min(extent.end + reach, self._size) - extent.start)
            read_exactly(self._fd, extent.start, content)
            for span in extent.spans:
                target = content[span.start - extent.start : span.end - extent.start + reach]
                found += search(self._kernel, signature, target, span.start, span, self._likely(signature, span.start))
        return found

    def _likely(self, signature: Signature, start: int) -> int:
        """Return the block that goes on where the range before a place of the target ends in the base, or -1."""
        at = bisect_left(self._copies, (start, 0, 0)) - 1
        if at < 0:
            return signature.layout.at(start)
        target_at, base_at, length = self._copies[at]
        return signature.layout.at(base_at + length) if target_at + length == start else -1

    def _send(self, copies: list[Copy]) -> None:
        fresh = uncovered(copies, self._covered, self._size)
        self._copies += fresh
        for at in range(0, len(fresh), MAX_COPIES):
            target_at, base_at, lengths = zip(*fresh[at : at + MAX_COPIES], strict=True)
            self._peer.send(FileCopy(self._wanted.file_id, target_at, base_at, lengths))
        self.credit.add(sum(copy.length for copy in fresh))

    def gaps(self, base_bytes: int) -> Gaps | None:
        """Return what to ask for a second round, or None if that does not pay."""
        left = self.left_bytes
        if not left or left > max(self._size // 2, MEDIUM_GAPS_BYTES if self._copies else SMALL_GAPS_BYTES):
            return None
        free = complement((Span(copy.base_at, copy.base_at + copy.length) for copy in self._copies), base_bytes)
        free_bytes = sum(end - start for start, end in free)
        block_bytes = fine_block_bytes(free_bytes)
        if not free or len(free) > MAX_GAPS or all(end - start < block_bytes for start, end in self._covered.missing(0, self._size)):
            return None
        strong = strong_bytes(left, -(-free_bytes // block_bytes) + len(free))
        starts, lengths = [span.start for span in free], [span.end - span.start for span in free]
        return Gaps(self._wanted.file_id, block_bytes, strong, starts, lengths)

    @property
    def left_bytes(self) -> int:
        """How much no range of the base covers so far."""
        return self._size - self._covered.covered_bytes

    # Literals and digest ------------------------------------------------------------------------------------------------------------

    def literals(self) -> Errand:
        """Send what no range of the base covers."""
        self._out.current = self._wanted.path
        sampler = Sampler(self._out)
        missing = self._covered.missing(0, self._size)
        for future in self._pool.in_order((self._literal, (batch,)) for batch in _batches(missing, MAX_FILE_DATA_BYTES)):
            yield future.done
            content = future.result()
            self._out.data(FileData(self._wanted.file_id, content), sampler)
            self.credit.add(len(content))

    def _literal(self, spans: list[Span]) -> bytearray:
        """Read some ranges of the file; runs on the pool."""
        content = bytearray(sum(end - start for start, end in spans))
        view = memoryview(content)
        at = 0
        for start, end in spans:
            read_exactly(self._fd, start, view[at : at + end - start])
            at += end - start
        return content

    def leaves(self) -> Errand:
        """Complete the digests of the leaves, unless they were the blocks of the first round."""
        if self._leaves or not self._size:
            return
        step = max(SEGMENT_BYTES // self._leaf_bytes, 1) * self._leaf_bytes
        for future in self._pool.in_order((self._digests, (at, step, self._leaf_bytes)) for at in range(0, self._size, step)):
            yield future.done
            digests, weak = future.result()
            self._leaves += digests
            self._weak += weak

    def digest(self) -> bytes:
        """Return the file digest, after `leaves`."""
        return file_digest(self._size, self._leaves)

    def holding(self, mtime_ns: int) -> Holding | None:
        """Return the checksums of the file that was sent, after `leaves`; None if they are not all known."""
        complete = self._sums and len(self._weak) == 4 * len(self._leaves)
        return Holding(self._size, mtime_ns, bytes(self._weak), b"".join(self._leaves)) if complete else None

    def _digests(self, start: int, length: int, block_bytes: int) -> tuple[list[bytes], bytes]:
        """Hash the blocks of a range of the file, as far as it reaches, and sum those that are to be summed; runs on the pool."""
        length = max(min(length, self._size - start), 0)
        sums = self._sums and block_bytes == self._leaf_bytes
        if block_bytes == self._leaf_bytes and start % block_bytes == 0:
            first, last = start // block_bytes, -(-(start + length) // block_bytes)
            if last <= len(self._known):
                return list(self._known[first:last]), b""
        content = self._content(start, length)
        if content is None:
            return (digests := zero_digests(length, block_bytes)), bytes(4 * len(digests) * sums)
        digests = block_digests(content, block_bytes)
        return digests, self._weak_sums(start, content, digests) if sums else b""

    def _weak_sums(self, start: int, content: memoryview, digests: list[bytes]) -> bytes:
        """Return the packed weak sums of the leaves of a range; runs on the pool."""
        first = start // self._leaf_bytes
        last = first + len(digests)
        if self._held is not None and self._held.digests[DIGEST_BYTES * first : DIGEST_BYTES * last] == b"".join(digests):
            return self._held.weak[4 * first : 4 * last]
        return packed("I", weak_sums(self._kernel, content, self._leaf_bytes))

    def _digests_of(self, spans: list[Span], block_bytes: int) -> list[tuple[Span, list[bytes]]]:
        """Hash the blocks of some ranges of the file, with an empty digest for each block beyond its end; runs on the pool."""
        hashed: list[tuple[Span, list[bytes]]] = []
        for extent in extents(spans, NEAR_BYTES, SEGMENT_BYTES):
            content = self._content(extent.start, extent.end - extent.start)
            for span in extent.spans:
                start, end = (min(at, self._size) - extent.start for at in span)
                digests = zero_digests(end - start, block_bytes) if content is None else block_digests(content[start:end], block_bytes)
                hashed.append((span, digests + [b""] * (-(-(span.end - span.start) // block_bytes) - len(digests))))
        return hashed

    def _content(self, start: int, length: int) -> memoryview | None:
        """Read a range of the file, as far as it reaches; None for a hole. It belongs to the calling thread until that reads again."""
        length = max(min(length, self._size - start), 0)
        if is_hole(self._fd, start, length):
            return None
        content = self._pool.buffer(length)
        read_exactly(self._fd, start, content)
        return content

    def unchanged(self, before: os.stat_result) -> bool:
        """Tell whether nobody wrote to the file since `before`."""
        return same_file(before, os.fstat(self._fd))


class _Sampled:
    """Pieces of work, of which only some are handed out while nothing is found: a file that is wholly new is not rolled over in vain.

    Args:
        batches: All pieces.
    """

    def __init__(self, batches: Iterator[list[Span]]) -> None:
        self._batches = batches
        self._fruitless = 0
        self._passed: deque[list[Span]] = deque(maxlen=LOOK_BACK)
        self._due: deque[list[Span]] = deque()

    def __iter__(self) -> Iterator[list[Span]]:
        for number, batch in enumerate(self._batches):
            if self._fruitless > FRUITLESS_BATCHES and number % SAMPLE_EVERY:
                self._passed.append(batch)
            else:
                yield batch

    def heard(self, *, fruitful: bool) -> None:
        """Take note of what came of a piece; what was passed over shortly before a match is due after all."""
        if fruitful:
            self._due += self._passed
            self._passed.clear()
        self._fruitless = 0 if fruitful else self._fruitless + 1

    def passed_over(self) -> Iterator[list[Span]]:
        """Yield the pieces that turned out to be due, after all others: what was passed over behind the last match is not."""
        self._passed.clear()
        while self._due:
            yield self._due.popleft()


def _batches(spans: list[Span], most_bytes: int = SEGMENT_BYTES) -> Iterator[list[Span]]:
    """Gather ranges, cut where they are long, into lists of at most so many bytes each."""
    batch: list[Span] = []
    size = 0
    for start, end in spans:
        at = start
        while at < end:
            take = min(end - at, most_bytes - size)
            batch.append(Span(at, at + take))
            size += take
            at += take
            if size == most_bytes:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
