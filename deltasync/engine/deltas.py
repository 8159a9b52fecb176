"""The sender's deltas: signatures of bases come in, ranges of the base and literals go out; several files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cached_property

from deltasync._native import Kernel, choose
from deltasync.delta.blocks import MAX_BLOCKS, Layout
from deltasync.delta.signature import Signature
from deltasync.delta.spans import Span
from deltasync.detect.sources import Sources
from deltasync.engine.delta_file import DeltaFile
from deltasync.engine.errands import Errand, Errands
from deltasync.engine.holdings import MIN_BYTES, Holding, Holdings, Known
from deltasync.engine.outflow import Outflow
from deltasync.engine.peer import Peer
from deltasync.engine.pool import Pool
from deltasync.engine.reading import OPEN_FLAGS, Changing, check_regular
from deltasync.engine.wants import Wanted
from deltasync.errors import RemoteProtocolError
from deltasync.fs.identity import Identity
from deltasync.tree.entry import kept_time
from deltasync.wire.messages import MAX_DELTAS, FileAbort, FileBegin, FileEnd
from deltasync.wire.messages import Signature as Part

__all__ = ["Deltas"]


UNASKED_BYTES = 256 << 10
"""Up to so much is sent as literals before the receiver has said that it takes a delta; beyond that small blocks are asked for first."""
ROLL_BLOCKS = 4
"""A gap of fewer large blocks than this is left to the second round, which finds there what these would, and more."""


class _Asked:
    """A file that is wanted as a delta.

    Attributes:
        wanted: The file.
        first, fine: The signatures of the two rounds, once their first part has come or they have been asked for.
        base_bytes: The length of the base.
        under_way: Whether its delta is being made; sent: whether it is complete.
        presumed: What it is presumed to have; None if it was asked.
        answered: Whether the receiver has said that it takes the delta.
        made: What the receiver has when it is in its place, if that is to be remembered.
    """

    def __init__(self, wanted: Wanted, presumed: Holding | None = None) -> None:
        self.wanted = wanted
        self.presumed = presumed
        self.answered = presumed is None
        self.made: Holding | None = None
        self.first: Signature | None = None
        self.fine: Signature | None = None
        self.base_bytes = 0
        self.under_way = self.sent = False
        if presumed is not None:
            self.first, self.base_bytes = presumed.signature, presumed.size

    def is_answered(self) -> bool:
        """Tell whether the receiver has said that it takes the delta."""
        return self.answered

    def take(self, part: Part) -> None:
        """Take the next checksums.

        Raises:
            ValueError: They are not those that come next.
        """
        signature = self.fine
        if signature is None:
            if self.first is None:
                if not 0 < part.base_bytes <= part.block_bytes * MAX_BLOCKS:
                    raise ValueError("the signature of a base has too many blocks, or none")
                self.base_bytes = part.base_bytes
                self.first = Signature(Layout(part.block_bytes, [Span(0, part.base_bytes)]), part.strong_bytes)
            signature = self.first
        if (part.base_bytes, part.block_bytes, part.strong_bytes) != (
            self.base_bytes,
            signature.layout.block_bytes,
            signature.strong_bytes,
        ):
            raise ValueError("the parts of a signature differ in kind")
        signature.extend(part.first, part.weak, part.strong)


class Deltas:
    """Sends wanted files as deltas.

    Args:
        peer: The session.
        sources: The opened sources.
        outflow: What contents go out by.
        pool: What reads, hashes and rolls.
        engine: What rolls, as in `Job`; it is loaded when it is needed.
        leaves: Returns digests of the first leaves of a file, as many as are known.
        send_whole: Takes files that have to be sent whole after all.
        two_rounds: Whether small blocks are asked for where large ones did not match.
        holdings: Where it is remembered what the receiver has; None for nowhere.
    """

    def __init__(
        self,
        peer: Peer,
        sources: Sources,
        outflow: Outflow,
        pool: Pool,
        engine: str,
        leaves: Callable[[Identity], list[bytes]],
        send_whole: Callable[[Iterable[Wanted]], None],
        *,
        two_rounds: bool = True,
        holdings: Holdings | None = None,
    ) -> None:
        self._peer = peer
        self._sources = sources
        self._out = outflow
        self._pool = pool
        self._engine = engine
        self._leaves = leaves
        self._send_whole = send_whole
        self._two_rounds = two_rounds
        self._holdings = holdings
        self._asked: dict[int, _Asked] = {}
        self._errands = Errands()
        self._signed = 0
        self._voided: set[int] = set()

    @cached_property
    def _kernel(self) -> Kernel:
        return choose(self._engine)

    @property
    def busy(self) -> bool:
        """Whether the receiver waits for any file, or has not said what became of it."""
        return bool(self._asked)

    @property
    def sending(self) -> bool:
        """Whether the receiver waits for any file that it has not been sent to the end."""
        return not all(asked.sent for asked in self._asked.values())

    @property
    def ready(self) -> bool:
        """Whether `advance` would do something."""
        return self._errands.ready

    def want(self, files: Iterable[Wanted]) -> None:
        """Take files whose signatures will come."""
        self._asked.update((wanted.file_id, _Asked(wanted)) for wanted in files)

    def presume(self, known: Iterable[Known]) -> None:
        """Send files that were not asked for, as deltas to what the receiver is presumed to have."""
        for _, wanted, holding in known:
            asked = self._asked[wanted.file_id] = _Asked(wanted, holding)
            self._signed += 1
            asked.under_way = True
            self._errands.begin(wanted.file_id, self._send(asked))

    def answer(self, taken: Iterable[int], refused: Iterable[int]) -> None:
        """Take note of which of these the receiver takes; the others end here, and come again if they are wanted at all."""
        for file_id in taken:
            self._asked[file_id].answered = True
        for file_id in refused:
            asked = self._asked[file_id]
            if asked.under_way:
                self._errands.end(file_id)
                self._peer.send(FileAbort(file_id, again=False))
            if self._holdings is not None:
                self._holdings.forget(asked.wanted.path)
            self._forget(asked)

    def signature(self, part: Part) -> None:
        """Take checksums of a base.

        Raises:
            RemoteProtocolError: They were not asked for, or don't fit.
        """
        if part.file_id in self._voided:
            return
        asked = self._known(part.file_id)
        if asked.sent:
            raise RemoteProtocolError("the peer sent more of a signature than there was to sign")
        if asked.first is None:
            self._signed += 1
            if self._signed > MAX_DELTAS:
                raise RemoteProtocolError("the peer sent the signatures of too many files at once")
        try:
            asked.take(part)
        except ValueError as error:
            raise RemoteProtocolError(f"the peer sent a malformed signature: {error}") from error
        if not asked.under_way:
            asked.under_way = True
            self._errands.begin(part.file_id, self._send(asked))

    def whole(self, ids: Iterable[int]) -> None:
        """Take note of files that are wanted whole instead: no signature of theirs comes, or their delta did not lead to them.

        Raises:
            RemoteProtocolError: One was not wanted, or its delta is under way.
        """
        for file_id in ids:
            asked = self._known(file_id)
            if asked.under_way:
                raise RemoteProtocolError("the peer wants a file whole whose delta it is being sent")
            self._forget(asked)
            self._send_whole([asked.wanted])

    def applied(self, ids: Iterable[int]) -> None:
        """Forget files that are in their places, or given up.

        Raises:
            RemoteProtocolError: One was not wanted, or its delta is under way.
        """
        for file_id in ids:
            asked = self._known(file_id)
            if not asked.sent or not asked.answered:
                raise RemoteProtocolError("the peer is done with a file before it had it")
            if self._holdings is not None and asked.made is not None:
                self._holdings.learn(asked.wanted.path, asked.made)
            self._out.settle(asked.wanted, asked.wanted.credited)
            self._out.files_sent += 1
            self._forget(asked)

    def advance(self) -> None:
        """Do what can be done now."""
        self._errands.advance()

    def close(self) -> None:
        """Let go of everything."""
        self._errands.close()

    def _known(self, file_id: int) -> _Asked:
        asked = self._asked.get(file_id)
        if asked is None:
            raise RemoteProtocolError(f"the peer spoke of the delta of file {file_id}, which it did not ask for")
        return asked

    def _forget(self, asked: _Asked) -> None:
        del self._asked[asked.wanted.file_id]
        if asked.first is not None:
            self._signed -= 1

    def _void(self, asked: _Asked) -> None:
        """Forget a file whose delta was given up; what is still on its way of its signature is passed over."""
        self._voided.add(asked.wanted.file_id)
        self._forget(asked)

    def _send(self, asked: _Asked) -> Errand:
        """Send one file."""
        wanted = asked.wanted
        try:
            fd = self._open(wanted)
        except OSError as error:
            yield asked.is_answered
            self._out.give_up(wanted, error)
            self._void(asked)
            return
        credited = 0
        try:
            before = os.fstat(fd)
            assert asked.first is not None
            known = self._leaves(Identity.of(before))
            sums = self._holdings is not None and before.st_size >= MIN_BYTES
            file = DeltaFile(
                self._peer, self._out, self._pool, self._kernel, wanted, fd, before.st_size, known, sums=sums, held=asked.presumed
            )
            check_regular(before)
            self._out.read(wanted, before.st_size, kept_time(before.st_mtime_ns), before.st_ino)
            self._peer.send(FileBegin(wanted.file_id, before.st_size, kept_time(before.st_mtime_ns), before.st_mode))
            try:
                yield from self._compare(asked, asked.first, file)
                yield from file.literals()
                yield from file.leaves()
            finally:
                credited = file.credit.credited
            if not file.unchanged(before):
                raise Changing
        except Changing:
            yield asked.is_answered
            # It is read again as a whole; a file that is being written to is seldom one that a base helps with.
            self._peer.send(FileAbort(wanted.file_id, again=True))
            self._void(asked)
            self._send_whole([wanted._replace(credited=credited)])
        except OSError as error:
            yield asked.is_answered
            self._out.give_up(wanted, error, credited)
            self._void(asked)
        else:
            asked.under_way, asked.sent = False, True
            asked.made = file.holding(kept_time(before.st_mtime_ns))
            asked.wanted = wanted._replace(credited=credited)
            self._peer.send(FileEnd(wanted.file_id, file.digest()))
        finally:
            os.close(fd)

    def _compare(self, asked: _Asked, first: Signature, file: DeltaFile) -> Errand:
        """Send what a file has of its base, in two rounds where that pays."""
        yield from file.own_offsets(first)
        yield from file.search(first, ROLL_BLOCKS * first.layout.block_bytes if self._two_rounds else 0)
        if file.left_bytes > UNASKED_BYTES:
            yield asked.is_answered
        gaps = file.gaps(asked.base_bytes) if self._two_rounds and asked.answered else None
        if gaps is None:
            return
        ranges = [Span(start, start + length) for start, length in zip(gaps.starts, gaps.lengths, strict=True)]
        asked.fine = Signature(Layout(gaps.block_bytes, ranges), gaps.strong_bytes)
        self._peer.send(gaps)
        yield from file.own_ranges(asked.fine)
        yield from file.search(asked.fine)

    def _open(self, wanted: Wanted) -> int:
        with self._sources.roots[wanted.source].dir(wanted.directory) as lease:
            return os.open(wanted.entry.name, OPEN_FLAGS, dir_fd=lease.fd)
