"""The receiver's bases: the files that wanted files replace are opened and signed, on the pool, a few at a time."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from deltasync._native import Kernel, choose
from deltasync._native.columns import packed
from deltasync.delta.blocks import MAX_BLOCKS, Layout, strong_bytes
from deltasync.delta.digest import file_digest
from deltasync.delta.effort import effort
from deltasync.delta.signature import block_digests, weak_sums, zero_digests
from deltasync.delta.spans import Span, extents
from deltasync.engine.base import Base
from deltasync.engine.elsewhere import Candidate
from deltasync.engine.errands import Errand, Errands, at_once
from deltasync.engine.ground import Ground
from deltasync.engine.peer import Peer
from deltasync.engine.pool import NEAR_BYTES, SEGMENT_BYTES, Pool, pieces
from deltasync.engine.reading import is_hole
from deltasync.engine.streams import Expected
from deltasync.errors import RemoteProtocolError
from deltasync.fs.home import state_directory
from deltasync.fs.identity import COARSE_STEP_NS, TICKS_NS, Identity
from deltasync.fs.journals import is_decided
from deltasync.wire.messages import MAX_DELTAS, MAX_SIGNATURE_BLOCKS, Applied, Gaps, Signature, WantWhole

if TYPE_CHECKING:
    from deltasync.fs.index import Index, Remembered

__all__ = ["Bases"]


class _Sums(NamedTuple):
    """The checksums of some blocks: weak sums packed as u32, and digests of 32 bytes."""

    weak: bytes
    digests: list[bytes]


class Bases:
    """Signs bases for the sender, in the order in which their files were asked for.

    Args:
        ground: Where the receiver works.
        peer: The session.
        pool: What reads and hashes.
        engine: What sums, as in `Job`; it is loaded when it is needed.
    """

    def __init__(self, ground: Ground, peer: Peer, pool: Pool, engine: str) -> None:
        self._ground = ground
        self._peer = peer
        self._pool = pool
        self._engine = engine
        self._waiting: deque[tuple[int, Expected, Candidate | None]] = deque()
        self._presumed: Mapping[int, bytes] = {}
        self._taken: list[int] = []
        self._open: dict[int, Base] = {}
        self._errands = Errands()

    @cached_property
    def kernel(self) -> Kernel:
        """The engine."""
        return choose(self._engine)

    @cached_property
    def _index(self) -> Index:
        from deltasync.fs.index import Index

        return Index(state_directory())

    def remember(self, status: os.stat_result, checksums: Remembered) -> None:
        """Remember the checksums of a file that was just put in its place.

        Its time of change is too fresh to be trusted, but whoever writes to it from now on gives it a new time of writing, unless that is
        just as fresh.
        """
        identity = Identity.of(status)
        if identity._replace(ctime_ns=identity.mtime_ns).settled(identity.ctime_ns, TICKS_NS):
            self._index.remember(identity, checksums, identity.ctime_ns + 2 * COARSE_STEP_NS)

    @property
    def ready(self) -> bool:
        """Whether `advance` would do something."""
        return self._errands.ready or (bool(self._waiting) and len(self._open) < MAX_DELTAS)

    def want(self, file_id: int, expected: Expected, candidate: Candidate | None = None) -> None:
        """Take a file that is asked for as a delta, to what has its name, or to a candidate from elsewhere; it is signed in its turn.

        It need not be if the sender presumes rightly what is here.
        """
        if candidate is None and file_id in self._presumed and self._fits(file_id, expected):
            self._taken.append(file_id)
            return
        self._waiting.append((file_id, expected, candidate))

    def presume(self, digests: Mapping[int, bytes]) -> None:
        """Take the digests of bases that the sender presumes, by the numbers of the files, for those that are asked for from now on."""
        self._presumed = digests

    def taken(self) -> list[int]:
        """Return the numbers of files whose bases are what was presumed, once."""
        taken, self._taken = self._taken, []
        return taken

    def _fits(self, file_id: int, expected: Expected) -> bool:
        """Open a base if it is known, without reading it, to be what the sender presumes."""
        if len(self._open) >= MAX_DELTAS:
            return False
        try:
            base = self._opened(expected, None)
        except OSError:
            # It is asked for in the usual way, where this shows again.
            return False
        remembered = self._index.find(base.look.identity) if base.of_leaves else None
        if remembered is not None:
            base.known(remembered)
        if remembered is None or file_digest(base.size, base.digests) != self._presumed[file_id]:
            base.close()
            return False
        base.signed = True
        self._open[file_id] = base
        return True

    def advance(self) -> None:
        """Do what can be done now."""
        while self._waiting and len(self._open) < MAX_DELTAS:
            file_id, expected, candidate = self._waiting.popleft()
            try:
                base = self._opened(expected, candidate)
            except OSError:
                # Whatever is wrong with the base, the file can still come whole.
                self._peer.send(WantWhole(packed("Q", [file_id])))
                continue
            self._open[file_id] = base
            self._errands.begin(file_id, self._sign(file_id, base))
        self._errands.advance()

    def _opened(self, expected: Expected, candidate: Candidate | None) -> Base:
        assert self._ground.root is not None
        directory, name = (expected.directory, expected.entry.name) if candidate is None else candidate[:2]
        with self._ground.root.dir(directory) as lease:
            if is_decided(lease.fd, name):
                raise OSError(errno.EBUSY, "it is being patched")
            base = Base.open(lease.fd, name, expected.entry.size, self._ground.settings.block_bytes)
        base.candidate = candidate
        return base

    def get(self, file_id: int) -> Base | None:
        """Return the base of a file whose signature is being sent, or None."""
        return self._open.get(file_id)

    def applied(self, file_id: int, *, well: bool) -> None:
        """Let go of a base whose file has come, and tell the sender whether it came well or is wanted whole."""
        base = self._open.get(file_id)
        if base is not None and not well:
            self._index.forget(base.look.identity)
        self.forget(file_id)
        self._peer.send(Applied(packed("Q", [file_id])) if well else WantWhole(packed("Q", [file_id])))

    def forget(self, file_id: int) -> None:
        """Let go of the base of a file that was given up."""
        base = self._open.pop(file_id, None)
        if base is not None:
            self._errands.end(file_id)
            base.close()

    def conclude(self) -> None:
        """Remember what has been learnt, and tell the user if that can't be; no file is asked for any more."""
        if "_index" in self.__dict__:
            self._index.flush()
            if self._index.note is not None:
                self._ground.reporter.note(self._index.note)

    def close(self) -> None:
        """Let go of everything."""
        self._errands.close()
        for base in self._open.values():
            base.close()
        self._open.clear()
        self._waiting.clear()
        if "_index" in self.__dict__:
            self._index.close()

    # Signing ------------------------------------------------------------------------------------------------------------------------

    def _sign(self, file_id: int, base: Base) -> Errand:
        """Sign a base in round one."""
        blocks = -(-base.size // base.block_bytes)
        strong = strong_bytes(max(base.target_bytes, base.size), blocks)
        remembered = self._index.find(base.look.identity) if base.of_leaves else None
        if remembered is not None:
            base.known(remembered)
            base.signed = True
            for first in range(0, blocks, MAX_SIGNATURE_BLOCKS):
                last = min(first + MAX_SIGNATURE_BLOCKS, blocks)
                part = _Sums(remembered.weak[4 * first : 4 * last], base.digests[first:last])
                self._send_part(file_id, base, (base.block_bytes, strong, first), part)
                yield at_once
            return
        yield from self._sign_ranges(file_id, base, Layout(base.block_bytes, [Span(0, base.size)]), strong)
        base.signed = True
        if base.of_leaves and base.unchanged and base.size <= effort(self.kernel.NAME).sum_bytes:
            self._index.remember(base.look.identity, base.checksums, base.look.at_ns)

    def fine(self, message: Gaps) -> None:
        """Sign some ranges of a base with smaller blocks.

        Raises:
            RemoteProtocolError: The file has no base, or not these ranges.
        """
        base = self.get(message.file_id)
        if base is None or not base.signed or base.fine:
            raise RemoteProtocolError("the peer asked for checksums of a base that it was not offered, or a third time")
        ranges = [Span(start, start + length) for start, length in zip(message.starts, message.lengths, strict=True)]
        layout = Layout(message.block_bytes, ranges)
        if ranges[-1].end > base.size or len(layout) > MAX_BLOCKS:
            raise RemoteProtocolError("the peer asked for checksums beyond the end of a base, or for too many")
        base.fine = True
        self._errands.begin(message.file_id, self._sign_ranges(message.file_id, base, layout, message.strong_bytes))

    def _sign_ranges(self, file_id: int, base: Base, layout: Layout, strong: int) -> Errand:
        """Sign a base on the pool, and send the checksums in order."""
        first, block_bytes = 0, layout.block_bytes
        for future in self._pool.in_order((self._sums, (base, piece, block_bytes)) for piece in pieces(layout)):
            yield future.done
            sums = future.result()
            if not base.fine:
                base.digests += sums.digests
                base.weak += sums.weak
            for at in range(0, len(sums.digests), MAX_SIGNATURE_BLOCKS):
                part = _Sums(sums.weak[4 * at : 4 * (at + MAX_SIGNATURE_BLOCKS)], sums.digests[at : at + MAX_SIGNATURE_BLOCKS])
                self._send_part(file_id, base, (block_bytes, strong, first), part)
                first += len(part.digests)

    def _send_part(self, file_id: int, base: Base, what: tuple[int, int, int], part: _Sums) -> None:
        """Send checksums; `what` is the length of the blocks, that of strong checksums, and the number of the first block."""
        block_bytes, strong, first = what
        strongs = b"".join([digest[:strong] for digest in part.digests])
        self._peer.send(Signature(file_id, base.size, block_bytes, strong, first, part.weak, strongs))

    def _sums(self, base: Base, piece: list[Span], block_bytes: int) -> _Sums:
        """Read and sign some ranges of a base; runs on the pool."""
        weak: list[bytes] = []
        digests: list[bytes] = []
        for extent in extents(piece, NEAR_BYTES, SEGMENT_BYTES):
            if is_hole(base.fd, extent.start, extent.end - extent.start):
                for start, end in extent.spans:
                    digests += (zeros := zero_digests(end - start, block_bytes))
                    weak.append(bytes(4 * len(zeros)))
                continue
            content = self._pool.buffer(extent.end - extent.start)
            base.read(extent.start, content)
            for start, end in extent.spans:
                view = content[start - extent.start : end - extent.start]
                weak.append(self._weak_sums(view, start, block_bytes))
                digests += block_digests(view, block_bytes)
        return _Sums(b"".join(weak), digests)

    def _weak_sums(self, view: memoryview, start: int, block_bytes: int) -> bytes:
        """Return packed weak sums; zeros, which seldom match anything, for what a slow engine leaves out."""
        if start + len(view) > effort(self.kernel.NAME).sum_bytes:
            return bytes(4 * -(-len(view) // block_bytes))
        return packed("I", weak_sums(self.kernel, view, block_bytes))
